//! What a client asks for, by name: from the query of a URL, or from a JSON object that says the
//! same.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::http::{Request, StatusCode, header};
use serde_json::Value;

use crate::problem::{ApiError, FieldFault};

/// Bytes of a question's body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long it may take to come.
const BODY_WAIT: Duration = Duration::from_secs(10);
/// Values that one question gives.
const VALUES_MAX: usize = 128;
/// Faults that are told; who has made more begins with these.
const FAULTS_MAX: usize = 32;
/// Bytes of one of them: as long as any text of an event, and a cursor, which holds two.
pub(super) const TEXT_BYTES_MAX: usize = 4_096;

/// What a parameter may be given as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// How often it may be given.
    pub count_max: usize,
}

/// One value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    /// Where it stood, a JSON pointer; `/name` for a parameter of a URL.
    pub pointer: String,
    /// What stood there; a number as it was written.
    pub text: String,
    /// Its name, where it stood in an object.
    pub key: Option<String>,
}

/// All that a question gives, each value with its parameter's name.
#[derive(Debug, Default)]
pub struct Given(Vec<(&'static str, Text)>);

impl Given {
    /// Reads the query of the URL of a `GET`, or the body of a `POST`.
    ///
    /// # Errors
    /// 400 for what cannot be read at all, 408, 413 and 415 for a body, 422 for a name that is not
    /// `known` or is given too often.
    pub async fn of(request: Request<Body>, known: &[Known]) -> Result<Self, ApiError> {
        let pairs = Self::of_url(&request)?;
        let pairs = pairs.iter().map(|(name, text)| (&**name, &**text));
        let mut faults = vec![];
        let mut given = Self::default();
        given.add_pairs(pairs, known, &mut faults);
        if request.method() == axum::http::Method::POST {
            for (name, text) in of_body(request).await? {
                given.add(known, &name, text, &mut faults);
            }
        }
        given.without(faults)
    }

    /// Takes values with their names.
    ///
    /// # Errors
    /// 422 for a name that is not `known` or is given too often.
    pub fn of_pairs(pairs: &[(&str, &str)], known: &[Known]) -> Result<Self, ApiError> {
        let mut faults = vec![];
        let mut given = Self::default();
        given.add_pairs(pairs.iter().copied(), known, &mut faults);
        given.without(faults)
    }

    fn without(self, faults: Vec<FieldFault>) -> Result<Self, ApiError> {
        match faults.is_empty() {
            true => Ok(self),
            false => Err(invalid(faults)),
        }
    }

    fn add_pairs<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a str, &'a str)>,
        known: &[Known],
        faults: &mut Vec<FieldFault>,
    ) {
        for (name, text) in pairs {
            let text = Text {
                pointer: format!("/{}", name.replace('~', "~0").replace('/', "~1")),
                text: text.to_owned(),
                key: None,
            };
            self.add(known, name, text, faults);
        }
    }

    fn of_url(request: &Request<Body>) -> Result<Vec<(String, String)>, ApiError> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
        let query = query.map_err(|_| ApiError::bad_request("the query cannot be read"))?;
        Ok(query.0)
    }

    fn add(&mut self, known: &[Known], name: &str, text: Text, faults: &mut Vec<FieldFault>) {
        let Text {
            pointer,
            text: value,
            ..
        } = &text;
        if faults.len() >= FAULTS_MAX {
            return;
        }
        let mut fault = |reason: String| faults.push(FieldFault::new(pointer.clone(), reason));
        let Some(parameter) = known.iter().find(|known| known.name == name) else {
            let names = known.iter().map(|known| known.name);
            let unknown = FieldFault::new(pointer.clone(), "is no parameter of this question");
            return faults.push(unknown.accepting(names));
        };
        if self.all(parameter.name).count() >= parameter.count_max {
            return fault(format!(
                "is given more than {} time(s)",
                parameter.count_max
            ));
        }
        if value.len() > TEXT_BYTES_MAX {
            return fault(format!("has more than {TEXT_BYTES_MAX} bytes"));
        }
        if self.0.len() >= VALUES_MAX {
            return fault(format!(
                "is more than the {VALUES_MAX} values of one question"
            ));
        }
        self.0.push((parameter.name, text));
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Text> {
        let of = self.0.iter().filter(move |(of, _)| *of == name);
        of.map(|(_, text)| text)
    }

    /// The value of a parameter that is given once at most.
    pub fn one(&self, name: &str) -> Option<&Text> {
        self.all(name).next()
    }
}

/// 422 with what is wrong.
pub(super) fn invalid(faults: Vec<FieldFault>) -> ApiError {
    ApiError::unprocessable("the question cannot be answered as it is", faults)
}

async fn of_body(request: Request<Body>) -> Result<Vec<(String, Text)>, ApiError> {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let detail = "a question's body is sent as it is, without Content-Encoding";
        return Err(unsupported(detail));
    }
    let is_json = |kind: &header::HeaderValue| {
        let kind = kind.to_str().unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    };
    if !request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(is_json)
    {
        return Err(unsupported("a question's body is application/json"));
    }
    let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX);
    let body = tokio::time::timeout(BODY_WAIT, body).await.map_err(|_| {
        let detail = "the body did not come in time";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timed_out", detail)
    })?;
    // Where the connection broke nobody reads the answer.
    let body = body.map_err(|_| {
        ApiError::too_large(format!(
            "a question's body has at most {BODY_BYTES_MAX} bytes"
        ))
    })?;
    if body.is_empty() {
        return Ok(vec![]);
    }
    match serde_json::from_slice(&body) {
        Ok(Value::Object(fields)) => flatten(fields),
        Ok(_) => Err(ApiError::bad_request("the body must be a JSON object")),
        Err(error) => Err(ApiError::bad_request(format!(
            "the body is not JSON: {error}"
        ))),
    }
}

fn unsupported(detail: &'static str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported", detail)
}

/// The object's fields as single values: an array gives each of its own, and an object, which tags
/// may be, each with its key.
fn flatten(fields: serde_json::Map<String, Value>) -> Result<Vec<(String, Text)>, ApiError> {
    let (mut flat, mut faults) = (vec![], vec![]);
    for (name, value) in fields {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        let parts = match value {
            Value::Array(items) => (0..)
                .zip(items)
                .map(|(at, item)| (format!("{pointer}/{at}"), None, scalar(&item)))
                .collect(),
            Value::Object(items) if name == "tag" => items
                .into_iter()
                .map(|(key, item)| {
                    let at = key.replace('~', "~0").replace('/', "~1");
                    (format!("{pointer}/{at}"), Some(key), scalar(&item))
                })
                .collect(),
            Value::Null => vec![],
            value => vec![(pointer, None, scalar(&value))],
        };
        for (pointer, key, text) in parts {
            match text {
                Some(text) => flat.push((name.clone(), Text { pointer, text, key })),
                None => faults.push(FieldFault::new(pointer, "must be a text or a number")),
            }
        }
    }
    match faults.is_empty() {
        true => Ok(flat),
        false => Err(invalid(faults)),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Known; 2] = [
        Known {
            name: "type",
            count_max: 1,
        },
        Known {
            name: "tag",
            count_max: 3,
        },
    ];

    async fn read(method: &str, uri: &str, body: &str) -> Result<Given, ApiError> {
        let request = Request::builder().method(method).uri(uri);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        Given::of(request, &KNOWN).await
    }

    #[tokio::test]
    async fn a_url_and_a_body_say_the_same() {
        let tags = |given: &Given| {
            let text = |tag: &Text| match &tag.key {
                Some(key) => format!("{key}:{}", tag.text),
                None => tag.text.clone(),
            };
            given.all("tag").map(text).collect::<Vec<_>>()
        };
        let url = read("GET", "/?type=trade&tag=a%3A1&tag=b:%32", "")
            .await
            .unwrap();
        assert_eq!(tags(&url), ["a:1", "b:2"]);
        assert_eq!(url.one("type").unwrap().text, "trade");
        for body in [
            r#"{"type":"trade","tag":["a:1","b:2"]}"#,
            r#"{"type":["trade"],"tag":{"a":1,"b":"2"}}"#,
        ] {
            let body = read("POST", "/", body).await.unwrap();
            assert_eq!(tags(&body), ["a:1", "b:2"]);
            assert_eq!(body.one("type").unwrap().text, "trade");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_told_with_its_place() {
        let told = async |method, uri, body| {
            let error = read(method, uri, body).await.unwrap_err();
            let places = error
                .problem()
                .errors
                .into_iter()
                .map(|fault| fault.pointer);
            (error.status().as_u16(), places.collect::<Vec<_>>())
        };
        assert_eq!(
            told("GET", "/?typ=x&a~/b=1", "").await,
            (422, vec!["/typ".into(), "/a~0~1b".into()])
        );
        assert_eq!(
            told("GET", "/?type=x&type=y", "").await,
            (422, vec!["/type".into()])
        );
        assert_eq!(
            told("POST", "/", "{\"tag\":[\"a\",{}]}").await,
            (422, vec!["/tag/1".into()])
        );
        assert_eq!(told("POST", "/", "[]").await.0, 400);
        assert_eq!(told("POST", "/", "{").await.0, 400);
        assert!(read("POST", "/", "").await.is_ok());
        let long = format!("{{\"type\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX));
        assert_eq!(told("POST", "/", &long).await.0, 413);
    }
}
