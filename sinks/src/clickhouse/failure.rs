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

impl ServerError {
    /// What becomes of the work: the log still has all of it, so nothing is ever rejected here.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Settings { .. } | Self::Answer { .. } => Fate::Halt,
            Self::Refused { code, .. } if SCHEMA_CODES.contains(code) => Fate::Halt,
            Self::Unreachable { .. } | Self::TimedOut | Self::Refused { .. } => Fate::Retry,
        }
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
    fn long_words_are_cut_between_characters() {
        let ServerError::Refused { text, .. } = ServerError::refused(&"é".repeat(400)) else {
            panic!("a refusal is a refusal");
        };
        assert_eq!(text, "é".repeat(150));
    }
}
