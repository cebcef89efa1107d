//! Records on their way from the simulated broker to a step, a few at a time.

use runtime::step::{Incoming, Origin};
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
        origin: match record.is_own() {
            true => Origin::Own,
            false => Origin::Unknown,
        },
    }
}

/// Records handed on together.
const TOGETHER: usize = 5;

/// What came of handing records on.
pub(crate) struct Handed {
    /// How many were taken.
    pub(crate) count: usize,
    /// Where the next read begins.
    pub(crate) next: Offset,
    /// Behind the last that was read, where not all of them were taken.
    pub(crate) behind: Option<Offset>,
}

/// Hands on at most so many records.
pub(crate) fn hand_on(
    partition: &Partition,
    from: Offset,
    count_max: usize,
    each: &mut dyn FnMut(&[Incoming<'_>]) -> usize,
) -> Handed {
    let (mut count, mut next) = (0, from);
    let records: Vec<_> = partition.visible_from(from).take(count_max).collect();
    for few in records.chunks(TOGETHER) {
        let few: Vec<_> = few.iter().map(|record| incoming(record)).collect();
        let taken = each(&few);
        count += taken;
        if let Some(record) = few.get(taken) {
            return Handed {
                count,
                next: record.offset,
                behind: records.last().map(|record| record.offset + 1),
            };
        }
        next = few.last().map_or(next, |record| record.offset + 1);
    }
    // Marks behind the last record are passed when nothing else stands there.
    if partition.visible_from(next).next().is_none() {
        next = next.max(partition.end());
    }
    Handed {
        count,
        next,
        behind: None,
    }
}
