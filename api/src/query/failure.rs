//! Why a question has no answer, and what the client is told of it: never the server's words.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};

use super::places::NoPlace;
use crate::problem::ApiError;

/// How much of the server's words is kept for the log.
const TEXT_BYTES_MAX: usize = 500;

/// When a client may ask again.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No question can be put with these settings.
    #[error("question cannot be put: {reason}")]
    Settings {
        /// What is wrong.
        reason: String,
    },
    /// There is no place for it.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    /// The server did not answer, or the connection broke.
    #[error("clickhouse does not answer: {reason}")]
    Unreachable {
        /// What the connection said.
        reason: String,
    },
    /// The answer did not come in time.
    #[error("clickhouse did not answer in time")]
    TimedOut,
    /// It needs more than a question may.
    #[error("question needs too much: {reason}")]
    TooMuch {
        /// What it needs too much of.
        reason: String,
    },
    /// The server refused.
    #[error("clickhouse refused (code {code}): {text}")]
    Refused {
        /// ClickHouse's number of the error.
        code: u32,
        /// The beginning of what it says.
        text: String,
    },
    /// The answer is not what was asked for.
    #[error("answer cannot be read: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
}

/// Codes that say that the question took longer than it may.
const TIME_CODES: [u32; 3] = [
    159, // TIMEOUT_EXCEEDED
    160, // TOO_SLOW
    394, // QUERY_WAS_CANCELLED
];

/// Codes that say that the question needs more rows, bytes or memory than it may.
const SIZE_CODES: [u32; 4] = [
    158, // TOO_MANY_ROWS
    241, // MEMORY_LIMIT_EXCEEDED
    307, // TOO_MANY_BYTES
    396, // TOO_MANY_ROWS_OR_BYTES
];

/// Codes that say that the server cannot answer now, and may soon: its tables are not made yet, its
/// user is not there yet, or it has too much to do.
const LATER_CODES: [u32; 8] = [
    60,  // UNKNOWN_TABLE
    81,  // UNKNOWN_DATABASE
    192, // UNKNOWN_USER
    201, // QUOTA_EXCEEDED
    202, // TOO_MANY_SIMULTANEOUS_QUERIES
    210, // NETWORK_ERROR
    218, // TABLE_IS_DROPPED
    516, // AUTHENTICATION_FAILED
];

impl QueryError {
    /// What the server says in an answer that is no success.
    fn refused(text: &str) -> Self {
        let number = text.strip_prefix("Code: ").unwrap_or_default();
        let digits = number.split(|c: char| !c.is_ascii_digit()).next();
        let code = digits.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let text = text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned();
        // What all of the server uses is nobody's question's fault.
        let is_own = !text.contains("(total) memory limit");
        match code {
            code if TIME_CODES.contains(&code) => Self::TimedOut,
            code if SIZE_CODES.contains(&code) && is_own => Self::TooMuch { reason: text },
            code => Self::Refused { code, text },
        }
    }
}

impl From<::clickhouse::error::Error> for QueryError {
    fn from(error: ::clickhouse::error::Error) -> Self {
        use ::clickhouse::error::Error;
        match error {
            Error::BadResponse(text) => Self::refused(&text),
            Error::TimedOut => Self::TimedOut,
            Error::InvalidParams(error) => Self::Settings {
                reason: chain(&*error),
            },
            Error::Network(error) => Self::Unreachable {
                reason: chain(&*error),
            },
            other => Self::Unreachable {
                reason: chain(&other),
            },
        }
    }
}

/// An error with all that caused it: hyper's own words for a refused connection name neither.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let unavailable = |error: &QueryError| {
            tracing::warn!(%error, "a question could not be answered");
            Self::unavailable("the store of events cannot be read now", AGAIN)
        };
        match &error {
            QueryError::NoPlace(NoPlace::Tenant) => {
                let detail = "this tenant has as many questions under way as it may";
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_questions", detail)
                    .with_header(header::RETRY_AFTER, HeaderValue::from(AGAIN.as_secs()))
            }
            QueryError::NoPlace(NoPlace::All) => {
                let detail = "there are as many questions under way as there may be";
                Self::unavailable(detail, AGAIN)
            }
            QueryError::TimedOut => {
                tracing::warn!("a question took longer than it may");
                let detail = "the answer took longer than it may: ask for a shorter range, \
                              or with more filters";
                Self::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", detail)
            }
            QueryError::TooMuch { .. } => {
                tracing::warn!(%error, "a question needs more than it may");
                let detail = "the answer needs more than it may: ask for a shorter range, \
                              or with more filters";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too_much", detail)
            }
            QueryError::Unreachable { .. } => unavailable(&error),
            QueryError::Refused { code, text }
                if LATER_CODES.contains(code) || SIZE_CODES.contains(code) || text.is_empty() =>
            {
                unavailable(&error)
            }
            // A proxy before the server says so without a code.
            QueryError::Refused { code: 0, .. } => unavailable(&error),
            QueryError::Refused { .. }
            | QueryError::Answer { .. }
            | QueryError::Settings { .. } => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, status: u16) {
        let error = ApiError::from(QueryError::refused(text));
        assert_eq!(error.status().as_u16(), status, "{text}");
        let told = serde_json::to_string(&error.problem()).unwrap();
        assert!(!told.contains("secret_column"), "{told}");
    }

    #[test]
    fn what_the_server_says_becomes_a_status_and_stays_in_the_log() {
        check(
            "Code: 159. DB::Exception: Timeout exceeded: secret_column",
            504,
        );
        check(
            "Code: 241. DB::Exception: Query memory limit exceeded: secret_column",
            422,
        );
        check(
            "Code: 241. DB::Exception: (total) memory limit exceeded: secret_column",
            503,
        );
        check(
            "Code: 158. DB::Exception: Limit for rows: secret_column",
            422,
        );
        check(
            "Code: 60. DB::Exception: Table pulse.secret_column does not exist.",
            503,
        );
        check(
            "Code: 516. DB::Exception: secret_column: Authentication failed",
            503,
        );
        check("Code: 62. DB::Exception: Syntax error: secret_column", 500);
        check("502 Bad Gateway secret_column", 503);
        check("", 503);
    }

    #[test]
    fn who_asks_too_much_at_once_is_told_when_to_ask_again() {
        for (no_place, status) in [(NoPlace::Tenant, 429), (NoPlace::All, 503)] {
            let error = ApiError::from(QueryError::from(no_place));
            assert_eq!(error.status().as_u16(), status);
            let response = axum::response::IntoResponse::into_response(error);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        }
    }
}
