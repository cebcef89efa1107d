//! What the ingest routes take and give, for the API's description. Nothing here is made at run
//! time: events are read and answers written by hand (`crate::ingest`).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::{RefOr, Response};
use utoipa::{IntoResponses, OpenApi, ToSchema};

use super::{handlers, telemetry};
use crate::problem::{FieldFault, problems};

/// One event, as JSON. `docs/ingest.md` has each field's limits and what stands in for it.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "event_type": "api_call",
    "source": {"service": "checkout", "method": "POST", "endpoint": "/orders/{id}/pay"},
    "context": {"tags": {"status_code": 200, "currency": "EUR"}, "user_id": "u-77"},
    "metrics": {"duration_ms": 12.5, "amount": 19.90},
}))]
pub struct PostedEvent {
    /// Unique in the tenant; a retry carries the same one, and the same `timestamp`.
    #[schema(min_length = 1, max_length = 256)]
    event_id: Option<String>,
    /// `api_call`, `user_action`, `error_event`, `system_event`, `custom_event`, `trade` or
    /// `quote`.
    #[schema(
        pattern = "^(api_call|user_action|error_event|system_event|custom_event|trade|quote)$"
    )]
    event_type: String,
    /// A name of its own, of a `custom_event` for instance.
    #[schema(max_length = 1024)]
    name: Option<String>,
    /// RFC 3339 with or without a zone, else seconds or milliseconds since 1970, also as a text.
    #[schema(value_type = Option<Value>, example = "2026-08-09T12:29:59.123Z")]
    timestamp: Option<Value>,
    /// `debug`, `info`, `warning`, `error` or `critical`.
    #[schema(pattern = "^(debug|info|warning|error|critical)$")]
    severity: Option<String>,
    /// One line for people.
    #[schema(max_length = 1024)]
    title: Option<String>,
    /// What it is about: a stream with a clock of its own.
    #[schema(min_length = 1, max_length = 512)]
    subject: Option<String>,
    /// Orders events of the same instant.
    sequence: Option<i64>,
    /// Who says it.
    source: PostedSource,
    /// What it belongs to.
    context: Option<PostedContext>,
    /// Up to 64 numbers, exact decimals of up to 18 digits after the point.
    metrics: Option<BTreeMap<String, f64>>,
    /// Any JSON of up to 65,536 bytes.
    payload: Option<Value>,
}

/// Who says it; whatever else stands here is a tag.
#[derive(Serialize, ToSchema)]
pub struct PostedSource {
    /// The service.
    #[schema(min_length = 1, max_length = 1024)]
    service: String,
    /// The machine.
    #[schema(max_length = 1024)]
    host: Option<String>,
    /// The HTTP method.
    #[schema(max_length = 1024)]
    method: Option<String>,
    /// The route's template, never the raw path.
    #[schema(max_length = 1024)]
    endpoint: Option<String>,
    /// The service's version.
    #[schema(max_length = 1024)]
    version: Option<String>,
}

/// What it belongs to.
#[derive(Serialize, ToSchema)]
pub struct PostedContext {
    /// Up to 64 labels: texts, numbers, true or false, all kept as text.
    tags: Option<BTreeMap<String, Value>>,
    /// The user.
    #[schema(max_length = 1024)]
    user_id: Option<String>,
    /// The trace.
    #[schema(max_length = 1024)]
    trace_id: Option<String>,
}

/// Events in one request: alone, as an array, or under `events`.
#[derive(Serialize, ToSchema)]
#[schema(example = json!([
    {"event_type": "user_action", "name": "paid", "source": {"service": "checkout"}},
    {"event_type": "api_call", "source": {"service": "checkout", "endpoint": "/cart"}},
]))]
#[serde(untagged)]
pub enum PostedEvents {
    /// One.
    One(Box<PostedEvent>),
    /// Up to 10,000.
    Array(Vec<PostedEvent>),
    /// The same in an object, where a public key may stand beside them.
    Object {
        /// Up to 10,000.
        events: Vec<PostedEvent>,
        /// A public key, where no header can carry it.
        api_key: Option<String>,
    },
}

/// What became of each event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described, and never made")]
pub struct IngestAnswer {
    /// How many are safe, those on this gateway's disk included.
    accepted: u32,
    /// How many cannot be used.
    rejected: u32,
    /// How many stood in the request before, or were acknowledged before.
    duplicate: u32,
    /// How many lie on this gateway's disk alone; only where there are any.
    #[schema(required = false)]
    stored: u32,
    /// Of how many nobody knows; only where there are any.
    #[schema(required = false)]
    unavailable: u32,
    /// In the request's order.
    events: Vec<EventFate>,
}

/// What became of one event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described, and never made")]
pub struct EventFate {
    /// Its place in the request, from 0.
    index: u32,
    /// Its id, given or made; absent where it has none that can be read.
    #[schema(required = false)]
    event_id: String,
    /// `accepted`, `stored`, `duplicate`, `rejected` or `unavailable`.
    #[schema(pattern = "^(accepted|stored|duplicate|rejected|unavailable)$")]
    status: String,
    /// Why it was rejected.
    #[schema(required = false)]
    errors: Vec<FieldFault>,
}

/// A message of protobuf.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "described, and never made")]
pub struct Protobuf(Vec<u8>);

/// What ingest refuses with.
pub struct IngestProblems;
/// What OpenTelemetry's routes refuse with.
pub struct TelemetryProblems;

impl IntoResponses for IngestProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 408, 413, 415, 422, 429, 500, 503])
    }
}

impl IntoResponses for TelemetryProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 401, 403, 408, 413, 415, 429, 500, 503])
    }
}

/// This part of the API's description.
#[derive(OpenApi)]
#[openapi(
    paths(handlers::one, handlers::many, telemetry::traces, telemetry::logs),
    components(schemas(PostedEvent, PostedEvents, IngestAnswer))
)]
pub struct Docs;
