//! An event as it lies in the table, and as it is given: like it was sent.

use std::collections::BTreeMap;

use schemas::time::EventTime;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::cursor::Position;

/// The columns of a row, in names that [`Row`] has.
pub(super) const COLUMNS: &str = "toUnixTimestamp64Micro(occurred_at) AS occurred_us, event_type, \
    subject, event_id, name, severity, service, host, method, endpoint, version, sequence, title, \
    trace_id, user_id, tags, metrics, payload, _version AS version_number";

/// An event as it lies in the table. Of rows with one identity that of the highest version counts.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    /// 1 where the search is for this very row.
    is_match: u8,
    occurred_us: i64,
    event_type: String,
    subject: String,
    event_id: String,
    name: String,
    severity: String,
    service: String,
    host: String,
    method: String,
    endpoint: String,
    version: String,
    sequence: Option<i64>,
    title: String,
    trace_id: String,
    user_id: String,
    tags: BTreeMap<String, String>,
    metrics: Box<RawValue>,
    payload: String,
    version_number: u64,
}

/// An event as it was sent: what can be posted again as it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct FoundEvent {
    /// Unique among events of one type, subject and time.
    pub event_id: String,
    /// `api_call`, `trade` and so on.
    pub event_type: String,
    /// A custom event's own name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When it happened, RFC 3339.
    #[schema(example = "2026-11-22T10:00:00.123456Z")]
    pub timestamp: String,
    /// `debug`, `info`, `warning`, `error` or `critical`.
    pub severity: String,
    /// A line for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What it is about.
    pub subject: String,
    /// Orders events of one subject and time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// Who said it.
    pub source: FoundSource,
    /// What it belongs to.
    pub context: FoundContext,
    /// Its numbers, exact, without zeros at their ends.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub metrics: Box<RawValue>,
    /// Whatever else it brought; a text where that is no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub payload: Option<Box<RawValue>>,
}

/// Who said it.
#[derive(Debug, Serialize, ToSchema)]
pub struct FoundSource {
    /// The service.
    pub service: String,
    /// The machine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The HTTP method.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// The route's template.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// The service's version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// What it belongs to.
#[derive(Debug, Serialize, ToSchema)]
pub struct FoundContext {
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// Whose doing it was.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_id: String,
    /// The trace that it is part of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
}

impl Row {
    /// Its place in the order of a search, the same for all rows of one identity.
    pub(super) fn position(&self) -> Position {
        Position {
            occurred_at: EventTime::from_us(self.occurred_us),
            event_type: self.event_type.clone(),
            subject: self.subject.clone(),
            event_id: self.event_id.clone(),
        }
    }

    /// True where both are rows of one identity.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.occurred_us == other.occurred_us
            && self.event_id == other.event_id
            && self.subject == other.subject
            && self.event_type == other.event_type
    }

    pub(super) fn is_match(&self) -> bool {
        self.is_match == 1
    }

    /// Of two rows of one identity, the one that counts.
    pub(super) fn or_newer(self, other: Self) -> Self {
        match other.version_number > self.version_number {
            true => other,
            false => self,
        }
    }

    /// The event as it was sent.
    pub(super) fn event(self) -> FoundEvent {
        FoundEvent {
            event_id: self.event_id,
            event_type: self.event_type,
            name: self.name,
            timestamp: EventTime::from_us(self.occurred_us).to_string(),
            severity: self.severity,
            title: self.title,
            subject: self.subject,
            sequence: self.sequence,
            source: FoundSource {
                service: self.service,
                host: self.host,
                method: self.method,
                endpoint: self.endpoint,
                version: self.version,
            },
            context: FoundContext {
                tags: self.tags,
                user_id: self.user_id,
                trace_id: self.trace_id,
            },
            metrics: self.metrics,
            payload: payload(self.payload),
        }
    }
}

/// The payload as JSON: what came straight through Kafka may be none, and is a text then.
fn payload(text: String) -> Option<Box<RawValue>> {
    if text.is_empty() {
        return None;
    }
    RawValue::from_string(text.clone())
        .or_else(|_| serde_json::value::to_raw_value(&text))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(extra: &str) -> Row {
        let json = format!(
            r#"{{"is_match":1,"occurred_us":1795341600123456,"event_type":"custom_event",
            "subject":"s","event_id":"1","name":"","severity":"info","service":"a","host":"",
            "method":"","endpoint":"","version":"","sequence":null,"title":"","trace_id":"",
            "user_id":"","tags":{{}},"metrics":{{"n":99999999999999999999.000000000000000001}},
            "version_number":18446744073709551615{extra}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn an_event_is_given_as_it_was_sent() {
        let told = |payload: &str| {
            let event = row(&format!(",\"payload\":{payload}")).event();
            serde_json::to_string(&event).unwrap()
        };
        insta::assert_snapshot!(told(r#""{\"a\": 1.10}""#), @r#"{"event_id":"1","event_type":"custom_event","timestamp":"2026-11-22T10:00:00.123456Z","severity":"info","subject":"s","source":{"service":"a"},"context":{"tags":{}},"metrics":{"n":99999999999999999999.000000000000000001},"payload":{"a": 1.10}}"#);
        assert!(told(r#""no json""#).ends_with(r#""payload":"no json"}"#));
        assert!(!told(r#""""#).contains("payload"));
    }
}
