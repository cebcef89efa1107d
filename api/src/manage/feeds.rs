//! `/api/v1/feeds`: the markets that a tenant wants to see.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use schemas::control::Kind;
use serde_json::Value;

use super::StoreState;
use super::definitions;
use super::docs::{Changed, Feed, FeedPage, Made, Seen, SeenPage};
use super::document::{Document, IdPath, Page, PageQuery};
use crate::access::Caller;
use crate::problem::ApiError;

const KIND: Kind = Kind::Feed;

/// The tenant's feeds, by id.
#[utoipa::path(get, path = "/api/v1/feeds", tag = "feeds", params(Page),
    responses((status = 200, description = "A page of them.", body = FeedPage), SeenPage),
    security(("api_key" = ["read"])))]
pub async fn list(
    State(state): State<StoreState>,
    caller: Caller,
    query: PageQuery,
) -> Result<Json<Value>, ApiError> {
    definitions::list(state, caller, (KIND, "feeds"), query).await
}

/// A new feed under the id in its body.
#[utoipa::path(post, path = "/api/v1/feeds", tag = "feeds", request_body = Feed,
    responses((status = 201, description = "It is made, and in force within 2 s.", body = Feed,
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

/// One feed.
#[utoipa::path(get, path = "/api/v1/feeds/{id}", tag = "feeds",
    params(("id" = String, Path, description = "Which.")),
    responses((status = 200, description = "As it is in force.", body = Feed,
        headers(("ETag" = String, description = "Its version."))), Seen),
    security(("api_key" = ["read"])))]
pub async fn show(
    State(state): State<StoreState>,
    caller: Caller,
    id: IdPath,
) -> Result<Response, ApiError> {
    definitions::show(state, caller, KIND, id).await
}

/// Another feed in the place of the one that is there.
#[utoipa::path(put, path = "/api/v1/feeds/{id}", tag = "feeds", request_body = Feed,
    params(("id" = String, Path, description = "Which."),
        ("If-Match" = Option<String>, Header, description = "The ETag that it must have.")),
    responses((status = 200, description = "It is changed, and in force within 2 s.", body = Feed,
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

/// Removes a feed.
#[utoipa::path(delete, path = "/api/v1/feeds/{id}", tag = "feeds",
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
