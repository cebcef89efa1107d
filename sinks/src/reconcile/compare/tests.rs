//! Differences between both sides, each by its kind.

use std::sync::Arc;

use super::*;
use crate::clickhouse::rows::Origin;
use crate::reconcile::extent::Extent;

/// One partition of each of events and metrics; the log holds offsets 100 to 199 and ended there,
/// and by now at 250.
fn extents() -> Extents {
    let extent = |topic: &str| {
        let topic: Arc<str> = topic.into();
        Extent {
            origin: Origin::of(&topic, 0, 1).unwrap(),
            start: 100,
            end: 200,
        }
    };
    Extents::new(vec![
        extent("pulse.demo.events"),
        extent("pulse.demo.metrics"),
    ])
}

fn event(key: u128, offset: i64) -> Entry {
    Entry {
        key,
        content: u128::from(offset.unsigned_abs()),
        version: !offset.unsigned_abs(),
        offset,
        appended_at_ms: 1_000,
        place: 0,
        table: Table::Events,
        mark: Mark::Live,
    }
}

fn metric(key: u128, revision: u64, offset: i64, mark: Mark) -> Entry {
    Entry {
        content: u128::from(revision),
        version: revision,
        place: 1,
        table: Table::Metrics,
        mark,
        ..event(key, offset)
    }
}

fn compare(logged: &[Entry], shown: &[Entry], table: Table) -> TableReport {
    let extents = extents();
    let horizons = [Horizon {
        days: Some(1),
        at_ms: 500,
    }; 4];
    let mut comparison = Comparison::new(&extents, horizons, vec![250, 250]);
    comparison.bucket(logged.to_vec(), shown.to_vec());
    let mut report = comparison.finish(&"demo".parse().unwrap(), 0);
    report.tables.swap_remove(table as usize)
}

/// The report's counts that are not zero, in words.
#[track_caller]
fn check(logged: &[Entry], shown: &[Entry], expect: &str) {
    let table = logged.iter().chain(shown).next().unwrap().table;
    let report = compare(logged, shown, table);
    let expired = report.expired.iter().map(|range| range.count).sum();
    let counts = [
        ("equal", report.equal_count),
        ("missing", report.missing_count),
        ("extra", report.extra_count),
        ("different", report.different_count),
        ("doubled", report.doubled_count),
        ("newer", report.newer_count),
        ("before_log", report.before_log_count),
        ("dated", report.dated_count),
        ("expired", expired),
    ];
    let told = counts.iter().filter(|(_, count)| *count > 0);
    let told: Vec<_> = told
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    assert_eq!(told.join(", "), expect);
    let is_fault = ["missing", "extra", "different", "doubled"]
        .iter()
        .any(|f| expect.contains(f));
    assert_eq!(report.is_equal(), !is_fault);
    assert_eq!(
        report.examples.is_empty(),
        !is_fault,
        "each fault is told in detail"
    );
}

#[test]
fn what_is_equal_is_equal() {
    check(
        &[event(1, 100), event(2, 101)],
        &[event(2, 101), event(1, 100)],
        "equal 2",
    );
}

#[test]
fn of_events_the_first_counts() {
    let (first, again) = (event(1, 100), event(1, 150));
    check(&[first, again], &[first], "equal 1");
    check(&[first, again], &[again], "different 1");
}

#[test]
fn of_metrics_the_highest_revision_counts() {
    let first = metric(1, 1, 100, Mark::Live);
    let second = metric(1, 2, 150, Mark::Live);
    check(&[first, second], &[second], "equal 1");
    check(&[first, second], &[first], "different 1");
    // The same revision twice, saying the same: whichever is shown.
    let again = metric(1, 2, 160, Mark::Live);
    check(&[first, second, again], &[again], "equal 1");
    check(
        &[
            second,
            Entry {
                content: 9,
                ..again
            },
        ],
        &[Entry {
            content: 9,
            ..again
        }],
        "different 1",
    );
}

#[test]
fn a_window_that_was_taken_back_is_gone() {
    let (fired, gone) = (
        metric(1, 1, 100, Mark::Live),
        metric(1, 2, 150, Mark::Deleted),
    );
    check(&[fired, gone], &[gone], "equal 1");
    check(&[fired, gone], &[], "equal 1");
    check(&[fired, gone], &[fired], "different 1");
    // Taken back after the ends: not yet to be judged. Taken back by nobody: missing.
    let later = metric(1, 2, 220, Mark::Deleted);
    check(&[fired], &[later], "newer 1");
    check(&[fired], &[gone], "missing 1");
}

#[test]
fn what_is_missing_extra_or_doubled_is_told() {
    check(&[event(1, 100)], &[event(2, 101)], "missing 1, extra 1");
    check(
        &[event(1, 100)],
        &[event(1, 100), event(1, 100)],
        "doubled 1",
    );
    check(
        &[event(1, 100)],
        &[Entry {
            content: 7,
            ..event(1, 100)
        }],
        "different 1",
    );
    let report = compare(&[event(1, 100)], &[], Table::Events);
    let place = Place {
        topic: "pulse.demo.events".into(),
        partition: 0,
        offset: 100,
    };
    assert_eq!(report.examples[0].record, Some(place));
    assert_eq!(report.examples[0].fault, Fault::Missing);
}

#[test]
fn rows_from_outside_the_judged_part_are_named() {
    // Before the log's beginning, after the ends, and beyond all that can be.
    check(&[], &[event(1, 99)], "before_log 1");
    check(&[], &[event(1, 249)], "newer 1");
    check(&[], &[event(1, 250)], "extra 1");
    check(&[], &[event(1, -1)], "extra 1");
    check(
        &[],
        &[Entry {
            place: NOWHERE,
            ..event(1, 150)
        }],
        "extra 1",
    );
    // The log lost the first of two; the table rightly shows it.
    check(&[event(1, 150)], &[event(1, 99)], "before_log 1");
    check(
        &[metric(1, 1, 150, Mark::Live)],
        &[metric(1, 2, 210, Mark::Live)],
        "newer 1",
    );
}

#[test]
fn a_row_cannot_claim_a_version_that_the_log_does_not_have() {
    check(
        &[metric(1, 1, 150, Mark::Live)],
        &[metric(1, 2, 160, Mark::Live)],
        "different 1",
    );
    check(&[event(1, 150)], &[event(1, 120)], "different 1");
}

#[test]
fn what_is_older_than_the_retention_is_not_compared() {
    let old = |key, offset| Entry {
        appended_at_ms: 499,
        ..event(key, offset)
    };
    check(&[old(1, 100), old(2, 120)], &[old(2, 120)], "expired 2");
    let report = compare(&[old(1, 100), old(2, 120)], &[], Table::Events);
    let range = &report.expired[0];
    assert_eq!(
        (range.first_offset, range.last_offset, range.count),
        (100, 120, 2)
    );
}

#[test]
fn a_date_that_is_refused_today_may_have_been_taken() {
    let dated = Entry {
        mark: Mark::Disputed,
        ..event(1, 100)
    };
    check(&[dated], &[event(1, 100)], "dated 1");
    check(&[dated], &[], "dated 1");
    check(
        &[dated],
        &[Entry {
            content: 7,
            ..event(1, 100)
        }],
        "extra 1",
    );
    check(&[dated, event(1, 150)], &[event(1, 100)], "dated 1");
    check(&[dated, event(1, 150)], &[event(1, 150)], "equal 1");
}

#[test]
fn only_the_first_faults_are_told_in_detail() {
    let logged: Vec<_> = (0..50)
        .map(|number| event(number, 100 + number as i64))
        .collect();
    let report = compare(&logged, &[], Table::Events);
    assert_eq!(
        (report.missing_count, report.examples.len()),
        (50, EXAMPLES_MAX)
    );
}
