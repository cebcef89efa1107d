//! Exact decimals: an `i128` at scale 18, the same number in Avro, ClickHouse and here.

use std::fmt;
use std::str::FromStr;

use ethnum::I256;

/// A decimal number with 18 digits after the point and at most 38 in all.
///
/// Law: parsing what [`fmt::Display`] wrote gives the same value; no operation here rounds unless
/// its name or doc says so, and none wraps or clamps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Decimal(i128);

/// Why a text or number is not a [`Decimal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not of the form `-12.5` or `1.25e-3`.
    #[error("not a decimal number")]
    Syntax,
    /// A digit other than 0 behind the 18th place.
    #[error("more than 18 digits after the point")]
    TooFine,
    /// 10²⁰ or more, or −10²⁰ or less.
    #[error("out of range: a decimal lies between -10^20 and 10^20")]
    OutOfRange,
}

/// 1 at scale 18.
pub(crate) const ONE: i128 = 1_000_000_000_000_000_000;
/// The largest of 38 digits.
const MAX: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;

impl Decimal {
    /// Digits after the point.
    pub const SCALE: u32 = 18;
    /// 0.
    pub const ZERO: Self = Self(0);
    /// 1.
    pub const ONE: Self = Self(ONE);
    /// The largest.
    pub const MAX: Self = Self(MAX);

    /// From units of 10⁻¹⁸; `None` beyond 38 digits.
    pub const fn from_units(units: i128) -> Option<Self> {
        if units > MAX || units < -MAX {
            None
        } else {
            Some(Self(units))
        }
    }

    /// From units of 10⁻¹⁸ that the caller knows to have at most 38 digits.
    #[inline]
    pub(crate) const fn known(units: i128) -> Self {
        debug_assert!(units <= MAX && units >= -MAX);
        Self(units)
    }

    /// From units of 10⁻¹⁸ that are known to have at most 38 digits.
    ///
    /// # Panics
    /// Beyond 38 digits.
    pub const fn units_checked(units: i128) -> Self {
        match Self::from_units(units) {
            Some(decimal) => decimal,
            None => panic!("a decimal has at most 38 digits"),
        }
    }

    /// A whole number.
    pub const fn from_int(value: i64) -> Self {
        Self(value as i128 * ONE)
    }

    /// Units of 10⁻¹⁸.
    pub const fn units(self) -> i128 {
        self.0
    }

    /// For charts and sketches alone; not exact.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / ONE as f64
    }

    /// The exact sum, `None` beyond 38 digits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Self::from_units(self.0.checked_add(other.0)?)
    }

    /// The exact difference, `None` beyond 38 digits.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Self::from_units(self.0.checked_sub(other.0)?)
    }

    /// The product in units of 10⁻¹⁸, rounded half away from zero; it always fits 256 bits.
    pub fn product(self, other: Self) -> I256 {
        match self.product_narrow(other) {
            Some(units) => I256::from(units),
            None => product_wide(self.0, other.0),
        }
    }

    /// [`Self::product`] where it fits 128 bits by the short way, which most do.
    #[inline]
    pub fn product_narrow(self, other: Self) -> Option<i128> {
        const D: u128 = ONE as u128;
        let (a, b) = (self.0.unsigned_abs(), other.0.unsigned_abs());
        let (a_whole, a_part) = split(a);
        let (b_whole, b_part) = split(b);
        // a·b/D = a_whole·b + a_part·b_whole + a_part·b_part/D; the last product is below D².
        let small = (a_part * b_part + D / 2) / D;
        let sum = a_whole
            .checked_mul(b)?
            .checked_add(a_part.checked_mul(b_whole)?)?
            .checked_add(small)?;
        let units = i128::try_from(sum).ok()?;
        Some(if (self.0 < 0) != (other.0 < 0) {
            -units
        } else {
            units
        })
    }
}

/// Whole part and rest of a number of units.
#[inline]
fn split(units: u128) -> (u128, u128) {
    const D: u64 = ONE as u64;
    match u64::try_from(units) {
        Ok(small) => (u128::from(small / D), u128::from(small % D)),
        Err(_) => (units / u128::from(D), units % u128::from(D)),
    }
}

#[cold]
fn product_wide(a: i128, b: i128) -> I256 {
    let exact = I256::from(a) * I256::from(b);
    div_half_away(exact, I256::from(ONE))
}

/// `numerator / denominator`, rounded half away from zero. The denominator is positive.
pub(crate) fn div_half_away(numerator: I256, denominator: I256) -> I256 {
    let (quotient, rest) = (numerator / denominator, (numerator % denominator).abs());
    if rest >= denominator - rest {
        quotient + numerator.signum()
    } else {
        quotient
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => {
                let exponent: i32 = text[at + 1..].parse().map_err(|_| DecimalError::Syntax)?;
                (&text[..at], exponent)
            }
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && part.is_empty() {
            return Err(DecimalError::Syntax);
        }
        let units = scaled(whole.bytes().chain(part.bytes()), exponent, part.len())?;
        Self::from_units(if negative { -units } else { units }).ok_or(DecimalError::OutOfRange)
    }
}

/// The digits as one number, moved so that 18 of them stand after the point.
fn scaled(
    digits: impl Iterator<Item = u8>,
    exponent: i32,
    part_len: usize,
) -> Result<i128, DecimalError> {
    let mut value: i128 = 0;
    // Places that are still to be appended (or, below zero, that must be zeros and fall off).
    let part_len = i32::try_from(part_len).map_err(|_| DecimalError::TooFine)?;
    let mut shift = exponent
        .saturating_add(Decimal::SCALE as i32)
        .saturating_sub(part_len);
    let mut trailing_zeros: u32 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(DecimalError::Syntax);
        }
        if digit == b'0' && value != 0 {
            trailing_zeros += 1;
            continue;
        }
        if digit != b'0' {
            value = ten_to(value, trailing_zeros + u32::from(value != 0))?;
            value += i128::from(digit - b'0');
            trailing_zeros = 0;
        }
    }
    if value == 0 {
        return Ok(0);
    }
    shift = shift.saturating_add_unsigned(trailing_zeros);
    if shift < 0 {
        return Err(DecimalError::TooFine);
    }
    ten_to(value, shift.unsigned_abs())
}

/// `value · 10^places`.
fn ten_to(value: i128, places: u32) -> Result<i128, DecimalError> {
    let factor = 10_i128
        .checked_pow(places)
        .ok_or(DecimalError::OutOfRange)?;
    value
        .checked_mul(factor)
        .filter(|v| *v <= MAX)
        .ok_or(DecimalError::OutOfRange)
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = split(self.0.unsigned_abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        let part = format!("{part:018}");
        write!(f, "{sign}{whole}.{}", part.trim_end_matches('0'))
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl serde::Serialize for Decimal {
    /// As text, so that no JSON reader rounds it.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
