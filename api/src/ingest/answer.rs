//! The answer that tells each event's fate, written by hand: it is a third of a batch's bytes.

use http::StatusCode;

use super::prepared::{Outcome, Prepared};
use crate::problem::{FieldFault, PROBLEM_JSON};

/// An answer as it goes out.
#[derive(Debug)]
pub struct Answer {
    /// 200, 202, 207, 422 or 503.
    pub status: StatusCode,
    /// `application/json`, or `application/problem+json` where the status is an error.
    pub content_type: &'static str,
    /// JSON.
    pub body: Vec<u8>,
}

/// How many events came to what.
#[derive(Clone, Copy, Default)]
struct Counts {
    accepted: usize,
    stored: usize,
    duplicate: usize,
    rejected: usize,
    unavailable: usize,
}

impl Prepared {
    /// The answer, as things stand.
    ///
    /// | status | when |
    /// |---|---|
    /// | 200 | every event went in, now or before |
    /// | 202 | some lie on this gateway's disk alone |
    /// | 207 | some went in and some did not |
    /// | 422 | none went in, and none would by sending it again |
    /// | 503 | none went in, and some would; the caller adds when |
    pub fn answer(&self) -> Answer {
        let counts = self.counts();
        let status = counts.status();
        let mut body = Vec::with_capacity(256 + 96 * self.len());
        body.push(b'{');
        if status.is_client_error() || status.is_server_error() {
            put_problem(&mut body, status, self.len());
        }
        put_count(&mut body, "accepted", counts.accepted + counts.stored);
        body.push(b',');
        put_count(&mut body, "rejected", counts.rejected);
        body.push(b',');
        put_count(&mut body, "duplicate", counts.duplicate);
        for (name, count) in [
            ("stored", counts.stored),
            ("unavailable", counts.unavailable),
        ] {
            if count > 0 {
                body.push(b',');
                put_count(&mut body, name, count);
            }
        }
        body.extend_from_slice(b",\"events\":[");
        for index in 0..self.len() {
            if index > 0 {
                body.push(b',');
            }
            self.put_event(&mut body, index);
        }
        body.extend_from_slice(b"]}");
        Answer {
            status,
            content_type: if status.is_success() {
                "application/json"
            } else {
                PROBLEM_JSON
            },
            body,
        }
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for index in 0..self.len() {
            *match self.outcome(index) {
                Outcome::Accepted => &mut counts.accepted,
                Outcome::Stored => &mut counts.stored,
                Outcome::Duplicate => &mut counts.duplicate,
                Outcome::Unavailable => &mut counts.unavailable,
                Outcome::Rejected(_) => &mut counts.rejected,
            } += 1;
        }
        counts
    }

    fn put_event(&self, body: &mut Vec<u8>, index: usize) {
        body.extend_from_slice(b"{\"index\":");
        put_number(body, index);
        if let Some(id) = self.event_id(index) {
            body.extend_from_slice(b",\"event_id\":");
            put_text(body, id);
        }
        let status = match self.outcome(index) {
            Outcome::Accepted => "accepted",
            Outcome::Stored => "stored",
            Outcome::Duplicate => "duplicate",
            Outcome::Unavailable => "unavailable",
            Outcome::Rejected(_) => "rejected",
        };
        body.extend_from_slice(b",\"status\":\"");
        body.extend_from_slice(status.as_bytes());
        body.push(b'"');
        if let Outcome::Rejected(faults) = self.outcome(index) {
            put_faults(body, faults);
        }
        body.push(b'}');
    }
}

impl Counts {
    fn status(self) -> StatusCode {
        let in_now_or_before = self.accepted + self.stored + self.duplicate;
        let not_in = self.rejected + self.unavailable;
        match (in_now_or_before, not_in) {
            _ if self.stored > 0 => StatusCode::ACCEPTED,
            (_, 0) => StatusCode::OK,
            (1.., _) => StatusCode::MULTI_STATUS,
            _ if self.unavailable > 0 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// The members that make a problem of the answer (RFC 9457).
#[cold]
fn put_problem(body: &mut Vec<u8>, status: StatusCode, count: usize) {
    let (kind, detail) = if status.is_server_error() {
        (
            "unavailable",
            "none of the events is known to be safe: send them again",
        )
    } else {
        ("invalid", "none of the events could be used")
    };
    let title = status.canonical_reason().unwrap_or("Error");
    let status = status.as_u16();
    let members = format!(
        "\"type\":\"urn:pulse:problem:{kind}\",\"title\":\"{title}\",\"status\":{status},\
         \"detail\":\"{detail} ({count} in all)\","
    );
    body.extend_from_slice(members.as_bytes());
}

fn put_count(body: &mut Vec<u8>, name: &str, count: usize) {
    body.push(b'"');
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(b"\":");
    put_number(body, count);
}

#[cold]
fn put_faults(body: &mut Vec<u8>, faults: &[FieldFault]) {
    body.extend_from_slice(b",\"errors\":");
    serde_json::to_writer(body, faults).expect("a list of texts goes into memory");
}

fn put_number(body: &mut Vec<u8>, number: usize) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    body.extend_from_slice(&digits[start..]);
}

/// Appends UTF-8 as a JSON text.
#[inline]
fn put_text(body: &mut Vec<u8>, text: &[u8]) {
    let is_plain = text
        .iter()
        .all(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\');
    if is_plain {
        body.push(b'"');
        body.extend_from_slice(text);
        body.push(b'"');
    } else {
        put_escaped(body, text);
    }
}

#[cold]
fn put_escaped(body: &mut Vec<u8>, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    serde_json::to_writer(body, text.as_ref()).expect("a text goes into memory");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_json() {
        let mut body = vec![];
        for number in [0, 9, 10, 12_345, usize::MAX] {
            body.clear();
            put_number(&mut body, number);
            assert_eq!(body, number.to_string().as_bytes());
        }
        for text in ["plain", "\"", "\\", "\n\u{1}", "é", ""] {
            body.clear();
            put_text(&mut body, text.as_bytes());
            assert_eq!(serde_json::from_slice::<String>(&body).unwrap(), text);
        }
    }

    #[test]
    fn the_status_says_whether_to_send_again() {
        let counts = |accepted, stored, duplicate, rejected, unavailable| Counts {
            accepted,
            stored,
            duplicate,
            rejected,
            unavailable,
        };
        assert_eq!(counts(0, 0, 0, 0, 0).status(), 200);
        assert_eq!(counts(1, 0, 1, 0, 0).status(), 200);
        assert_eq!(counts(0, 0, 1, 0, 0).status(), 200);
        assert_eq!(counts(1, 1, 0, 1, 0).status(), 202);
        assert_eq!(counts(1, 0, 0, 1, 0).status(), 207);
        assert_eq!(counts(0, 0, 1, 1, 0).status(), 207);
        assert_eq!(counts(1, 0, 0, 0, 1).status(), 207);
        assert_eq!(counts(0, 0, 0, 1, 0).status(), 422);
        assert_eq!(counts(0, 0, 0, 1, 1).status(), 503);
        assert_eq!(counts(0, 0, 0, 0, 1).status(), 503);
    }
}
