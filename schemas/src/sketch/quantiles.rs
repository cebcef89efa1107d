//! Quantiles of numbers: a DDSketch whose buckets are cut by whole numbers.
//!
//! A bucket holds the values that agree in their sign, their highest bit and the six bits below
//! it, counted in units of 10⁻¹⁸: each power of two is cut in 64 buckets of equal width (the
//! linearly interpolated mapping of the DDSketch paper, with a multiplier of 64). A bucket's middle
//! is at most 1/128 from each of its values, so a quantile is a value that is at most 0.79 % from
//! the one that holds the rank.
//!
//! At most [`BUCKETS_MAX`] are kept. Beyond it the lowest two are put together as the higher one,
//! again and again: what is left is the highest buckets of all that ever were there, whatever came
//! first. That concerns quantiles below the values of 2,047 buckets, 32 powers of two, alone.

use super::{QUANTILES, SketchError};
use crate::decimal::{Decimal, ONE};

/// Buckets of one sketch.
pub(super) const BUCKETS_MAX: usize = 2_048;
/// Bits of a value below its highest that tell its bucket.
const BITS: u32 = 6;
/// The key of the largest decimal's bucket: 38 digits have at most 127 bits.
const KEY_MAX: i16 = 127 << BITS;
/// Bytes of a bucket: its key and its count.
const BUCKET_SIZE: usize = 10;

/// How often values of each bucket came, by key: negative below 0, 0 for 0, positive above it, in
/// the order of the values.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Quantiles {
    keys: Vec<i16>,
    counts: Vec<u64>,
}

impl Quantiles {
    /// Takes a value in.
    #[inline]
    pub fn add(&mut self, value: Decimal) {
        self.add_count(key_of(value), 1);
    }

    /// Takes so many values of one bucket in, as whoever counted them elsewhere knows them.
    ///
    /// # Errors
    /// When no decimal has a bucket of that key.
    pub fn add_bucket(&mut self, key: i16, count: u64) -> Result<(), SketchError> {
        match (-KEY_MAX..=KEY_MAX).contains(&key) {
            true => self.add_count(key, count),
            false => {
                return Err(SketchError::Invalid {
                    reason: "no decimal has a bucket of that key",
                });
            }
        }
        Ok(())
    }

    fn add_count(&mut self, key: i16, count: u64) {
        match self.keys.binary_search(&key) {
            Ok(at) => self.counts[at] += count,
            Err(0) if self.keys.len() >= BUCKETS_MAX => self.counts[0] += count,
            Err(at) => {
                self.keys.insert(at, key);
                self.counts.insert(at, count);
                self.bound();
            }
        }
    }

    /// Puts the lowest buckets together until there are few enough.
    fn bound(&mut self) {
        let Some(surplus) = self.keys.len().checked_sub(BUCKETS_MAX) else {
            return;
        };
        let lowest: u64 = self.counts.drain(..surplus).sum();
        self.keys.drain(..surplus);
        self.counts[0] += lowest;
    }

    /// Takes all that went into another one in.
    pub fn merge(&mut self, other: &Self) {
        if other.keys.is_empty() {
            return;
        }
        if self.keys.is_empty() {
            self.keys.extend_from_slice(&other.keys);
            self.counts.extend_from_slice(&other.counts);
            return;
        }
        let is_known = |key: &i16| self.keys.binary_search(key).is_ok();
        if other.keys.iter().all(is_known) {
            for (key, count) in other.buckets() {
                self.add_count(key, count);
            }
            return;
        }
        let (mut own, mut others) = (self.buckets().peekable(), other.buckets().peekable());
        let room = self.keys.len() + other.keys.len();
        let (mut keys, mut counts) = (Vec::with_capacity(room), Vec::with_capacity(room));
        loop {
            let key = match (own.peek(), others.peek()) {
                (None, None) => break,
                (Some((key, _)), None) | (None, Some((key, _))) => *key,
                (Some((own, _)), Some((other, _))) => *own.min(other),
            };
            let of_key = |bucket: &(i16, u64)| bucket.0 == key;
            let count = own.next_if(of_key).map_or(0, |(_, count)| count)
                + others.next_if(of_key).map_or(0, |(_, count)| count);
            keys.push(key);
            counts.push(count);
        }
        drop((own, others));
        (self.keys, self.counts) = (keys, counts);
        self.bound();
    }

    /// The buckets that hold something, the lowest first: key and count.
    pub fn buckets(&self) -> impl Iterator<Item = (i16, u64)> {
        self.keys.iter().copied().zip(self.counts.iter().copied())
    }

    /// Values that went in.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The value of rank ⌊q · (n − 1)⌋ of the n that went in, the least having rank 0, but for the
    /// promised error; `None` of none. `q` lies between 0 and 1.
    pub fn quantile(&self, q: Decimal) -> Option<Decimal> {
        let last = self.count().checked_sub(1)?;
        let q = u128::try_from(q.units().clamp(0, ONE)).unwrap_or_default();
        let rank = u128::from(last) * q / ONE.unsigned_abs();
        let mut passed = 0;
        for (key, count) in self.buckets() {
            passed += u128::from(count);
            if passed > rank {
                return Some(value_of(key));
            }
        }
        None
    }

    /// Appends its form, and each bucket in ten bytes, the lowest first: the key in two and the
    /// count in eight, each with its lowest byte first.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(QUANTILES);
        for (key, count) in self.buckets() {
            out.extend_from_slice(&key.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
        }
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, SketchError> {
        let (buckets, rest) = body.as_chunks::<BUCKET_SIZE>();
        if !rest.is_empty() {
            return Err(SketchError::Invalid {
                reason: "a bucket has 10 bytes",
            });
        }
        Self::from_buckets(
            buckets.iter().map(|[a, b, count @ ..]| {
                (i16::from_le_bytes([*a, *b]), u64::from_le_bytes(*count))
            }),
        )
    }

    /// From the buckets that hold something, the lowest first.
    ///
    /// # Errors
    /// When they are not in order, too many, or hold nothing or more than could be counted.
    pub fn from_buckets(
        buckets: impl IntoIterator<Item = (i16, u64)>,
    ) -> Result<Self, SketchError> {
        let invalid = |reason| Err(SketchError::Invalid { reason });
        let (mut all, mut total) = (Self::default(), 0_u64);
        for (key, count) in buckets {
            if all.keys.last().is_some_and(|last| *last >= key) {
                return invalid("buckets come in the order of their keys");
            }
            if !(-KEY_MAX..=KEY_MAX).contains(&key) {
                return invalid("no decimal has a bucket of that key");
            }
            total = match total.checked_add(count) {
                Some(total) if count > 0 => total,
                _ => return invalid("a bucket holds at least one value, and all less than 2^64"),
            };
            all.keys.push(key);
            all.counts.push(count);
        }
        match all.keys.len() <= BUCKETS_MAX {
            true => Ok(all),
            false => invalid("at most 2048 buckets"),
        }
    }
}

/// The key of the bucket that a value belongs to.
#[inline]
pub(super) fn key_of(value: Decimal) -> i16 {
    let units = value.units();
    let magnitude = units.unsigned_abs();
    if magnitude == 0 {
        return 0;
    }
    let exponent = magnitude.ilog2();
    // The highest bit and the six below it, those that there are not being 0.
    let head = match exponent.checked_sub(BITS) {
        Some(shift) => magnitude >> shift,
        None => magnitude << (BITS - exponent),
    };
    let key = ((exponent << BITS) + head as u32 - (1 << BITS) + 1) as i16;
    if units < 0 { -key } else { key }
}

/// What stands for the values of a bucket: its middle.
pub(super) fn value_of(key: i16) -> Decimal {
    let Some(at) = u32::from(key.unsigned_abs()).checked_sub(1) else {
        return Decimal::ZERO;
    };
    let (exponent, head) = (at >> BITS, i128::from((at & 0x3f) | 1 << BITS));
    let units = match exponent.checked_sub(BITS) {
        Some(shift) => (head << shift) + ((1 << shift) >> 1),
        None => head >> (BITS - exponent),
    };
    // The middle of the largest value's bucket may lie beyond it.
    let value = Decimal::from_units(units).unwrap_or(Decimal::MAX);
    match key < 0 {
        true => Decimal::known(-value.units()),
        false => value,
    }
}
