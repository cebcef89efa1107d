//! A log that never ends, and what each tenant gets of it.

use std::collections::BTreeSet;

use schemas::ids::{Offset, Stream, TenantId};
use schemas::time::BrokerTime;

use super::*;
use crate::step::{Counts, Holdings, Incoming, Origin, Output, StateError};
use crate::task::log::{Committed, Outcome, Ownership, Sealed, TOGETHER};

/// Takes everything and puts nothing out.
struct Sponge;

impl Step for Sponge {
    type Definitions = ();
    type Read<'a> = ();
    const READS: Stream = Stream::Events;
    const STATE: Stream = Stream::MetricsState;

    fn new(_: &Place, _: i32) -> Self {
        Self
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

    fn observe(&mut self, _: &Incoming<'_>, (): &(), _: &mut Output) {}

    fn advance(&mut self, _: BrokerTime, _: &mut Output) {}

    fn redefine(&mut self, (): &(), _: &mut Output) {}

    fn due_at(&self) -> Option<BrokerTime> {
        None
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

/// What waits in each partition, and how long one record of each takes.
struct Backlog {
    waiting: BTreeMap<Place, usize>,
    read: BTreeMap<Place, usize>,
    cost_us: i64,
    now_us: i64,
}

impl Log for Backlog {
    fn now(&self) -> BrokerTime {
        BrokerTime::from_ms(self.now_us / 1_000)
    }

    fn read(
        &mut self,
        place: &Place,
        count_max: usize,
        each: &mut dyn FnMut(&[Incoming<'_>]) -> usize,
    ) -> Result<usize, LogError> {
        let waiting = self.waiting.get_mut(place).unwrap();
        let count = count_max.min(*waiting);
        let record = Incoming {
            offset: 0,
            appended_at: BrokerTime::from_ms(1),
            key: None,
            value: None,
            origin: Origin::Unknown,
        };
        let few = [record; TOGETHER];
        let mut left = count;
        while left > 0 {
            left -= each(&few[..left.min(TOGETHER)]);
        }
        *waiting -= count;
        *self.read.entry(place.clone()).or_default() += count;
        self.now_us += count as i64 * self.cost_us;
        Ok(count)
    }

    fn poll(&mut self) -> Result<Vec<Ownership>, LogError> {
        unreachable!("a round reads and does nothing else")
    }

    fn follow(&mut self, _: &BTreeSet<TenantId>) -> Result<(), LogError> {
        unreachable!("a round reads and does nothing else")
    }

    fn partition_count(&mut self, _: &Place) -> Result<i32, LogError> {
        unreachable!("a round reads and does nothing else")
    }

    fn seek(&mut self, _: &Place, _: Offset) -> Result<(), LogError> {
        unreachable!("a round reads and does nothing else")
    }

    fn is_at_end(&mut self, _: &Place) -> Result<bool, LogError> {
        unreachable!("a round reads and does nothing else")
    }

    fn commit(&mut self, _: Vec<Sealed>) {
        unreachable!("a round reads and does nothing else")
    }

    fn ended(&mut self, _: u64) -> Option<(Vec<Sealed>, Outcome)> {
        unreachable!("a round reads and does nothing else")
    }

    fn renew(&mut self) -> Result<(), LogError> {
        unreachable!("a round reads and does nothing else")
    }

    fn committed(&mut self, _: &[Place]) -> Result<Vec<Option<Committed>>, LogError> {
        unreachable!("a round reads and does nothing else")
    }

    fn beginning(&mut self, _: &Place) -> Result<Offset, LogError> {
        unreachable!("a round reads and does nothing else")
    }

    fn restore(
        &mut self,
        _: &Place,
        _: &mut dyn FnMut(&[u8], Option<&[u8]>),
    ) -> Result<(), LogError> {
        unreachable!("a round reads and does nothing else")
    }

    fn replay(
        &mut self,
        _: &Place,
        _: Offset,
        _: Offset,
        _: &mut dyn FnMut(&Incoming<'_>),
    ) -> Result<(), LogError> {
        unreachable!("a round reads and does nothing else")
    }

    fn wait(&mut self, _: u64) {
        unreachable!("a round reads and does nothing else")
    }
}

/// Partitions at work, and what waits in them.
struct Bench {
    log: Backlog,
    partitions: BTreeMap<Place, Partition<Sponge>>,
    settings: WorkerSettings,
    round_count: usize,
}

impl Bench {
    fn new(waiting: &[(&str, i32, usize)], cost_us: i64) -> Self {
        let place = |(tenant, partition, count): &(&str, i32, usize)| {
            let place = Place {
                tenant: tenant.parse().unwrap(),
                partition: *partition,
            };
            (place, *count)
        };
        let waiting: BTreeMap<_, _> = waiting.iter().map(place).collect();
        let partitions = waiting.keys().map(|place| {
            let partition = Partition::new(place, Sponge, ((), 0), 0, 1 << 20);
            (place.clone(), partition)
        });
        Self {
            partitions: partitions.collect(),
            log: Backlog {
                waiting,
                read: BTreeMap::new(),
                cost_us,
                now_us: 0,
            },
            settings: WorkerSettings::default(),
            round_count: 0,
        }
    }

    fn round(&mut self) -> usize {
        self.round_count += 1;
        let mut said = Said::default();
        let told = (&self.settings, &mut said);
        let round = round(
            &mut self.log,
            &mut self.partitions,
            told,
            (self.round_count, false),
        );
        assert!(round.failed.is_empty());
        round.count
    }

    /// Records read of each of a tenant's partitions.
    fn read(&self, tenant: &str) -> Vec<usize> {
        let own = self.log.read.iter();
        let own = own.filter(|(place, _)| place.tenant.as_str() == tenant);
        own.map(|(_, count)| *count).collect()
    }
}

const MANY: usize = 10_000_000;

/// Four partitions of backlog, and a neighbour with one.
fn noisy_and_quiet(cost_us: i64, quiet: usize) -> Bench {
    let noisy = [0, 1, 2, 3].map(|number| ("noisy", number, MANY));
    Bench::new(&[&noisy[..], &[("quiet", 0, quiet)]].concat(), cost_us)
}

#[test]
fn a_tenant_with_more_partitions_gets_no_more() {
    let mut bench = noisy_and_quiet(0, MANY);
    for _ in 0..10 {
        bench.round();
    }
    let share = 10 * bench.settings.read_count_max;
    assert_eq!(bench.read("quiet"), [share]);
    assert_eq!(bench.read("noisy"), [share / 4; 4]);
}

#[test]
fn a_tenant_whose_records_take_long_does_not_hold_up_its_neighbour() {
    // 20 µs a record: all that may be read of it would take a third of a second.
    let mut bench = noisy_and_quiet(20, 3);
    for round in 1..=100 {
        let began_us = bench.log.now_us;
        *bench.log.waiting.values_mut().last().unwrap() = 3;
        bench.round();
        let took_us = bench.log.now_us - began_us;
        let bound_us = bench.settings.turn_ms * 1_000 + SLICE as i64 * 20;
        assert!(took_us <= bound_us + 3 * 20, "{took_us} us");
        assert_eq!(bench.read("quiet"), [3 * round]);
    }
    let noisy = bench.read("noisy");
    assert!(noisy.iter().all(|count| *count == noisy[0]), "{noisy:?}");
}

#[test]
fn each_partition_of_a_tenant_is_first_in_turn() {
    let mut bench = noisy_and_quiet(0, 0);
    bench.settings.read_count_max = 600;
    for _ in 0..40 {
        assert_eq!(bench.round(), 600);
    }
    assert_eq!(bench.read("noisy"), [6_000; 4]);
}

#[test]
fn what_waits_is_read_whole_where_there_is_room() {
    let mut bench = Bench::new(&[("a", 0, 5), ("a", 1, 3_000), ("b", 0, 0)], 0);
    assert_eq!(bench.round(), 3_005);
    assert_eq!(bench.round(), 0);
    assert!(
        bench
            .partitions
            .values()
            .all(|partition| !partition.is_flowing)
    );
}
