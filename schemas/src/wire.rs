//! How records are written down: Avro in the Confluent format, a zero byte, a 4-byte schema id and
//! the body, so that any Kafka client with a registry can read and write it.
//!
//! The codecs of the released schemas are written by hand, for speed, and proven equal to
//! `apache-avro` by property tests in both directions.

pub mod avro;
pub mod canonical;
pub mod released;

pub use avro::{Items, Reader, Text};
pub use released::SchemaId;

/// Why a record's value could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than the five bytes before a body.
    #[error("{length} bytes are too few for a framed record")]
    NoFrame {
        /// Bytes there.
        length: usize,
    },
    /// The first byte is not zero.
    #[error("magic byte {found} is not 0")]
    Magic {
        /// The byte there.
        found: u8,
    },
    /// A schema that is not released, or not the one that belongs on this topic.
    #[error("schema {found} is not the expected schema {expected}")]
    Schema {
        /// The id there.
        found: u32,
        /// The id that belongs there.
        expected: u32,
    },
    /// The body ends inside a field.
    #[error("body ends inside field {field}")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
    },
    /// Bytes are left over behind the last field.
    #[error("{count} bytes follow the last field")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A length, branch, symbol or number that the schema does not allow.
    #[error("field {field} is invalid: {reason}")]
    Invalid {
        /// The field that was being read.
        field: &'static str,
        /// What would be right.
        reason: &'static str,
    },
}

impl DecodeError {
    /// A stable word for counters and dead letters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoFrame { .. } => "no_frame",
            Self::Magic { .. } => "wrong_magic",
            Self::Schema { .. } => "unknown_schema",
            Self::Truncated { .. } => "truncated",
            Self::Trailing { .. } => "trailing_bytes",
            Self::Invalid { .. } => "invalid_field",
        }
    }
}

/// The body of a framed record of the schema `expected`.
pub fn unframe(value: &[u8], expected: SchemaId) -> Result<&[u8], DecodeError> {
    let Some((head, body)) = value.split_first_chunk::<5>() else {
        return Err(DecodeError::NoFrame {
            length: value.len(),
        });
    };
    let [magic, id @ ..] = *head;
    if magic != 0 {
        return Err(DecodeError::Magic { found: magic });
    }
    let found = u32::from_be_bytes(id);
    if found != expected.number() {
        return Err(DecodeError::Schema {
            found,
            expected: expected.number(),
        });
    }
    Ok(body)
}

/// Writes the five bytes before a body.
#[inline]
pub fn frame(out: &mut Vec<u8>, schema: SchemaId) {
    out.extend_from_slice(&schema.head());
}
