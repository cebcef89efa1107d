//! What a window's aggregates are, computed the long way: all samples, arbitrary precision.

use std::collections::{BTreeMap, BTreeSet};

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
    /// For each of the meter's aggregates, whether its own conditions hold.
    pub(crate) passes: Vec<bool>,
    /// For each of them, the text that it counts distinct ones of.
    pub(crate) texts: Vec<Option<String>>,
}

/// The aggregates of a window's samples by name, and whether one of them is out of range.
pub(crate) fn results(
    samples: &[Sample],
    aggregates: &[Aggregate],
) -> (Vec<(String, Option<i128>)>, bool) {
    let mut overflow = false;
    let mut values: Vec<(String, Option<i128>)> = vec![];
    for (at, aggregate) in aggregates.iter().enumerate() {
        let own = samples.iter().filter(|sample| sample.passes[at]);
        let own: Vec<Sample> = own.cloned().collect();
        let exact = match aggregate.function {
            Function::Distinct => Some(BigInt::from(distinct(&own, at).len()) * ONE),
            _ => compute(&own, aggregate),
        };
        let value = exact.as_ref().and_then(in_range);
        overflow |= exact.is_some() && value.is_none();
        values.push((aggregate.name.clone(), value));
    }
    for (at, aggregate) in aggregates.iter().enumerate() {
        let Operand::Aggregates(names) = &aggregate.of else {
            continue;
        };
        let of = |name: &String| values.iter().find(|(n, _)| n == name).unwrap().1;
        let (Some(dividend), Some(divisor)) = (of(&names[0]), of(&names[1])) else {
            continue;
        };
        if divisor != 0 {
            let exact = rounded(&(BigInt::from(dividend) * ONE), &BigInt::from(divisor));
            values[at].1 = in_range(&exact);
            overflow |= values[at].1.is_none();
        }
    }
    (values, overflow)
}

/// A sketch that a reader can see: keys and how often values of each came, or under the key 0 how
/// many texts there were.
pub(crate) type Buckets = Vec<(i16, u64)>;

/// The sketches of a window's samples, each under the name of the first aggregate read from it.
pub(crate) fn sketches(samples: &[Sample], aggregates: &[Aggregate]) -> Vec<(String, Buckets)> {
    let mut sketches = BTreeMap::new();
    for (at, aggregate) in aggregates.iter().enumerate() {
        let is_known = aggregates[..at].iter().any(|other| {
            (other.function, &other.of, &other.conditions)
                == (aggregate.function, &aggregate.of, &aggregate.conditions)
        });
        let own = samples.iter().filter(|sample| sample.passes[at]);
        let own: Vec<Sample> = own.cloned().collect();
        let buckets = match aggregate.function {
            _ if is_known => continue,
            Function::Distinct => vec![(0, distinct(&own, at).len() as u64)],
            Function::Quantile => {
                let mut buckets: BTreeMap<i16, u64> = BTreeMap::new();
                for number in numbers(&own, aggregate) {
                    *buckets.entry(bucket(number).0).or_default() += 1;
                }
                buckets.into_iter().collect()
            }
            _ => continue,
        };
        sketches.insert((at, aggregate.name.clone()), buckets);
    }
    let named = sketches
        .into_iter()
        .map(|((_, name), buckets)| (name, buckets));
    named.collect()
}

fn distinct(samples: &[Sample], at: usize) -> BTreeSet<&String> {
    samples
        .iter()
        .filter_map(|sample| sample.texts[at].as_ref())
        .collect()
}

/// The key of a number's bucket, and its middle: "each power of two is cut in 64 buckets of equal
/// width", and where it has fewer numbers, each is a bucket.
fn bucket(number: i128) -> (i16, i128) {
    let magnitude = BigInt::from(number.unsigned_abs());
    if number == 0 {
        return (0, 0);
    }
    let (mut power, mut from) = (0_i64, BigInt::from(1));
    while &from * 2 <= magnitude {
        from *= 2;
        power += 1;
    }
    let piece: BigInt = (&magnitude - &from) * 64 / &from;
    let width: BigInt = &from / 64;
    let middle = match width > BigInt::from(1) {
        true => {
            let middle: BigInt = &from + &piece * &width + &width / 2;
            middle.min(BigInt::from(10_i128.pow(38) - 1))
        }
        false => magnitude.clone(),
    };
    let error = (&middle - &magnitude).magnitude() * 128_u8;
    assert!(
        error <= *magnitude.magnitude(),
        "{number}: the promised error"
    );
    let key = 64 * power + i64::try_from(piece).unwrap() + 1;
    let (key, middle) = (key as i16, i128::try_from(middle).unwrap());
    match number < 0 {
        true => (-key, -middle),
        false => (key, middle),
    }
}

/// What an aggregate's numbers are.
fn numbers(samples: &[Sample], aggregate: &Aggregate) -> Vec<i128> {
    let of = |sample: &Sample| match aggregate.of {
        Operand::Weight => sample.weight,
        _ => sample.value,
    };
    samples.iter().filter_map(of).collect()
}

/// One aggregate; `None` where it is of nothing.
fn compute(samples: &[Sample], aggregate: &Aggregate) -> Option<BigInt> {
    let of = |sample: &Sample| match aggregate.of {
        Operand::Weight => sample.weight,
        _ => sample.value,
    };
    let numbers = numbers(samples, aggregate);
    let count = BigInt::from(numbers.len());
    let sum: BigInt = numbers.iter().map(|number| BigInt::from(*number)).sum();
    let edges = samples
        .iter()
        .filter_map(|s| Some((s.time_us, s.sequence, of(s)?)));
    match aggregate.function {
        // Of the others, once they are there; and of texts.
        Function::Ratio | Function::Distinct => None,
        Function::Quantile => {
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            let q = BigInt::from(aggregate.q.unwrap().units());
            let last = BigInt::from(sorted.len().checked_sub(1)?);
            let rank = usize::try_from(last * q / BigInt::from(ONE)).unwrap();
            Some(BigInt::from(bucket(sorted[rank]).1))
        }
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
    let sign = numerator.sign() * denominator.sign();
    BigInt::from_biguint(sign, magnitude)
}

/// A number of at most 38 digits.
fn in_range(number: &BigInt) -> Option<i128> {
    let max = 10_i128.pow(38) - 1;
    i128::try_from(number)
        .ok()
        .filter(|n| (-max..=max).contains(n))
}
