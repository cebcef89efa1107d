//! The routes by which events come in.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{options, post};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::docs::{IngestAnswer, IngestProblems, PostedEvent, PostedEvents};
use super::idempotency::key_of;
use super::{Intake, Taken, cors};
use crate::access::Caller;
use crate::body::{self, Bounds};
use crate::ingest::{Form, key_in_body};
use crate::limits::BODY_BYTES_MAX;
use crate::problem::ApiError;
use crate::routes::{Served, served};

/// Bytes of a body whose sender shows who he is only inside of it: what `sendBeacon` can send.
const UNKNOWN_BODY_BYTES_MAX: usize = 64 * 1_024;
/// When brokers that were away are worth asking again.
pub(super) const AGAIN_AFTER_S: u64 = 2;

impl Intake {
    /// The routes of this part.
    pub fn routes(&self) -> Vec<Served> {
        let events = "/api/v1/ingestion/events";
        let batch = "/api/v1/ingestion/events/batch";
        vec![
            served(Method::POST, events, post(one).with_state(self.clone())),
            served(Method::OPTIONS, events, options(cors::preflight)),
            served(Method::POST, batch, post(many).with_state(self.clone())),
            served(Method::OPTIONS, batch, options(cors::preflight)),
        ]
    }
}

/// Takes one event, or several.
///
/// The body is a JSON event, an array of events, `{"events": […]}`, lines of JSON, or CloudEvents,
/// by its content type, and compressed or not. The answer tells each event's fate.
#[utoipa::path(
    post,
    path = "/api/v1/ingestion/events",
    tag = "ingestion",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "whoever sends this again with the same body means the same events"),
        ("Content-Encoding" = Option<String>, Header, description = "gzip, deflate, br or zstd"),
    ),
    request_body(
        description = "one event or many; the content types of each form are in docs/ingest.md",
        content(
            (PostedEvent = "application/json"),
            (String = "application/x-ndjson"),
            (serde_json::Value = "application/cloudevents+json"),
            (serde_json::Value = "application/cloudevents-batch+json"),
        )
    ),
    responses(
        (status = 200, description = "all are on every in-sync replica", body = IngestAnswer),
        (status = 202, description = "some are on this gateway's disk alone", body = IngestAnswer),
        (status = 207, description = "some were taken and some were not", body = IngestAnswer),
        IngestProblems,
    )
)]
pub(super) async fn one(State(intake): State<Intake>, request: Request) -> Response {
    answer(intake, request).await
}

/// Takes up to 10,000 events, of up to 10 MB decoded; otherwise as one.
#[utoipa::path(
    post,
    path = "/api/v1/ingestion/events/batch",
    tag = "ingestion",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "whoever sends this again with the same body means the same events"),
        ("Content-Encoding" = Option<String>, Header, description = "gzip, deflate, br or zstd"),
    ),
    request_body(
        description = "one event or many; the content types of each form are in docs/ingest.md",
        content(
            (PostedEvents = "application/json"),
            (String = "application/x-ndjson"),
            (serde_json::Value = "application/cloudevents+json"),
            (serde_json::Value = "application/cloudevents-batch+json"),
        )
    ),
    responses(
        (status = 200, description = "all are on every in-sync replica", body = IngestAnswer),
        (status = 202, description = "some are on this gateway's disk alone", body = IngestAnswer),
        (status = 207, description = "some were taken and some were not", body = IngestAnswer),
        IngestProblems,
    )
)]
pub(super) async fn many(State(intake): State<Intake>, request: Request) -> Response {
    answer(intake, request).await
}

async fn answer(intake: Intake, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut caller = parts.extensions.get::<Caller>().cloned();
    let mut response = match events(&intake, &parts, body, &mut caller).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    // A page has to see of what is refused too: why, and when to come again.
    if let Some(caller) = &caller {
        cors::show(caller, &parts.headers, response.headers_mut());
    }
    response
}

/// Takes the events of a body; `known` is who sends them, from the headers or else the body.
async fn events(
    intake: &Intake,
    parts: &Parts,
    body: Body,
    known: &mut Option<Caller>,
) -> Result<Response, ApiError> {
    let headers = &parts.headers;
    let form = Form::of(text(headers, header::CONTENT_TYPE)?)?;
    let idempotency_key = key_of(headers)?;
    let taken = match known {
        Some(caller) => {
            let mut place = intake.shared.room.place(&caller.tenant);
            let bounds = Bounds::of(BODY_BYTES_MAX as usize);
            let body = body::read_into(headers, body, &bounds, &mut place).await?;
            intake.take(caller, form, &body, idempotency_key).await?
        }
        None => {
            let body = body::read(headers, body, &Bounds::of(UNKNOWN_BODY_BYTES_MAX)).await;
            // Whoever forgot his key is to hear of that, however much he sends.
            let body = body.map_err(|error| match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::unauthorized(),
                _ => error,
            })?;
            let key = key_in_body(&body).ok_or_else(ApiError::unauthorized)?;
            let caller = known.insert(intake.caller_of(&key, headers)?);
            intake.take(caller, form, &body, idempotency_key).await?
        }
    };
    Ok(respond(taken))
}

fn respond(taken: Taken) -> Response {
    let answer = taken.prepared.answer();
    let content_type = HeaderValue::from_static(answer.content_type);
    let mut response = (
        answer.status,
        [(header::CONTENT_TYPE, content_type)],
        answer.body,
    )
        .into_response();
    let headers = response.headers_mut();
    if answer.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, AGAIN_AFTER_S.into());
    }
    if let Some(granted) = &taken.granted {
        granted.write(headers);
    }
    response
}

/// The text of a header, where it is there.
pub(super) fn text(
    headers: &HeaderMap,
    name: header::HeaderName,
) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(&name) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(ApiError::bad_request(format!(
            "the header {name} is no text"
        ))),
    }
}
