//! Meters: the users' definitions of metrics. Data, not code: a new one needs no rebuild.
//! ```json
//! {"filter": {"event_type": "trade"}, "value": "metrics.price", "weight": "metrics.size",
//!  "group_by": ["subject"], "windows": [{"kind": "tumbling", "width_ms": 60000}],
//!  "aggregates": [{"name": "open", "function": "first"}]}
//! ```

mod aggregate;
mod built_in;
mod condition;
mod event_type;
mod faults;
mod field;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{EventType, EventView};

pub use aggregate::{Aggregate, Function, Operand};
pub use built_in::{api_calls, built_in, candles};
pub use condition::{Condition, Test};
pub use field::{Field, UnknownField};

/// Windows in one meter.
pub const WINDOWS_MAX: usize = 8;
/// Aggregates in one meter.
pub const AGGREGATES_MAX: usize = 32;
/// Fields in one group-by.
pub const GROUP_BY_MAX: usize = 8;
/// Conditions in one filter, and of one aggregate.
pub const CONDITIONS_MAX: usize = 16;
/// Sketches that the aggregates of one meter are read from.
pub const SKETCHES_MAX: usize = 8;
/// Panes that one hopping window may span.
pub const PANES_MAX: i64 = 1_440;

/// A metric's definition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    /// Which events it counts.
    #[serde(default)]
    pub filter: Filter,
    /// The number that its aggregates are of; none for a meter that only counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Field>,
    /// The weight of `vwap`, and what an aggregate may be `of` instead of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Field>,
    /// What makes a group. A meter whose groups hold the subject is computed where its events lie,
    /// and any other in two steps.
    pub group_by: Vec<Field>,
    /// The windows, each computed on its own.
    pub windows: Vec<Window>,
    /// What is computed per window.
    pub aggregates: Vec<Aggregate>,
}

/// Which events a meter counts: all conditions hold.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// One type; all types when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "event_type")]
    pub event_type: Option<EventType>,
    /// Further conditions on fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<Condition>,
}

/// A window's kind and size; aligned to the epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Window {
    /// One after the other.
    Tumbling {
        /// Length.
        width_ms: i64,
    },
    /// A new one every `hop_ms`, so that they overlap; a multiple of the hop long.
    Hopping {
        /// Length.
        width_ms: i64,
        /// From start to start.
        hop_ms: i64,
    },
    /// Events that are less than `gap_ms` from the next, from the first to `gap_ms` behind the
    /// last; cut in two at whole multiples of `length_max_ms` since 1970.
    Session {
        /// Silence that ends it, and what stands for its length in its identity.
        gap_ms: i64,
        /// What its length is bounded by.
        #[serde(default = "day_ms")]
        length_max_ms: i64,
    },
}

const fn day_ms() -> i64 {
    86_400_000
}

impl Window {
    /// The window's length; a session's gap, since its own changes as events come.
    pub const fn width_ms(self) -> i64 {
        match self {
            Self::Tumbling { width_ms } | Self::Hopping { width_ms, .. } => width_ms,
            Self::Session { gap_ms, .. } => gap_ms,
        }
    }

    /// The most that an event may lie behind the window's start.
    pub const fn length_max_ms(self) -> i64 {
        match self {
            Self::Session { length_max_ms, .. } => length_max_ms,
            _ => self.width_ms(),
        }
    }

    /// The length of the panes that its events are added up in.
    pub const fn pane_ms(self) -> i64 {
        match self {
            Self::Tumbling { width_ms } => width_ms,
            Self::Hopping { hop_ms, .. } => hop_ms,
            Self::Session { gap_ms, .. } => gap_ms,
        }
    }
}

impl Meter {
    /// True when events of several partitions belong to one group, so that one step adds up what
    /// lies in each of them, and a second one puts that together.
    pub fn is_two_step(&self) -> bool {
        !self.group_by.contains(&Field::Subject)
    }

    /// The longest stretch that each of its windows consists of a whole number of: the first step
    /// of two adds up by these.
    pub fn piece_ms(&self) -> i64 {
        let panes = self.windows.iter().map(|window| window.pane_ms());
        panes.fold(0, gcd).max(1)
    }

    /// The aggregates that the meter's sketches are named after: those that are read from a sketch
    /// which no aggregate before them is read from.
    pub fn sketches(&self) -> Vec<&Aggregate> {
        let mut firsts: Vec<&Aggregate> = vec![];
        for aggregate in &self.aggregates {
            let shares = |first: &&Aggregate| first.shares_sketch(aggregate);
            if aggregate.function.is_sketched() && !firsts.iter().any(shares) {
                firsts.push(aggregate);
            }
        }
        firsts
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    match b {
        0 => a,
        b => gcd(b, a % b),
    }
}

impl Filter {
    /// True when the event is one that the meter counts.
    #[inline]
    pub fn matches(&self, event_type: EventType, event: &EventView<'_>) -> bool {
        self.event_type.is_none_or(|expect| expect == event_type)
            && self.all.iter().all(|condition| condition.holds(event))
    }
}

/// Appends `name=value` to a group's canonical text, escaped so that no two groups share one.
pub fn push_label(group: &mut String, name: &str, value: &str) {
    if !group.is_empty() {
        group.push(',');
    }
    group.push_str(name);
    group.push('=');
    for c in value.chars() {
        if matches!(c, ',' | '=' | '\\') {
            group.push('\\');
        }
        group.push(c);
    }
}

#[cfg(test)]
mod tests;
