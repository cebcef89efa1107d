//! Exact sums and what is computed from them: means, weighted means, deviations.
//!
//! A [`Total`] holds 256 bits, so no stream of decimals that can be counted overflows it; its sums
//! are exact, so they are associative, so any order of events gives the same bytes.

use ethnum::I256;
use num_bigint::{BigInt, Sign};

use crate::decimal::{Decimal, ONE, div_half_away};

/// A sum in units of 10⁻¹⁸, in 256 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Total(I256);

impl Total {
    /// Nothing added yet.
    pub const ZERO: Self = Self(I256::ZERO);

    /// From units of 10⁻¹⁸.
    pub fn from_units(units: I256) -> Self {
        Self(units)
    }

    /// From units that fit 128 bits and how often they wrapped: `low + carry · 2¹²⁸`.
    pub fn from_parts(low: i128, carry: i128) -> Self {
        Self(I256::from(low) + (I256::from(carry) << 128))
    }

    /// Units of 10⁻¹⁸.
    pub fn units(self) -> I256 {
        self.0
    }

    /// The sum of two totals.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// As a decimal; `None` beyond 38 digits.
    pub fn to_decimal(self) -> Option<Decimal> {
        i128::try_from(self.0).ok().and_then(Decimal::from_units)
    }

    /// This total divided by a count, rounded half away from zero; `None` for no events or out of
    /// range.
    pub fn mean(self, count: u64) -> Option<Decimal> {
        if count == 0 {
            return None;
        }
        Self(div_half_away(self.0, I256::from(count))).to_decimal()
    }

    /// This total (of value × weight) divided by the total weight, rounded half away from zero;
    /// `None` where the weights sum to zero or less, or out of range.
    pub fn weighted_mean(self, weight: Self) -> Option<Decimal> {
        if weight.0 <= 0 {
            return None;
        }
        match self.0.checked_mul(I256::from(ONE)) {
            Some(numerator) => Self(div_half_away(numerator, weight.0)).to_decimal(),
            None => {
                let numerator = big(self.0) * BigInt::from(ONE);
                from_big(&div_big_half_away(&numerator, &big(weight.0)))
            }
        }
    }
}

/// The population's standard deviation of `count` values with the given sums of values and of
/// their squares (each square rounded to 18 places), rounded down to 18 places.
///
/// `None` for no events or out of range. A variance that the rounding of the squares makes
/// negative is zero.
pub fn deviation(values: Total, squares: Total, count: u64) -> Option<Decimal> {
    if count == 0 {
        return None;
    }
    // In units: n·Σx² has scale 18, (Σx)² has scale 36; both at scale 36, over n².
    let n = BigInt::from(count);
    let sum = big(values.0);
    let spread = &n * big(squares.0) * BigInt::from(ONE) - &sum * &sum;
    if spread.sign() != Sign::Plus {
        return Some(Decimal::ZERO);
    }
    // √(spread / n²) at scale 18 = ⌊√spread / n⌋ since √ halves the scale of 36.
    from_big(&(spread.sqrt() / n))
}

/// `dividend / divisor`, rounded half away from zero to 18 places; `None` for a divisor of 0, or
/// out of range.
pub fn ratio(dividend: Decimal, divisor: Decimal) -> Option<Decimal> {
    let (dividend, divisor) = (I256::from(dividend.units()), I256::from(divisor.units()));
    if divisor == 0 {
        return None;
    }
    // 38 digits and 18 more fit 256 bits.
    let numerator = dividend * I256::from(ONE) * divisor.signum();
    Total(div_half_away(numerator, divisor.abs())).to_decimal()
}

fn big(value: I256) -> BigInt {
    BigInt::from_signed_bytes_le(&value.to_le_bytes())
}

fn from_big(value: &BigInt) -> Option<Decimal> {
    i128::try_from(value).ok().and_then(Decimal::from_units)
}

fn div_big_half_away(numerator: &BigInt, denominator: &BigInt) -> BigInt {
    let half = denominator / 2;
    match numerator.sign() {
        Sign::Minus => (numerator - half) / denominator,
        _ => (numerator + half) / denominator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn total(text: &str) -> Total {
        Total(I256::from(text.parse::<Decimal>().unwrap().units()))
    }

    #[test]
    fn means_round_half_away_from_zero() {
        assert_eq!(
            total("1").mean(3).unwrap().to_string(),
            "0.333333333333333333"
        );
        assert_eq!(
            total("2").mean(3).unwrap().to_string(),
            "0.666666666666666667"
        );
        assert_eq!(
            total("-2").mean(3).unwrap().to_string(),
            "-0.666666666666666667"
        );
        assert_eq!(total("1").mean(0), None);
        assert_eq!(
            total("10").weighted_mean(total("4")).unwrap().to_string(),
            "2.5"
        );
        assert_eq!(total("10").weighted_mean(total("0")), None);
        assert_eq!(total("10").weighted_mean(total("-4")), None);
    }

    #[test]
    fn deviations_are_of_the_population() {
        // 2, 4, 4, 4, 5, 5, 7, 9: mean 5, deviation 2.
        assert_eq!(
            deviation(total("40"), total("232"), 8),
            Some(Decimal::from_int(2))
        );
        assert_eq!(deviation(total("3"), total("9"), 1), Some(Decimal::ZERO));
        assert_eq!(deviation(Total::ZERO, Total::ZERO, 0), None);
    }

    #[test]
    fn ratios_round_half_away_from_zero() {
        let check = |dividend: &str, divisor: &str, expect: Option<&str>| {
            let [dividend, divisor] = [dividend, divisor].map(|text| text.parse().unwrap());
            let got = ratio(dividend, divisor).map(|ratio| ratio.to_string());
            assert_eq!(got.as_deref(), expect, "{dividend} / {divisor}");
        };
        check("1", "3", Some("0.333333333333333333"));
        check("2", "3", Some("0.666666666666666667"));
        check("-2", "3", Some("-0.666666666666666667"));
        check("2", "-3", Some("-0.666666666666666667"));
        check("-2", "-3", Some("0.666666666666666667"));
        check("1e-18", "2", Some("0.000000000000000001"));
        check("-1e-18", "2", Some("-0.000000000000000001"));
        check("0", "7", Some("0"));
        check("7", "0", None);
        check("0", "0", None);
        check("99999999999999999999", "1", Some("99999999999999999999"));
        check("99999999999999999999", "1e-18", None);
    }

    #[test]
    fn out_of_range_is_no_number() {
        let large = Total::from_parts(0, 1);
        assert_eq!(large.to_decimal(), None);
        assert_eq!(large.mean(1), None);
        assert!(large.mean(1 << 60).is_some());
    }

    proptest! {
        #[test]
        fn totals_split_and_join(low in any::<i128>(), carry in -1_000_i128..1_000) {
            let total = Total::from_parts(low, carry);
            let units = total.units();
            prop_assert_eq!(units, I256::from(low) + (I256::from(carry) << 128));
        }

        #[test]
        fn long_and_short_division_agree(
            value in any::<i128>(), carry in any::<i32>(), weight in 1..i128::MAX,
        ) {
            let total = Total::from_parts(value, i128::from(carry));
            let weight = Total(I256::from(weight));
            let naive = div_big_half_away(&(big(total.0) * BigInt::from(ONE)), &big(weight.0));
            prop_assert_eq!(total.weighted_mean(weight), from_big(&naive));
        }
    }
}
