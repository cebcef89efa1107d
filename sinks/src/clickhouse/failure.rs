//! What ClickHouse, or the way to it, answered instead of success.

use runtime::fate::Fate;

/// How much of the server's words is kept.
const TEXT_BYTES_MAX: usize = 300;

/// Why a statement has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// No client can be made with these settings.
    #[error("client cannot be made: {reason}")]
    Settings {
        /// What is wrong.
        reason: String,
    },
    /// The server did not answer, or the connection broke.
    #[error("clickhouse does not answer: {reason}")]
    Unreachable {
        /// What the connection said.
        reason: String,
    },
    /// The answer did not come in time.
    #[error("clickhouse did not answer in time")]
    TimedOut,
    /// The server refused.
    #[error("clickhouse refused (code {code}): {text}")]
    Refused {
        /// ClickHouse's number of the error.
        code: u32,
        /// The beginning of what it says; it names tables, columns and types.
        text: String,
    },
    /// The answer is not what was asked for.
    #[error("answer cannot be read: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
}

/// Codes that say that tables are not as the migrations made them, so that waiting mends nothing
/// and a restart, which applies the migrations, may.
const SCHEMA_CODES: [u32; 10] = [
    16,  // NO_SUCH_COLUMN_IN_TABLE
    47,  // UNKNOWN_IDENTIFIER
    50,  // UNKNOWN_TYPE
    53,  // TYPE_MISMATCH
    60,  // UNKNOWN_TABLE
    62,  // SYNTAX_ERROR
    70,  // CANNOT_CONVERT_TYPE
    81,  // UNKNOWN_DATABASE
    115, // UNKNOWN_SETTING
    218, // TABLE_IS_DROPPED
];

/// Codes that say that rows are too much for one insert, or that one of them is not let in: fewer
/// rows may go where these did not.
///
/// Too many parts (252), queries (202) or a spent quota (201) are not among them, since more and
/// smaller inserts make those worse. Nor is an answer that did not come in time: the server goes on
/// with such an insert, and the same bytes under the same token find it done.
const ROWS_CODES: [u32; 14] = [
    117, // INCORRECT_DATA
    128, // TOO_LARGE_ARRAY_SIZE
    131, // TOO_LARGE_STRING_SIZE
    158, // TOO_MANY_ROWS
    159, // TIMEOUT_EXCEEDED
    160, // TOO_SLOW
    173, // CANNOT_ALLOCATE_MEMORY
    229, // QUERY_IS_TOO_LARGE
    241, // MEMORY_LIMIT_EXCEEDED
    307, // TOO_MANY_BYTES
    321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    396, // TOO_MANY_ROWS_OR_BYTES
    407, // DECIMAL_OVERFLOW
    469, // VIOLATED_CONSTRAINT
];

impl ServerError {
    /// What becomes of the work: the log still has all of it, so nothing is ever rejected here.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Settings { .. } | Self::Answer { .. } => Fate::Halt,
            Self::Refused { code, .. } if SCHEMA_CODES.contains(code) => Fate::Halt,
            Self::Unreachable { .. } | Self::TimedOut | Self::Refused { .. } => Fate::Retry,
        }
    }

    /// True when fewer rows may be taken where these were refused.
    pub fn is_about_rows(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if ROWS_CODES.contains(code))
    }

    /// What the server says in an answer that is no success.
    fn refused(text: &str) -> Self {
        let number = text.strip_prefix("Code: ").unwrap_or_default();
        let digits = number
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap_or_default();
        let mut end = TEXT_BYTES_MAX.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self::Refused {
            code: digits.parse().unwrap_or(0),
            text: text[..end].to_owned(),
        }
    }
}

impl From<::clickhouse::error::Error> for ServerError {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, code: u32, fate: Fate) {
        let error = ServerError::refused(text);
        assert!(matches!(error, ServerError::Refused { code: found, .. } if found == code));
        assert_eq!(error.fate(), fate, "{text}");
    }

    #[test]
    fn a_missing_table_needs_a_restart_and_a_full_server_needs_time() {
        check(
            "Code: 60. DB::Exception: Table pulse.events does not exist.",
            60,
            Fate::Halt,
        );
        check("Code: 252. DB::Exception: Too many parts", 252, Fate::Retry);
        check(
            "Code: 516. DB::Exception: default: Authentication failed",
            516,
            Fate::Retry,
        );
        check("502 Bad Gateway", 0, Fate::Retry);
        check("", 0, Fate::Retry);
    }

    #[test]
    fn fewer_rows_help_where_these_are_too_much_and_not_where_inserts_are_too_many() {
        let check = |text: &str, expect: bool| {
            let error = ServerError::refused(text);
            assert_eq!(error.is_about_rows(), expect, "{text}");
            assert_eq!(error.fate(), Fate::Retry, "{text}");
        };
        check("Code: 241. DB::Exception: memory limit exceeded", true);
        check("Code: 469. DB::Exception: Constraint is violated", true);
        check("Code: 252. DB::Exception: Too many parts", false);
        check("Code: 202. DB::Exception: Too many queries", false);
        check("Code: 210. DB::NetException: Connection reset", false);
        assert!(!ServerError::TimedOut.is_about_rows());
        let is_schema = |code: &u32| SCHEMA_CODES.contains(code);
        assert!(!ROWS_CODES.iter().any(is_schema));
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let ServerError::Refused { text, .. } = ServerError::refused(&"é".repeat(400)) else {
            panic!("a refusal is a refusal");
        };
        assert_eq!(text, "é".repeat(150));
    }
}
