//! Names that are valid by construction: a tenant, a stream, and the topic that the two make.

use std::fmt;
use std::str::FromStr;

/// A tenant's slug, `[a-z0-9][a-z0-9-]{0,31}`: the one identity from API key to row.
///
/// Since no other characters can be inside, a topic name made from it cannot be forged.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Box<str>);

/// Why a text is not a tenant's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantIdError {
    /// Empty, or longer than 32 characters.
    #[error("a tenant id has 1 to 32 characters, this has {0}")]
    Length(usize),
    /// A character outside `[a-z0-9-]`, or a leading hyphen.
    #[error("a tenant id is made of a-z, 0-9 and hyphens, and begins with a letter or digit")]
    Character,
    /// A name that the installation keeps for itself.
    #[error("{0} is a reserved name")]
    Reserved(&'static str),
}

/// Names that would collide with the installation's own topics or confuse a reader.
const RESERVED: [&str; 6] = [
    "control", "pulse", "internal", "state", "operator", "system",
];

impl TenantId {
    /// The slug.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The topic of one of this tenant's streams.
    pub fn topic(&self, stream: Stream) -> Topic {
        Topic {
            tenant: self.clone(),
            stream,
        }
    }
}

impl FromStr for TenantId {
    type Err = TenantIdError;

    fn from_str(text: &str) -> Result<Self, TenantIdError> {
        if text.is_empty() || text.len() > 32 {
            return Err(TenantIdError::Length(text.len()));
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !text.bytes().all(allowed) || text.starts_with('-') {
            return Err(TenantIdError::Character);
        }
        match RESERVED.iter().find(|name| **name == text) {
            Some(name) => Err(TenantIdError::Reserved(name)),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

impl serde::Serialize for TenantId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for TenantId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One of the things that flow for a tenant; each is a topic of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Stream {
    /// Facts, keyed by subject: the one thing that comes in.
    Events,
    /// Order-book depth, keyed by subject.
    Books,
    /// Fired windows and their revisions, keyed by meter and group.
    Metrics,
    /// Values of windows that are still open, thinned; keyed by meter and group.
    MetricsOpen,
    /// State of the metrics step, compacted.
    MetricsState,
    /// Sums of meters whose groups do not hold the subject, keyed by meter and group, and the
    /// clocks of the partitions that they come from.
    MetricsPartials,
    /// State of the step that adds these sums up, compacted.
    MetricsPartialsState,
    /// Events that came after their stream had moved on.
    Late,
    /// Records that nobody could use, with the reason.
    DeadLetters,
}

impl Stream {
    /// Every stream, in the order in which a tenant's topics are made.
    pub const ALL: [Self; 9] = [
        Self::Events,
        Self::Books,
        Self::Metrics,
        Self::MetricsOpen,
        Self::MetricsState,
        Self::MetricsPartials,
        Self::MetricsPartialsState,
        Self::Late,
        Self::DeadLetters,
    ];

    /// The last part of the topic's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Books => "books",
            Self::Metrics => "metrics",
            Self::MetricsOpen => "metrics.open",
            Self::MetricsState => "metrics.state",
            Self::MetricsPartials => "metrics.partials",
            Self::MetricsPartialsState => "metrics.partials.state",
            Self::Late => "late",
            Self::DeadLetters => "dead-letters",
        }
    }
}

impl FromStr for Stream {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| UnknownTopic(text.into()))
    }
}

/// A name that is none of our topics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a topic of a tenant: it would be pulse.<tenant>.<stream>")]
pub struct UnknownTopic(pub String);

/// `pulse.<tenant>.<stream>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Topic {
    /// Whose it is.
    pub tenant: TenantId,
    /// What flows in it.
    pub stream: Stream,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pulse.{}.{}", self.tenant, self.stream.as_str())
    }
}

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        let unknown = || UnknownTopic(text.into());
        let rest = text.strip_prefix("pulse.").ok_or_else(unknown)?;
        let (tenant, stream) = rest.split_once('.').ok_or_else(unknown)?;
        Ok(Self {
            tenant: tenant.parse().map_err(|_| unknown())?,
            stream: stream.parse().map_err(|_| unknown())?,
        })
    }
}

/// The one topic of the operator's own changes, compacted, one partition.
pub const CONTROL_TOPIC: &str = "pulse.control";

/// The place of a record in its partition.
pub type Offset = i64;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, valid: bool) {
        assert_eq!(text.parse::<TenantId>().is_ok(), valid, "{text:?}");
    }

    #[test]
    fn tenant_ids_cannot_forge_topics() {
        check("demo", true);
        check("0a-b", true);
        check(&"a".repeat(32), true);
        check(&"a".repeat(33), false);
        for bad in [
            "", "-a", "A", "a.b", "a_b", "a b", "é", "a/b", "control", "pulse", "a\0",
        ] {
            check(bad, false);
        }
    }

    #[test]
    fn topics_read_back_as_written() {
        let tenant: TenantId = "acme-1".parse().unwrap();
        for stream in Stream::ALL {
            let topic = tenant.topic(stream);
            assert_eq!(topic.to_string().parse(), Ok(topic));
        }
        for bad in [
            "pulse.control",
            "pulse.acme.nothing",
            "other.acme.events",
            "pulse.A.events",
        ] {
            assert!(bad.parse::<Topic>().is_err(), "{bad}");
        }
    }
}
