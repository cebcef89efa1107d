//! A partition's logs: the events with their append times, the compacted state, and what came out.

use std::collections::BTreeSet;

use fastrand::Rng;
use runtime::task::Committed;

use super::group::Owner;
use crate::facts::Fact;
use crate::oracle::Record;
use crate::plan::Arrival;
use crate::traced::Note;

/// A place of the events log; transaction markers leave some empty.
type Slot = Option<(i64, Record)>;

/// Everything that the broker has of one partition.
pub(crate) struct Partition {
    pub(crate) count: i32,
    slots: Vec<Slot>,
    /// The end for readers of committed records.
    visible: usize,
    pub(crate) state: Vec<StateRecord>,
    pub(crate) committed: Option<Committed>,
    pub(crate) owner: Owner,
    /// What came out, in the order of the commits, with the calls that it came from.
    pub(crate) calls: Vec<(Vec<Fact>, Note)>,
}

/// A record of the state topic.
#[derive(Clone)]
pub(crate) struct StateRecord {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
    /// The transaction that it is of, while that is undecided.
    pub(crate) pending: Option<u64>,
}

impl Partition {
    pub(super) fn new(count: i32) -> Self {
        Self {
            count,
            slots: vec![],
            visible: 0,
            state: vec![],
            committed: None,
            owner: Owner::default(),
            calls: vec![],
        }
    }

    pub(super) fn append(&mut self, arrival: Arrival) {
        self.slots.extend((0..arrival.gap).map(|_| None));
        let record = Record {
            offset: self.slots.len() as i64,
            appended_ms: arrival.appended_ms,
            key: arrival.key,
            value: arrival.value,
        };
        self.slots.push(Some((arrival.visible_ms, record)));
    }

    /// Moves the visible end to before the first record that is still hidden.
    pub(super) fn show(&mut self, now_ms: i64) {
        let is_visible = |slot: &Slot| slot.as_ref().is_none_or(|(at_ms, _)| *at_ms <= now_ms);
        while self.slots.get(self.visible).is_some_and(is_visible) {
            self.visible += 1;
        }
    }

    /// The end for readers of committed records.
    pub(crate) fn end(&self) -> i64 {
        self.visible as i64
    }

    /// True when all that there is has been taken in and committed.
    pub(crate) fn is_at_rest(&self) -> bool {
        let committed = self
            .committed
            .as_ref()
            .map_or(0, |committed| committed.offset);
        committed == self.slots.len() as i64
    }

    /// All records, visible or not.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.slots.iter().flatten().map(|(_, record)| record)
    }

    /// The visible records from an offset on.
    pub(crate) fn visible_from(&self, offset: i64) -> impl Iterator<Item = &Record> {
        let slots = &self.slots[..self.visible];
        slots[(offset as usize).min(slots.len())..]
            .iter()
            .flatten()
            .map(|(_, record)| record)
    }

    /// True while somebody's transaction on the state is undecided.
    pub(crate) fn is_state_pending(&self) -> bool {
        self.state.iter().any(|record| record.pending.is_some())
    }

    /// Compaction: of a stretch of the log from its beginning only the latest record of each key
    /// stays, where it lies; tombstones may go as well.
    pub(crate) fn compact(&mut self, random: &mut Rng) {
        let undecided = self
            .state
            .iter()
            .position(|record| record.pending.is_some());
        let end = random.usize(0..=undecided.unwrap_or(self.state.len()));
        let drops_tombstones = random.bool();
        let mut seen = BTreeSet::new();
        let mut kept: Vec<StateRecord> = vec![];
        for record in self.state.drain(..end).rev() {
            if seen.insert(record.key.clone()) && !(drops_tombstones && record.value.is_none()) {
                kept.push(record);
            }
        }
        kept.reverse();
        self.state.splice(0..0, kept);
    }
}
