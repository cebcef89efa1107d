//! Fields of an event, by their paths.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decimal::Decimal;
use crate::event::{EventType, EventView};
use crate::wire::Text;

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
    /// `error`: `true` for an `api_call` that failed, else `false`; computed, and never absent.
    Error,
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
            Self::Error => Some(Text::new(if has_failed(event) { "true" } else { "false" })),
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
            Self::Error => "error",
        })
    }
}

/// True for an `api_call` whose status is 500 or more, or that has a tag `error` other than
/// `false`.
fn has_failed(event: &EventView<'_>) -> bool {
    if event.event_type != EventType::ApiCall.as_str() {
        return false;
    }
    let status = event.tags.get("status_code");
    let status = status.and_then(|text| text.as_str().parse::<Decimal>().ok());
    let is_true = |text: Text<'_>| text != "false";
    status.is_some_and(|status| status >= Decimal::from_int(500))
        || event.tags.get("error").is_some_and(is_true)
}

/// A path that names no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not a field: it would be event_type, name, severity, subject, user_id, \
     source.service, source.host, source.method, source.endpoint, source.version, error, \
     tags.<name> or metrics.<name>"
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
            "error" => Self::Error,
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
