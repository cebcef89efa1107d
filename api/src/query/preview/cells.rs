//! What is added up of a window's events, and the meter's aggregates read off it.
//!
//! Sums are whole numbers of units of 10⁻¹⁸ in 256 bits, so they are exact.
//! A product is rounded half away from zero once for each event, as in the stream.

use ethnum::I256;
use schemas::decimal::Decimal;
use schemas::meter::{Aggregate, Function, Meter, Operand};
use schemas::total::{Total, deviation};

use crate::query::tenant_query::TenantQuery;

/// Which of an event's two numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Number {
    Value,
    Weight,
}

impl Number {
    fn of(aggregate: &Aggregate) -> Self {
        match aggregate.of {
            Operand::Weight => Self::Weight,
            Operand::Value | Operand::Field(_) | Operand::Aggregates(_) => Self::Value,
        }
    }
}

/// The first aggregate that a preview does not compute, by its place, and what is the matter.
pub(super) fn beyond(meter: &Meter) -> Option<(usize, &'static str)> {
    let reason = |aggregate: &Aggregate| match aggregate.function {
        Function::Ratio | Function::Quantile | Function::Distinct => {
            Some("a preview does not compute ratio, quantile and distinct")
        }
        _ if !aggregate.conditions.is_empty() => {
            Some("a preview does not compute aggregates with a condition of their own")
        }
        _ => None,
    };
    let mut aggregates = meter.aggregates.iter().enumerate();
    aggregates.find_map(|(at, aggregate)| Some((at, reason(aggregate)?)))
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

/// What a meter's windows add up, each thing once.
pub(super) struct Cells(Vec<Cell>);

/// What is read off a window.
pub(super) struct Results {
    pub(super) event_count: u64,
    /// In the order of the meter's aggregates.
    pub(super) values: Vec<Option<Decimal>>,
    /// True where one of them is out of range.
    pub(super) overflow: bool,
}

/// A function of the server's: its three names and what it is of.
struct Sql {
    whole: &'static str,
    parts: &'static str,
    merged: &'static str,
    of: &'static str,
}

macro_rules! sql {
    ($function:literal, $of:expr) => {
        Sql {
            whole: $function,
            parts: concat!($function, "State"),
            merged: concat!($function, "Merge"),
            of: $of,
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

/// Names of the panes' columns.
const NAMES: [&str; 17] = [
    "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13", "c14",
    "c15", "c16",
];

impl Cell {
    fn sql(self) -> Sql {
        match self {
            Self::Count => sql!("count", ""),
            Self::Present(of) => of_operand!(of, "count", "", ""),
            Self::Sum(of) => of_operand!(of, "sum", "toInt256(", ")"),
            Self::Squares(Number::Value) => sql!("sum", rounded!("value", "value")),
            Self::Squares(Number::Weight) => sql!("sum", rounded!("weight", "weight")),
            Self::Min(of) => of_operand!(of, "min", "", ""),
            Self::Max(of) => of_operand!(of, "max", "", ""),
            Self::First(Number::Value) => sql!("argMinIf", edge!("value")),
            Self::First(Number::Weight) => sql!("argMinIf", edge!("weight")),
            Self::Last(Number::Value) => sql!("argMaxIf", edge!("value")),
            Self::Last(Number::Weight) => sql!("argMaxIf", edge!("weight")),
            Self::Product => sql!("sum", rounded!("value", "weight")),
            Self::PairedWeight => sql!("sum", "if(isNull(value), NULL, toInt256(weight))"),
        }
    }

    /// What an aggregate is read off.
    fn needed(function: Function, of: Number) -> Vec<Self> {
        match function {
            Function::Count => vec![],
            Function::Sum => vec![Self::Sum(of)],
            Function::Min => vec![Self::Min(of), Self::Present(of)],
            Function::Max => vec![Self::Max(of), Self::Present(of)],
            Function::First => vec![Self::First(of), Self::Present(of)],
            Function::Last => vec![Self::Last(of), Self::Present(of)],
            Function::Mean => vec![Self::Sum(of), Self::Present(of)],
            Function::Vwap => vec![Self::Product, Self::PairedWeight],
            Function::Stddev => vec![Self::Sum(of), Self::Squares(of), Self::Present(of)],
            // Nobody asks: see `beyond`.
            Function::Ratio | Function::Quantile | Function::Distinct => vec![],
        }
    }
}

impl Cells {
    /// What the meter's aggregates need.
    pub(super) fn of(meter: &Meter) -> Self {
        let mut cells = vec![Cell::Count];
        for aggregate in &meter.aggregates {
            for cell in Cell::needed(aggregate.function, Number::of(aggregate)) {
                if !cells.contains(&cell) {
                    cells.push(cell);
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
        for (at, (cell, name)) in self.0.iter().zip(NAMES).enumerate() {
            let sql = cell.sql();
            query.push(if at == 0 { "" } else { ", " });
            match stage {
                Stage::Whole => query
                    .push("toString(")
                    .push(sql.whole)
                    .push("(")
                    .push(sql.of),
                Stage::Parts => query.push(sql.parts).push("(").push(sql.of),
                Stage::Merged => query
                    .push("toString(")
                    .push(sql.merged)
                    .push("(")
                    .push(name),
            };
            match stage {
                Stage::Parts => query.push(") AS ").push(name),
                Stage::Whole | Stage::Merged => query.push("))"),
            };
        }
        if stage != Stage::Parts {
            query.push("], 'Array(Nullable(String))') AS cells");
        }
    }

    /// The meter's results; `None` for texts that are no numbers.
    pub(super) fn results(&self, meter: &Meter, texts: &[Option<String>]) -> Option<Results> {
        if texts.len() != self.0.len() {
            return None;
        }
        let mut units = vec![];
        for text in texts {
            // A sum of no numbers is null here and zero there.
            let number = text.as_deref().map_or(Ok(I256::ZERO), str::parse::<I256>);
            units.push(number.ok()?);
        }
        let read = |cell: Cell| {
            let at = self.0.iter().position(|known| *known == cell);
            at.map_or(I256::ZERO, |at| units[at])
        };
        let event_count = u64::try_from(read(Cell::Count)).ok()?;
        let (mut values, mut overflow) = (vec![], false);
        for aggregate in &meter.aggregates {
            let (value, exists) = result(aggregate.function, Number::of(aggregate), read)?;
            overflow |= exists && value.is_none();
            values.push(value.filter(|_| exists));
        }
        Some(Results {
            event_count,
            values,
            overflow,
        })
    }
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
