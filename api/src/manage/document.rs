//! What came with a request: a JSON body within its bounds, an id in the path, a page in the query.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, Path, Query, Request};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use schemas::control::{ControlKey, Kind};
use schemas::ids::TenantId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use utoipa::IntoParams;

use crate::problem::{ApiError, FieldFault};

/// Bytes in a body; the largest definition that is sound is a few kilobytes.
pub const BYTES_MAX: usize = 256 * 1024;
/// How long a body may take to come.
const BODY_MAX: Duration = Duration::from_secs(15);

/// Definitions in one page.
pub const PAGE_MAX: u32 = 500;
const PAGE_DEFAULT: u32 = 100;
/// Of a page's `after`: no id is longer.
const AFTER_BYTES_MAX: usize = 64;

/// A body of JSON, as it came.
#[derive(Debug)]
pub struct Document {
    bytes: Bytes,
}

impl<S: Sync> FromRequest<S> for Document {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_head(request.headers())?;
        let body = Limited::new(request.into_body(), BYTES_MAX).collect();
        match tokio::time::timeout(BODY_MAX, body).await {
            Ok(Ok(collected)) => Ok(Self {
                bytes: collected.to_bytes(),
            }),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::too_large(format!(
                "a body has {BYTES_MAX} bytes or less here"
            ))),
            Ok(Err(_)) => Err(ApiError::bad_request("the body broke off")),
            Err(_) => Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                format!("the body did not come within {} s", BODY_MAX.as_secs()),
            )),
        }
    }
}

/// JSON and nothing else, as it is.
fn check_head(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = |detail: &'static str| {
        ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            detail,
        )
    };
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let media_type = text(header::CONTENT_TYPE).unwrap_or("");
    let media_type = media_type.split(';').next().unwrap_or("").trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(unsupported("the body is JSON: say application/json"));
    }
    match text(header::CONTENT_ENCODING) {
        None | Some("identity") => Ok(()),
        Some(_) => Err(unsupported("the body is not to be compressed here")),
    }
}

impl Document {
    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    /// True when nothing came.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What it says.
    ///
    /// # Errors
    /// 400 when it is no JSON, 422 with the place where it is something else.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let value: Value = serde_json::from_slice(&self.bytes)
            .map_err(|error| ApiError::bad_request(format!("the body is no JSON: {error}")))?;
        read_value(value)
    }

    /// Its fields.
    ///
    /// # Errors
    /// 400 when it is no JSON, 422 when it is no object.
    pub fn fields(&self) -> Result<Map<String, Value>, ApiError> {
        self.read()
    }
}

/// What a value says.
///
/// # Errors
/// 422 with the place where it says something else.
pub fn read_value<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let fault = FieldFault::new(pointer(error.path()), error.inner().to_string());
        invalid([fault])
    })
}

/// 422 with these faults.
pub fn invalid(faults: impl IntoIterator<Item = FieldFault>) -> ApiError {
    ApiError::unprocessable("the body says something that cannot be", faults)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => push(&mut pointer, &index.to_string()),
            Segment::Map { key } => push(&mut pointer, key),
            Segment::Enum { variant } => push(&mut pointer, variant),
            Segment::Unknown => {}
        }
    }
    pointer
}

/// Appends one step of a JSON pointer.
pub fn push(pointer: &mut String, step: &str) {
    pointer.push('/');
    for c in step.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

/// True for an id: 1 to 64 letters, digits, `-`, `_` or `.`; it becomes part of a key and of rows.
pub fn is_id(id: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=64).contains(&id.len()) && id.bytes().all(is_plain)
}

/// The one id of a path.
pub type IdPath = Result<Path<String>, PathRejection>;

/// The definition that a path names, of this tenant.
///
/// # Errors
/// 404 for a text that no definition can have as its id.
pub fn key_of(tenant: &TenantId, kind: Kind, id: IdPath) -> Result<ControlKey, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::not_found())?;
    match is_id(&id) {
        true => Ok(ControlKey {
            tenant: tenant.clone(),
            kind,
            id,
        }),
        false => Err(ApiError::not_found()),
    }
}

/// Which part of a list is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many at most.
    #[serde(default = "page_default")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub limit: u32,
    /// The `next` of the page before.
    #[serde(default)]
    #[param(max_length = 64)]
    pub after: String,
}

fn page_default() -> u32 {
    PAGE_DEFAULT
}

/// A page as it comes.
pub type PageQuery = Result<Query<Page>, QueryRejection>;

/// The page.
///
/// # Errors
/// 400 for a limit out of range and for anything else in the query.
pub fn page_of(query: PageQuery) -> Result<Page, ApiError> {
    let Query(page) = query
        .map_err(|error| ApiError::bad_request(format!("the query: {}", error.body_text())))?;
    check_limit(page.limit)?;
    if page.after.len() > AFTER_BYTES_MAX {
        return Err(ApiError::bad_request(format!(
            "after has {} bytes, and is the `next` of a page: at most {AFTER_BYTES_MAX}",
            page.after.len()
        )));
    }
    Ok(page)
}

/// 400 for a limit out of range.
///
/// # Errors
/// As said.
pub fn check_limit(limit: u32) -> Result<(), ApiError> {
    match (1..=PAGE_MAX).contains(&limit) {
        true => Ok(()),
        false => Err(ApiError::bad_request(format!(
            "limit is {limit}, and must be 1 to {PAGE_MAX}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[expect(dead_code, reason = "only whether it can be read matters")]
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[expect(dead_code, reason = "only whether it can be read matters")]
        count: u32,
    }

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let problem = Document::of(text).read::<Order>().unwrap_err().problem();
        let faults = problem.errors.iter();
        let said: Vec<_> = faults
            .map(|fault| format!("{} {}: {}", problem.status, fault.pointer, fault.reason))
            .collect();
        let said = match said.is_empty() {
            true => format!("{} {}", problem.status, problem.detail),
            false => said.join("; "),
        };
        assert!(said.starts_with(expect), "{text}: {said}");
    }

    #[test]
    fn a_body_that_lies_is_told_where() {
        check("", "400 the body is no JSON");
        check("{\"lines\": [", "400 the body is no JSON");
        check("{\"lines\": []} more", "400 the body is no JSON");
        check("[]", "422 : invalid length 0, expected struct Order");
        check("{}", "422 : missing field `lines`");
        check(r#"{"lines": 1}"#, "422 /lines: invalid type");
        check(r#"{"lines": [{"count": -1}]}"#, "422 /lines/0/count: ");
        check(
            r#"{"lines": [{"count": 1}, {"count": 1, "a/b": 2}]}"#,
            "422 /lines/1/a~1b: unknown field `a/b`, expected `count`",
        );
    }

    #[test]
    fn an_id_becomes_part_of_a_key_and_confuses_nobody_there() {
        for good in ["a", "Buys-2.x_y", &"a".repeat(64)] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "a/b", "a b", "é", "a\0", &"a".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
