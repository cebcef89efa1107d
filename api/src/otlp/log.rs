//! A log record as an event.

use std::collections::HashMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Variant;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use schemas::event::{Event, EventType, Severity};
use schemas::refusal::{EVENT_ID_BYTES_MAX, PAYLOAD_BYTES_MAX, TEXT_BYTES_MAX};
use schemas::time::EventTime;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::fields::{self, Attributes, Origin, Tags};
use super::span::at;

/// The name of an event that a plain log record makes.
const LOG: &str = "log";

/// The attributes that have a place of their own in the event.
const PLACED: [&str; 6] = [
    "exception.message",
    "exception.stacktrace",
    "event.name",
    "log.record.uid",
    "user.id",
    "enduser.id",
];

/// Ids of records that have none: a hash of all that is in them, and a number for those that are
/// the same to the last byte, in one request.
#[derive(Default)]
pub(super) struct Ids {
    seen: HashMap<[u8; 16], u32>,
    /// Of the resource that comes now, and of that with its scope.
    resource: Sha256,
    scope: Sha256,
}

impl Ids {
    /// The records that come now are of this resource.
    pub(super) fn enter_resource(&mut self, resource: &[u8]) {
        self.resource = Sha256::new();
        add(&mut self.resource, resource);
    }

    /// They are of this scope.
    pub(super) fn enter_scope(&mut self, scope: &[u8]) {
        self.scope = self.resource.clone();
        add(&mut self.scope, scope);
    }

    /// The id of the record with these bytes.
    pub(super) fn of(&mut self, item: &[u8]) -> String {
        let mut hash = self.scope.clone();
        add(&mut hash, item);
        let mut short = [0; 16];
        short.copy_from_slice(&hash.finalize()[..16]);
        let before = self.seen.entry(short).or_default();
        *before += 1;
        match *before {
            1 => fields::hex(&short),
            number => format!("{}-{number}", fields::hex(&short)),
        }
    }
}

fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}

/// When the record was made, or else seen.
///
/// # Errors
/// When it says neither: the time is in the event's identity, so a second attempt would make a
/// second event.
pub(super) fn time(record: &LogRecord) -> Result<EventTime, &'static str> {
    match (record.time_unix_nano, record.observed_time_unix_nano) {
        (0, 0) => Err("has neither time_unix_nano nor observed_time_unix_nano"),
        (0, observed) => Ok(at(observed)),
        (time, _) => Ok(at(time)),
    }
}

/// The record's event; `id` is its own where it has none.
pub(super) fn event(
    record: &LogRecord,
    origin: &Origin,
    id: String,
    [occurred_at, received_at]: [EventTime; 2],
) -> Event {
    let attributes = Attributes(&record.attributes);
    let mut tags = Tags::of(origin);
    let exception = attributes.text("exception.type");
    let message = attributes.text("exception.message");
    let is_exception = exception.is_some() || message.is_some();
    let name = match is_exception {
        true => exception,
        false => Some(record.event_name.clone())
            .filter(|name| !name.is_empty())
            .or_else(|| attributes.text("event.name"))
            .or_else(|| Some(LOG.into())),
    };
    let text = Attributes::first(attributes, &["user.id", "enduser.id"]);
    let user_id = text.map(|user| tags.cut(user, TEXT_BYTES_MAX));
    let name = name.map(|name| tags.cut(name, TEXT_BYTES_MAX));
    let event_id = attributes.text("log.record.uid");
    let event_id = event_id
        .filter(|id| id.len() <= EVENT_ID_BYTES_MAX)
        .unwrap_or(id);
    tag(&mut tags, record, origin);
    let said = Said::of(record, message);
    let payload = said.payload(attributes, &mut tags);
    Event {
        event_id,
        event_type: match is_exception {
            true => EventType::ErrorEvent,
            false => EventType::CustomEvent,
        },
        name,
        occurred_at,
        received_at,
        severity: severity(record),
        source: origin.source.clone(),
        subject: fields::subject(&origin.source, user_id.as_deref(), &mut tags),
        sequence: None,
        title: said.title,
        trace_id: fields::id(&record.trace_id, 16),
        user_id,
        tags: tags.finish(),
        metrics: [].into(),
        payload,
    }
}

/// By the number, else by the text that many loggers write.
fn severity(record: &LogRecord) -> Severity {
    match record.severity_number {
        1..=8 => Severity::Debug,
        9..=12 => Severity::Info,
        13..=16 => Severity::Warning,
        17..=20 => Severity::Error,
        21..=24 => Severity::Critical,
        _ => match record.severity_text.to_ascii_lowercase().as_str() {
            "trace" | "debug" | "verbose" => Severity::Debug,
            "warn" | "warning" => Severity::Warning,
            "error" | "err" | "severe" => Severity::Error,
            "fatal" | "critical" | "crit" | "alert" | "emergency" | "emerg" | "panic" => {
                Severity::Critical
            }
            _ => Severity::Info,
        },
    }
}

fn tag(tags: &mut Tags, record: &LogRecord, origin: &Origin) {
    tags.add_some("otel.scope.name", origin.scope.clone());
    tags.add_some("span_id", fields::id(&record.span_id, 8));
    let severity_text = Some(record.severity_text.clone()).filter(|text| !text.is_empty());
    tags.add_some("severity_text", severity_text);
    // Of two with one name the last one counts, as everywhere.
    for attribute in record.attributes.iter().rev() {
        if !PLACED.contains(&attribute.key.as_str()) {
            tags.add_some(&attribute.key, fields::text(attribute.value.as_ref()));
        }
    }
}

/// What a record says: a line, and what does not fit into it.
struct Said {
    title: Option<String>,
    /// The body where the title does not hold all of it.
    rest: Option<Value>,
}

impl Said {
    /// An exception's message is the title; else the body's first line is.
    fn of(record: &LogRecord, message: Option<String>) -> Self {
        let body = record.body.as_ref();
        let text = match body.and_then(|body| body.value.as_ref()) {
            None => None,
            Some(Variant::ArrayValue(_) | Variant::KvlistValue(_)) => {
                let title = message.map(|message| first_line(&message));
                let rest = Some(fields::json(body));
                return Self { title, rest };
            }
            Some(_) => fields::text(body),
        };
        let title = message.as_ref().or(text.as_ref());
        let title = title
            .map(|text| first_line(text))
            .filter(|title| !title.is_empty());
        let rest = text.filter(|text| title.as_ref() != Some(text));
        // A message that is cut is whole in the payload, where the body does not say it too.
        let rest = rest.or_else(|| message.filter(|message| title.as_ref() != Some(message)));
        Self {
            title,
            rest: rest.filter(|rest| !rest.is_empty()).map(Value::from),
        }
    }

    /// The body and the stack trace as JSON, cut so that it fits; `None` when there is neither.
    fn payload(&self, attributes: Attributes<'_>, tags: &mut Tags) -> Option<String> {
        let mut payload = Map::new();
        let stacktrace = attributes.text("exception.stacktrace").map(Value::from);
        let parts = [("body", self.rest.clone()), ("stacktrace", stacktrace)];
        for (name, value) in parts {
            if let Some(value) = value {
                payload.insert(name.into(), value);
            }
        }
        if payload.is_empty() {
            return None;
        }
        let whole = Value::Object(payload.clone()).to_string();
        if whole.len() <= PAYLOAD_BYTES_MAX {
            return Some(whole);
        }
        tags.note_cut_payload();
        // Written in JSON a character takes at most six times as many bytes.
        let bytes_max = PAYLOAD_BYTES_MAX / 6 / payload.len() - 32;
        let cut = |value: Value| {
            let text = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            Value::from(fields::cut(text, bytes_max))
        };
        let cut: Map<String, Value> = payload
            .into_iter()
            .map(|(name, value)| (name, cut(value)))
            .collect();
        Some(Value::Object(cut).to_string())
    }
}

fn first_line(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    fields::cut(line.to_owned(), TEXT_BYTES_MAX)
}
