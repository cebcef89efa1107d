//! Rounds: what they hold, and which positions they free.

use super::*;
use crate::clickhouse::cells::Cells;
use crate::clickhouse::table::Kind;

const PACE: Pace = Pace {
    interval: Duration::from_millis(800),
    row_count_max: 3,
    bytes_max: 1_000,
};

fn put_late(gathering: &mut Gathering, now: Instant) {
    let block = gathering.block(Table::Late);
    for column in Table::Late.columns() {
        match column.kind {
            Kind::Text => block.text(b"text"),
            Kind::Fixed(4) => block.fixed([0; 4]),
            Kind::Fixed(8) => block.fixed([0; 8]),
            kind => panic!("late has no {kind:?}"),
        }
    }
    block.end_row();
    gathering.touch(now);
}

#[test]
fn rows_wait_for_the_interval_only_while_rows_keep_coming() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut gathering = Gathering::default();
    assert_eq!(gathering.due_at(start, &PACE), None);
    // 100 ms after the last cut: the rest of the interval.
    put_late(&mut gathering, at(100));
    put_late(&mut gathering, at(500));
    assert_eq!(gathering.due_at(start, &PACE), Some(at(800)));
    assert_eq!(gathering.cut(&mut vec![]).len(), 1);
    assert_eq!(gathering.due_at(at(800), &PACE), None);
    // After ten seconds without rows: at once, but for those that come together.
    put_late(&mut gathering, at(10_000));
    assert_eq!(gathering.due_at(at(800), &PACE), Some(at(10_020)));
}

#[test]
fn a_gathering_is_full_by_rows_or_by_bytes() {
    let (now, mut gathering) = (Instant::now(), Gathering::default());
    put_late(&mut gathering, now);
    put_late(&mut gathering, now);
    assert!(!gathering.is_full(&PACE));
    assert!(gathering.is_full(&Pace {
        bytes_max: 100,
        ..PACE
    }));
    put_late(&mut gathering, now);
    assert!(gathering.is_full(&PACE));
    assert_eq!(gathering.row_count(), 3);
}

#[test]
fn a_cut_takes_the_rows_and_reuses_the_memory_of_its_table() {
    let (now, mut gathering) = (Instant::now(), Gathering::default());
    put_late(&mut gathering, now);
    let mut spare = vec![Block::new(Table::Events), Block::new(Table::Late)];
    let cut = gathering.cut(&mut spare);
    assert_eq!(
        cut.iter()
            .map(|b| (b.table(), b.row_count()))
            .collect::<Vec<_>>(),
        [(Table::Late, 1)]
    );
    assert_eq!(
        spare.iter().map(Block::table).collect::<Vec<_>>(),
        [Table::Events]
    );
    assert!(gathering.is_empty());
}

fn partition(number: i32) -> Partition {
    Partition::new("pulse.demo.events", number)
}

fn begin(progress: &mut Progress, positions: &[(i32, i64)]) -> u64 {
    progress.begin(
        positions
            .iter()
            .map(|(number, at)| (partition(*number), *at))
            .collect(),
    )
}

#[track_caller]
fn check_due(progress: &Progress, expect: &[(i32, i64)]) {
    let due: Vec<_> = progress
        .due()
        .iter()
        .map(|(p, at)| (p.number, *at))
        .collect();
    assert_eq!(due, expect);
}

#[test]
fn a_position_waits_for_all_rounds_before_it() {
    let mut progress = Progress::default();
    let first = begin(&mut progress, &[(0, 10), (1, 5)]);
    let second = begin(&mut progress, &[(0, 20)]);
    let third = begin(&mut progress, &[(1, 7)]);
    progress.inserted(second);
    check_due(&progress, &[]);
    assert_eq!(progress.under_way_count(), 3);
    progress.inserted(first);
    check_due(&progress, &[(0, 20), (1, 5)]);
    progress.committed();
    progress.inserted(third);
    check_due(&progress, &[(1, 7)]);
    assert_eq!(progress.under_way_count(), 0);
}

#[test]
fn a_failed_commit_is_made_good_by_the_next() {
    let mut progress = Progress::default();
    let first = begin(&mut progress, &[(0, 10)]);
    progress.inserted(first);
    check_due(&progress, &[(0, 10)]);
    // Not committed: the broker was away.
    let second = begin(&mut progress, &[(1, 3)]);
    progress.inserted(second);
    check_due(&progress, &[(0, 10), (1, 3)]);
}

#[test]
fn positions_of_a_lost_partition_are_never_committed() {
    let mut progress = Progress::default();
    let first = begin(&mut progress, &[(0, 10), (1, 10)]);
    let second = begin(&mut progress, &[(0, 20), (1, 20)]);
    progress.inserted(first);
    progress.forget(&partition(1));
    check_due(&progress, &[(0, 10)]);
    // It comes back, and begins where its other owner committed.
    progress.assigned(&partition(1), 12);
    progress.inserted(second);
    check_due(&progress, &[(0, 20)]);
    assert!(!progress.is_news(&partition(1), 12) && progress.is_news(&partition(1), 13));
}
