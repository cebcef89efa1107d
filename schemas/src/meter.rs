//! Meters: the users' definitions of metrics. Data, not code: a new one needs no rebuild.
//! ```json
//! {"filter": {"event_type": "trade"}, "value": "metrics.price", "weight": "metrics.size",
//!  "group_by": ["subject"], "windows": [{"kind": "tumbling", "width_ms": 60000}],
//!  "aggregates": [{"name": "open", "function": "first"}]}
//! ```

mod event_type;
mod faults;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decimal::Decimal;
use crate::event::{EventType, EventView};
use crate::wire::Text;

/// Windows in one meter.
pub const WINDOWS_MAX: usize = 8;
/// Aggregates in one meter.
pub const AGGREGATES_MAX: usize = 32;
/// Fields in one group-by.
pub const GROUP_BY_MAX: usize = 8;
/// Conditions in one filter.
pub const CONDITIONS_MAX: usize = 16;
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
    /// What makes a group. It holds the subject: such a meter is computed where its events lie.
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

/// A condition on one field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "RawCondition")]
pub struct Condition {
    /// Which field.
    pub field: Field,
    /// What must hold of it.
    #[serde(flatten)]
    pub test: Test,
}

/// A condition as it is written. What stands beside the first test would not be looked at.
#[derive(Deserialize)]
struct RawCondition {
    field: Field,
    #[serde(flatten)]
    tests: serde_json::Map<String, serde_json::Value>,
}

impl TryFrom<RawCondition> for Condition {
    type Error = String;

    fn try_from(raw: RawCondition) -> Result<Self, String> {
        let RawCondition { field, tests } = raw;
        if tests.len() != 1 {
            let names: Vec<_> = tests.keys().map(String::as_str).collect();
            return Err(format!(
                "a condition has one test beside its field, and this one has {} ({}): write one \
                 condition for each",
                names.len(),
                names.join(", ")
            ));
        }
        let test = serde_json::from_value(tests.into()).map_err(|error| error.to_string())?;
        Ok(Self { field, test })
    }
}

/// What must hold of a field. A field that is absent passes `ne` and `exists: false` alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Equal to a text, or to a number for `metrics.*`.
    Eq(String),
    /// Not equal.
    Ne(String),
    /// One of these.
    In(Vec<String>),
    /// Greater; `metrics.*` alone.
    Gt(Decimal),
    /// Greater or equal; `metrics.*` alone.
    Ge(Decimal),
    /// Less; `metrics.*` alone.
    Lt(Decimal),
    /// Less or equal; `metrics.*` alone.
    Le(Decimal),
    /// Present, or absent.
    Exists(bool),
}

/// A field of an event, by its path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Field {
    /// `event_type`
    EventType,
    /// `name`
    Name,
    /// `severity`
    Severity,
    /// `subject`
    Subject,
    /// `user_id`
    UserId,
    /// `source.service`
    Service,
    /// `source.host`
    Host,
    /// `source.method`
    Method,
    /// `source.endpoint`
    Endpoint,
    /// `source.version`
    Version,
    /// `tags.<name>`
    Tag(String),
    /// `metrics.<name>`
    Metric(String),
}

impl Field {
    /// The text of the field; `None` where the event has none, and for numbers.
    pub fn text<'a>(&self, event: &EventView<'a>) -> Option<Text<'a>> {
        match self {
            Self::EventType => Some(event.event_type),
            Self::Name => event.name,
            Self::Severity => Some(Text::new(event.severity.as_str())),
            Self::Subject => Some(event.subject),
            Self::UserId => event.user_id,
            Self::Service => Some(event.service),
            Self::Host => event.host,
            Self::Method => event.method,
            Self::Endpoint => event.endpoint,
            Self::Version => event.version,
            Self::Tag(name) => event.tags.get(name),
            Self::Metric(_) => None,
        }
    }

    /// The number of the field; `None` where the event has none, and for texts.
    #[inline]
    pub fn number(&self, event: &EventView<'_>) -> Option<Decimal> {
        match self {
            Self::Metric(name) => event.metrics.get(name),
            _ => None,
        }
    }

    /// The numbers of two fields, each as [`Self::number`] gives it, for one walk over the event.
    #[inline]
    pub fn numbers(fields: [Option<&Self>; 2], event: &EventView<'_>) -> [Option<Decimal>; 2] {
        match fields {
            [Some(Self::Metric(first)), Some(Self::Metric(second))] => {
                event.metrics.get_two([first, second])
            }
            fields => fields.map(|field| field?.number(event)),
        }
    }

    /// True for `metrics.*`.
    pub const fn is_number(&self) -> bool {
        matches!(self, Self::Metric(_))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventType => "event_type",
            Self::Name => "name",
            Self::Severity => "severity",
            Self::Subject => "subject",
            Self::UserId => "user_id",
            Self::Service => "source.service",
            Self::Host => "source.host",
            Self::Method => "source.method",
            Self::Endpoint => "source.endpoint",
            Self::Version => "source.version",
            Self::Tag(name) => return write!(f, "tags.{name}"),
            Self::Metric(name) => return write!(f, "metrics.{name}"),
        })
    }
}

/// A path that names no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not a field: it would be event_type, name, severity, subject, user_id, \
     source.service, source.host, source.method, source.endpoint, source.version, tags.<name> or \
     metrics.<name>"
)]
pub struct UnknownField(pub String);

impl FromStr for Field {
    type Err = UnknownField;

    fn from_str(path: &str) -> Result<Self, UnknownField> {
        Ok(match path {
            "event_type" => Self::EventType,
            "name" => Self::Name,
            "severity" => Self::Severity,
            "subject" => Self::Subject,
            "user_id" => Self::UserId,
            "source.service" => Self::Service,
            "source.host" => Self::Host,
            "source.method" => Self::Method,
            "source.endpoint" => Self::Endpoint,
            "source.version" => Self::Version,
            _ => match path.split_once('.') {
                Some(("tags", name)) if !name.is_empty() => Self::Tag(name.to_owned()),
                Some(("metrics", name)) if !name.is_empty() => Self::Metric(name.to_owned()),
                _ => return Err(UnknownField(path.to_owned())),
            },
        })
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = String::deserialize(deserializer)?;
        path.parse().map_err(serde::de::Error::custom)
    }
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
}

impl Window {
    /// The window's length.
    pub const fn width_ms(self) -> i64 {
        match self {
            Self::Tumbling { width_ms } | Self::Hopping { width_ms, .. } => width_ms,
        }
    }

    /// The length of the panes that its events are added up in.
    pub const fn pane_ms(self) -> i64 {
        match self {
            Self::Tumbling { width_ms } => width_ms,
            Self::Hopping { hop_ms, .. } => hop_ms,
        }
    }
}

/// One number per window.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// Its name in the result.
    pub name: String,
    /// What is computed.
    pub function: Function,
    /// What it is computed of.
    #[serde(default)]
    pub of: Operand,
}

/// What is computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// Events counted.
    Count,
    /// Exact sum.
    Sum,
    /// Least.
    Min,
    /// Greatest.
    Max,
    /// The earliest, by (occurred_at, sequence).
    First,
    /// The latest, by (occurred_at, sequence).
    Last,
    /// Sum over count of the events that have the number.
    Mean,
    /// Mean of the value weighted by the weight.
    Vwap,
    /// The population's standard deviation.
    Stddev,
}

/// What an aggregate is computed of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operand {
    /// The meter's `value`.
    #[default]
    Value,
    /// The meter's `weight`.
    Weight,
}

impl Condition {
    /// True when it holds of the event.
    pub fn holds(&self, event: &EventView<'_>) -> bool {
        if self.field.is_number() {
            return self.test.holds_of_number(self.field.number(event));
        }
        self.test.holds_of_text(self.field.text(event))
    }
}

impl Test {
    fn holds_of_number(&self, number: Option<Decimal>) -> bool {
        let equals = |text: &String| text.parse().ok() == number;
        match (self, number) {
            (Self::Exists(expect), number) => number.is_some() == *expect,
            (Self::Ne(text), _) => !equals(text),
            (_, None) => false,
            (Self::Eq(text), Some(_)) => equals(text),
            (Self::In(texts), Some(_)) => texts.iter().any(equals),
            (Self::Gt(limit), Some(number)) => number > *limit,
            (Self::Ge(limit), Some(number)) => number >= *limit,
            (Self::Lt(limit), Some(number)) => number < *limit,
            (Self::Le(limit), Some(number)) => number <= *limit,
        }
    }

    fn holds_of_text(&self, text: Option<Text<'_>>) -> bool {
        let equals = |expect: &String| text.is_some_and(|text| text == expect.as_str());
        match self {
            Self::Exists(expect) => text.is_some() == *expect,
            Self::Ne(expect) => !equals(expect),
            Self::Eq(expect) => equals(expect),
            Self::In(texts) => texts.iter().any(equals),
            Self::Gt(_) | Self::Ge(_) | Self::Lt(_) | Self::Le(_) => false,
        }
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

/// The meters that every new tenant has.
pub fn built_in() -> Vec<(&'static str, Meter)> {
    vec![("candles", candles())]
}

/// Open, high, low, close, volume, vwap and trades of each market at 1 s, 1 m, 5 m, 1 h and 1 d.
pub fn candles() -> Meter {
    let widths_ms = [1_000, 60_000, 300_000, 3_600_000, 86_400_000];
    let aggregate = |name: &str, function, of| Aggregate {
        name: name.to_owned(),
        function,
        of,
    };
    Meter {
        filter: Filter {
            event_type: Some(EventType::Trade),
            all: vec![],
        },
        value: Some(Field::Metric("price".into())),
        weight: Some(Field::Metric("size".into())),
        group_by: vec![Field::Subject],
        windows: widths_ms
            .map(|width_ms| Window::Tumbling { width_ms })
            .to_vec(),
        aggregates: vec![
            aggregate("open", Function::First, Operand::Value),
            aggregate("high", Function::Max, Operand::Value),
            aggregate("low", Function::Min, Operand::Value),
            aggregate("close", Function::Last, Operand::Value),
            aggregate("volume", Function::Sum, Operand::Weight),
            aggregate("vwap", Function::Vwap, Operand::Value),
            aggregate("trades", Function::Count, Operand::Value),
        ],
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
