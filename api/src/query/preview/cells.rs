//! What is added up of a window's events, and the meter's aggregates read off it.
//!
//! Sums are whole numbers of units of 10⁻¹⁸ in 256 bits, so they are exact.
//! A product is rounded half away from zero once for each event, as in the stream.

use ethnum::I256;
use schemas::decimal::Decimal;
use schemas::meter::{Aggregate, Condition, Function, Meter, Operand};
use schemas::sketch::Sketch;
use schemas::total::{Total, deviation, ratio};

use crate::query::tenant_query::TenantQuery;

/// Which of an event's two numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Number {
    Value,
    Weight,
}

impl Number {
    pub(super) fn of(aggregate: &Aggregate) -> Self {
        match aggregate.of {
            Operand::Weight => Self::Weight,
            Operand::Value | Operand::Field(_) | Operand::Aggregates(_) => Self::Value,
        }
    }
}

/// One thing that is added up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cell {
    Count,
    Present(Number),
    Sum(Number),
    Squares(Number),
    Min(Number),
    Max(Number),
    First(Number),
    Last(Number),
    /// Value × weight, where an event has both.
    Product,
    /// The weights of those events.
    PairedWeight,
}

/// How a cell is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// From events to windows.
    Whole,
    /// From events to panes.
    Parts,
    /// From panes to windows.
    Merged,
}

/// What a meter's windows add up, each thing once: of all events, or of those that a gate lets
/// through.
pub(super) struct Cells(Vec<(Gate, Cell)>);

/// The place of a set of conditions among [`gates`]; `None` for all events.
pub(super) type Gate = Option<usize>;

/// The conditions that a meter's aggregates have, each set of them once.
pub(super) fn gates(meter: &Meter) -> Vec<&[Condition]> {
    let mut gates: Vec<&[Condition]> = vec![];
    for aggregate in &meter.aggregates {
        let conditions = aggregate.conditions.as_slice();
        if !conditions.is_empty() && !gates.contains(&conditions) {
            gates.push(conditions);
        }
    }
    gates
}

/// The gate of an aggregate.
pub(super) fn gate(gates: &[&[Condition]], aggregate: &Aggregate) -> Gate {
    gates.iter().position(|gate| *gate == aggregate.conditions)
}

/// What is read off a window.
pub(super) struct Results {
    pub(super) event_count: u64,
    /// In the order of the meter's aggregates.
    pub(super) values: Vec<Option<Decimal>>,
    /// True where one of them is out of range.
    pub(super) overflow: bool,
}

/// A function of the server's: its names and what it is of.
struct Sql {
    whole: &'static str,
    parts: &'static str,
    merged: &'static str,
    of: &'static str,
    /// The same of those events alone of which a condition holds, which goes behind what it is of.
    whole_if: &'static str,
    parts_if: &'static str,
    before_condition: &'static str,
}

macro_rules! sql {
    ($function:literal, $of:expr) => {
        Sql {
            whole: $function,
            parts: concat!($function, "State"),
            merged: concat!($function, "Merge"),
            of: $of,
            whole_if: concat!($function, "If"),
            parts_if: concat!($function, "StateIf"),
            before_condition: ", ",
        }
    };
}

/// A function that has a condition already.
macro_rules! sql_if {
    ($function:literal, $of:expr) => {
        Sql {
            whole_if: $function,
            parts_if: concat!($function, "State"),
            before_condition: " AND ",
            ..sql!($function, $of)
        }
    };
}

/// SQL of each operand's: of the value, and of the weight.
macro_rules! of_operand {
    ($operand:expr, $function:literal, $before:literal, $behind:literal) => {
        match $operand {
            Number::Value => sql!($function, concat!($before, "value", $behind)),
            Number::Weight => sql!($function, concat!($before, "weight", $behind)),
        }
    };
}

/// An event's number with its place in the order of events, where it has one.
macro_rules! edge {
    ($of:literal) => {
        concat!(
            "assumeNotNull(",
            $of,
            "), (at_us, order_in_instant, assumeNotNull(",
            $of,
            ")), isNotNull(",
            $of,
            ")"
        )
    };
}

/// A product of two numbers of units, rounded half away from zero.
macro_rules! rounded {
    ($a:literal, $b:literal) => {
        concat!(
            "intDiv(toInt256(",
            $a,
            ") * toInt256(",
            $b,
            ") + sign(",
            $a,
            ") * sign(",
            $b,
            ") * toInt256('500000000000000000'), toInt256('1000000000000000000'))"
        )
    };
}

impl Cell {
    fn sql(self) -> Sql {
        match self {
            Self::Count => Sql {
                before_condition: "",
                ..sql!("count", "")
            },
            Self::Present(of) => of_operand!(of, "count", "", ""),
            Self::Sum(of) => of_operand!(of, "sum", "toInt256(", ")"),
            Self::Squares(Number::Value) => sql!("sum", rounded!("value", "value")),
            Self::Squares(Number::Weight) => sql!("sum", rounded!("weight", "weight")),
            Self::Min(of) => of_operand!(of, "min", "", ""),
            Self::Max(of) => of_operand!(of, "max", "", ""),
            Self::First(Number::Value) => sql_if!("argMinIf", edge!("value")),
            Self::First(Number::Weight) => sql_if!("argMinIf", edge!("weight")),
            Self::Last(Number::Value) => sql_if!("argMaxIf", edge!("value")),
            Self::Last(Number::Weight) => sql_if!("argMaxIf", edge!("weight")),
            Self::Product => sql!("sum", rounded!("value", "weight")),
            Self::PairedWeight => sql!("sum", "if(isNull(value), NULL, toInt256(weight))"),
        }
    }

    /// What an aggregate is read off.
    fn needed(function: Function, of: Number) -> Vec<Self> {
        match function {
            Function::Count => vec![Self::Count],
            Function::Sum => vec![Self::Sum(of)],
            Function::Min => vec![Self::Min(of), Self::Present(of)],
            Function::Max => vec![Self::Max(of), Self::Present(of)],
            Function::First => vec![Self::First(of), Self::Present(of)],
            Function::Last => vec![Self::Last(of), Self::Present(of)],
            Function::Mean => vec![Self::Sum(of), Self::Present(of)],
            Function::Vwap => vec![Self::Product, Self::PairedWeight],
            Function::Stddev => vec![Self::Sum(of), Self::Squares(of), Self::Present(of)],
            // Of other aggregates, and of what lies beside the cells.
            Function::Ratio | Function::Quantile | Function::Distinct => vec![],
        }
    }
}

impl Cells {
    /// What the meter's aggregates need.
    pub(super) fn of(meter: &Meter) -> Self {
        let gates = gates(meter);
        let mut cells = vec![(None, Cell::Count)];
        for aggregate in &meter.aggregates {
            let gate = gate(&gates, aggregate);
            for cell in Cell::needed(aggregate.function, Number::of(aggregate)) {
                if !cells.contains(&(gate, cell)) {
                    cells.push((gate, cell));
                }
            }
        }
        Self(cells)
    }

    /// Appends the cells: one array of texts, or one column each for panes.
    pub(super) fn write(&self, query: &mut TenantQuery, stage: Stage) {
        if stage != Stage::Parts {
            query.push("CAST([");
        }
        for (at, (gate, cell)) in self.0.iter().enumerate() {
            query.push(if at == 0 { "" } else { ", " });
            let sql = cell.sql();
            match stage {
                Stage::Whole => {
                    query.push("toString(");
                    sql.write(query, *gate, sql.whole, sql.whole_if);
                    query.push(")");
                }
                Stage::Parts => {
                    sql.write(query, *gate, sql.parts, sql.parts_if);
                    query.push(" AS ").numbered("c", at);
                }
                Stage::Merged => {
                    query.push("toString(").push(sql.merged).push("(");
                    query.numbered("c", at).push("))");
                }
            }
        }
        if stage != Stage::Parts {
            query.push("], 'Array(Nullable(String))') AS cells");
        }
    }

    /// The meter's results; `None` for texts that are no numbers. `sketches` are the window's, in
    /// the meter's order.
    pub(super) fn results(
        &self,
        meter: &Meter,
        texts: &[Option<String>],
        sketches: &[Sketch],
    ) -> Option<Results> {
        if texts.len() != self.0.len() {
            return None;
        }
        let mut units = vec![];
        for text in texts {
            // A sum of no numbers is null here and zero there.
            let number = text.as_deref().map_or(Ok(I256::ZERO), str::parse::<I256>);
            units.push(number.ok()?);
        }
        let read = |gate: Gate, cell: Cell| {
            let at = self.0.iter().position(|known| *known == (gate, cell));
            at.map_or(I256::ZERO, |at| units[at])
        };
        let event_count = u64::try_from(read(None, Cell::Count)).ok()?;
        let (gates, firsts) = (gates(meter), meter.sketches());
        let (mut values, mut overflow) = (vec![], false);
        for aggregate in &meter.aggregates {
            let gate = gate(&gates, aggregate);
            let (function, of) = (aggregate.function, Number::of(aggregate));
            let first = firsts
                .iter()
                .position(|first| first.shares_sketch(aggregate));
            let (value, exists) = match first {
                Some(at) => sketched(aggregate, sketches.get(at)?),
                None => result(function, of, |cell| read(gate, cell))?,
            };
            overflow |= exists && value.is_none();
            values.push(value.filter(|_| exists));
        }
        overflow |= ratios(meter, &mut values);
        Some(Results {
            event_count,
            values,
            overflow,
        })
    }
}

impl Sql {
    /// Appends one of its names with what it is of.
    fn write(&self, query: &mut TenantQuery, gate: Gate, all: &'static str, some: &'static str) {
        match gate {
            None => query.push(all).push("(").push(self.of),
            Some(gate) => query
                .push(some)
                .push("(")
                .push(self.of)
                .push(self.before_condition)
                .numbered("g", gate),
        };
        query.push(")");
    }
}

/// What is read off a sketch, and whether it is of any event at all.
fn sketched(aggregate: &Aggregate, sketch: &Sketch) -> (Option<Decimal>, bool) {
    match sketch {
        Sketch::Quantiles(quantiles) => {
            let value = quantiles.quantile(aggregate.q.unwrap_or_default());
            (value, value.is_some())
        }
        Sketch::Distinct(distinct) => {
            let count = i64::try_from(distinct.count());
            (count.ok().map(Decimal::from_int), true)
        }
    }
}

/// Puts the ratios among the other results, and says whether one of them is out of range.
fn ratios(meter: &Meter, values: &mut [Option<Decimal>]) -> bool {
    let mut overflow = false;
    for (at, aggregate) in meter.aggregates.iter().enumerate() {
        let Operand::Aggregates(names) = &aggregate.of else {
            continue;
        };
        let of = |name: &String| {
            let mut aggregates = meter.aggregates.iter();
            let at = aggregates.position(|other| other.name == *name)?;
            values[at]
        };
        let [Some(dividend), Some(divisor)] = [of(&names[0]), of(&names[1])] else {
            continue;
        };
        values[at] = ratio(dividend, divisor);
        overflow |= values[at].is_none() && divisor != Decimal::ZERO;
    }
    overflow
}

/// An aggregate, and whether it is one of any event at all; `None` where a count is none.
fn result(
    function: Function,
    of: Number,
    read: impl Fn(Cell) -> I256,
) -> Option<(Option<Decimal>, bool)> {
    let total = |cell| Total::from_units(read(cell));
    let present = u64::try_from(read(Cell::Present(of))).ok()?;
    let edge = |cell| (total(cell).to_decimal(), present > 0);
    Some(match function {
        // A number of events, not of units.
        Function::Count => {
            let count = i64::try_from(read(Cell::Count)).ok();
            (count.map(Decimal::from_int), true)
        }
        Function::Sum => (total(Cell::Sum(of)).to_decimal(), true),
        Function::Min => edge(Cell::Min(of)),
        Function::Max => edge(Cell::Max(of)),
        Function::First => edge(Cell::First(of)),
        Function::Last => edge(Cell::Last(of)),
        Function::Mean => (total(Cell::Sum(of)).mean(present), present > 0),
        Function::Vwap => {
            let weight = total(Cell::PairedWeight);
            let mean = total(Cell::Product).weighted_mean(weight);
            (mean, weight > Total::ZERO)
        }
        Function::Stddev => {
            let (sum, squares) = (total(Cell::Sum(of)), total(Cell::Squares(of)));
            (deviation(sum, squares, present), present > 0)
        }
        Function::Ratio | Function::Quantile | Function::Distinct => (None, false),
    })
}
