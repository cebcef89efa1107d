//! What is approximate: quantiles and counts of distinct texts, in memory that does not grow with
//! the events.
//!
//! A sketch is a function of the values that went in, and of nothing else: any order, and any way
//! of putting parts together, gives the same bytes. So sketches of several windows can be merged
//! into that of all their events, here or by whoever reads them from a metric's record.
//! No floating point decides where a value belongs, so every machine agrees.

mod distinct;
mod quantiles;

pub use distinct::{Distinct, text_hash};
pub use quantiles::Quantiles;

/// One of the two kinds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sketch {
    /// Of numbers.
    Quantiles(Quantiles),
    /// Of texts.
    Distinct(Distinct),
}

/// Why bytes are no sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SketchError {
    /// The first byte says which kind and form it is.
    #[error("sketch of an unknown form {found}")]
    Form {
        /// The byte there.
        found: u8,
    },
    /// The bytes behind it are not what the form has.
    #[error("sketch is invalid: {reason}")]
    Invalid {
        /// What would be right.
        reason: &'static str,
    },
    /// Nothing at all.
    #[error("sketch without a form")]
    Empty,
}

/// The forms, by the first byte.
const QUANTILES: u8 = 1;
const DISTINCT_HASHES: u8 = 2;
const DISTINCT_REGISTERS: u8 = 3;

impl Sketch {
    /// True for sketches of one kind: only those can be merged.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Takes all that went into another sketch of the same kind in.
    ///
    /// # Panics
    /// When the other is of another kind.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Quantiles(own), Self::Quantiles(other)) => own.merge(other),
            (Self::Distinct(own), Self::Distinct(other)) => own.merge(other),
            (own, other) => panic!("{own:?} and {other:?} are not of one kind"),
        }
    }

    /// Appends its bytes, as `avro/metric_detail.avsc` and `docs/wire.md` say.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Quantiles(quantiles) => quantiles.encode(out),
            Self::Distinct(distinct) => distinct.encode(out),
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Whatever no sketch could have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, SketchError> {
        let (form, body) = bytes.split_first().ok_or(SketchError::Empty)?;
        match *form {
            QUANTILES => Quantiles::decode(body).map(Self::Quantiles),
            DISTINCT_HASHES => Distinct::decode_hashes(body).map(Self::Distinct),
            DISTINCT_REGISTERS => Distinct::decode_registers(body).map(Self::Distinct),
            found => Err(SketchError::Form { found }),
        }
    }
}

#[cfg(test)]
mod tests;
