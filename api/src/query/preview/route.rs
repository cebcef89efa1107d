//! `POST /api/v1/meters/preview`: a meter's windows over the last hour, before it is defined.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use runtime::clock;
use schemas::control::Kind;
use schemas::meter::Meter;
use schemas::time::EventTime;
use utoipa::IntoResponses;
use utoipa::openapi::{RefOr, Response};

use super::Preview;
use crate::access::Caller;
use crate::manage::document::Document;
use crate::manage::faults::located;
use crate::problem::{ApiError, problems};
use crate::query::QueryState;
use crate::query::range::Range;

/// How far back a preview looks.
const SPAN_MS: i64 = 3_600_000;

/// What a meter would have given over the last hour's events; nothing is defined by it.
#[utoipa::path(
    post,
    path = "/api/v1/meters/preview",
    tag = "meters",
    request_body(
        content = serde_json::Value,
        description = "a meter without an id",
        content_type = "application/json",
        example = json!({
            "filter": {"event_type": "api_call"},
            "group_by": ["subject"],
            "windows": [{"kind": "tumbling", "width_ms": 60000}],
            "aggregates": [{"name": "requests", "function": "count"}],
        })
    ),
    responses(
        (status = 200, description = "its windows", body = Preview),
        PreviewProblems,
    )
)]
pub(in crate::query) async fn post_preview(
    State(state): State<QueryState>,
    caller: Caller,
    document: Document,
) -> Result<Json<Preview>, ApiError> {
    let meter: Meter = document.read()?;
    let faults = located(Kind::Meter, meter.faults());
    if !faults.is_empty() {
        return Err(ApiError::unprocessable(
            "the meter cannot be previewed",
            faults,
        ));
    }
    let now_ms = clock::now_ms();
    let range = Range {
        from: EventTime::from_ms(now_ms - SPAN_MS),
        to: EventTime::from_ms(now_ms + 1),
    };
    Ok(Json(state.preview(&caller.tenant, &meter, range).await?))
}

/// What this route refuses with.
pub(in crate::query) struct PreviewProblems;

impl IntoResponses for PreviewProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 408, 413, 415, 422, 429, 500, 503, 504])
    }
}
