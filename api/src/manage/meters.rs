//! `/api/v1/meters`: a tenant's own metrics.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use schemas::control::Kind;
use serde_json::Value;

use super::StoreState;
use super::definitions;
use super::docs::{Changed, Made, Meter, MeterPage, Seen, SeenPage};
use super::document::{Document, IdPath, Page, PageQuery};
use crate::access::Caller;
use crate::problem::ApiError;

const KIND: Kind = Kind::Meter;

/// The tenant's meters, by id.
#[utoipa::path(get, path = "/api/v1/meters", tag = "meters", params(Page),
    responses((status = 200, description = "A page of them.", body = MeterPage), SeenPage),
    security(("api_key" = ["read"])))]
pub async fn list(
    State(state): State<StoreState>,
    caller: Caller,
    query: PageQuery,
) -> Result<Json<Value>, ApiError> {
    definitions::list(state, caller, (KIND, "meters"), query).await
}

/// A new meter under the id in its body.
#[utoipa::path(post, path = "/api/v1/meters", tag = "meters", request_body = Meter,
    responses((status = 201, description = "It is made, and in force within 2 s.", body = Meter,
        headers(("ETag" = String, description = "Its version."),
                ("Location" = String, description = "Its path."))), Made),
    security(("api_key" = ["manage"])))]
pub async fn create(
    State(state): State<StoreState>,
    caller: Caller,
    document: Document,
) -> Result<Response, ApiError> {
    definitions::create(state, caller, KIND, &document).await
}

/// One meter.
#[utoipa::path(get, path = "/api/v1/meters/{id}", tag = "meters",
    params(("id" = String, Path, description = "Which.")),
    responses((status = 200, description = "As it is in force.", body = Meter,
        headers(("ETag" = String, description = "Its version."))), Seen),
    security(("api_key" = ["read"])))]
pub async fn show(
    State(state): State<StoreState>,
    caller: Caller,
    id: IdPath,
) -> Result<Response, ApiError> {
    definitions::show(state, caller, KIND, id).await
}

/// Another meter in the place of the one that is there.
#[utoipa::path(put, path = "/api/v1/meters/{id}", tag = "meters", request_body = Meter,
    params(("id" = String, Path, description = "Which."),
        ("If-Match" = Option<String>, Header, description = "The ETag that it must have.")),
    responses((status = 200, description = "It is changed, and in force within 2 s.", body = Meter,
        headers(("ETag" = String, description = "Its version."))), Changed),
    security(("api_key" = ["manage"])))]
pub async fn replace(
    State(state): State<StoreState>,
    caller: Caller,
    id: IdPath,
    headers: HeaderMap,
    document: Document,
) -> Result<Response, ApiError> {
    definitions::replace(state, caller, (KIND, id), &headers, &document).await
}

/// Removes a meter.
#[utoipa::path(delete, path = "/api/v1/meters/{id}", tag = "meters",
    params(("id" = String, Path, description = "Which."),
        ("If-Match" = Option<String>, Header, description = "The ETag that it must have.")),
    responses((status = 204, description = "It is gone, everywhere within 2 s."), Changed),
    security(("api_key" = ["manage"])))]
pub async fn remove(
    State(state): State<StoreState>,
    caller: Caller,
    id: IdPath,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    definitions::remove(state, caller, (KIND, id), &headers).await
}
