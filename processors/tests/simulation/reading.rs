//! Records on their way from the simulated broker to a step, a few at a time.

use runtime::step::Incoming;
use schemas::ids::Offset;
use schemas::time::BrokerTime;

use crate::broker::Partition;
use crate::oracle::Record;

/// A record as a step is given it.
pub(crate) fn incoming(record: &Record) -> Incoming<'_> {
    Incoming {
        offset: record.offset,
        appended_at: BrokerTime::from_ms(record.appended_ms),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
    }
}

/// Records handed on together.
const TOGETHER: usize = 5;

/// Hands on at most so many records; how many were taken, and where the next read begins.
pub(crate) fn hand_on(
    partition: &Partition,
    from: Offset,
    count_max: usize,
    each: &mut dyn FnMut(&[Incoming<'_>]) -> usize,
) -> (usize, Offset) {
    let (mut count, mut next) = (0, from);
    let records: Vec<_> = partition.visible_from(from).take(count_max).collect();
    for few in records.chunks(TOGETHER) {
        let few: Vec<_> = few.iter().map(|record| incoming(record)).collect();
        let taken = each(&few);
        count += taken;
        if let Some(record) = few.get(taken) {
            return (count, record.offset);
        }
        next = few.last().map_or(next, |record| record.offset + 1);
    }
    // Marks behind the last record are passed when nothing else stands there.
    if partition.visible_from(next).next().is_none() {
        next = next.max(partition.end());
    }
    (count, next)
}
