//! What a worker says of itself, for health checks and metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use schemas::ids::Offset;
use schemas::time::BrokerTime;

use crate::step::{Counts, Holdings, Place};

/// A partition as of its last commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionReport {
    /// The committed input position.
    pub position: Offset,
    /// How far its clock has come.
    pub clock: BrokerTime,
    /// What became of its records, committed.
    pub counts: Counts,
    /// How much it holds.
    pub holdings: Holdings,
    /// True when everything visible had been read and nothing waits for a commit.
    pub is_caught_up: bool,
}

/// All that a worker says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The partitions at work.
    pub partitions: BTreeMap<Place, PartitionReport>,
    /// Partitions that are ours and not at work, with the reason.
    pub waiting: BTreeMap<Place, String>,
    /// The control offset whose definitions all partitions at work have.
    pub control_at: Option<Offset>,
    /// Commits so far.
    pub commit_count: u64,
    /// Aborts so far.
    pub abort_count: u64,
    /// Commits whose end nobody saw.
    pub unknown_count: u64,
    /// Partitions restored so far.
    pub restore_count: u64,
    /// How long the last commit took.
    pub commit_ms: i64,
    /// Why commits fail at present; `None` while they succeed.
    pub trouble: Option<String>,
}

/// A report that the worker writes and others read.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedReport(Arc<Mutex<Report>>);

impl SharedReport {
    pub(crate) fn update(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn handle(&self) -> Arc<Mutex<Report>> {
        Arc::clone(&self.0)
    }
}
