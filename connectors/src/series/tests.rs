//! Numbers in, arrivals and holes out.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const START: EventTime = EventTime::from_us(0);

fn seen(at_ms: i64) -> Seen {
    Seen {
        at: Some(EventTime::from_ms(at_ms)),
        received_at: EventTime::from_ms(at_ms),
    }
}

const GRACE: Grace = Grace {
    at_ms: 1_000,
    received_ms: 5_000,
    at_end_ms: 60_000,
};

/// Feeds the numbers one millisecond apart and compares the holes that are then left.
#[track_caller]
fn check(numbers: &[i64], holes: &[(i64, i64)]) {
    let mut series = Series::starting(numbers[0]);
    for (at_ms, number) in numbers.iter().enumerate().skip(1) {
        series.observe(*number, seen(at_ms as i64), START);
    }
    let declared: Vec<_> = series.declare_all();
    let declared: Vec<_> = declared.iter().map(|h| (h.first, h.last)).collect();
    assert_eq!(declared, holes, "{numbers:?}");
    assert!(!series.is_unsettled());
}

#[test]
fn holes_are_what_never_came() {
    check(&[1, 2, 3], &[]);
    check(&[1, 3], &[(2, 2)]);
    check(&[1, 3, 2], &[]);
    check(&[1, 10], &[(2, 9)]);
    check(&[1, 10, 5], &[(2, 4), (6, 9)]);
    check(&[1, 10, 2], &[(3, 9)]);
    check(&[1, 10, 9], &[(2, 8)]);
    check(&[5, 4, 3], &[]);
    check(&[5, 2], &[(3, 4)]);
    check(&[5, 2, 3, 4], &[]);
    check(&[5, 5, 5], &[]);
}

#[test]
fn a_number_is_new_once() {
    let mut series = Series::starting(5);
    assert_eq!(series.observe(5, seen(0), START), Arrival::Known);
    assert_eq!(series.observe(7, seen(0), START), Arrival::New);
    let filled = Arrival::Filled { declared: false };
    assert_eq!(series.observe(6, seen(0), START), filled);
    assert_eq!(series.observe(6, seen(0), START), Arrival::Known);
    assert!(series.knows(6) && !series.knows(8) && !series.knows(4));
}

#[test]
fn holes_are_suspected_for_a_grace_on_either_clock() {
    let mut series = Series::starting(1);
    series.observe(3, seen(100), EventTime::from_ms(42));
    assert_eq!(series.declare(seen(1_099), GRACE), []);
    let declared = series.declare(seen(1_100), GRACE);
    assert_eq!(declared.len(), 1);
    assert_eq!(declared[0].after, EventTime::from_ms(42));
    assert_eq!(series.declare(seen(9_999), GRACE), []);
    let late = Arrival::Filled { declared: true };
    assert_eq!(series.observe(2, seen(2_000), START), late);

    series.observe(5, seen(2_000), START);
    let silent = |received_ms| Seen {
        at: None,
        received_at: EventTime::from_ms(received_ms),
    };
    assert_eq!(series.declare(silent(6_999), GRACE), []);
    assert_eq!(series.declare(silent(7_000), GRACE).len(), 1);
}

#[test]
fn a_hole_at_the_end_waits_longer_since_a_snapshot_may_still_bring_it() {
    let mut series = Series::starting(1);
    series.expect_up_to(3, seen(0), START);
    assert!(!series.is_due(seen(59_999), GRACE));
    assert_eq!(series.declare(seen(59_999), GRACE), []);
    series.observe(4, seen(59_999), START);
    assert!(series.is_due(seen(59_999), GRACE));
    let declared = series.declare(seen(59_999), GRACE);
    assert_eq!((declared[0].first, declared[0].last), (2, 3));
    assert!(!series.is_due(seen(99_999), GRACE));

    let mut silent = Series::starting(1);
    silent.expect_up_to(3, seen(0), START);
    assert_eq!(silent.declare(seen(60_000), GRACE).len(), 1);
}

#[test]
fn word_of_a_higher_number_is_a_hole_until_it_comes() {
    let mut series = Series::starting(1);
    series.expect_up_to(3, seen(0), START);
    assert!(series.is_unsettled());
    assert_eq!(
        series.observe(3, seen(1), START),
        Arrival::Filled { declared: false }
    );
    let holes = series.declare_all();
    assert_eq!((holes[0].first, holes[0].last), (2, 2));
    series.expect_up_to(3, seen(0), START);
    assert!(!series.is_unsettled());
}

#[test]
fn an_earlier_series_goes_on_with_its_holes() {
    let numbers = [1, 2, 5, 9].map(|n| (n, EventTime::from_ms(n * 10)));
    let numbers = BTreeMap::from(numbers);
    assert_eq!(Series::restored(&BTreeMap::new(), &[], START), None);
    let mut series = Series::restored(&numbers, &[(3, 4)], START).unwrap();
    let late = Arrival::Filled { declared: true };
    assert_eq!(series.observe(3, seen(0), START), late);
    let holes = series.declare_all();
    let holes: Vec<_> = holes.iter().map(|h| (h.first, h.last, h.after)).collect();
    assert_eq!(holes, [(6, 8, EventTime::from_ms(50))]);
    assert_eq!(series.last(), 9);
}

#[test]
fn holes_are_bounded() {
    let mut series = Series::starting(0);
    for number in 1..=(HOLES_MAX as i64 + 10) {
        series.observe(number * 2, seen(0), START);
    }
    assert_eq!(series.declare_all().len(), HOLES_MAX);
    assert_eq!(series.observe(1, seen(0), START), Arrival::Known);
}

#[test]
fn the_oldest_hole_is_forgotten_wherever_it_lies() {
    let mut series = Series::starting(10_000);
    for number in 1..=HOLES_MAX as i64 {
        series.observe(10_000 + number * 2, seen(number), START);
    }
    series.observe(9_000, seen(9_999), START);
    let filled = Arrival::Filled { declared: false };
    assert_eq!(series.observe(9_500, seen(9_999), START), filled);
    assert_eq!(series.observe(10_001, seen(9_999), START), Arrival::Known);
    assert_eq!(series.observe(10_003, seen(9_999), START), Arrival::Known);
    assert_eq!(series.observe(10_005, seen(9_999), START), filled);
    assert_eq!(series.declare_all().len(), HOLES_MAX - 1);
    assert!(!series.is_unsettled());
}

#[test]
fn a_number_too_far_below_is_not_of_the_series() {
    let mut series = Series::starting(1_000_000);
    let far = 1_000_000 - BACK_MAX - 1;
    assert_eq!(series.observe(far, seen(0), START), Arrival::TooFarBack);
    assert_eq!(series.observe(far, seen(0), START), Arrival::TooFarBack);
    assert!(!series.is_unsettled() && !series.knows(far));
    assert_eq!(series.observe(far + 1, seen(0), START), Arrival::New);
    assert_eq!(series.observe(far + 1, seen(0), START), Arrival::Known);
    assert_eq!(series.first(), far + 1);
}

#[test]
fn the_ends_of_the_numbers_do_not_overflow() {
    let mut series = Series::starting(i64::MAX);
    let far = series.observe(i64::MIN, seen(0), START);
    assert_eq!(far, Arrival::TooFarBack);

    let mut series = Series::starting(0);
    assert_eq!(series.observe(i64::MAX, seen(0), START), Arrival::New);
    assert_eq!(series.observe(i64::MAX, seen(0), START), Arrival::Known);
    let holes = series.declare_all();
    assert_eq!((holes[0].first, holes[0].last), (1, i64::MAX - 1));
}

proptest! {
    #[test]
    fn agrees_with_a_set(numbers in prop::collection::vec(0_i64..60, 1..120)) {
        let mut series = Series::starting(numbers[0]);
        let mut set = BTreeSet::from([numbers[0]]);
        for number in &numbers[1..] {
            let arrival = series.observe(*number, seen(0), START);
            prop_assert_eq!(arrival != Arrival::Known, set.insert(*number));
        }
        let (low, high) = (*set.first().unwrap(), *set.last().unwrap());
        let missing: Vec<i64> = (low..=high).filter(|n| !set.contains(n)).collect();
        let declared = series.declare_all();
        let named: Vec<i64> = declared.iter().flat_map(|h| h.first..=h.last).collect();
        prop_assert_eq!(named, missing);
    }
}
