//! Any order and any grouping give the same bytes, within the promised errors.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::quantiles::{BUCKETS_MAX, key_of, value_of};
use super::*;
use crate::decimal::Decimal;

const UNITS_MAX: i128 = 10_i128.pow(38) - 1;

fn decimal(units: i128) -> Decimal {
    Decimal::from_units(units).unwrap()
}

fn bytes(sketch: &Sketch) -> Vec<u8> {
    let mut out = vec![];
    sketch.encode(&mut out);
    out
}

fn quantiles(values: &[i128]) -> Sketch {
    let mut quantiles = Quantiles::default();
    values
        .iter()
        .for_each(|units| quantiles.add(decimal(*units)));
    Sketch::Quantiles(quantiles)
}

fn distinct(hashes: &[u64]) -> Sketch {
    let mut distinct = Distinct::default();
    hashes.iter().for_each(|hash| distinct.add(*hash));
    Sketch::Distinct(distinct)
}

/// A value is at most 1/128 of it away from what stands for it.
#[track_caller]
fn check_bucket(units: i128) {
    let stands = value_of(key_of(decimal(units))).units();
    let error = (stands - units).unsigned_abs();
    let is_close = error.saturating_mul(128) <= units.unsigned_abs();
    assert!(is_close, "{units}: {stands}");
    assert_eq!(stands.signum(), units.signum(), "{units}: {stands}");
}

#[test]
fn each_value_is_close_to_the_middle_of_its_bucket() {
    for power in 0..127_u32 {
        let from = 1_i128 << power;
        for units in [from - 1, from, from + 1, from + from / 3, from + (from - 1)] {
            if units <= UNITS_MAX {
                check_bucket(units);
                check_bucket(-units);
            }
        }
    }
    (0..20_000).for_each(check_bucket);
    check_bucket(UNITS_MAX);
    check_bucket(-UNITS_MAX);
}

#[test]
fn keys_are_in_the_order_of_the_values() {
    let key = |units| key_of(decimal(units));
    assert_eq!((key(0), key(1), key(-1)), (0, 1, -1));
    assert_eq!((key(2), key(3), key(4)), (65, 97, 129));
    let mut last = i16::MIN;
    for at in -127 * 64..=127 * 64 {
        let value = value_of(at).units();
        // Powers of two below 64 have fewer values than buckets.
        if value.unsigned_abs() >= 64 && value.abs() < UNITS_MAX {
            assert_eq!(key(value), at);
        }
        assert!(key(value) >= last);
        last = key(value);
    }
}

#[test]
fn a_quantile_is_of_the_lower_rank() {
    let Sketch::Quantiles(sketch) = quantiles(&[1, 2, 3, 4, 5]) else {
        unreachable!("a sketch of numbers");
    };
    let at = |q: &str| sketch.quantile(q.parse().unwrap()).unwrap().units();
    assert_eq!(
        ["0", "0.2499", "0.25", "0.5", "0.99", "1"].map(at),
        [1, 1, 2, 3, 4, 5]
    );
    assert_eq!(Quantiles::default().quantile(Decimal::ONE), None);
}

#[test]
fn beyond_the_most_buckets_the_highest_are_kept_whatever_came_first() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let any = |random: &mut fastrand::Rng| {
        let units = random.i128(-UNITS_MAX..=UNITS_MAX);
        units >> random.u32(0..126)
    };
    let mut values: Vec<i128> = (0..40_000).map(|_| any(&mut random)).collect();
    let whole = quantiles(&values);
    assert_eq!(bytes(&whole).len(), 1 + 10 * BUCKETS_MAX);
    for _ in 0..5 {
        random.shuffle(&mut values);
        let mut merged = quantiles(&[]);
        for part in values.chunks(random.usize(1..20_000)) {
            merged.merge(&quantiles(part));
        }
        assert_eq!(merged, whole);
    }
    let Sketch::Quantiles(sketch) = whole else {
        unreachable!("a sketch of numbers");
    };
    assert_eq!(sketch.count(), 40_000);
    values.sort_unstable();
    let exact = values[(39_999.0 * 0.99) as usize];
    let error = (sketch.quantile("0.99".parse().unwrap()).unwrap().units() - exact).abs();
    assert!(error <= exact / 128);
}

#[test]
fn texts_are_counted_exactly_while_they_are_few_and_nearly_beyond() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sketch = Distinct::default();
    let mut known = BTreeSet::new();
    for step in 0..400_000_u64 {
        let hash = random.u64(..);
        known.insert(hash);
        sketch.add(hash);
        let (count, exact) = (known.len() as u64, known.len() <= 1_024);
        if exact || step.is_power_of_two() || step % 50_000 == 0 {
            assert_eq!(sketch.is_exact(), exact);
            let error = sketch.count().abs_diff(count) as f64 / count as f64;
            // Six times the standard error is seen once in 500 million counts.
            let most = if exact {
                0.0
            } else {
                6.0 * 1.04 / 8_192_f64.sqrt()
            };
            assert!(error <= most, "{} of {count}", sketch.count());
        }
    }
}

#[test]
fn bytes_of_a_sketch_are_small_and_read_back() {
    let mut all = vec![quantiles(&[]), quantiles(&[0, -5, 1 << 90]), distinct(&[])];
    let hashes: Vec<u64> = (0..2_000_u64)
        .map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect();
    all.extend([1, 1_024, 1_025, 2_000].map(|count| distinct(&hashes[..count])));
    for sketch in all {
        let bytes = bytes(&sketch);
        assert!(bytes.len() <= 1 + 8_192, "{}", bytes.len());
        assert_eq!(Sketch::decode(&bytes).unwrap(), sketch);
        assert!(sketch.is_like(&Sketch::decode(&bytes).unwrap()));
    }
}

#[test]
fn bytes_that_no_sketch_writes_are_refused() {
    let check = |bytes: &[u8], reason: &str| {
        let error = Sketch::decode(bytes).unwrap_err().to_string();
        assert!(error.contains(reason), "{bytes:?}: {error}");
    };
    check(&[], "without a form");
    check(&[9], "unknown form 9");
    check(&[1, 0], "a bucket has 10 bytes");
    let bucket = |key: i16, count: u64| [&key.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let two = |a: Vec<u8>, b: Vec<u8>| [vec![1], a, b].concat();
    check(
        &two(bucket(2, 1), bucket(2, 1)),
        "in the order of their keys",
    );
    check(&two(bucket(1, 1), bucket(2, 0)), "at least one value");
    check(
        &two(bucket(1, 1), bucket(2, u64::MAX)),
        "all less than 2^64",
    );
    check(&two(bucket(1, 1), bucket(i16::MAX, 1)), "no decimal has");
    check(&[2; 8], "1024 hashes");
    let hash = |hash: u64| hash.to_le_bytes();
    check(&[&[2][..], &hash(2), &hash(1)].concat(), "in their order");
    check(&[3; 100], "8192 registers");
    check(
        &[[3].as_slice(), &[53; 8_192]].concat(),
        "each of at most 52",
    );
}

fn values() -> impl Strategy<Value = Vec<i128>> {
    let units = prop_oneof![
        0_i128..200,
        -200_000_000_000_000_000_000_i128..500_000_000_000_000_000_000,
        -UNITS_MAX..=UNITS_MAX,
    ];
    prop::collection::vec(units, 1..200)
}

proptest! {
    #[test]
    fn quantiles_are_within_their_error(mut values in values(), q in 0_i64..=1_000) {
        let Sketch::Quantiles(sketch) = quantiles(&values) else {
            unreachable!("a sketch of numbers");
        };
        values.sort_unstable();
        let exact = values[(values.len() - 1) * q as usize / 1_000];
        let q = decimal(i128::from(q) * 1_000_000_000_000_000);
        let error = (sketch.quantile(q).unwrap().units() - exact).unsigned_abs();
        prop_assert!(error.saturating_mul(128) <= exact.unsigned_abs(), "{exact}: {error}");
        prop_assert_eq!(sketch.count(), values.len() as u64);
    }

    #[test]
    fn any_order_and_any_grouping_gives_the_same_quantiles(
        values in values(), cut in 0_usize..200, seed in any::<u64>(),
    ) {
        let whole = quantiles(&values);
        let mut shuffled = values;
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        prop_assert_eq!(&quantiles(&shuffled), &whole);
        let (one, other) = shuffled.split_at(cut.min(shuffled.len()));
        let (mut left, mut right) = (quantiles(one), quantiles(other));
        left.merge(&quantiles(other));
        right.merge(&quantiles(one));
        prop_assert_eq!(&left, &whole);
        prop_assert_eq!(&right, &whole);
        prop_assert_eq!(Sketch::decode(&bytes(&whole)).unwrap(), whole);
    }

    #[test]
    fn any_order_and_any_grouping_gives_the_same_count(
        count in 1_usize..3_000, cut in 0_usize..3_000, seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut hashes: Vec<u64> = (0..count).map(|_| random.u64(..)).collect();
        let whole = distinct(&hashes);
        let repeats: Vec<u64> = hashes.iter().copied().take(50).collect();
        hashes.extend(repeats);
        random.shuffle(&mut hashes);
        prop_assert_eq!(&distinct(&hashes), &whole);
        let (one, other) = hashes.split_at(cut.min(hashes.len()));
        let (mut left, mut right) = (distinct(one), distinct(other));
        left.merge(&distinct(other));
        right.merge(&distinct(one));
        prop_assert_eq!(&left, &whole);
        prop_assert_eq!(&right, &whole);
        prop_assert_eq!(Sketch::decode(&bytes(&whole)).unwrap(), whole);
    }
}
