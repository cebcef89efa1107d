//! A broker in memory: logs with append times, transactions, a group, and one virtual clock.

mod group;
mod logs;
mod transactions;

use std::collections::BTreeMap;
use std::rc::Rc;

use fastrand::Rng;
use processors::metrics::Definitions;
use runtime::step::Place;
use schemas::ids::TenantId;

use crate::plan::{Arrival, Plan, Rigour};
pub(crate) use group::{MemberId, Membership};
pub(crate) use logs::Partition;
pub(crate) use transactions::{Ending, Transaction};

/// The definitions as of one control offset.
pub(crate) type Control = Rc<BTreeMap<TenantId, Definitions>>;

/// A record of `metrics.partials`.
#[derive(Clone)]
pub(crate) struct PartialRecord {
    pub(crate) appended_ms: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// The broker, the clock, and how much may still go wrong.
pub(crate) struct Broker {
    pub(crate) plan: Rc<Plan>,
    pub(crate) random: Rng,
    pub(crate) now_ms: i64,
    pub(crate) partitions: BTreeMap<Place, Partition>,
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) members: BTreeMap<MemberId, Membership>,
    next_member: MemberId,
    /// The definitions at each control offset, from 0 on.
    pub(crate) control: Vec<Control>,
    /// How many faults may still be put in. Without an end to them nothing would come to rest.
    pub(crate) faults_left: u32,
    /// Nothing is answered until then.
    pub(crate) away_until_ms: i64,
    /// Nobody is told where logs end, so no ticks are given: a phase has ended.
    pub(crate) are_ends_hidden: bool,
    /// What lies on `metrics.partials`, in the order of the commits.
    pub(crate) partials: BTreeMap<Place, Vec<PartialRecord>>,
    /// What will be appended in this phase, last first.
    upcoming: Vec<Arrival>,
}

impl Broker {
    pub(crate) fn new(plan: &Rc<Plan>, seed: u64) -> Self {
        let count = |place: &Place| plan.partition_count(&place.tenant);
        Self {
            random: Rng::with_seed(seed),
            now_ms: crate::plan::BEGIN_MS,
            partitions: plan
                .places()
                .map(|p| (p.clone(), Partition::new(count(&p))))
                .collect(),
            transactions: vec![],
            members: BTreeMap::new(),
            next_member: 1,
            control: vec![Control::default()],
            faults_left: 0,
            away_until_ms: i64::MIN,
            are_ends_hidden: false,
            partials: BTreeMap::new(),
            upcoming: vec![],
            plan: Rc::clone(plan),
        }
    }

    /// True when something is to go wrong here: once in `odds` times, while faults are left.
    pub(crate) fn fails(&mut self, odds: u32) -> bool {
        let fails = self.faults_left > 0 && self.random.u32(0..odds) == 0;
        self.faults_left -= u32::from(fails);
        fails
    }

    pub(crate) fn is_away(&self) -> bool {
        self.now_ms < self.away_until_ms
    }

    /// True while the records of the plan alone say what comes out.
    pub(crate) fn is_strict(&self) -> bool {
        self.plan.rigour == Rigour::Strict
    }

    /// What is to be appended from now on.
    pub(crate) fn expect(&mut self, arrivals: &[Arrival]) {
        assert!(
            self.upcoming.is_empty(),
            "the phase before has been appended"
        );
        self.upcoming = arrivals.iter().rev().cloned().collect();
    }

    /// When the next record is appended.
    pub(crate) fn next_arrival_ms(&self) -> Option<i64> {
        self.upcoming.last().map(|arrival| arrival.at_ms)
    }

    /// Lets time pass: records are appended, transactions time out, partitions find owners.
    pub(crate) fn pass(&mut self, to_ms: i64) {
        self.now_ms = self.now_ms.max(to_ms);
        while self
            .upcoming
            .last()
            .is_some_and(|arrival| arrival.at_ms <= self.now_ms)
        {
            let arrival = self.upcoming.pop().expect("looked at above");
            let partition = self
                .partitions
                .get_mut(&arrival.place)
                .expect("it is of the plan");
            partition.append(arrival);
        }
        // From a phase's last record on nobody is told where logs end: a tick before definitions
        // change would put out what the records alone do not say.
        self.are_ends_hidden |= self.upcoming.is_empty();
        for partition in self.partitions.values_mut() {
            partition.show(self.now_ms);
        }
        self.time_out();
        self.give_away();
    }

    /// Defines something, at the next control offset.
    pub(crate) fn define(&mut self, tenant: &TenantId, definitions: &Definitions) {
        let last = self.control.last().expect("there is offset 0");
        let mut next = BTreeMap::clone(last);
        next.insert(tenant.clone(), definitions.clone());
        self.control.push(Rc::new(next));
    }
}
