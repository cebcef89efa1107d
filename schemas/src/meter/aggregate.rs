//! What is computed of a window's events.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Condition, Field};
use crate::decimal::Decimal;

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
    /// The rank of a quantile, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<Decimal>,
    /// Which of the meter's events it is of: all of these hold.
    #[serde(default, rename = "where", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Aggregate {
    /// One of all of the meter's events.
    pub fn new(name: impl Into<String>, function: Function, of: Operand) -> Self {
        Self {
            name: name.into(),
            function,
            of,
            q: None,
            conditions: vec![],
        }
    }

    /// A quantile of the meter's value.
    pub fn quantile(name: impl Into<String>, q: Decimal) -> Self {
        Self {
            q: Some(q),
            ..Self::new(name, Function::Quantile, Operand::Value)
        }
    }

    /// The same, of those events alone of which the conditions hold.
    #[must_use]
    pub fn only(mut self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        self.conditions.extend(conditions);
        self
    }

    /// True for two that are read from one sketch: the same numbers or texts of the same events.
    pub fn shares_sketch(&self, other: &Self) -> bool {
        self.function.is_sketched()
            && self.function == other.function
            && self.of == other.of
            && self.conditions == other.conditions
    }
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
    /// One of the meter's aggregates over another; computed when it is read, and never kept.
    Ratio,
    /// The value of a rank, from a sketch: at most 1/128 from it.
    Quantile,
    /// How many texts there are, from a sketch: exact for few.
    Distinct,
}

impl Function {
    /// True where it is read from a sketch.
    pub const fn is_sketched(self) -> bool {
        matches!(self, Self::Quantile | Self::Distinct)
    }
}

/// What an aggregate is computed of.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Operand {
    /// The meter's `value`.
    #[default]
    Value,
    /// The meter's `weight`.
    Weight,
    /// A text, of which distinct ones are counted.
    Field(Field),
    /// Two of the meter's aggregates by name: what is divided, and by what.
    Aggregates([String; 2]),
}

impl Serialize for Operand {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value => serializer.serialize_str("value"),
            Self::Weight => serializer.serialize_str("weight"),
            Self::Field(field) => field.serialize(serializer),
            Self::Aggregates(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Operand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |found: &str| {
            let what = format!(
                "{found} is nothing to compute of: it would be value, weight, a field for distinct, \
                 or the names of two aggregates for ratio"
            );
            D::Error::custom(what)
        };
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(word) => match &*word {
                "value" => Ok(Self::Value),
                "weight" => Ok(Self::Weight),
                path => path.parse().map(Self::Field).map_err(|_| wrong(path)),
            },
            other => match serde_json::from_value(other.clone()) {
                Ok(names) => Ok(Self::Aggregates(names)),
                Err(_) => Err(wrong(&other.to_string())),
            },
        }
    }
}
