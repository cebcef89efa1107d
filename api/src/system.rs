//! What every program of ours that speaks HTTP says of itself.

use axum::Json;
use axum::routing::get;
use http::Method;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use crate::routes::{Served, served};

/// That it answers at all.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Alive {
    /// Always `ok`; whether it can do its work shows on the process's own port.
    pub status: String,
    /// The release.
    pub version: String,
}

/// The routes of this part.
pub fn routes() -> Vec<Served> {
    vec![served(Method::GET, "/health", get(health))]
}

/// Says that the process answers.
#[utoipa::path(
    get,
    path = "/health",
    tag = "system",
    responses((status = 200, description = "it answers", body = Alive))
)]
async fn health() -> Json<Alive> {
    Json(Alive {
        status: "ok".into(),
        version: env!("CARGO_PKG_VERSION").into(),
    })
}

/// This part of the API's description.
#[derive(OpenApi)]
#[openapi(paths(health))]
pub struct Docs;
