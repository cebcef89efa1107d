//! OpenTelemetry's routes: its spans and logs on the same way as every event.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{Method, header};
use schemas::time::EventTime;

use super::docs::{Protobuf, TelemetryProblems};
use super::handlers::{AGAIN_AFTER_S, text};
use super::idempotency::Seen;
use super::{Intake, rules};
use crate::access::Caller;
use crate::body::{self, Bounds};
use crate::ingest::{Outcome, Prepared};
use crate::limits::BODY_BYTES_MAX;
use crate::otlp::{self, Translated};
use crate::problem::ApiError;
use crate::routes::{Served, served};

impl Intake {
    /// The routes of this part.
    pub fn telemetry_routes(&self) -> Vec<Served> {
        let state = || self.clone();
        vec![
            served(Method::POST, "/v1/traces", post(traces).with_state(state())),
            served(Method::POST, "/v1/logs", post(logs).with_state(state())),
        ]
    }
}

/// Takes spans by OTLP: those of HTTP servers and clients become `api_call` events.
#[utoipa::path(
    post,
    path = "/v1/traces",
    tag = "OpenTelemetry",
    request_body(
        description = "an ExportTraceServiceRequest",
        content((Protobuf = "application/x-protobuf"), (Value = "application/json"))
    ),
    responses(
        (status = 200, description = "taken; partial_success has the others"),
        TelemetryProblems,
    )
)]
pub(super) async fn traces(
    State(intake): State<Intake>,
    caller: Caller,
    request: Request,
) -> Response {
    telemetry(&intake, &caller, request, otlp::traces).await
}

/// Takes log records by OTLP: each becomes an event.
#[utoipa::path(
    post,
    path = "/v1/logs",
    tag = "OpenTelemetry",
    request_body(
        description = "an ExportLogsServiceRequest",
        content((Protobuf = "application/x-protobuf"), (Value = "application/json"))
    ),
    responses(
        (status = 200, description = "taken; partial_success has the others"),
        TelemetryProblems,
    )
)]
pub(super) async fn logs(
    State(intake): State<Intake>,
    caller: Caller,
    request: Request,
) -> Response {
    telemetry(&intake, &caller, request, otlp::logs).await
}

/// What reads a body of OTLP.
type Translate = fn(&str, &[u8], EventTime) -> Result<Translated, ApiError>;

async fn telemetry(
    intake: &Intake,
    caller: &Caller,
    request: Request,
    translate: Translate,
) -> Response {
    match translated(intake, caller, request, translate).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn translated(
    intake: &Intake,
    caller: &Caller,
    request: Request,
    translate: Translate,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let mut place = intake.shared.room.place(&caller.tenant);
    let content_type = text(headers, header::CONTENT_TYPE)?.unwrap_or_default();
    let bounds = Bounds::of(BODY_BYTES_MAX as usize);
    let body = body::read_into(headers, body, &bounds, &mut place).await?;
    let rules = rules(caller);
    let mut translated = translate(content_type, &body, rules.received_at)?;
    let mut prepared = Prepared::with_capacity(body.len());
    // Each goes once it is a record, so that there are not all of them twice.
    for event in translated.events.drain(..) {
        prepared.push_event(&event, &rules);
    }
    place.grow(body.len() * 2 + prepared.record_bytes()).await?;
    let taken = intake
        .publish(caller, prepared, body.len(), &Seen::Unknown)
        .await?;
    let outcomes = (0..taken.prepared.len()).map(|index| taken.prepared.outcome(index));
    let mut rejected_count = translated.rejected_count;
    for outcome in outcomes {
        match outcome {
            // An exporter sends all of it again; what is there already has the same identity.
            Outcome::Unavailable => {
                let wait = Duration::from_secs(AGAIN_AFTER_S);
                return Err(ApiError::unavailable("the brokers are away", wait));
            }
            Outcome::Rejected(_) => rejected_count += 1,
            Outcome::Accepted | Outcome::Stored | Outcome::Duplicate => {}
        }
    }
    if let Some(exceeded) = taken.held_back {
        // Here too: only what may pass later is sent again.
        return Err(exceeded.error());
    }
    let message = translated.message();
    let (signal, format) = (translated.signal, translated.format);
    let mut response = otlp::answer(signal, format, rejected_count, &message);
    if let Some(granted) = &taken.granted {
        granted.write(response.headers_mut());
    }
    Ok(response)
}
