//! Transactions: records that are there and not yet true, and positions that may still change.

use std::collections::BTreeMap;

use runtime::step::Place;
use runtime::task::{BatchId, CommitMetadata, Committed, Sealed};
use schemas::ids::Stream;

use super::group::MemberId;
use super::logs::StateRecord;
use super::{Broker, PartialRecord};
use crate::facts::Fact;
use crate::traced::{NOTES, Note};

/// A transaction that is not over.
pub(crate) struct Transaction {
    id: u64,
    member: MemberId,
    /// What the member owned when it began, by the epoch of that: its generation.
    owned: BTreeMap<Place, u64>,
    parts: Vec<Part>,
    /// True once the positions are part of it.
    has_positions: bool,
    /// How it will end when nobody does anything about it, and when.
    ending: Ending,
    ends_at_ms: i64,
}

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Commit,
    Abort,
}

/// What one partition put in.
struct Part {
    place: Place,
    calls: Vec<(Vec<Fact>, Note)>,
    /// Records of `metrics.partials`: partition, key and value.
    partials: Vec<(i32, Vec<u8>, Vec<u8>)>,
    committed: Committed,
}

impl Transaction {
    /// True while a partition's position hangs on it.
    pub(super) fn holds_position(&self, place: &Place) -> bool {
        self.has_positions && self.parts.iter().any(|part| part.place == *place)
    }
}

impl Broker {
    /// Begins a transaction, which ends by abort after a while unless it is ended before.
    pub(crate) fn begin(&mut self, member: MemberId) -> u64 {
        assert!(
            self.transactions
                .iter()
                .all(|transaction| transaction.member != member),
            "a producer whose transaction is undecided is made anew first"
        );
        let id = self.random.u64(..);
        self.transactions.push(Transaction {
            id,
            member,
            owned: self
                .members
                .get(&member)
                .map_or_else(BTreeMap::new, |member| member.known.clone()),
            parts: vec![],
            has_positions: false,
            ending: Ending::Abort,
            ends_at_ms: self.now_ms + self.random.i64(1_000..8_000),
        });
        id
    }

    /// True while a transaction is not over.
    pub(crate) fn is_open(&self, id: u64) -> bool {
        self.transactions
            .iter()
            .any(|transaction| transaction.id == id)
    }

    /// Puts what one partition put out into a transaction.
    pub(crate) fn send(&mut self, id: u64, batch: &Sealed) {
        let mut calls = vec![];
        let mut facts = vec![];
        let mut partials = vec![];
        let log = &mut self
            .partitions
            .get_mut(&batch.place)
            .expect("a place of the plan");
        for record in batch.output.iter() {
            match record.stream {
                Stream::MetricsState => {
                    assert_eq!(record.partition, Some(batch.place.partition));
                    log.state.push(StateRecord {
                        key: record.key.to_vec(),
                        value: record.value.map(<[u8]>::to_vec),
                        pending: Some(id),
                    });
                }
                // They may come with any call, and with none: what they add up to is checked.
                Stream::MetricsPartials => partials.push((
                    record.partition.unwrap(),
                    record.key.to_vec(),
                    record.value.unwrap().to_vec(),
                )),
                NOTES => {
                    let note = serde_json::from_slice(record.value.unwrap()).unwrap();
                    facts.sort();
                    calls.push((std::mem::take(&mut facts), note));
                }
                _ => facts.push(Fact::read(&batch.place, &record)),
            }
        }
        assert_eq!(facts, [], "every output has a call that it came from");
        let committed = Committed {
            offset: batch.next,
            metadata: batch.metadata.to_string(),
        };
        let part = Part {
            place: batch.place.clone(),
            calls,
            partials,
            committed,
        };
        self.transaction(id).parts.push(part);
    }

    /// Puts the positions into a transaction, unless the group has given one of the partitions to
    /// another since the transaction began: it carries the generation of that moment.
    pub(crate) fn send_positions(&mut self, id: u64) -> bool {
        let at = self.transactions.iter().position(|t| t.id == id);
        let transaction = &self.transactions[at.expect("it is not over")];
        let is_owner = |part: &Part| {
            let Some(epoch) = transaction.owned.get(&part.place) else {
                panic!(
                    "{:?} was not ours, and is committed all the same",
                    part.place
                );
            };
            let owner = &self.partitions[&part.place].owner;
            owner.member == Some(transaction.member) && owner.epoch == *epoch
        };
        let is_member = self.members.contains_key(&transaction.member);
        if !is_member || !transaction.parts.iter().all(is_owner) {
            return false;
        }
        self.transaction(id).has_positions = true;
        true
    }

    /// The coordinator has taken an ending down: it comes, sooner or later.
    pub(crate) fn prepare(&mut self, id: u64, ending: Ending, within_ms: i64) {
        let ends_at_ms = self.now_ms + within_ms;
        let transaction = self.transaction(id);
        transaction.ending = ending;
        transaction.ends_at_ms = ends_at_ms;
    }

    /// Ends a transaction at once.
    pub(crate) fn end(&mut self, id: u64, ending: Ending) {
        let at = self
            .transactions
            .iter()
            .position(|t| t.id == id)
            .expect("it is not over");
        let transaction = self.transactions.remove(at);
        let is_its = |record: &StateRecord| record.pending == Some(transaction.id);
        for part in transaction.parts {
            let log = self
                .partitions
                .get_mut(&part.place)
                .expect("a place of the plan");
            if ending == Ending::Abort {
                log.state.retain(|record| !is_its(record));
                continue;
            }
            assert!(transaction.has_positions, "no output without its position");
            for record in log.state.iter_mut().filter(|record| is_its(record)) {
                record.pending = None;
            }
            let before = log
                .committed
                .as_ref()
                .map_or(0, |committed| committed.offset);
            assert!(
                part.committed.offset >= before,
                "a position never goes back"
            );
            log.committed = Some(part.committed);
            log.calls.extend(part.calls);
            for (partition, key, value) in part.partials {
                let tenant = part.place.tenant.clone();
                let place = Place { tenant, partition };
                let appended_ms = self.now_ms;
                self.partials.entry(place).or_default().push(PartialRecord {
                    appended_ms,
                    key,
                    value,
                });
            }
        }
    }

    /// Commits a partition's position once more in the name of a batch that no worker knows, as a
    /// process does that had the partition for a moment and found nothing to do.
    pub(crate) fn commit_as_another(&mut self) {
        let batch = BatchId(self.random.u64(..));
        let free: Vec<Place> = self
            .partitions
            .keys()
            .filter(|place| !self.transactions.iter().any(|t| t.holds_position(place)))
            .cloned()
            .collect();
        if free.is_empty() {
            return;
        }
        let place = &free[self.random.usize(0..free.len())];
        let partition = self.partitions.get_mut(place).expect("listed above");
        if let Some(committed) = &mut partition.committed {
            let metadata = committed.metadata.parse::<CommitMetadata>();
            let metadata = metadata.expect("a worker wrote it");
            committed.metadata = CommitMetadata { batch, ..metadata }.to_string();
        }
    }

    /// A producer is made anew under the name of this one: what it left is decided.
    pub(crate) fn fence(&mut self, member: MemberId) {
        let left: Vec<(u64, Ending)> = self
            .transactions
            .iter()
            .filter(|transaction| transaction.member == member)
            .map(|transaction| (transaction.id, transaction.ending))
            .collect();
        for (id, ending) in left {
            self.end(id, ending);
        }
    }

    pub(super) fn time_out(&mut self) {
        let now_ms = self.now_ms;
        let over: Vec<(u64, Ending)> = self
            .transactions
            .iter()
            .filter(|transaction| transaction.ends_at_ms <= now_ms)
            .map(|transaction| (transaction.id, transaction.ending))
            .collect();
        for (id, ending) in over {
            self.end(id, ending);
        }
    }

    fn transaction(&mut self, id: u64) -> &mut Transaction {
        self.transactions
            .iter_mut()
            .find(|t| t.id == id)
            .expect("it is not over")
    }
}
