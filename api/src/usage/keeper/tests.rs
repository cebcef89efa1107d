//! When a figure is worth saying, and what is counted for good.

use super::*;

fn usage(events: u64) -> Usage {
    let month = Month::holding(1_795_000_000_000);
    Usage {
        month,
        events,
        counted_to_ms: month.start_ms(),
    }
}

#[test]
fn a_quota_is_used_up_in_about_a_hundred_records() {
    for quota in [1, 100, 1_000_000, 1_000_000_000_u64] {
        let (mut held, mut count) = (None, 0);
        let step = (quota / 100_000).max(1);
        for events in (step..=quota).step_by(step as usize) {
            if is_worth_saying(held, usage(events), Some(0), quota) {
                held = Some(usage(events));
                count += 1;
            }
        }
        assert!(count <= 150, "{quota}: {count}");
        let unknown = quota - held.unwrap().events;
        assert!(
            unknown <= quota / 10_000,
            "{quota}: {unknown} are not known"
        );
    }
}

#[test]
fn a_month_that_begins_is_worth_saying_and_silence_is_not() {
    let before = Usage {
        month: Month::holding(0),
        ..usage(5)
    };
    assert!(is_worth_saying(Some(before), usage(0), Some(0), 10));
    assert!(!is_worth_saying(None, usage(0), Some(0), 10));
    assert!(!is_worth_saying(Some(usage(4)), usage(4), Some(0), 10));
    // Nothing but repeats, as many as a step has.
    assert!(!is_worth_saying(Some(usage(4)), usage(4), Some(99), 1_604));
    assert!(is_worth_saying(Some(usage(4)), usage(4), Some(100), 1_604));
}

#[test]
fn what_every_partition_has_passed_is_counted_for_good() {
    let tenant: TenantId = "acme".parse().unwrap();
    let mut memory = Memory::default();
    let ends = |ends: &[i64]| BTreeMap::from([(tenant.clone(), ends.to_vec())]);
    memory.mark(SKEW_MS + SLICE_MS, ends(&[10, 0]));
    memory.mark(SKEW_MS + SLICE_MS + 1, ends(&[11, 0]));
    memory.mark(SKEW_MS + 2 * SLICE_MS, ends(&[20, 5]));
    assert_eq!(memory.sealable_ms(&tenant, &[9, 9]), None);
    assert_eq!(memory.sealable_ms(&tenant, &[10, 0]), Some(SLICE_MS));
    assert_eq!(memory.sealable_ms(&tenant, &[30, 4]), Some(SLICE_MS));
    assert_eq!(memory.sealable_ms(&tenant, &[20, 5]), Some(2 * SLICE_MS));
    assert_eq!(memory.sealable_ms(&tenant, &[20]), None);
}
