//! Workers on one broker: they take turns, in between each other's calls too, and come and go.

use std::cell::RefCell;
use std::rc::Rc;

use runtime::step::Place;
use runtime::task::{PartitionReport, Report, Worker, WorkerSettings};

use crate::broker::{Broker, MemberId};
use crate::log::{SimulatedLog, SimulatedSource};
use crate::plan::Plan;
use crate::traced::Traced;

type SimulatedWorker = Worker<Traced, SimulatedLog, SimulatedSource>;

/// A process, if there is one.
#[derive(Default)]
struct Process {
    member: MemberId,
    /// Taken out while it has its turn.
    worker: Option<SimulatedWorker>,
    /// It does nothing until then.
    stalled_until_ms: i64,
}

/// The broker and its workers.
pub(crate) struct Cluster {
    pub(crate) broker: RefCell<Broker>,
    processes: RefCell<Vec<Process>>,
}

impl Cluster {
    pub(crate) fn new(plan: &Rc<Plan>, seed: u64, process_count: usize) -> Rc<Self> {
        let mut processes = vec![];
        processes.resize_with(process_count, Process::default);
        Rc::new(Self {
            broker: RefCell::new(Broker::new(plan, seed)),
            processes: RefCell::new(processes),
        })
    }

    pub(crate) fn process_count(&self) -> usize {
        self.processes.borrow().len()
    }

    /// Starts a process in a place of its own. What one of that name left undecided is decided.
    pub(crate) fn start(self: &Rc<Self>, at: usize) {
        let before = self.processes.borrow()[at].member;
        let mut broker = self.broker.borrow_mut();
        broker.fence(before);
        let member = broker.join();
        let is_strict = broker.is_strict();
        let random = &mut broker.random;
        let settings = WorkerSettings {
            commit_interval_ms: random.i64(1..=100),
            commit_early_ms: random.i64(1..=100),
            flush_interval_ms: random.i64(10..=5_000),
            flush_changes_max: random.usize(1..=400),
            skew_ms: 200,
            read_count_max: [16, 4_096][random.usize(0..2)],
            turn_ms: 10,
            tick_interval_ms: random.i64(1..=40),
            restore_patience_ms: 30_000,
            output_bytes_max: 1 << random.u8(4..=20),
        };
        let skew_max_ms = if is_strict {
            200 - crate::plan::WAVER_MS
        } else {
            1_500
        };
        let skew_ms = random.i64(-skew_max_ms..=skew_max_ms);
        let seed = random.u64(..);
        drop(broker);
        let log = SimulatedLog::new(self, member, skew_ms);
        let worker = Worker::new(log, SimulatedSource::new(self, member), settings, seed);
        let process = Process {
            member,
            worker: Some(worker),
            stalled_until_ms: i64::MIN,
        };
        self.processes.borrow_mut()[at] = process;
    }

    pub(crate) fn is_running(&self, at: usize) -> bool {
        self.processes.borrow()[at].worker.is_some()
    }

    /// Ends a process as `kill -9` does.
    pub(crate) fn kill(&self, at: usize) {
        let process = &mut self.processes.borrow_mut()[at];
        if process.worker.take().is_some() {
            let mut broker = self.broker.borrow_mut();
            let session_ms = broker.random.i64(0..3_000);
            broker.leave(process.member, session_ms);
        }
    }

    /// Keeps a process from doing anything for a while; the group may go on without it.
    pub(crate) fn stall(&self, at: usize, stall_ms: i64, is_lost: bool, deaf_polls: u32) {
        let process = &mut self.processes.borrow_mut()[at];
        let mut broker = self.broker.borrow_mut();
        process.stalled_until_ms = broker.now_ms + stall_ms;
        if is_lost && broker.members.contains_key(&process.member) {
            broker.lose(process.member, deaf_polls);
        }
    }

    /// The members that are there.
    pub(crate) fn member(&self, at: usize) -> Option<MemberId> {
        let process = &self.processes.borrow()[at];
        let broker = self.broker.borrow();
        Some(process.member).filter(|member| broker.members.contains_key(member))
    }

    /// Gives a process its turn, unless it is in the midst of one, stalled or gone.
    pub(crate) fn turn(&self, at: usize) {
        let now_ms = self.broker.borrow().now_ms;
        let mut worker = {
            let process = &mut self.processes.borrow_mut()[at];
            if process.stalled_until_ms > now_ms {
                return;
            }
            let Some(worker) = process.worker.take() else {
                return;
            };
            worker
        };
        let turned = worker.turn();
        self.processes.borrow_mut()[at].worker = Some(worker);
        if turned.is_err() {
            self.kill(at);
        }
    }

    /// Ends a process in an orderly way.
    pub(crate) fn finish(&self, at: usize) {
        let worker = self.processes.borrow_mut()[at].worker.take();
        let Some(mut worker) = worker else { return };
        // What goes wrong here goes wrong in a killed process as well.
        let _ = worker.finish();
        self.processes.borrow_mut()[at].worker = Some(worker);
        self.kill(at);
    }

    /// Sometimes lets another process have a turn in the midst of one's call.
    pub(crate) fn interleave(&self) {
        let mut broker = self.broker.borrow_mut();
        if broker.faults_left == 0 || broker.random.u8(0..6) > 0 {
            return;
        }
        let count = self.processes.borrow().len();
        let at = broker.random.usize(0..count);
        drop(broker);
        self.turn(at);
    }

    /// Lets go of the workers, which hold on to the cluster.
    pub(crate) fn end(&self) {
        self.processes.borrow_mut().clear();
    }

    /// What the running workers say of themselves.
    pub(crate) fn reports(&self) -> Vec<(MemberId, Report)> {
        let report = |process: &Process| {
            let worker = process.worker.as_ref()?;
            Some((process.member, worker.report().lock().unwrap().clone()))
        };
        self.processes.borrow().iter().filter_map(report).collect()
    }

    /// What the owner of a partition says of it.
    pub(crate) fn report(&self, place: &Place) -> Option<PartitionReport> {
        let owner = self.broker.borrow().owner(place)?;
        let reports = self.reports().into_iter();
        let mut own = reports.filter(|(member, _)| *member == owner);
        own.next()?.1.partitions.remove(place)
    }
}
