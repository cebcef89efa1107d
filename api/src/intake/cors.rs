//! Pages of other origins: who may send events from a browser, and nothing else.
//!
//! A preflight carries no key, so it is answered alike for everybody and tells nothing. The answer
//! to the request itself is readable by the page alone whose origin the public key names.

use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use schemas::access::KeyKind;

use crate::access::Caller;

const HEADERS: &str = "authorization, content-encoding, content-type, idempotency-key, x-api-key";
const EXPOSED: &str = "ratelimit, ratelimit-policy, retry-after";

/// Answers a preflight of an ingest route.
pub(super) async fn preflight(headers: HeaderMap) -> Response {
    let Some(origin) = headers.get(ORIGIN).cloned() else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let allowed = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, origin),
        (
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST"),
        ),
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(HEADERS),
        ),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
        (VARY, HeaderValue::from_static("origin")),
    ];
    (StatusCode::NO_CONTENT, allowed).into_response()
}

/// Lets the caller's page read the answer, where the caller has one.
pub(super) fn show(caller: &Caller, asked: &HeaderMap, answer: &mut HeaderMap) {
    if caller.key.kind != KeyKind::Public {
        return;
    }
    // It is one of the key's own: the key would not have been taken otherwise.
    if let Some(origin) = asked.get(ORIGIN) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let exposed = HeaderValue::from_static(EXPOSED);
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        answer.insert(VARY, HeaderValue::from_static("origin"));
    }
}
