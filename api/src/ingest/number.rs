//! Numbers as they stand in JSON, to the last digit.

use schemas::decimal::{Decimal, DecimalError};

/// Ten to the power of each index.
const POWERS: [i128; 19] = {
    let mut powers = [1; 19];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// The number that `text` is: what [`Decimal`]'s own reading gives, sooner where it is short.
///
/// # Errors
/// As [`Decimal`]'s own.
#[inline]
pub(super) fn read(text: &str) -> Result<Decimal, DecimalError> {
    match short(text.as_bytes()) {
        Some(number) => Ok(number),
        None => text.parse(),
    }
}

/// A number of at most 18 digits, without an exponent; they fit 64 bits, and the result has 36
/// digits at most.
#[inline]
fn short(text: &[u8]) -> Option<Decimal> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // With the point.
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value: u64 = 0;
    let mut point = None;
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let places = match point {
        Some(at) if at > 0 && at + 1 < digits.len() => digits.len() - at - 1,
        Some(_) => return None,
        None if digits.len() == 19 => return None,
        None => 0,
    };
    let units = i128::from(value) * POWERS[18 - places];
    Decimal::from_units(if is_negative { -units } else { units })
}

/// Why a number is not taken.
pub(super) fn reason(error: DecimalError) -> &'static str {
    match error {
        DecimalError::Syntax => "is not a decimal number",
        DecimalError::TooFine => "has more than 18 digits after the point: round it",
        DecimalError::OutOfRange => "is out of range: it must lie between -10^20 and 10^20",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn short_numbers_are_what_the_long_way_makes_of_them(
            text in "-?[0-9]{0,20}(\\.[0-9]{0,20})?([eE][+-]?[0-9]{1,2})?"
        ) {
            prop_assert_eq!(read(&text), text.parse());
        }
    }

    #[test]
    fn the_longest_short_numbers_are_whole() {
        for text in [
            "999999999999999999",
            "0.99999999999999999",
            "-99999999.9999999999",
        ] {
            assert!(short(text.as_bytes()).is_some(), "{text}");
            assert_eq!(short(text.as_bytes()), text.parse().ok());
        }
        for text in ["", "-", ".", "1.", ".5", "+1", "1e5", "1234567890123456789"] {
            assert_eq!(short(text.as_bytes()), None, "{text}");
        }
    }
}
