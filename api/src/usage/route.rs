//! `GET /api/v1/usage`: what a tenant has used of its month.

use axum::Json;
use axum::extract::State;
use runtime::clock;
use schemas::time::EventTime;
use serde::Serialize;
use utoipa::ToSchema;

use super::ledger::Used;
use crate::access::Caller;
use crate::problem::ApiError;
use crate::query::QueryState;
use crate::query::docs::Plain;

/// What a tenant has used of the month.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct MonthlyUsage {
    /// The month, UTC, by when the log took the events.
    #[schema(example = "2026-11")]
    pub month: String,
    /// Its events, each identity once: the tenant's rows.
    pub events: u64,
    /// How many it may have in a month; null when there is no bound.
    pub limit: Option<u64>,
    /// The part of the limit that is used, 1 for all of it; null when there is no bound.
    pub share: Option<f64>,
    /// When the next month begins, RFC 3339.
    pub resets_at: String,
    /// When they were counted, RFC 3339.
    pub as_of: String,
    /// Days that have events, in order.
    pub days: Vec<DailyUsage>,
}

/// What a tenant has used on a day.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct DailyUsage {
    /// The day, UTC.
    #[schema(example = "2026-11-22")]
    pub day: String,
    /// Its events, each identity once.
    pub events: u64,
}

/// What the tenant has used of its month, by day.
#[utoipa::path(
    get,
    path = "/api/v1/usage",
    tag = "events",
    responses(
        (status = 200, description = "The month so far", body = MonthlyUsage),
        Plain,
    )
)]
pub async fn get_usage(
    State(state): State<QueryState>,
    caller: Caller,
) -> Result<Json<MonthlyUsage>, ApiError> {
    let now_ms = clock::now_ms();
    let future_max_ms = caller.limits().future_max_ms;
    let used = state.used(&caller.tenant, future_max_ms, now_ms).await?;
    Ok(Json(told(&used, caller.ingest().events_per_month, now_ms)))
}

fn told(used: &Used, limit: Option<u64>, now_ms: i64) -> MonthlyUsage {
    let share = |limit: u64| match limit {
        0 => 1.0,
        limit => used.events as f64 / limit as f64,
    };
    let day = |(day_ms, events): (&i64, &u64)| DailyUsage {
        day: EventTime::from_ms(*day_ms).to_string()[..10].to_owned(),
        events: *events,
    };
    MonthlyUsage {
        month: used.month.to_string(),
        events: used.events,
        limit,
        share: limit.map(share),
        resets_at: EventTime::from_ms(used.month.end_ms()).to_string(),
        as_of: EventTime::from_ms(now_ms).to_string(),
        days: used.days.iter().map(day).collect(),
    }
}
