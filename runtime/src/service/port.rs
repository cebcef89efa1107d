//! A process's own port: is it alive, can it work, what has it counted.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::server::{self, Bounds};
use crate::health::Health;
use crate::telemetry::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Many more than Prometheus and checks of health need at a time, and as long as Prometheus waits
/// for an answer unless it is told otherwise.
pub(super) const BOUNDS: Bounds = Bounds {
    connections_max: 64,
    exchange_max: Duration::from_secs(10),
};

#[derive(Clone)]
struct Shown {
    health: Health,
    metrics: Metrics,
}

/// Serves until its task is aborted.
pub(super) async fn serve(listener: TcpListener, health: Health, metrics: Metrics) {
    server::serve(listener, router(health, metrics), BOUNDS).await;
}

fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(scrape))
        .with_state(Shown { health, metrics })
}

/// A process that answers is alive; one that hangs is ended by its watchdog.
async fn live() -> impl IntoResponse {
    axum::Json(serde_json::json!({ "live": true }))
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    let report = shown.health.report();
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(report))
}

async fn scrape(State(shown): State<Shown>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, OPEN_METRICS)],
        shown.metrics.encode(),
    )
}
