//! A month by figures that the test gives.

use runtime::control::Defined;
use schemas::access::KeyKind;
use schemas::tier::{IngestOverrides, Tier};

use super::*;
use crate::limits::tests::caller;

/// In the middle of November 2026.
const NOW_MS: i64 = 1_795_000_000_000;

/// Somebody with a quota of 100, and what was counted to when.
fn asking(quota: Option<u64>, counted: Option<(u64, i64)>) -> Caller {
    let overrides = IngestOverrides {
        events_per_month: quota,
        ..IngestOverrides::default()
    };
    let mut caller = caller("k1", KeyKind::Secret, overrides);
    let control = Arc::make_mut(&mut caller.control);
    control.usage = counted.map(|(events, counted_to_ms)| Defined {
        version: 1,
        changed_at: EventTime::from_us(0),
        value: Usage {
            month: Month::holding(counted_to_ms),
            events,
            counted_to_ms,
        },
    });
    caller
}

fn left(taken: Result<Option<MonthLeft>, MonthMet>) -> Result<u64, u64> {
    match taken {
        Ok(taken) => Ok(taken.unwrap().left),
        Err(met) => Err(met.left.left),
    }
}

#[test]
fn what_is_let_in_comes_on_top_of_what_was_counted_and_not_twice() {
    let months = Months::default();
    let none = asking(Some(100), None);
    assert_eq!(left(months.take(&none, 60, NOW_MS)), Ok(40));
    assert_eq!(left(months.take(&none, 30, NOW_MS + 1_000)), Ok(10));
    assert_eq!(left(months.take(&none, 11, NOW_MS + 1_001)), Err(10));
    // The first are counted, and the others are not yet.
    let some = asking(Some(100), Some((60, NOW_MS + 5)));
    assert_eq!(left(months.take(&some, 0, NOW_MS + 1_100)), Ok(10));
    // All are counted, one of them was there before.
    let all = asking(Some(100), Some((89, NOW_MS + 1_005)));
    assert_eq!(left(months.take(&all, 11, NOW_MS + 2_000)), Ok(0));
    assert_eq!(left(months.take(&all, 1, NOW_MS + 2_000)), Err(0));
}

#[test]
fn a_figure_that_does_not_come_any_more_holds_and_memory_is_bounded() {
    let months = Months::default();
    let old = asking(Some(1_000_000), Some((7, NOW_MS)));
    for second in 0..10_000 {
        months
            .take(&old, 1, NOW_MS + 1_000 + second * 1_000)
            .unwrap();
    }
    assert_eq!(left(months.take(&old, 0, NOW_MS + 10_001_000)), Ok(989_993));
    let held = months.lock();
    assert!(held[&old.tenant].0.len() <= STRETCHES_MAX + 1);
}

#[test]
fn what_came_to_nothing_is_given_back_and_a_new_month_is_empty() {
    let months = Months::default();
    let asking = |counted| asking(Some(10), counted);
    assert_eq!(left(months.take(&asking(None), 10, NOW_MS)), Ok(0));
    months.give_back(&asking(None).tenant, 4);
    assert_eq!(left(months.take(&asking(None), 4, NOW_MS)), Ok(0));
    let end_ms = Month::holding(NOW_MS).end_ms();
    let used = asking(Some((10, NOW_MS)));
    assert_eq!(left(months.take(&used, 1, end_ms - 1)), Err(0));
    assert_eq!(left(months.take(&used, 1, end_ms)), Ok(9));
}

#[test]
fn a_month_without_a_bound_is_none_and_a_quota_changes_live() {
    let months = Months::default();
    let mut free = asking(None, Some((u64::MAX, NOW_MS)));
    let control = Arc::make_mut(&mut free.control);
    control.tenant.as_mut().unwrap().value.tier = Tier::Enterprise;
    assert_eq!(months.take(&free, 1_000, NOW_MS), Ok(None));
    let small = asking(Some(10), Some((10, NOW_MS)));
    assert_eq!(left(months.take(&small, 1, NOW_MS)), Err(0));
    let larger = asking(Some(20), Some((10, NOW_MS)));
    assert_eq!(left(months.take(&larger, 1, NOW_MS)), Ok(9));
}

#[test]
fn whoever_is_refused_learns_of_which_limit_and_until_when() {
    let months = Months::default();
    let met = months
        .take(&asking(Some(10), None), 11, NOW_MS)
        .unwrap_err();
    let error = met.error();
    assert_eq!(error.status(), 429);
    assert_eq!(
        error.to_string(),
        "429 Too Many Requests: the limit month of 10 events has 10 left until \
         2026-12-01T00:00:00Z, and the request has more"
    );
    assert_eq!(met.left.policy(), "\"month\";q=10;w=2592000");
    assert_eq!(met.left.state(), "\"month\";r=10;t=1083200");
}
