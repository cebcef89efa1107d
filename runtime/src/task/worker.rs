//! The loop: membership, definitions, records, ticks, commit.

mod commit;
mod said;
mod turns;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use schemas::ids::Offset;
use schemas::time::BrokerTime;

use super::definitions::{DefinitionSource, definitions_of};
use super::log::{Committed, Log, LogError, Ownership, SEEK};
use super::partition::Partition;
use super::report::{Report, SharedReport};
use crate::fate::Fate;
use crate::step::{Place, Step};
use commit::{Committing, Progress};
use said::Said;
use turns::Round;

/// How a worker goes about its work.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSettings {
    /// How long outputs may wait for a commit.
    pub commit_interval_ms: i64,
    /// How long they wait where nothing is left to be read: sooner is worth more there than few
    /// commits.
    pub commit_early_ms: i64,
    /// How long state changes may wait for a flush, while there are commits.
    pub flush_interval_ms: i64,
    /// Changed keys at which a flush does not wait.
    pub flush_changes_max: usize,
    /// How far this machine's clock may be from the broker's.
    pub skew_ms: i64,
    /// Records read from one tenant's partitions before the next tenant has its turn.
    pub read_count_max: usize,
    /// How long one tenant's partitions are read before the next tenant has its turn.
    pub turn_ms: i64,
    /// How often to look for what silence has made due.
    pub tick_interval_ms: i64,
    /// How long a partition whose state does not fit its commit is tried again before it halts.
    pub restore_patience_ms: i64,
    /// Bytes of output at which a partition goes no further until they are committed.
    pub output_bytes_max: usize,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            commit_interval_ms: 50,
            commit_early_ms: 20,
            flush_interval_ms: 2_000,
            flush_changes_max: 500_000,
            skew_ms: 200,
            read_count_max: 16_384,
            turn_ms: 10,
            tick_interval_ms: 20,
            restore_patience_ms: 30_000,
            output_bytes_max: 8 << 20,
        }
    }
}

/// How long an orderly end waits for brokers that do not take its last commit.
const FINISH_MS_MAX: i64 = 5_000;

/// How long a look for the end of a commit waits for it, where nothing else is to be done.
const END_LOOK_MS: u64 = 50;

/// What a turn found to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Something: the next turn should follow at once.
    Busy,
    /// Nothing: the next turn may wait this long.
    Idle(u64),
}

/// A partition that is ours and not at work.
struct Waiting {
    start: Start,
    since_ms: i64,
    again_at_ms: i64,
    /// It stays as it is until it is assigned anew.
    is_halted: bool,
}

/// Where a partition that waits begins.
#[derive(Clone)]
enum Start {
    /// At the position that it was assigned with; the log reads it from there by itself.
    Assigned(Option<Committed>),
    /// At the position that is committed when it begins; the log has read past that.
    Anew,
}

/// Steps at work on the partitions that this process owns.
pub struct Worker<S: Step, L: Log, D: DefinitionSource<S::Definitions>> {
    log: L,
    source: D,
    settings: WorkerSettings,
    partitions: BTreeMap<Place, Partition<S>>,
    waiting: BTreeMap<Place, Waiting>,
    /// What is being committed. There is one commit at a time, and nothing is restored meanwhile.
    committing: Option<Committing>,
    /// The control offset that everything here has followed.
    control_at: Option<Offset>,
    /// When the oldest output that waits for a commit was put.
    pending_since_ms: Option<i64>,
    next_batch: u64,
    /// Counts the rounds of reading.
    round_count: usize,
    said: Said,
    report: SharedReport,
}

impl<S: Step, L: Log, D: DefinitionSource<S::Definitions>> Worker<S, L, D> {
    /// A worker on a log; `seed` makes its batches' ids differ from every other worker's.
    pub fn new(log: L, source: D, settings: WorkerSettings, seed: u64) -> Self {
        Self {
            log,
            source,
            settings,
            partitions: BTreeMap::new(),
            waiting: BTreeMap::new(),
            committing: None,
            control_at: None,
            pending_since_ms: None,
            next_batch: seed,
            round_count: 0,
            said: Said::default(),
            report: SharedReport::default(),
        }
    }

    /// What others may read of it.
    pub fn report(&self) -> Arc<Mutex<Report>> {
        self.report.handle()
    }

    /// The log.
    pub fn log_mut(&mut self) -> &mut L {
        &mut self.log
    }

    /// One round: serves membership and definitions, reads, ticks, and begins the commit that is
    /// due. While one is on its way records are read on; while one is in trouble, a round is one
    /// more step of mending that and nothing else.
    ///
    /// # Errors
    /// Only what must end the process: everything else is waited out or concerns one partition.
    pub fn turn(&mut self) -> Result<Turn, LogError> {
        self.serve_membership()?;
        if let Progress::Mending(turn) = self.go_on_committing(0)? {
            return Ok(turn);
        }
        if self.committing.is_none() {
            // A partition begins, or begins anew, where no commit of ours can still move it.
            self.follow_definitions()?;
            self.restore_waiting()?;
        }
        let read_count = self.read();
        self.tick();
        let now_ms = self.log.now().as_ms();
        let is_idle = read_count == 0;
        let begins = self.is_commit_due(now_ms, is_idle) && self.committing.is_none();
        if begins {
            self.seal(now_ms);
            self.go_on_committing(0)?;
        }
        self.report_partitions();
        // A partition that was full may be read on once a commit has begun.
        Ok(if is_idle && !begins {
            Turn::Idle(self.idle_ms(now_ms))
        } else {
            Turn::Busy
        })
    }

    fn is_commit_due(&mut self, now_ms: i64, is_idle: bool) -> bool {
        let mut pending = self
            .partitions
            .values()
            .filter(|partition| partition.is_pending)
            .peekable();
        if pending.peek().is_none() {
            // Also when what was pending went away with its partition.
            self.pending_since_ms = None;
            return false;
        }
        let is_urgent = pending.any(Partition::is_full);
        let since_ms = *self.pending_since_ms.get_or_insert(now_ms);
        is_urgent || now_ms - since_ms >= self.wait_ms(is_idle)
    }

    /// How long outputs wait for a commit.
    fn wait_ms(&self, is_idle: bool) -> i64 {
        let WorkerSettings {
            commit_interval_ms,
            commit_early_ms,
            ..
        } = self.settings;
        match is_idle {
            true => commit_interval_ms.min(commit_early_ms),
            false => commit_interval_ms,
        }
    }

    /// Commits what is pending, for an orderly end. What the brokers do not take for
    /// [`FINISH_MS_MAX`] is left: a successor begins where the last commit ended.
    ///
    /// # Errors
    /// As [`Self::turn`].
    pub fn finish(&mut self) -> Result<(), LogError> {
        let began_ms = self.log.now().as_ms();
        loop {
            if self.committing.is_none() {
                self.seal(self.log.now().as_ms());
            }
            if self.committing.is_none() {
                return Ok(());
            }
            if let Progress::Mending(Turn::Idle(wait_ms)) = self.go_on_committing(END_LOOK_MS)? {
                self.log.wait(wait_ms);
            }
            if self.log.now().as_ms() - began_ms > FINISH_MS_MAX {
                tracing::warn!("the last commit is left to a successor");
                return Ok(());
            }
            self.serve_membership()?;
        }
    }

    fn serve_membership(&mut self) -> Result<(), LogError> {
        let changes = match self.log.poll() {
            Ok(changes) => changes,
            Err(error) if error.fate == Fate::Halt => return Err(error),
            Err(error) => {
                if self.said.is_news(None, error.to_string()) {
                    tracing::warn!(%error, "membership is in trouble");
                }
                return Ok(());
            }
        };
        if self.said.settle(None) {
            tracing::info!("membership is in order again");
        }
        // Partitions that go to another process with the next poll.
        let mut leaving = BTreeSet::new();
        for change in changes {
            match change {
                Ownership::Assigned(place, committed) => {
                    leaving.remove(&place);
                    self.begin_anew(&place, Start::Assigned(committed));
                }
                Ownership::Lost(place) => {
                    leaving.remove(&place);
                    self.drop_place(&place);
                }
                Ownership::Revoked(place) => drop(leaving.insert(place)),
            }
        }
        if !leaving.is_empty() {
            // Whoever is next begins where this commit ends, instead of doing it again. There is
            // one try: the next poll gives the partitions up, and from then on nothing may be
            // committed for them.
            self.commit_at_once()?;
        }
        // Also what that commit let begin anew.
        leaving.iter().for_each(|place| self.drop_place(place));
        Ok(())
    }

    /// Lets a partition that is ours wait to be restored, in place of what is here of it.
    fn begin_anew(&mut self, place: &Place, start: Start) -> &mut Waiting {
        self.drop_place(place);
        let now_ms = self.log.now().as_ms();
        self.waiting.entry(place.clone()).or_insert(Waiting {
            start,
            since_ms: now_ms,
            again_at_ms: now_ms,
            is_halted: false,
        })
    }

    fn drop_place(&mut self, place: &Place) {
        self.partitions.remove(place);
        self.waiting.remove(place);
        self.said.settle(Some(place));
        if let Some(committing) = &mut self.committing {
            committing.forget(place);
        }
        self.report.update(|report| {
            report.partitions.remove(place);
            report.waiting.remove(place);
        });
    }

    fn follow_definitions(&mut self) -> Result<(), LogError> {
        let offset = self.source.offset();
        if self.control_at == Some(offset) {
            return Ok(());
        }
        self.log.follow(&self.source.tenants())?;
        for partition in self.partitions.values_mut() {
            redefine(partition, &self.source);
        }
        self.control_at = Some(offset);
        self.report
            .update(|report| report.control_at = Some(offset));
        Ok(())
    }

    /// Takes a partition out of work that cannot go on; the others do.
    fn halt_place(&mut self, place: &Place, error: &LogError) {
        tracing::error!(
            tenant = %place.tenant, partition = place.partition, %error, "partition is halted"
        );
        self.begin_anew(place, Start::Anew).is_halted = true;
        self.report.update(|report| {
            report.waiting.insert(place.clone(), error.to_string());
        });
    }

    fn read(&mut self) -> usize {
        self.round_count = self.round_count.wrapping_add(1);
        let Round { count, failed } = turns::round(
            &mut self.log,
            &mut self.partitions,
            (&self.settings, &mut self.said),
            (self.round_count, self.committing.is_some()),
        );
        for (place, error) in failed {
            let (tenant, partition) = (&place.tenant, place.partition);
            if error.fate == Fate::Halt {
                self.halt_place(&place, &error);
            } else if error.act == SEEK {
                // The log may have gone past records that were not observed.
                tracing::warn!(%tenant, partition, %error, "partition begins anew");
                self.begin_anew(&place, Start::Anew);
            } else if self.said.is_news(Some(&place), error.to_string()) {
                tracing::warn!(%tenant, partition, %error, "partition cannot be read now");
            }
        }
        count
    }

    /// Tells partitions that have been read to their end what time it is.
    fn tick(&mut self) {
        for (place, partition) in &mut self.partitions {
            // The time at which the end is asked for: whatever was appended before it, less the
            // difference of the clocks, has been read if the end has been.
            let asked_at = self.log.now();
            if asked_at.as_ms() < partition.ticks_at_ms || partition.is_flowing {
                // Records that come move the clock themselves, and the end is not reached.
                continue;
            }
            let now = asked_at.plus_ms(-self.settings.skew_ms);
            let is_due = tick_at(&partition.step).is_some_and(|due_at| due_at <= now);
            if !is_due && partition.is_at_end {
                continue;
            }
            partition.ticks_at_ms = asked_at.as_ms() + self.settings.tick_interval_ms;
            match self.log.is_at_end(place) {
                Ok(true) => {
                    partition.is_at_end = true;
                    if is_due {
                        partition.tick(now);
                    }
                }
                Ok(false) => partition.is_at_end = false,
                Err(error) => tracing::debug!(%error, "the end is not known"),
            }
        }
    }

    fn idle_ms(&self, now_ms: i64) -> u64 {
        let mut wait_ms = self.settings.commit_interval_ms;
        // The end of a commit that is on its way ends the wait as well.
        let since_ms = self.pending_since_ms.filter(|_| self.committing.is_none());
        if let Some(since_ms) = since_ms {
            wait_ms = wait_ms.min(since_ms + self.wait_ms(true) - now_ms);
        }
        for partition in self.partitions.values().filter(|p| !p.is_flowing) {
            if let Some(due_at) = tick_at(&partition.step) {
                let due_ms = due_at.as_ms().saturating_add(self.settings.skew_ms);
                wait_ms = wait_ms.min(due_ms.max(partition.ticks_at_ms) - now_ms);
            }
        }
        u64::try_from(wait_ms.max(1)).unwrap_or(1)
    }

    fn report_partitions(&self) {
        self.report.update(|report| {
            for (place, partition) in &self.partitions {
                if !partition.is_pending && partition.sealed_report.is_none() {
                    report.partitions.insert(place.clone(), partition.report());
                } else if let Some(told) = report.partitions.get_mut(place) {
                    // The rest is told as it was committed last.
                    told.is_caught_up = false;
                }
            }
        });
    }
}

/// When the step is next to be told the time, if no record comes before.
fn tick_at<S: Step>(step: &S) -> Option<BrokerTime> {
    let at = [step.due_at(), step.tells_at()];
    at.into_iter().flatten().min()
}

/// Applies the difference between the definitions that a partition has and those in force.
fn redefine<S: Step>(partition: &mut Partition<S>, source: &impl DefinitionSource<S::Definitions>) {
    match definitions_of(source, &partition.place.tenant) {
        (offset, Some(definitions)) if definitions != partition.definitions => {
            partition.redefine(definitions, offset);
        }
        _ => {}
    }
}

fn retry(reason: String) -> LogError {
    LogError {
        act: "wait",
        reason,
        fate: Fate::Retry,
    }
}
