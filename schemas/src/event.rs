//! A fact: the one thing that comes in.
//!
//! [`Event`] owns its fields and is for those who make events; [`EventView`] borrows them from a
//! record and is for those who read; both have the same names. [`EventView::decode`] checks all of
//! a record once, so that what it hands out can be walked without errors.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::decimal::Decimal;
use crate::time::EventTime;
use crate::wire::{DecodeError, Items, Reader, SchemaId, Text, avro, frame, unframe};

/// The known types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum EventType {
    /// A request to one of the tenant's APIs.
    ApiCall,
    /// Something a user did.
    UserAction,
    /// Something that went wrong.
    ErrorEvent,
    /// What a part of the system says of itself.
    SystemEvent,
    /// Anything else; it has a `name`.
    CustomEvent,
    /// A trade on an exchange.
    Trade,
    /// The best bid and ask of a market.
    Quote,
    /// A candle that an exchange computed.
    Candle,
    /// A hole in what an exchange sent.
    Gap,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ApiCall,
        Self::UserAction,
        Self::ErrorEvent,
        Self::SystemEvent,
        Self::CustomEvent,
        Self::Trade,
        Self::Quote,
        Self::Candle,
        Self::Gap,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiCall => "api_call",
            Self::UserAction => "user_action",
            Self::ErrorEvent => "error_event",
            Self::SystemEvent => "system_event",
            Self::CustomEvent => "custom_event",
            Self::Trade => "trade",
            Self::Quote => "quote",
            Self::Candle => "candle",
            Self::Gap => "gap",
        }
    }

    /// The type of that name.
    #[inline]
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        match name {
            b"trade" => Some(Self::Trade),
            b"quote" => Some(Self::Quote),
            b"api_call" => Some(Self::ApiCall),
            b"user_action" => Some(Self::UserAction),
            b"error_event" => Some(Self::ErrorEvent),
            b"system_event" => Some(Self::SystemEvent),
            b"custom_event" => Some(Self::CustomEvent),
            b"candle" => Some(Self::Candle),
            b"gap" => Some(Self::Gap),
            _ => None,
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is none of [`EventType::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a known event type")]
pub struct UnknownEventType(pub String);

impl FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(text: &str) -> Result<Self, UnknownEventType> {
        Self::from_bytes(text.as_bytes()).ok_or_else(|| UnknownEventType(text.into()))
    }
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Severity {
    /// For those who build.
    Debug,
    /// Normal.
    #[default]
    Info,
    /// Look at it soon.
    Warning,
    /// Something failed.
    Error,
    /// Someone must act now.
    Critical,
}

impl Severity {
    /// From mild to bad.
    pub const ALL: [Self; 5] = [
        Self::Debug,
        Self::Info,
        Self::Warning,
        Self::Error,
        Self::Critical,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// Who says it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Source {
    /// The service or connector.
    pub service: String,
    /// The machine.
    pub host: Option<String>,
    /// The HTTP method of an `api_call`.
    pub method: Option<String>,
    /// The route's template of an `api_call`.
    pub endpoint: Option<String>,
    /// The service's version.
    pub version: Option<String>,
}

/// An event that owns its fields. Each field's meaning is in `avro/event.avsc`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the schema documents the fields")]
pub struct Event {
    pub event_id: String,
    pub event_type: EventType,
    pub name: Option<String>,
    pub occurred_at: EventTime,
    pub received_at: EventTime,
    pub severity: Severity,
    pub source: Source,
    pub subject: String,
    pub sequence: Option<i64>,
    pub title: Option<String>,
    pub trace_id: Option<String>,
    pub user_id: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub metrics: BTreeMap<String, Decimal>,
    pub payload: Option<String>,
}

impl Event {
    /// Appends the framed record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let tags = self
            .tags
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let metrics = self
            .metrics
            .iter()
            .map(|(name, value)| (name.as_str(), *value));
        encode(out, &self.head(), tags, metrics);
    }

    /// The fields other than the two maps.
    pub fn head(&self) -> EventHead<'_> {
        EventHead {
            event_id: &self.event_id,
            event_type: self.event_type.as_str(),
            name: self.name.as_deref(),
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            severity: self.severity,
            service: &self.source.service,
            host: self.source.host.as_deref(),
            method: self.source.method.as_deref(),
            endpoint: self.source.endpoint.as_deref(),
            version: self.source.version.as_deref(),
            subject: &self.subject,
            sequence: self.sequence,
            title: self.title.as_deref(),
            trace_id: self.trace_id.as_deref(),
            user_id: self.user_id.as_deref(),
            payload: self.payload.as_deref(),
        }
    }
}

/// The fields of an event other than its two maps, borrowed, to be written.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the schema documents the fields")]
pub struct EventHead<'a> {
    pub event_id: &'a str,
    pub event_type: &'a str,
    pub name: Option<&'a str>,
    pub occurred_at: EventTime,
    pub received_at: EventTime,
    pub severity: Severity,
    pub service: &'a str,
    pub host: Option<&'a str>,
    pub method: Option<&'a str>,
    pub endpoint: Option<&'a str>,
    pub version: Option<&'a str>,
    pub subject: &'a str,
    pub sequence: Option<i64>,
    pub title: Option<&'a str>,
    pub trace_id: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub payload: Option<&'a str>,
}

/// Appends the framed record of an event; the maps' names are each given once.
#[inline]
pub fn encode<'a>(
    out: &mut Vec<u8>,
    head: &EventHead<'_>,
    tags: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    metrics: impl ExactSizeIterator<Item = (&'a str, Decimal)>,
) {
    // Most events, at once.
    out.reserve(256);
    frame(out, SchemaId::Event);
    avro::put_bytes(out, head.event_id.as_bytes());
    avro::put_bytes(out, head.event_type.as_bytes());
    avro::put_optional_text(out, head.name);
    avro::put_long(out, head.occurred_at.as_us());
    avro::put_long(out, head.received_at.as_us());
    avro::put_long(out, head.severity as i64);
    avro::put_bytes(out, head.service.as_bytes());
    avro::put_optional_text(out, head.host);
    avro::put_optional_text(out, head.method);
    avro::put_optional_text(out, head.endpoint);
    avro::put_optional_text(out, head.version);
    avro::put_bytes(out, head.subject.as_bytes());
    avro::put_optional_long(out, head.sequence);
    avro::put_optional_text(out, head.title);
    avro::put_optional_text(out, head.trace_id);
    avro::put_optional_text(out, head.user_id);
    avro::put_items(out, tags, |out, (name, value)| {
        avro::put_bytes(out, name.as_bytes());
        avro::put_bytes(out, value.as_bytes());
    });
    avro::put_items(out, metrics, |out, (name, value)| {
        avro::put_bytes(out, name.as_bytes());
        avro::put_decimal(out, value);
    });
    avro::put_optional_text(out, head.payload);
}

/// An event inside a record. Each field's meaning is in `avro/event.avsc`.
///
/// Its type may be one that we do not know: [`crate::refusal`] decides what may go on.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the schema documents the fields")]
pub struct EventView<'a> {
    pub event_id: Text<'a>,
    pub event_type: Text<'a>,
    pub name: Option<Text<'a>>,
    pub occurred_at: EventTime,
    pub received_at: EventTime,
    pub severity: Severity,
    pub service: Text<'a>,
    pub host: Option<Text<'a>>,
    pub method: Option<Text<'a>>,
    pub endpoint: Option<Text<'a>>,
    pub version: Option<Text<'a>>,
    pub subject: Text<'a>,
    pub sequence: Option<i64>,
    pub title: Option<Text<'a>>,
    pub trace_id: Option<Text<'a>>,
    pub user_id: Option<Text<'a>>,
    pub tags: Tags<'a>,
    pub metrics: Metrics<'a>,
    pub payload: Option<Text<'a>>,
}

impl<'a> EventView<'a> {
    /// Reads a framed record.
    ///
    /// # Errors
    /// Whatever the schema does not allow; never a panic, whatever the bytes.
    #[inline]
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(unframe(value, SchemaId::Event)?);
        let r = &mut reader;
        let event_id = r.text("event_id")?;
        let event_type = r.text("event_type")?;
        let name = r.optional_text("name")?;
        let occurred_at = EventTime::from_us(r.long("occurred_at")?);
        let received_at = EventTime::from_us(r.long("received_at")?);
        let severity = Severity::ALL[r.symbol(Severity::ALL.len(), "severity")?];
        let service = r.text("source.service")?;
        let [host, method, endpoint, version] = r.optional_texts([
            "source.host",
            "source.method",
            "source.endpoint",
            "source.version",
        ])?;
        let subject = r.text("subject")?;
        let sequence = r.optional_long("sequence")?;
        let [title, trace_id, user_id] = r.optional_texts(["title", "trace_id", "user_id"])?;
        let tags = r.items("tags")?;
        let metrics = r.items("metrics")?;
        let payload = r.optional_text("payload")?;
        reader.end()?;
        Ok(Self {
            event_id,
            event_type,
            name,
            occurred_at,
            received_at,
            severity,
            service,
            host,
            method,
            endpoint,
            version,
            subject,
            sequence,
            title,
            trace_id,
            user_id,
            tags,
            metrics,
            payload,
        })
    }

    /// The same event with fields of its own; `None` when its type is unknown.
    pub fn to_owned(&self) -> Option<Event> {
        let text = |t: Text<'_>| t.as_str().to_owned();
        let optional = |t: Option<Text<'_>>| t.map(text);
        Some(Event {
            event_id: text(self.event_id),
            event_type: EventType::from_bytes(self.event_type.as_bytes())?,
            name: optional(self.name),
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            severity: self.severity,
            source: Source {
                service: text(self.service),
                host: optional(self.host),
                method: optional(self.method),
                endpoint: optional(self.endpoint),
                version: optional(self.version),
            },
            subject: text(self.subject),
            sequence: self.sequence,
            title: optional(self.title),
            trace_id: optional(self.trace_id),
            user_id: optional(self.user_id),
            tags: self
                .tags
                .iter()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            metrics: self
                .metrics
                .iter()
                .map(|(name, value)| (text(name), value))
                .collect(),
            payload: optional(self.payload),
        })
    }
}

/// An event's labels.
pub type Tags<'a> = Items<'a, (Text<'a>, Text<'a>)>;

/// An event's numbers.
pub type Metrics<'a> = Items<'a, (Text<'a>, Decimal)>;
