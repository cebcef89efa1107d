//! What all connections of a simulator share: counts, the plan of breaks, and who was served.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use runtime::service::Shutdown;
use serde::Serialize;
use tokio::sync::watch;

use super::faults::FaultOptions;
use super::truth::Truth;

/// How a simulator is doing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SimulatorStatus {
    /// True once every subscribed client has all there is: heartbeats alone go on.
    pub finished: bool,
    /// Clients that are subscribed now.
    pub client_count: usize,
    /// Frames sent so far.
    pub frame_count: u64,
    /// Trades made so far; 0 for a replay, which makes none.
    pub trade_count: usize,
    /// The market's time, in microseconds since 1970.
    pub market_time_us: i64,
}

pub(super) struct Shared {
    pub(super) truth: Truth,
    pub(super) faults: FaultOptions,
    /// What waits for one client at most.
    pub(super) queue_count: usize,
    pub(super) stop: Shutdown,
    pub(super) finished: watch::Sender<bool>,
    /// The market's time that must pass with nobody served, because a connection was broken.
    pub(super) outage_us: AtomicI64,
    pub(super) market_time_us: AtomicI64,
    frame_count: AtomicU64,
    connection_count: AtomicU64,
    breaks: Mutex<VecDeque<u64>>,
    /// Subscribed clients, and whether each was served to the end.
    clients: Mutex<BTreeMap<u64, bool>>,
}

impl Shared {
    pub(super) fn new(truth: Truth, faults: FaultOptions, queue_count: usize) -> Self {
        let mut breaks = faults.disconnect_after.clone();
        breaks.sort_unstable();
        Self {
            truth,
            faults,
            queue_count,
            stop: Shutdown::default(),
            finished: watch::Sender::new(false),
            outage_us: AtomicI64::new(0),
            market_time_us: AtomicI64::new(0),
            frame_count: AtomicU64::new(0),
            connection_count: AtomicU64::new(0),
            breaks: Mutex::new(breaks.into()),
            clients: Mutex::default(),
        }
    }

    /// The number of a new connection, from 0.
    pub(super) fn connection(&self) -> u64 {
        self.connection_count.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn frame_count(&self) -> u64 {
        self.frame_count.load(Ordering::Relaxed)
    }

    /// Counts a frame that was sent; true when the plan breaks the connection after it.
    pub(super) fn sent(&self) -> bool {
        let count = self.frame_count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut breaks = self.breaks.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = breaks.front().is_some_and(|after| *after <= count);
        if is_due {
            breaks.pop_front();
        }
        is_due
    }

    pub(super) fn subscribed(&self, client: u64) {
        self.clients().entry(client).or_insert(false);
    }

    pub(super) fn served(&self, client: u64) {
        self.clients().insert(client, true);
        self.look();
    }

    pub(super) fn left(&self, client: u64) {
        self.clients().remove(&client);
        self.look();
    }

    fn look(&self) {
        let clients = self.clients();
        if !clients.is_empty() && clients.values().all(|served| *served) {
            self.truth.flush();
            self.finished.send_replace(true);
        }
    }

    fn clients(&self) -> MutexGuard<'_, BTreeMap<u64, bool>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> SimulatorStatus {
        SimulatorStatus {
            finished: *self.finished.borrow(),
            client_count: self.clients().len(),
            frame_count: self.frame_count(),
            trade_count: self.truth.trade_count(),
            market_time_us: self.market_time_us.load(Ordering::Relaxed),
        }
    }
}
