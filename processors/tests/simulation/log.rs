//! The log as one worker sees it, with everything that can go wrong between it and the broker.

use std::cell::RefMut;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use processors::metrics::Definitions;
use runtime::fate::Fate;
use runtime::step::{Incoming, Place};
use runtime::task::{Committed, DefinitionSource, Log, LogError, Outcome, Ownership, SEEK, Sealed};
use schemas::ids::{Offset, TenantId};
use schemas::time::BrokerTime;

use crate::broker::{Broker, Ending, MemberId};
use crate::cluster::Cluster;
use crate::oracle::Record;
use crate::reading::{hand_on, incoming};

/// A worker's log.
pub(crate) struct SimulatedLog {
    cluster: Rc<Cluster>,
    member: MemberId,
    /// How far this machine's clock is from the broker's.
    skew_ms: i64,
    positions: BTreeMap<Place, Offset>,
    /// Nothing is done for a process that is dead, whatever it still calls.
    is_dead: bool,
    must_renew: bool,
    /// The commit that was begun: its batches, and its transaction if there is one.
    going: Option<(Vec<Sealed>, Result<u64, LogError>)>,
    /// How it ended, when that has not been told yet.
    done: Option<Outcome>,
    /// What the next poll gives up.
    gives_up: BTreeSet<Place>,
    /// How often the same commit was tried in vain.
    vain_count: u32,
}

/// A commit that is tried as often as this never ends: faults are fewer.
const VAIN_COUNT_MAX: u32 = 5_000;

/// A worker's view of the definitions.
pub(crate) struct SimulatedSource {
    cluster: Rc<Cluster>,
    member: MemberId,
}

impl SimulatedSource {
    pub(crate) fn new(cluster: &Rc<Cluster>, member: MemberId) -> Self {
        Self {
            cluster: Rc::clone(cluster),
            member,
        }
    }

    /// The view, which may move on before each look.
    fn look<T>(&self, look: impl FnOnce(&Broker, usize) -> T) -> T {
        let broker = &mut *self.cluster.broker.borrow_mut();
        let last = broker.control.len() - 1;
        let moves = broker.faults_left == 0 || broker.random.u8(0..8) == 0;
        let at = match broker.members.get_mut(&self.member) {
            Some(member) => {
                member.control_at = last.min(member.control_at + usize::from(moves));
                member.control_at
            }
            None => last,
        };
        look(broker, at)
    }
}

impl DefinitionSource<Definitions> for SimulatedSource {
    fn offset(&self) -> Offset {
        self.look(|_, at| at as Offset)
    }

    fn tenants(&self) -> BTreeSet<TenantId> {
        self.look(|broker, at| broker.control[at].keys().cloned().collect())
    }

    fn of(&self, tenant: &TenantId) -> Option<Definitions> {
        self.look(|broker, at| broker.control[at].get(tenant).cloned())
    }
}

fn error(act: &'static str, fate: Fate) -> LogError {
    LogError {
        act,
        reason: "simulated".into(),
        fate,
    }
}

impl SimulatedLog {
    pub(crate) fn new(cluster: &Rc<Cluster>, member: MemberId, skew_ms: i64) -> Self {
        Self {
            cluster: Rc::clone(cluster),
            member,
            skew_ms,
            positions: BTreeMap::new(),
            is_dead: false,
            must_renew: false,
            going: None,
            done: None,
            gives_up: BTreeSet::new(),
            vain_count: 0,
        }
    }

    fn broker(&self) -> RefMut<'_, Broker> {
        self.cluster.broker.borrow_mut()
    }

    /// The broker, if it answers this time.
    fn ask(&self, act: &'static str, odds: u32) -> Result<RefMut<'_, Broker>, LogError> {
        if self.is_dead {
            return Err(error(act, Fate::Halt));
        }
        let mut broker = self.broker();
        if broker.is_away() || broker.fails(odds) {
            return Err(error(act, Fate::Retry));
        }
        Ok(broker)
    }

    /// Ends the process, here and now; gives what the last call says that nobody reads.
    fn die(&mut self) -> Outcome {
        self.is_dead = true;
        Outcome::Fenced {
            reason: "the process is dead".into(),
        }
    }

    fn is_ours(&self, place: &Place) -> bool {
        self.broker()
            .members
            .get(&self.member)
            .is_some_and(|m| m.known.contains_key(place))
    }

    /// Sends everything; what went wrong on the way, if something did.
    fn send(&mut self, id: u64, batches: &[Sealed]) -> Option<Outcome> {
        for batch in batches {
            if self.broker().fails(150) {
                return Some(self.die());
            }
            self.cluster.interleave();
            if !self.broker().is_open(id) {
                return Some(aborted("the coordinator has given the transaction up"));
            }
            self.broker().send(id, batch);
        }
        if self.broker().fails(60) {
            // Another tenant's topic refuses everything; its partitions are given out anew.
            let mut broker = self.broker();
            broker.end(id, Ending::Abort);
            let tenant = batches[0].place.tenant.clone();
            for batch in batches.iter().filter(|batch| batch.place.tenant == tenant) {
                broker.lose_one(self.member, &batch.place);
            }
            let refused = BTreeSet::from([tenant]);
            return Some(Outcome::Aborted {
                reason: "a topic is gone".into(),
                refused,
            });
        }
        if self.broker().fails(30) {
            self.broker().end(id, Ending::Abort);
            return Some(aborted("a record was refused"));
        }
        self.cluster.interleave();
        if !self.broker().is_open(id) {
            return Some(aborted("the coordinator has given the transaction up"));
        }
        if !self.broker().send_positions(id) {
            self.broker().end(id, Ending::Abort);
            return Some(aborted("another generation owns a partition"));
        }
        None
    }

    /// The thread that commits may go on while the worker does something else.
    fn work_on(&mut self) {
        let is_on = |broker: &mut Broker| broker.faults_left > 0 && broker.random.u8(0..4) == 0;
        if self.done.is_some() || self.is_dead || !is_on(&mut self.broker()) {
            return;
        }
        if let Some((batches, begun)) = self.going.take() {
            self.done = Some(self.try_to_end(&batches, begun.clone()));
            self.going = Some((batches, begun));
        }
    }

    /// What was begun goes on, as far as it comes.
    fn try_to_end(&mut self, batches: &[Sealed], begun: Result<u64, LogError>) -> Outcome {
        if self.is_dead {
            return self.die();
        }
        match begun {
            Ok(id) => match self.send(id, batches) {
                Some(outcome) => outcome,
                None => self.end(id),
            },
            Err(error) => aborted(&error.to_string()),
        }
    }

    /// Ends a transaction that has everything.
    fn end(&mut self, id: u64) -> Outcome {
        self.cluster.interleave();
        let mut broker = self.broker();
        if !broker.is_open(id) {
            return aborted("the coordinator has given the transaction up");
        }
        if broker.fails(60) {
            broker.end(id, Ending::Abort);
            return aborted("the coordinator says no");
        }
        let within_ms = broker.random.i64(0..6_000);
        if broker.fails(40) {
            // The end was asked for, or not, and comes later, or now; nobody saw.
            let ending = [Ending::Commit, Ending::Abort][broker.random.usize(0..2)];
            match broker.random.bool() {
                true => broker.end(id, ending),
                false => broker.prepare(id, ending, within_ms),
            }
            if broker.random.bool() {
                broker.commit_as_another();
            }
            let dies = broker.random.u8(0..3) == 0;
            drop(broker);
            if dies {
                return self.die();
            }
            self.must_renew = true;
            return Outcome::Unknown {
                reason: "no answer".into(),
            };
        }
        if broker.fails(150) {
            drop(broker);
            return self.die();
        }
        broker.end(id, Ending::Commit);
        let dies = broker.fails(150);
        drop(broker);
        if dies { self.die() } else { Outcome::Committed }
    }
}

fn aborted(reason: &str) -> Outcome {
    Outcome::Aborted {
        reason: reason.into(),
        refused: BTreeSet::new(),
    }
}

impl Log for SimulatedLog {
    fn poll(&mut self) -> Result<Vec<Ownership>, LogError> {
        self.work_on();
        if let Some((batches, _)) = &self.going {
            let goes = |batch: &Sealed| self.gives_up.contains(&batch.place);
            assert!(
                !batches.iter().any(goes),
                "a partition goes while its commit is on its way"
            );
        }
        let told = self.ask("poll", 200)?.poll(self.member);
        self.gives_up.clear();
        for change in &told {
            match change {
                Ownership::Revoked(place) => self.gives_up.insert(place.clone()),
                // Lost, it may be given to us anew at once, and then does not go.
                Ownership::Lost(place) | Ownership::Assigned(place, _) => {
                    self.gives_up.remove(place)
                }
            };
        }
        for change in &told {
            if let Ownership::Assigned(place, committed) = change {
                let start = committed.as_ref().map_or(0, |committed| committed.offset);
                self.positions.insert(place.clone(), start);
            }
        }
        Ok(told)
    }

    fn follow(&mut self, tenants: &BTreeSet<TenantId>) -> Result<(), LogError> {
        let broker = self.broker();
        let known = &broker.control.last().expect("there is offset 0");
        assert!(tenants.iter().all(|tenant| known.contains_key(tenant)));
        Ok(())
    }

    fn now(&self) -> BrokerTime {
        BrokerTime::from_ms(self.broker().now_ms + self.skew_ms)
    }

    fn partition_count(&mut self, place: &Place) -> Result<i32, LogError> {
        Ok(self.ask("partition count", 400)?.partitions[place].count)
    }

    fn read(
        &mut self,
        place: &Place,
        count_max: usize,
        each: &mut dyn FnMut(&[Incoming<'_>]) -> usize,
    ) -> Result<usize, LogError> {
        if !self.is_ours(place) {
            return Ok(0);
        }
        self.work_on();
        let from = self.positions[place];
        let (handed, is_going_wrong) = {
            let mut broker = self.ask("read", 400)?;
            let count_max = match broker.faults_left {
                0 => count_max,
                _ => count_max.min(broker.random.usize(0..12)),
            };
            let is_going_wrong = broker.faults_left > 0 && broker.random.u8(0..4) == 0;
            let handed = hand_on(&broker.partitions[place], from, count_max, each);
            (handed, is_going_wrong)
        };
        if let Some(behind) = handed.behind.filter(|_| is_going_wrong) {
            // The rest of what was read is gone, and setting the log back to it fails.
            self.positions.insert(place.clone(), behind);
            return Err(error(SEEK, Fate::Retry));
        }
        self.positions.insert(place.clone(), handed.next);
        Ok(handed.count)
    }

    fn seek(&mut self, place: &Place, to: Offset) -> Result<(), LogError> {
        self.ask(SEEK, 20)?;
        if !self.is_ours(place) {
            return Err(error(SEEK, Fate::Retry));
        }
        self.positions.insert(place.clone(), to);
        Ok(())
    }

    fn is_at_end(&mut self, place: &Place) -> Result<bool, LogError> {
        let broker = self.ask("end", 100)?;
        if broker.are_ends_hidden {
            return Err(error("end", Fate::Retry));
        }
        Ok(self
            .positions
            .get(place)
            .is_some_and(|next| *next >= broker.partitions[place].end()))
    }

    fn commit(&mut self, batches: Vec<Sealed>) {
        assert!(!self.must_renew, "an unknown end is looked into first");
        assert!(self.going.is_none(), "one commit at a time");
        let places: BTreeSet<&Place> = batches.iter().map(|batch| &batch.place).collect();
        assert_eq!(places.len(), batches.len(), "one batch for each partition");
        let begun = self
            .ask("begin", 100)
            .map(|mut broker| broker.begin(self.member));
        self.going = Some((batches, begun));
    }

    fn ended(&mut self, wait_ms: u64) -> Option<(Vec<Sealed>, Outcome)> {
        let is_slow = |broker: &mut Broker| broker.faults_left > 0 && broker.random.bool();
        if wait_ms == 0 && !self.is_dead && is_slow(&mut self.broker()) {
            return None;
        }
        let (batches, begun) = self.going.take().expect("a commit was begun");
        let outcome = match self.done.take() {
            Some(outcome) => outcome,
            None => self.try_to_end(&batches, begun),
        };
        self.vain_count += 1;
        assert!(
            self.vain_count < VAIN_COUNT_MAX,
            "{outcome:?} without an end: {:?}",
            self.broker().ownership(self.member)
        );
        if !matches!(outcome, Outcome::Aborted { .. }) {
            self.vain_count = 0;
        }
        Some((batches, outcome))
    }

    fn renew(&mut self) -> Result<(), LogError> {
        self.ask("renew", 4)?.fence(self.member);
        self.must_renew = false;
        Ok(())
    }

    fn committed(&mut self, places: &[Place]) -> Result<Vec<Option<Committed>>, LogError> {
        assert!(!self.must_renew, "what was sent before is decided by then");
        let broker = self.ask("committed", 4)?;
        let of = |place: &Place| broker.partitions[place].committed.clone();
        Ok(places.iter().map(of).collect())
    }

    fn beginning(&mut self, _: &Place) -> Result<Offset, LogError> {
        self.ask("beginning", 50).map(|_| 0)
    }

    fn restore(
        &mut self,
        place: &Place,
        each: &mut dyn FnMut(&[u8], Option<&[u8]>),
    ) -> Result<(), LogError> {
        let mut broker = self.ask("read", 20)?;
        // An open transaction keeps readers of committed records from the end.
        let is_cut_off = broker.fails(20) || broker.partitions[place].is_state_pending();
        let state = broker.partitions[place].state.clone();
        let count = if is_cut_off {
            broker.random.usize(0..=state.len())
        } else {
            state.len()
        };
        drop(broker);
        for record in &state[..count] {
            if record.pending.is_none() {
                each(&record.key, record.value.as_deref());
            }
        }
        self.cluster.interleave();
        if is_cut_off {
            Err(error("read", Fate::Retry))
        } else {
            Ok(())
        }
    }

    fn replay(
        &mut self,
        place: &Place,
        from: Offset,
        to: Offset,
        each: &mut dyn FnMut(&Incoming<'_>),
    ) -> Result<(), LogError> {
        let mut broker = self.ask("read", 20)?;
        let is_cut_off = broker.fails(20);
        let partition = &broker.partitions[place];
        assert!(from <= to && to <= partition.end());
        let records: Vec<Record> = partition
            .visible_from(from)
            .take_while(|r| r.offset < to)
            .cloned()
            .collect();
        let count = if is_cut_off {
            records.len() / 2
        } else {
            records.len()
        };
        drop(broker);
        records[..count]
            .iter()
            .for_each(|record| each(&incoming(record)));
        self.cluster.interleave();
        if is_cut_off {
            Err(error("read", Fate::Retry))
        } else {
            Ok(())
        }
    }

    fn wait(&mut self, wait_ms: u64) {
        let mut broker = self.broker();
        let mut wait_ms = broker.random.i64(1..=wait_ms as i64);
        if broker.is_away() {
            let left_ms = broker.away_until_ms - broker.now_ms;
            wait_ms = wait_ms.max(broker.random.i64(0..=left_ms));
        }
        let to_ms = broker.now_ms + wait_ms;
        broker.pass(to_ms);
        drop(broker);
        self.cluster.interleave();
    }
}
