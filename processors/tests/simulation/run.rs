//! Runs a plan on a cluster, with a smooth course or with everything that can go wrong.

use std::collections::VecDeque;
use std::rc::Rc;

use runtime::step::Place;

use crate::cluster::Cluster;
use crate::plan::{Change, Phase, Plan, Rigour};
use crate::traced::Note;

/// How a plan is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Course {
    /// One worker, and nothing goes wrong.
    Smooth,
    /// Three workers that come and go, on a broker that fails.
    Rough,
}

/// Steps after which a partition that has not come to rest never will.
const REST_STEPS_MAX: u32 = 20_000;

/// Runs the plan to its end; everything is committed then.
pub(crate) fn run(plan: &Rc<Plan>, course: Course) -> Rc<Cluster> {
    let process_count = if course == Course::Smooth { 1 } else { 3 };
    let seed = plan.seed ^ 0x5eed_0000_0000_0000;
    let cluster = Cluster::new(plan, seed, process_count);
    let mut driver = Driver {
        cluster: &cluster,
        plan,
        course,
    };
    for ((tenant, _), definitions) in plan.tenants.iter().zip(&plan.definitions) {
        cluster.broker.borrow_mut().define(tenant, definitions);
    }
    for phase in &plan.phases {
        driver.phase(phase);
    }
    cluster
}

struct Driver<'a> {
    cluster: &'a Rc<Cluster>,
    plan: &'a Plan,
    course: Course,
}

impl Driver<'_> {
    fn phase(&mut self, phase: &Phase) {
        let is_strict = self.plan.rigour == Rigour::Strict;
        let starts_anew = {
            let mut broker = self.cluster.broker.borrow_mut();
            let first_ms = phase.arrivals[0].at_ms;
            assert!(
                broker.now_ms < first_ms,
                "the phase before took too long to come to rest"
            );
            broker.expect(&phase.arrivals);
            broker.are_ends_hidden = false;
            if self.course == Course::Rough {
                broker.faults_left = broker.random.u32(0..60);
            }
            self.course == Course::Rough && broker.random.bool()
        };
        if starts_anew {
            (0..self.cluster.process_count()).for_each(|at| self.cluster.kill(at));
        }
        let mut changes: VecDeque<&Change> = if is_strict {
            VecDeque::new()
        } else {
            phase.changes.iter().collect()
        };
        while self.cluster.broker.borrow().next_arrival_ms().is_some() || !changes.is_empty() {
            self.step(true);
            let now_ms = self.cluster.broker.borrow().now_ms;
            while let Some(change) = changes.pop_front_if(|change| change.at_ms <= now_ms) {
                self.define(change);
            }
        }
        self.rest();
        for change in phase.changes.iter().filter(|_| is_strict) {
            self.define(change);
            self.rest();
        }
    }

    fn define(&self, change: &Change) {
        let (tenant, _) = &self.plan.tenants[change.tenant];
        self.cluster
            .broker
            .borrow_mut()
            .define(tenant, &change.definitions);
    }

    /// Goes on until all input and all definitions are taken in and committed.
    fn rest(&mut self) {
        for step in 0..REST_STEPS_MAX {
            if step == 100 {
                self.cluster.broker.borrow_mut().faults_left = 0;
            }
            if self.is_at_rest() {
                return;
            }
            self.step(false);
        }
        let broker = self.cluster.broker.borrow();
        let is_behind = |place: &Place| !broker.partitions[place].is_at_rest();
        let behind: Vec<Place> = self.plan.places().filter(is_behind).collect();
        panic!(
            "never came to rest: {behind:?} of {:#?}",
            self.cluster.reports()
        );
    }

    /// True when all input and all definitions are taken in and committed, and whoever owns a
    /// partition has come that far with it.
    fn is_at_rest(&self) -> bool {
        self.plan.places().all(|place| {
            let broker = self.cluster.broker.borrow();
            let control = broker.control.last().expect("there is offset 0");
            let partition = &broker.partitions[&place];
            let in_force = partition
                .calls
                .iter()
                .rev()
                .find_map(|(_, note)| match note {
                    Note::Began(definitions) | Note::Redefined { definitions, .. } => {
                        Some(definitions)
                    }
                    _ => None,
                });
            if !partition.is_at_rest() || in_force != control.get(&place.tenant) {
                return false;
            }
            let end = partition.end();
            drop(broker);
            let report = self.cluster.report(&place);
            report.is_some_and(|report| report.position == end)
        })
    }

    /// Lets a little time pass, or much while nothing is to come; something may go wrong; some
    /// processes have a turn.
    fn step(&mut self, may_leap: bool) {
        let turns = {
            let mut broker = self.cluster.broker.borrow_mut();
            let broker = &mut *broker;
            let next_ms = broker
                .next_arrival_ms()
                .filter(|_| may_leap)
                .unwrap_or(broker.now_ms);
            let to_ms = match broker.random.u8(0..10) {
                0..5 => broker.now_ms + broker.random.i64(0..40),
                5..7 => broker.now_ms + broker.random.i64(0..400),
                7..9 => broker
                    .random
                    .i64(broker.now_ms..=next_ms.max(broker.now_ms)),
                _ => next_ms,
            };
            broker.pass(to_ms);
            broker.random.usize(1..4)
        };
        if self.course == Course::Rough {
            self.trouble();
        }
        self.keep_running();
        for _ in 0..turns {
            let at = self
                .cluster
                .broker
                .borrow_mut()
                .random
                .usize(0..self.cluster.process_count());
            self.cluster.turn(at);
        }
    }

    /// Something that no call sees coming.
    fn trouble(&self) {
        let cluster = self.cluster;
        let mut broker = cluster.broker.borrow_mut();
        let at = broker.random.usize(0..cluster.process_count());
        let places: Vec<Place> = broker.partitions.keys().cloned().collect();
        let place = places[broker.random.usize(0..places.len())].clone();
        if broker.random.u8(0..20) == 0 {
            let mut random = broker.random.fork();
            broker
                .partitions
                .get_mut(&place)
                .expect("one of its places")
                .compact(&mut random);
        }
        if !broker.fails(12) {
            return;
        }
        let stall_ms = match broker.random.bool() {
            true => broker.random.i64(0..500),
            false => broker.random.i64(0..20_000),
        };
        let (is_lost, deaf_polls) = (broker.random.bool(), broker.random.u32(0..12));
        let kind = broker.random.u8(0..10);
        if kind == 0 {
            broker.away_until_ms = broker.now_ms + broker.random.i64(0..30_000);
        }
        drop(broker);
        match kind {
            0 => {}
            1 | 2 => cluster.kill(at),
            3 => cluster.finish(at),
            4 | 5 => cluster.stall(at, stall_ms, is_lost, deaf_polls),
            6 => (0..cluster.process_count()).for_each(|at| cluster.kill(at)),
            _ => {
                let member = cluster.member(at);
                let mut broker = cluster.broker.borrow_mut();
                match member {
                    Some(member) if kind < 9 => broker.move_to(&place, member),
                    Some(member) => broker.lose_one(member, &place),
                    None => {}
                }
            }
        }
    }

    /// Starts processes that are not there, sooner or later.
    fn keep_running(&self) {
        for at in 0..self.cluster.process_count() {
            let starts = {
                let mut broker = self.cluster.broker.borrow_mut();
                broker.faults_left == 0 || broker.random.u8(0..12) == 0
            };
            if starts && !self.cluster.is_running(at) {
                self.cluster.start(at);
            }
        }
    }
}
