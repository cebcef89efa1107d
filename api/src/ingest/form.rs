//! How a body's events are arranged, by its content type.

use std::borrow::Cow;

use http::StatusCode;

use super::scan::Scanner;
use crate::problem::ApiError;

/// How a body's events are arranged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// One event, an array of them, or an object that has them as `events`.
    Json,
    /// One event on each line.
    Lines,
    /// One CloudEvent.
    CloudEvent,
    /// An array of CloudEvents.
    CloudEvents,
}

/// Content types, each with its form.
///
/// `sendBeacon` says `text/plain`, as anything else would need a question to the server first, and
/// curl says that it sends a form when it is told nothing.
const TYPES: [(&str, Form); 11] = [
    ("application/json", Form::Json),
    ("application/x-ndjson", Form::Lines),
    ("application/cloudevents+json", Form::CloudEvent),
    ("application/cloudevents-batch+json", Form::CloudEvents),
    ("text/plain", Form::Json),
    ("text/json", Form::Json),
    ("application/x-www-form-urlencoded", Form::Json),
    ("application/ndjson", Form::Lines),
    ("application/jsonl", Form::Lines),
    ("application/x-jsonlines", Form::Lines),
    ("application/jsonlines", Form::Lines),
];

/// How many of [`TYPES`] a client is told: the others are names for the same.
const TYPES_TOLD: usize = 4;

impl Form {
    /// The form that the header `Content-Type` names; without one it is JSON.
    ///
    /// # Errors
    /// 415: another type, or JSON in another encoding than UTF-8.
    pub fn of(content_type: Option<&str>) -> Result<Self, ApiError> {
        let Some(content_type) = content_type else {
            return Ok(Self::Json);
        };
        let (name, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let name = name.trim();
        if name.is_empty() {
            return Ok(Self::Json);
        }
        let form = TYPES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, form)| *form)
            .ok_or_else(unsupported)?;
        match charset(parameters) {
            None => Ok(form),
            Some(charset) if is_utf8(charset) => Ok(form),
            Some(_) => Err(unsupported()),
        }
    }
}

fn charset(parameters: &str) -> Option<&str> {
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        is_charset.then(|| value.trim().trim_matches('"'))
    })
}

fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(charset))
}

fn unsupported() -> ApiError {
    let names: Vec<&str> = TYPES[..TYPES_TOLD].iter().map(|(name, _)| *name).collect();
    ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        format!("events come as {}, in UTF-8", names.join(", ")),
    )
}

/// The key in a body, which is where `sendBeacon` has to put it: `api_key` of an object that is an
/// event or has events. It looks no further than there, and reads nothing into memory.
///
/// The time that this takes grows with what stands before the key.
pub fn key_in_body(body: &[u8]) -> Option<Cow<'_, str>> {
    let mut scanner = Scanner::new(str::from_utf8(body).ok()?, 0);
    scanner.skip_blanks();
    scanner.expect(b'{')?;
    scanner.skip_blanks();
    loop {
        if scanner.name()? == "api_key" {
            return scanner.text();
        }
        scanner.value()?;
        if !scanner.goes_on(b'}')? {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: &str, form: impl Into<Option<Form>>) {
        let found = Form::of(Some(content_type));
        assert_eq!(found.as_ref().ok().copied(), form.into());
        if let Err(error) = found {
            assert_eq!(error.status(), 415);
        }
    }

    #[test]
    fn content_types_name_forms() {
        assert_eq!(Form::of(None).unwrap(), Form::Json);
        check("", Form::Json);
        check("application/json", Form::Json);
        check("Application/JSON; charset=UTF-8", Form::Json);
        check("application/json;charset=\"utf-8\"", Form::Json);
        check("text/plain;charset=UTF-8", Form::Json);
        check("application/x-ndjson", Form::Lines);
        check(
            "application/cloudevents+json; charset=utf-8",
            Form::CloudEvent,
        );
        check("application/cloudevents-batch+json", Form::CloudEvents);
        check("application/json; charset=iso-8859-1", None);
        check("application/xml", None);
        check("multipart/form-data; boundary=x", None);
    }

    #[track_caller]
    fn check_key(body: &str, key: Option<&str>) {
        assert_eq!(key_in_body(body.as_bytes()).as_deref(), key, "{body}");
    }

    #[test]
    fn a_key_is_found_at_the_top_of_an_object_and_nowhere_else() {
        check_key(r#"{"api_key": "k", "events": []}"#, Some("k"));
        check_key(
            r#" {"events": [{"a": {}}], "api_key" : "k\u0031"}"#,
            Some("k1"),
        );
        check_key(r#"{"events": [{"api_key": "k"}]}"#, None);
        check_key(r#"[{"api_key": "k"}]"#, None);
        check_key(r#"{"api_key": 5}"#, None);
        check_key(r#"{"api_key": "k"#, None);
        check_key("{}", None);
        check_key("", None);
        assert_eq!(key_in_body(b"{\"api_key\": \"\xff\"}"), None);
    }
}
