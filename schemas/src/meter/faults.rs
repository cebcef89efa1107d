//! What is wrong with a meter, in words that say where, what, and what would be right.

use super::{
    AGGREGATES_MAX, Aggregate, CONDITIONS_MAX, Condition, Function, GROUP_BY_MAX, Meter, Operand,
    PANES_MAX, SKETCHES_MAX, Test, WINDOWS_MAX, Window,
};
use crate::decimal::Decimal;
use crate::time::Width;

/// Bytes of a field by which a meter may group.
const FIELD_BYTES_MAX: usize = 256;

impl Meter {
    /// What is wrong with it, each fault with the field's name.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        let mut bounded = |name: &str, count: usize, least: usize, most: usize| {
            if count < least || count > most {
                faults.push(format!(
                    "{name} has {count} items, and must have {least} to {most}"
                ));
            }
        };
        bounded("windows", self.windows.len(), 1, WINDOWS_MAX);
        bounded("aggregates", self.aggregates.len(), 1, AGGREGATES_MAX);
        bounded("group_by", self.group_by.len(), 1, GROUP_BY_MAX);
        bounded("filter.all", self.filter.all.len(), 0, CONDITIONS_MAX);
        let is_session = |window: &Window| matches!(window, Window::Session { .. });
        if let Some(at) = self.windows.iter().position(is_session)
            && self.is_two_step()
        {
            faults.push(format!(
                "windows[{at}] is a session, so group_by must hold subject: sessions are made \
                 where the events of a subject lie"
            ));
        }
        if let Some(field) = self.group_by.iter().find(|field| field.is_number()) {
            faults.push(format!("group_by cannot hold the number {field}"));
        }
        // It stands in the text of each of its groups.
        let lengths = self.group_by.iter().map(|field| field.to_string().len());
        for (at, length) in lengths.enumerate() {
            if length > FIELD_BYTES_MAX {
                faults.push(format!(
                    "group_by[{at}] has {length} bytes, and may have {FIELD_BYTES_MAX}"
                ));
            }
        }
        for (name, field) in [("value", &self.value), ("weight", &self.weight)] {
            if let Some(field) = field.as_ref().filter(|field| !field.is_number()) {
                faults.push(format!("{name} must be metrics.<name>, and is {field}"));
            }
        }
        faults.extend(self.windows.iter().filter_map(|window| window.fault()));
        self.width_faults(&mut faults);
        self.aggregate_faults(&mut faults);
        faults.extend(self.sketch_fault());
        faults.extend(self.filter.all.iter().filter_map(Condition::fault));
        faults
    }

    /// A window's identity downstream is its width and start, so two windows of one width, a
    /// tumbling and a hopping one say, would write over each other.
    fn width_faults(&self, faults: &mut Vec<String>) {
        for (at, window) in self.windows.iter().enumerate() {
            let width_ms = window.width_ms();
            let mut before = self.windows[..at].iter();
            if let Some(first) = before.position(|other| other.width_ms() == width_ms) {
                faults.push(format!(
                    "windows[{at}].width_ms is {width_ms}, as windows[{first}].width_ms is: \
                     each width once; another hop is another meter"
                ));
            }
        }
    }

    fn aggregate_faults(&self, faults: &mut Vec<String>) {
        for (at, aggregate) in self.aggregates.iter().enumerate() {
            let name = &aggregate.name;
            if name.is_empty() || name.len() > 64 {
                faults.push(format!("aggregates[{at}].name has 1 to 64 bytes"));
            }
            if self.aggregates[..at]
                .iter()
                .any(|other| other.name == *name)
            {
                faults.push(format!("aggregates[{at}].name {name} is given twice"));
            }
            let fault = self.operand_fault(aggregate);
            faults.extend(fault.map(|fault| format!("aggregates[{at}] {fault}")));
            let fault = aggregate.rank_fault();
            faults.extend(fault.map(|fault| format!("aggregates[{at}].q {fault}")));
            let count = aggregate.conditions.len();
            if count > CONDITIONS_MAX {
                faults.push(format!(
                    "aggregates[{at}].where has {count} items, and must have 0 to {CONDITIONS_MAX}"
                ));
            }
            let conditions = aggregate.conditions.iter().enumerate();
            faults.extend(conditions.filter_map(|(place, condition)| {
                let fault = condition.fault()?;
                Some(format!("aggregates[{at}].where[{place}]: {fault}"))
            }));
        }
    }

    fn sketch_fault(&self) -> Option<String> {
        let count = self.sketches().len();
        (count > SKETCHES_MAX).then(|| {
            format!(
                "aggregates need {count} sketches, and may need {SKETCHES_MAX}: quantiles of one \
                 number share one, as do those distinct of one text, where their conditions agree"
            )
        })
    }

    fn operand_fault(&self, aggregate: &Aggregate) -> Option<String> {
        let fault = match (aggregate.function, &aggregate.of) {
            (Function::Ratio, Operand::Aggregates(names)) => {
                return self.ratio_fault(aggregate, names);
            }
            (Function::Ratio, _) => {
                "needs of: [\"a\", \"b\"], the names of the two aggregates that it divides"
            }
            (_, Operand::Aggregates(_)) => "is no ratio: of would be value or weight",
            (Function::Distinct, Operand::Field(field)) if !field.is_number() => return None,
            (Function::Distinct, _) => {
                "needs of: the path of a text, user_id or tags.<name> for instance"
            }
            (_, Operand::Field(_)) => "counts no distinct texts: of would be value or weight",
            (Function::Count, _) => return None,
            (Function::Vwap, _) if self.value.is_none() || self.weight.is_none() => {
                "vwap needs the meter's value and weight"
            }
            (_, Operand::Value) if self.value.is_none() => "needs the meter's value",
            (_, Operand::Weight) if self.weight.is_none() => "needs the meter's weight",
            _ => return None,
        };
        Some(fault.to_owned())
    }

    fn ratio_fault(&self, aggregate: &Aggregate, names: &[String; 2]) -> Option<String> {
        if !aggregate.conditions.is_empty() {
            return Some("is a ratio, and where belongs to what it divides".to_owned());
        }
        names.iter().find_map(|name| {
            match self.aggregates.iter().find(|other| other.name == *name) {
                None => Some(format!(
                    "is a ratio of {name}, which the meter does not have"
                )),
                Some(other) if other.function == Function::Ratio => Some(format!(
                    "is a ratio of {name}, which is a ratio itself: name what that one divides"
                )),
                Some(_) => None,
            }
        })
    }
}

impl Aggregate {
    fn rank_fault(&self) -> Option<&'static str> {
        match (self.function, self.q) {
            (Function::Quantile, None) => Some("is missing: 0.95 for instance"),
            (Function::Quantile, Some(q)) if !(Decimal::ZERO..=Decimal::ONE).contains(&q) => {
                Some("lies between 0 and 1")
            }
            (Function::Quantile, _) | (_, None) => None,
            (_, Some(_)) => Some("belongs to a quantile alone"),
        }
    }
}

impl Window {
    fn fault(self) -> Option<String> {
        let (width_ms, pane_ms) = (self.width_ms(), self.pane_ms());
        if let Self::Session {
            gap_ms,
            length_max_ms,
        } = self
        {
            let is_right = Width::from_ms(gap_ms).is_some()
                && Width::from_ms(length_max_ms).is_some()
                && gap_ms <= length_max_ms;
            return (!is_right).then(|| {
                format!(
                    "session of gap_ms {gap_ms} and length_max_ms {length_max_ms}: each 1 ms to \
                     366 days, and the gap no longer than the length"
                )
            });
        }
        if Width::from_ms(width_ms).is_none() || Width::from_ms(pane_ms).is_none() {
            return Some(format!(
                "window of {width_ms} ms by {pane_ms} ms: 1 ms to 366 days"
            ));
        }
        if width_ms % pane_ms != 0 || width_ms / pane_ms > PANES_MAX {
            return Some(format!(
                "width_ms {width_ms} must be 1 to {PANES_MAX} times hop_ms"
            ));
        }
        None
    }
}

impl Condition {
    fn fault(&self) -> Option<String> {
        let field = &self.field;
        let numbers: Vec<&String> = match &self.test {
            Test::Gt(_) | Test::Ge(_) | Test::Lt(_) | Test::Le(_) if !field.is_number() => {
                return Some(format!(
                    "{field} is a text, and gt, ge, lt, le compare numbers"
                ));
            }
            Test::Eq(text) | Test::Ne(text) if field.is_number() => vec![text],
            Test::In(texts) if field.is_number() => texts.iter().collect(),
            _ => vec![],
        };
        let wrong = numbers
            .into_iter()
            .find(|text| text.parse::<Decimal>().is_err());
        wrong.map(|text| format!("{field} is a number, and {text:?} is none"))
    }
}
