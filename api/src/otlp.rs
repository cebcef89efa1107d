//! OpenTelemetry's traces and logs as events.
//!
//! In: the body of a request to `/v1/traces` or `/v1/logs` (OTLP/HTTP, protobuf or JSON). Out:
//! events, and what could not become one with its reason. Nothing here does I/O or reads a clock.
//!
//! SERVER and CLIENT spans of HTTP become `api_call` events ([`span`]); log records become
//! `error_event`s and `custom_event`s ([`log`]). Other spans are accepted and make no event.
//!
//! An SDK cannot mend what it sends, so what is too long is cut, with a tag that says so, and only
//! what has no identity or no time is refused. The same bytes give the same events, ids included,
//! so what an SDK sends again is a duplicate and not a second event.
//!
//! What can never happen: an event comes out that [`schemas::refusal`] would refuse for anything
//! but its date; memory grows with how many empty items a body can hold; a resource or a scope is
//! read more than once, however many items are of it.
//!
//! Read in this order: [`wire`], [`json`], [`fields`], [`endpoint`], [`span`], [`log`].

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use schemas::event::Event;
use schemas::time::EventTime;

use crate::problem::ApiError;

pub mod endpoint;
pub mod fields;
pub mod json;
pub mod log;
pub mod span;
pub mod wire;

use fields::Origin;

/// In what form a request came, and its answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Format {
    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The form that a `Content-Type` names; parameters are ignored.
    ///
    /// # Errors
    /// 415 for any other, and for none.
    pub fn of(content_type: &str) -> Result<Self, ApiError> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let formats = [Self::Protobuf, Self::Json];
        let found = formats
            .into_iter()
            .find(|format| essence.eq_ignore_ascii_case(format.media_type()));
        found.ok_or_else(|| {
            ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "OTLP comes as application/x-protobuf or application/json",
            )
        })
    }
}

/// What a request carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
}

/// What bounds a request beside its body's size.
pub struct Limits;

impl Limits {
    /// Events of one request; what is beyond is rejected.
    pub const EVENTS: usize = 10_000;
    /// Bytes of their items and of what each has from its resource and scope; what is beyond is
    /// rejected. Each event repeats its resource's texts.
    pub const BYTES: usize = 20_000_000;
    /// Bytes of one span, log record, resource or scope.
    pub const ITEM_BYTES: usize = 1024 * 1024;
    /// Rejected items that are told one by one; the others are counted.
    pub const REASONS: usize = 16;
}

/// An item that became no event although it should have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// Its place among all spans or log records of the request, from 0.
    pub index: usize,
    /// What is wrong with it and what would be right.
    pub reason: Cow<'static, str>,
}

/// What a request became.
#[derive(Clone, PartialEq, Debug)]
pub struct Translated {
    /// What it carried.
    pub signal: Signal,
    /// In what form.
    pub format: Format,
    /// Its events, in the order of their items.
    pub events: Vec<Event>,
    /// The first [`Limits::REASONS`] of the items that were rejected.
    pub rejected: Vec<Rejected>,
    /// How many were rejected in all.
    pub rejected_count: u64,
    /// Spans that are accepted and make no event.
    pub ignored_count: u64,
}

impl Translated {
    /// The first reasons as one text, for the answer; empty when nothing was rejected.
    pub fn message(&self) -> String {
        let reason = |one: &Rejected| format!("{}: {}", one.index, one.reason);
        let mut reasons: Vec<String> = self.rejected.iter().take(3).map(reason).collect();
        let more = self.rejected_count - reasons.len() as u64;
        if more > 0 {
            reasons.push(format!("and {more} more"));
        }
        reasons.join("; ")
    }
}

/// Reads a request for `/v1/traces`.
///
/// # Errors
/// 415 for another media type, 400 for a body that is no request at all. An item that cannot be
/// used is in [`Translated::rejected`] and costs no other.
pub fn traces(
    content_type: &str,
    body: &[u8],
    received_at: EventTime,
) -> Result<Translated, ApiError> {
    let format = Format::of(content_type)?;
    let names = json::Names {
        resources: "resourceSpans",
        scopes: "scopeSpans",
        items: "spans",
    };
    let mut reader = TheReader::new(Signal::Traces, format, received_at);
    reader.read(body, &names)?;
    Ok(reader.translated)
}

/// Reads a request for `/v1/logs`.
///
/// # Errors
/// As [`traces`].
pub fn logs(
    content_type: &str,
    body: &[u8],
    received_at: EventTime,
) -> Result<Translated, ApiError> {
    let format = Format::of(content_type)?;
    let names = json::Names {
        resources: "resourceLogs",
        scopes: "scopeLogs",
        items: "logRecords",
    };
    let mut reader = TheReader::new(Signal::Logs, format, received_at);
    reader.read(body, &names)?;
    Ok(reader.translated)
}

/// 200 as OTLP wants it: what was rejected is in the body, in the request's own form, and the
/// client does not send it again.
pub fn answer(signal: Signal, format: Format, rejected_count: u64, message: &str) -> Response {
    let body = match (format, signal) {
        (Format::Json, _) => json_answer(signal, rejected_count, message),
        (Format::Protobuf, Signal::Traces) => ExportTraceServiceResponse {
            partial_success: (rejected_count > 0 || !message.is_empty()).then(|| {
                ExportTracePartialSuccess {
                    rejected_spans: i64::try_from(rejected_count).unwrap_or(i64::MAX),
                    error_message: message.to_owned(),
                }
            }),
        }
        .encode_to_vec(),
        (Format::Protobuf, Signal::Logs) => ExportLogsServiceResponse {
            partial_success: (rejected_count > 0 || !message.is_empty()).then(|| {
                ExportLogsPartialSuccess {
                    rejected_log_records: i64::try_from(rejected_count).unwrap_or(i64::MAX),
                    error_message: message.to_owned(),
                }
            }),
        }
        .encode_to_vec(),
    };
    let media_type = HeaderValue::from_static(format.media_type());
    (StatusCode::OK, [(header::CONTENT_TYPE, media_type)], body).into_response()
}

fn json_answer(signal: Signal, rejected_count: u64, message: &str) -> Vec<u8> {
    if rejected_count == 0 && message.is_empty() {
        return b"{}".to_vec();
    }
    let name = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Logs => "rejectedLogRecords",
    };
    let body = serde_json::json!({
        "partialSuccess": {name: rejected_count.to_string(), "errorMessage": message}
    });
    body.to_string().into_bytes()
}

/// A body that is no request.
#[derive(Debug)]
struct Unreadable;

/// One item where it stands, with the resource and scope that it is of, each as its own bytes.
#[derive(Clone, Copy)]
struct Place<'a> {
    resource: &'a [u8],
    scope: &'a [u8],
    item: &'a [u8],
}

/// Who takes the items of a request.
trait Items<'a> {
    fn take(&mut self, place: Place<'a>);
}

/// A resource and a scope by their places in the body, and what they say.
struct Entered<'a> {
    resource: &'a [u8],
    scope: &'a [u8],
    origin: Origin,
}

/// Makes events of items, one after the other.
struct TheReader<'a> {
    translated: Translated,
    received_at: EventTime,
    index: usize,
    /// What the resource and scope of the last item say.
    origin: Option<Entered<'a>>,
    ids: log::Ids,
    /// What counts for [`Limits::BYTES`].
    bytes: usize,
}

impl<'a> TheReader<'a> {
    fn new(signal: Signal, format: Format, received_at: EventTime) -> Self {
        Self {
            translated: Translated {
                signal,
                format,
                events: vec![],
                rejected: vec![],
                rejected_count: 0,
                ignored_count: 0,
            },
            received_at,
            index: 0,
            origin: None,
            ids: log::Ids::default(),
            bytes: 0,
        }
    }

    fn read(&mut self, body: &'a [u8], names: &json::Names) -> Result<(), ApiError> {
        let (read, expected) = match (self.translated.format, self.translated.signal) {
            (Format::Protobuf, Signal::Traces) => {
                (wire::walk(body, self), "ExportTraceServiceRequest")
            }
            (Format::Protobuf, Signal::Logs) => {
                (wire::walk(body, self), "ExportLogsServiceRequest")
            }
            (Format::Json, Signal::Traces) => (
                json::walk(body, names, self),
                "ExportTraceServiceRequest as JSON",
            ),
            (Format::Json, Signal::Logs) => (
                json::walk(body, names, self),
                "ExportLogsServiceRequest as JSON",
            ),
        };
        read.map_err(|Unreadable| ApiError::bad_request(format!("the body is no {expected}")))
    }

    fn event_of(&mut self, place: Place<'a>) -> Result<Option<Event>, Cow<'static, str>> {
        if place.item.len() > Limits::ITEM_BYTES {
            return Err("has more than 1 MiB".into());
        }
        if self.translated.events.len() >= Limits::EVENTS {
            return Err("comes after the first 10,000 of its request: send smaller batches".into());
        }
        let received_at = self.received_at;
        let format = self.translated.format;
        let unreadable = || Cow::Borrowed("cannot be read");
        let event = match self.translated.signal {
            Signal::Traces => {
                let span: Span = match format {
                    Format::Protobuf => Span::decode(place.item).ok(),
                    Format::Json => json::message(place.item),
                }
                .ok_or_else(unreadable)?;
                span::event(&span, self.enter(place), received_at)?
            }
            Signal::Logs => {
                let record: LogRecord = match format {
                    Format::Protobuf => LogRecord::decode(place.item).ok(),
                    Format::Json => json::message(place.item),
                }
                .ok_or_else(unreadable)?;
                let times = [log::time(&record)?, received_at];
                self.enter(place);
                let id = self.ids.of(place.item);
                Some(log::event(&record, self.enter(place), id, times))
            }
        };
        let Some(event) = event else { return Ok(None) };
        self.bytes += place.item.len() + self.enter(place).bytes();
        if self.bytes > Limits::BYTES {
            return Err("comes after the first 20 MB of its request: send smaller batches".into());
        }
        Ok(Some(event))
    }

    /// What the item's resource and scope say, each read when its first item comes.
    fn enter(&mut self, place: Place<'a>) -> &Origin {
        let format = self.translated.format;
        let before = self.origin.take();
        // What cannot be read says nothing; the items are no worse for it.
        let (mut entered, is_new) = match before {
            Some(entered) if std::ptr::eq(entered.resource, place.resource) => (entered, false),
            _ => {
                let resource = match format {
                    Format::Protobuf => Resource::decode(place.resource).ok(),
                    Format::Json => json::message(place.resource),
                };
                self.ids.enter_resource(place.resource);
                let entered = Entered {
                    resource: place.resource,
                    scope: place.scope,
                    origin: Origin::of(&resource.unwrap_or_default()),
                };
                (entered, true)
            }
        };
        if is_new || !std::ptr::eq(entered.scope, place.scope) {
            let scope = match format {
                Format::Protobuf => InstrumentationScope::decode(place.scope).ok(),
                Format::Json => json::message(place.scope),
            };
            self.ids.enter_scope(place.scope);
            entered.origin.enter(scope.unwrap_or_default());
            entered.scope = place.scope;
        }
        &self.origin.insert(entered).origin
    }
}

impl<'a> Items<'a> for TheReader<'a> {
    fn take(&mut self, place: Place<'a>) {
        let index = self.index;
        self.index += 1;
        match self.event_of(place) {
            Ok(Some(event)) => self.translated.events.push(event),
            Ok(None) => self.translated.ignored_count += 1,
            Err(reason) => {
                self.translated.rejected_count += 1;
                if self.translated.rejected.len() < Limits::REASONS {
                    self.translated.rejected.push(Rejected { index, reason });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
