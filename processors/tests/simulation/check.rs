//! Compares what is committed with what the design says.

use std::collections::BTreeMap;

use runtime::step::Place;
use schemas::ids::TenantId;

use crate::broker::Partition;
use crate::cluster::Cluster;
use crate::facts::{Fact, Metric, WindowId};
use crate::oracle::{Oracle, Record, Spread};
use crate::plan::{Plan, Rigour};
use crate::totals;
use crate::traced::Note;

/// Checks everything that a run committed.
pub(crate) fn check(plan: &Plan, cluster: &Cluster) {
    let broker = cluster.broker.borrow();
    let mut spread: BTreeMap<TenantId, Spread> = BTreeMap::new();
    for place in plan.places() {
        let partition = &broker.partitions[&place];
        check_revisions(&place, partition);
        let mut oracle = follow_calls(&place, partition);
        if plan.rigour == Rigour::Strict {
            check_facts(&place, partition, expected(plan, &place, partition));
        }
        let report = cluster.report(&place).expect("everything is at rest");
        oracle.advance(report.clock.as_ms());
        assert_eq!(
            oracle.take_facts(),
            [],
            "{place:?}: something was due and is not committed"
        );
        assert_eq!(report.counts, oracle.counts(), "{place:?}");
        assert!(report.counts.balances(), "{place:?}: {:?}", report.counts);
        assert_eq!(report.holdings, oracle.holdings(), "{place:?}");
        let own = spread.entry(place.tenant.clone()).or_default();
        own.add(oracle.spread());
    }
    for (tenant, spread) in &spread {
        totals::check(plan, tenant, &broker, spread);
    }
}

/// What comes out of a partition by its records alone: no call, no tick and no worker is known.
fn expected(plan: &Plan, place: &Place, partition: &Partition) -> Vec<Fact> {
    let tenant = plan
        .tenants
        .iter()
        .position(|(id, _)| *id == place.tenant)
        .unwrap();
    let mut oracle = Oracle::new(place, partition.count, &plan.definitions[tenant]);
    let mut records = partition.records();
    for phase in &plan.phases {
        let count = phase
            .arrivals
            .iter()
            .filter(|arrival| arrival.place == *place)
            .count();
        for record in records.by_ref().take(count) {
            oracle.advance(record.appended_ms);
            oracle.observe(record);
        }
        for change in phase
            .changes
            .iter()
            .filter(|change| change.tenant == tenant)
        {
            oracle.redefine(&change.definitions);
        }
    }
    oracle.take_facts()
}

fn check_facts(place: &Place, partition: &Partition, expected: Vec<Fact>) {
    let facts = partition.calls.iter().flat_map(|(facts, _)| facts);
    let mut committed: Vec<Fact> = facts.cloned().collect();
    committed.sort();
    compare(&committed, &expected, &format!("{place:?}"));
}

/// Both are sorted. What is in one alone is shown.
fn compare(found: &[Fact], expected: &[Fact], of: &str) {
    if found == expected {
        return;
    }
    let mut surplus: BTreeMap<&Fact, i32> = BTreeMap::new();
    found
        .iter()
        .for_each(|fact| *surplus.entry(fact).or_default() += 1);
    expected
        .iter()
        .for_each(|fact| *surplus.entry(fact).or_default() -= 1);
    surplus.retain(|_, times| *times != 0);
    let shown = |(fact, times): (&&Fact, &i32)| format!("{times:+} {fact:?}\n");
    let shown: String = surplus.iter().take(6).map(shown).collect();
    panic!(
        "{of}: {} facts differ, so many times too often:\n{shown}",
        surplus.len()
    );
}

/// Follows the calls that what is committed came from: each record was observed once, in order,
/// under a clock that never went back, and each call put out exactly what it should.
fn follow_calls(place: &Place, partition: &Partition) -> Oracle {
    let mut calls = partition.calls.iter();
    let Some((_, Note::Began(definitions))) = calls.next() else {
        panic!("{place:?} did not begin");
    };
    let mut oracle = Oracle::new(place, partition.count, definitions);
    let mut records = partition.records();
    let mut clock_ms = i64::MIN;
    for (facts, note) in calls {
        match note {
            Note::Began(_) => panic!("{place:?} began twice"),
            Note::Observed { offset, now_ms } => {
                let record: &Record = records.next().expect("no more calls than records");
                assert_eq!(
                    record.offset, *offset,
                    "{place:?}: each record once, in order"
                );
                assert!(
                    *now_ms >= record.appended_ms.max(clock_ms),
                    "{place:?}: the clock"
                );
                clock_ms = *now_ms;
                oracle.advance(*now_ms);
                oracle.observe(record);
            }
            Note::Advanced { now_ms } => {
                assert!(*now_ms > clock_ms, "{place:?}: the clock");
                clock_ms = *now_ms;
                oracle.advance(*now_ms);
            }
            Note::Redefined {
                definitions,
                now_ms,
            } => {
                if *now_ms > clock_ms {
                    clock_ms = *now_ms;
                    oracle.advance(*now_ms);
                }
                oracle.redefine(definitions);
            }
        }
        compare(facts, &oracle.take_facts(), &format!("{place:?}: {note:?}"));
    }
    assert!(
        records.next().is_none(),
        "{place:?}: every record was observed"
    );
    oracle
}

/// Whatever the oracle says: the revisions of a window are 1, 2, 3… in the order of the log, its
/// events never become fewer, and nothing is told of it as open once it has fired.
fn check_revisions(place: &Place, partition: &Partition) {
    let mut last: BTreeMap<&WindowId, &Metric> = BTreeMap::new();
    for fact in partition.calls.iter().flat_map(|(facts, _)| facts) {
        let Fact::Metric(metric) = fact else { continue };
        let before = last.insert(&metric.window, metric);
        let revision = before.map_or(0, |before| before.revision);
        assert_eq!(
            metric.revision,
            revision + i64::from(metric.is_final),
            "{place:?}: {metric:?} after {before:?}"
        );
        let is_fewer = before.is_some_and(|before| before.event_count > metric.event_count);
        let was_deleted = before.is_some_and(|before| before.deleted);
        assert!(!was_deleted, "{place:?}: {metric:?} after {before:?}");
        assert!(
            !is_fewer || metric.deleted,
            "{place:?}: {metric:?} after {before:?}"
        );
    }
}
