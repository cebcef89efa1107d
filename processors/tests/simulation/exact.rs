//! What a window's aggregates are, computed the long way: all samples, arbitrary precision.

use num_bigint::{BigInt, Sign};
use schemas::meter::{Aggregate, Function, Operand};

/// 1 in units of 10⁻¹⁸.
const ONE: i64 = 1_000_000_000_000_000_000;

/// What one event brings to a window; numbers in units of 10⁻¹⁸.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sample {
    /// When, in microseconds.
    pub(crate) time_us: i64,
    /// Orders samples of one instant; those without one come first.
    pub(crate) sequence: Option<i64>,
    /// The meter's value.
    pub(crate) value: Option<i128>,
    /// The meter's weight.
    pub(crate) weight: Option<i128>,
}

/// The aggregates of a window's samples by name, and whether one of them is out of range.
pub(crate) fn results(
    samples: &[Sample],
    aggregates: &[Aggregate],
) -> (Vec<(String, Option<i128>)>, bool) {
    let mut overflow = false;
    let values = aggregates.iter().map(|aggregate| {
        let exact = compute(samples, aggregate);
        let value = exact.as_ref().and_then(in_range);
        overflow |= exact.is_some() && value.is_none();
        (aggregate.name.clone(), value)
    });
    (values.collect(), overflow)
}

/// One aggregate; `None` where it is of nothing.
fn compute(samples: &[Sample], aggregate: &Aggregate) -> Option<BigInt> {
    let of = |sample: &Sample| match aggregate.of {
        Operand::Value => sample.value,
        Operand::Weight => sample.weight,
    };
    let numbers: Vec<i128> = samples.iter().filter_map(of).collect();
    let count = BigInt::from(numbers.len());
    let sum: BigInt = numbers.iter().map(|number| BigInt::from(*number)).sum();
    let edges = samples
        .iter()
        .filter_map(|s| Some((s.time_us, s.sequence, of(s)?)));
    match aggregate.function {
        Function::Count => Some(BigInt::from(samples.len()) * ONE),
        Function::Sum => Some(sum),
        Function::Min => numbers.iter().min().map(|number| BigInt::from(*number)),
        Function::Max => numbers.iter().max().map(|number| BigInt::from(*number)),
        Function::First => edges.min().map(|(_, _, number)| BigInt::from(number)),
        Function::Last => edges.max().map(|(_, _, number)| BigInt::from(number)),
        Function::Mean => (!numbers.is_empty()).then(|| rounded(&sum, &count)),
        Function::Vwap => weighted_mean(samples),
        Function::Stddev => (!numbers.is_empty()).then(|| {
            let squares: BigInt = numbers.iter().map(|n| product(*n, *n)).sum();
            let spread = &count * squares * ONE - &sum * &sum;
            match spread.sign() {
                Sign::Plus => spread.sqrt() / count,
                _ => BigInt::ZERO,
            }
        }),
    }
}

/// The mean of the values weighted by the weights, of the samples that have both.
fn weighted_mean(samples: &[Sample]) -> Option<BigInt> {
    let both: Vec<(i128, i128)> = samples
        .iter()
        .filter_map(|s| Some((s.value?, s.weight?)))
        .collect();
    let weight: BigInt = both.iter().map(|(_, weight)| BigInt::from(*weight)).sum();
    let products: BigInt = both
        .iter()
        .map(|(value, weight)| product(*value, *weight))
        .sum();
    (weight.sign() == Sign::Plus).then(|| rounded(&(products * ONE), &weight))
}

/// A product of two decimals, rounded once.
fn product(a: i128, b: i128) -> BigInt {
    rounded(&(BigInt::from(a) * BigInt::from(b)), &BigInt::from(ONE))
}

/// `numerator / denominator` to the nearest whole number, halves away from zero.
fn rounded(numerator: &BigInt, denominator: &BigInt) -> BigInt {
    let doubled = numerator.magnitude() * 2_u8 + denominator.magnitude();
    let magnitude = doubled / (denominator.magnitude() * 2_u8);
    BigInt::from_biguint(numerator.sign(), magnitude)
}

/// A number of at most 38 digits.
fn in_range(number: &BigInt) -> Option<i128> {
    let max = 10_i128.pow(38) - 1;
    i128::try_from(number)
        .ok()
        .filter(|n| (-max..=max).contains(n))
}
