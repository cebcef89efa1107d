//! Conditions on an event's fields.

use serde::{Deserialize, Serialize};

use super::Field;
use crate::decimal::Decimal;
use crate::event::EventView;
use crate::wire::Text;

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
