//! `ETag` and `If-Match` (RFC 9110): a change that was meant for another version is not made.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::problem::ApiError;

/// The tag of a version, as a header.
pub fn tag(version: i64) -> (HeaderName, HeaderValue) {
    let text = format!("\"{version}\"");
    let value = HeaderValue::try_from(text).expect("digits in quotes are a header's value");
    (header::ETAG, value)
}

/// The versions for which a change was meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IfMatch {
    /// Nothing was said, or `*`: whichever is there.
    Any,
    /// One of these.
    Tags(Vec<String>),
}

impl IfMatch {
    /// What the headers say.
    ///
    /// # Errors
    /// 400 when they say it in no way that can be understood.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut tags = vec![];
        for value in headers.get_all(header::IF_MATCH) {
            let text = value.to_str().map_err(|_| unreadable())?;
            for tag in text.split(',').map(str::trim) {
                match tag {
                    "*" => return Ok(Self::Any),
                    tag if tag.trim_start_matches("W/").starts_with('"') => tags.push(tag.into()),
                    _ => return Err(unreadable()),
                }
            }
        }
        match tags.is_empty() {
            true => Ok(Self::Any),
            false => Ok(Self::Tags(tags)),
        }
    }

    /// Refuses the change of another version than it was meant for.
    ///
    /// # Errors
    /// 412 then. A weak tag names no version.
    pub fn check(&self, version: i64) -> Result<(), ApiError> {
        let own = format!("\"{version}\"");
        match self {
            Self::Any => Ok(()),
            Self::Tags(tags) if tags.contains(&own) => Ok(()),
            Self::Tags(_) => Err(ApiError::new(
                StatusCode::PRECONDITION_FAILED,
                "changed",
                format!("it is at version {version}, and If-Match names another one"),
            )),
        }
    }
}

fn unreadable() -> ApiError {
    ApiError::bad_request("If-Match is * or the ETag of a version, in its quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(if_match: &[&str], expect: &str) {
        let mut headers = HeaderMap::new();
        for value in if_match {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        let said = match IfMatch::of(&headers).and_then(|precondition| precondition.check(7)) {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.status().as_u16().to_string(),
        };
        assert_eq!(said, expect, "{if_match:?}");
    }

    #[test]
    fn a_change_is_made_for_its_version_alone() {
        check(&[], "fine");
        check(&["*"], "fine");
        check(&["\"7\""], "fine");
        check(&["\"6\", \"7\""], "fine");
        check(&["\"6\"", "\"7\""], "fine");
        check(&["\"6\""], "412");
        check(&["W/\"7\""], "412");
        check(&["7"], "400");
        check(&["\"7\", x"], "400");
        assert_eq!(tag(7).1, "\"7\"");
    }
}
