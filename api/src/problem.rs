//! Errors as every route answers them: one status, one `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::{Content, Ref, RefOr, Response as Described, ResponseBuilder};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What is wrong with one field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct FieldFault {
    /// Where in what was sent, a JSON pointer (RFC 6901); empty for all of it.
    pub pointer: String,
    /// Why it cannot be used and what would be right.
    pub reason: Cow<'static, str>,
    /// All values that would be right, where there are few.
    #[serde(default)]
    pub accepted_values: Vec<Cow<'static, str>>,
}

impl FieldFault {
    /// A fault of a field that has no short list of right values.
    pub fn new(pointer: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            pointer: pointer.into(),
            reason: reason.into(),
            accepted_values: vec![],
        }
    }

    /// The same with the values that would be right.
    #[must_use]
    pub fn accepting(
        mut self,
        values: impl IntoIterator<Item = impl Into<Cow<'static, str>>>,
    ) -> Self {
        self.accepted_values = values.into_iter().map(Into::into).collect();
        self
    }
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {detail}")]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    faults: Vec<FieldFault>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A problem as it travels.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:pulse:problem:` and a word that stays the same: what programs look at.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong here, for people.
    pub detail: Cow<'static, str>,
    /// What is wrong with which field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldFault>,
}

impl ApiError {
    /// An error with this status, a word for programs and a sentence for people.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            faults: vec![],
            headers: vec![],
        }
    }

    /// 400: the request is not what it says it is.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// 401: no credential, or one that is nobody's; the same answer for both.
    pub fn unauthorized() -> Self {
        let detail = "a valid key is needed, in X-API-Key or as Authorization: Bearer";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"pulse\""),
        )
    }

    /// 403: the credential is somebody's who may not do this.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404: there is no such thing, or it is somebody else's; the same answer for both.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is nothing under this path",
        )
    }

    /// 409: it is there already, or was changed meanwhile.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 413: larger than it may be.
    pub fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 422: it can be read, and says something that cannot be.
    pub fn unprocessable(
        detail: impl Into<Cow<'static, str>>,
        faults: impl IntoIterator<Item = FieldFault>,
    ) -> Self {
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
        error.faults.extend(faults);
        error
    }

    /// 503: something that this needs is away; it may be tried again after `wait`.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, wait: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).with_header(
            header::RETRY_AFTER,
            HeaderValue::from(wait.as_secs().max(1)),
        )
    }

    /// 500: a fault of ours; what it was is in the log and not in the answer.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "a request could not be answered");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the fault is ours, and is in the log of the process that answered",
        )
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The word that programs look at, without its prefix.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What it looks like on the wire.
    pub fn problem(&self) -> Problem {
        Problem {
            kind: format!("urn:pulse:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").into(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            errors: self.faults.clone(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem())
            .expect("a problem holds nothing that JSON cannot say");
        let mut response = (
            self.status,
            [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))],
            body,
        )
            .into_response();
        response.headers_mut().extend(
            self.headers
                .into_iter()
                .map(|(name, value)| (Some(name), value)),
        );
        response
    }
}

/// Problems with these statuses, for the description of a route.
pub(crate) fn problems(statuses: &[u16]) -> BTreeMap<String, RefOr<Described>> {
    let words = |status: &u16| {
        let status = StatusCode::from_u16(*status).expect("a status of the routes' lists");
        (
            status.as_u16(),
            status.canonical_reason().unwrap_or("A problem."),
        )
    };
    let with_words: Vec<_> = statuses.iter().map(words).collect();
    problems_because(&with_words)
}

/// The same, each with what it means there.
pub(crate) fn problems_because(meanings: &[(u16, &str)]) -> BTreeMap<String, RefOr<Described>> {
    let response = |(status, meaning): &(u16, &str)| {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new()
            .description(*meaning)
            .content(PROBLEM_JSON, content)
            .build();
        (status.to_string(), RefOr::T(response))
    };
    meanings.iter().map(response).collect()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_problem_says_status_kind_place_and_what_would_be_right() {
        let fault = FieldFault::new("/severity", "is none").accepting(["info", "error"]);
        let error = ApiError::unprocessable("no event could be used", [fault]);
        let response = error.into_response();
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        insta::assert_snapshot!(body, @r#"{"detail":"no event could be used","errors":[{"accepted_values":["info","error"],"pointer":"/severity","reason":"is none"}],"status":422,"title":"Unprocessable Entity","type":"urn:pulse:problem:invalid"}"#);
    }

    #[test]
    fn who_may_try_again_is_told_when() {
        let error = ApiError::unavailable("the brokers are away", Duration::from_millis(200));
        let response = error.into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
