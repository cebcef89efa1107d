//! A clock that makes much due goes as far as the output has room, and says how far that was.

use std::collections::BTreeSet;

use schemas::ids::Stream;

use super::*;
use crate::step::{Counts, Holdings, Origin, StateError};

/// Puts a record out for everything that is due, and for each record that it observes.
struct Alarms {
    /// By the milliseconds at which they are due.
    due: BTreeSet<i64>,
}

const RECORD_BYTES: usize = 100;

fn put(out: &mut Output, key: i64) {
    let key = |bytes: &mut Vec<u8>| bytes.extend(key.to_be_bytes());
    out.put(Stream::Metrics, None, key, |bytes| {
        bytes.resize(bytes.len() + RECORD_BYTES - 8, 0);
    });
}

impl Step for Alarms {
    type Definitions = ();
    type Read<'a> = ();
    const READS: Stream = Stream::Events;
    const STATE: Stream = Stream::MetricsState;

    fn new(_: &Place, _: i32) -> Self {
        Self {
            due: BTreeSet::new(),
        }
    }

    fn restore(&mut self, _: &[u8], _: Option<&[u8]>) -> Result<(), StateError> {
        Ok(())
    }

    fn finish_restore(&mut self, (): &()) -> Result<(), StateError> {
        Ok(())
    }

    fn read<'a>(&self, records: &[Incoming<'a>], reads: &mut Vec<()>) {
        reads.resize(records.len(), ());
    }

    fn observe(&mut self, record: &Incoming<'_>, (): &(), out: &mut Output) {
        put(out, -record.offset);
    }

    fn advance(&mut self, now: BrokerTime, out: &mut Output) {
        let later = self.due.split_off(&(now.as_ms() + 1));
        for at_ms in std::mem::replace(&mut self.due, later) {
            put(out, at_ms);
        }
    }

    fn redefine(&mut self, (): &(), _: &mut Output) {}

    fn due_at(&self) -> Option<BrokerTime> {
        self.due.first().map(|ms| BrokerTime::from_ms(*ms))
    }

    fn drain_changes(&mut self, _: &mut Output) {}

    fn change_count(&self) -> usize {
        0
    }

    fn counts(&self) -> Counts {
        Counts::default()
    }

    fn holdings(&self) -> Holdings {
        Holdings::default()
    }
}

const OUTPUT_BYTES_MAX: usize = 20 * RECORD_BYTES;

/// At 1,000 ms, with something due at each of the next thousand, and at one far from them.
fn partition() -> Partition<Alarms> {
    let place = Place {
        tenant: "demo".parse().unwrap(),
        partition: 0,
    };
    let mut step = Alarms::new(&place, 1);
    step.due.extend(1_001..=2_000);
    step.due.insert(9_000_000);
    Partition {
        clock: BrokerTime::from_ms(1_000),
        state_at: Some(7),
        ..Partition::new(&place, step, ((), 0), 7, OUTPUT_BYTES_MAX)
    }
}

/// Commits what is pending; gives its keys, and the clock that the commit tells of.
fn commit(partition: &mut Partition<Alarms>) -> (Vec<i64>, i64) {
    let sealed = partition.seal(BatchId(1), false);
    let keys = sealed.output.iter().map(|record| {
        let key = record.key.try_into().unwrap();
        i64::from_be_bytes(key)
    });
    (keys.collect(), sealed.metadata.clock.as_ms())
}

#[test]
fn a_tick_goes_as_far_as_the_output_has_room_and_the_next_goes_on() {
    let mut partition = partition();
    let now = BrokerTime::from_ms(10_000_000);
    let (mut told, mut commit_count) = (vec![], 0);
    while partition.clock < now {
        partition.tick(now);
        let bytes = partition.out.byte_count();
        let bytes_max = OUTPUT_BYTES_MAX + (STRIDE_MS as usize + 1) * RECORD_BYTES;
        assert!(partition.is_pending && bytes <= bytes_max, "{bytes} bytes");
        partition.tick(now);
        assert_eq!(partition.out.byte_count(), bytes, "it is full, or there");
        let (keys, clock_ms) = commit(&mut partition);
        let is_told = |ms: &i64| *ms <= clock_ms;
        assert!(keys.iter().all(is_told), "{keys:?} after {clock_ms}");
        let due = partition.step.due_at();
        assert!(due.is_none_or(|due| due.as_ms() > clock_ms));
        told.extend(keys);
        commit_count += 1;
    }
    assert!(told.into_iter().eq((1_001..=2_000).chain([9_000_000])));
    assert!(commit_count > 30, "in {commit_count} commits");
}

#[test]
fn a_record_waits_until_the_clock_has_come_to_it() {
    let mut partition = partition();
    let record = Incoming {
        offset: 7,
        appended_at: BrokerTime::from_ms(2_500),
        key: None,
        value: None,
        origin: Origin::Unknown,
    };
    let mut told = vec![];
    while partition.observe(&[record]) == 0 {
        assert!(partition.is_full() && partition.next == 7);
        assert!(partition.clock < record.appended_at);
        told.extend(commit(&mut partition).0);
    }
    assert_eq!((partition.next, partition.clock), (8, record.appended_at));
    told.extend(commit(&mut partition).0);
    assert!(told.into_iter().eq((1_001..=2_000).chain([-7])));
}
