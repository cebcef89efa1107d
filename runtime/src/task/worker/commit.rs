//! One transaction with all that is pending, tried until it is known how it ended.
//!
//! | step | it ended as | next |
//! |---|---|---|
//! | send | | await its end, and read on meanwhile |
//! | await | committed | done |
//! | await | aborted | send the same bytes again |
//! | await | unknown | renew: afterwards it is decided |
//! | renew | renewed | look at what is committed |
//! | look | of each partition: ours, the one before, another | done, send again, restore it |
//!
//! Each step is one round of the worker, so membership is served between any two: what is not ours
//! any more leaves the commit before the next step.

use std::collections::BTreeSet;

use schemas::ids::TenantId;

use super::{Start, Turn, Worker};
use crate::fate::Fate;
use crate::step::{Place, Step};
use crate::task::definitions::DefinitionSource;
use crate::task::log::{Committed, Log, LogError, Outcome, Sealed};
use crate::task::metadata::{BatchId, CommitMetadata, Verdict};
use crate::task::report::Report;

/// A commit on its way.
pub(super) struct Committing {
    /// The batches, unless the log has them.
    sealed: Vec<Sealed>,
    /// Partitions that went while the log had their batches.
    forgotten: BTreeSet<Place>,
    next: Next,
    began_ms: i64,
    attempt_count: u32,
    /// Nothing is tried before.
    again_at_ms: i64,
}

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Send,
    Await,
    Renew,
    Look,
}

/// How far a commit has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is none, or it is on its way.
    Smooth,
    /// It is in trouble, and this is when the next step is due.
    Mending(Turn),
}

impl Committing {
    /// Leaves a partition out, however far its batch has come: it is not ours any more.
    pub(super) fn forget(&mut self, place: &Place) {
        self.sealed.retain(|batch| batch.place != *place);
        if self.next == Next::Await {
            self.forgotten.insert(place.clone());
        }
    }

    /// True when it is known how everything ended.
    fn is_over(&self) -> bool {
        self.sealed.is_empty() && !matches!(self.next, Next::Await | Next::Renew)
    }

    /// Takes the batches back from the log, without those that are not ours any more.
    fn take_back(&mut self, batches: Vec<Sealed>) {
        let forgotten = std::mem::take(&mut self.forgotten);
        let ours = |batch: &Sealed| !forgotten.contains(&batch.place);
        self.sealed.extend(batches.into_iter().filter(ours));
        self.next = Next::Send;
    }

    fn wait(&mut self, now_ms: i64) {
        self.attempt_count += 1;
        self.again_at_ms = now_ms + (10 << self.attempt_count.min(6));
    }
}

impl<S: Step, L: Log, D: DefinitionSource<S::Definitions>> Worker<S, L, D> {
    /// Takes all that is pending into one commit, if anything is.
    pub(super) fn seal(&mut self, now_ms: i64) {
        let mut sealed: Vec<Sealed> = vec![];
        for partition in self
            .partitions
            .values_mut()
            .filter(|partition| partition.is_pending)
        {
            let flush = partition.must_flush
                || partition.state_at.is_none()
                || now_ms - partition.flushed_ms >= self.settings.flush_interval_ms
                || partition.step.change_count() >= self.settings.flush_changes_max;
            sealed.push(partition.seal(BatchId(self.next_batch), flush));
            self.next_batch = self.next_batch.wrapping_add(1);
        }
        self.pending_since_ms = None;
        self.committing = (!sealed.is_empty()).then_some(Committing {
            sealed,
            forgotten: BTreeSet::new(),
            next: Next::Send,
            began_ms: now_ms,
            attempt_count: 0,
            again_at_ms: now_ms,
        });
    }

    /// Commits what is pending with one try, now, behind what is on its way.
    pub(super) fn commit_at_once(&mut self) -> Result<(), LogError> {
        self.await_end()?;
        if self.committing.is_none() {
            self.seal(self.log.now().as_ms());
        }
        if let Some(committing) = &mut self.committing {
            committing.again_at_ms = i64::MIN;
        }
        self.go_on_committing(0)?;
        self.await_end()
    }

    /// Waits until the commit that is on its way has ended, one way or another.
    fn await_end(&mut self) -> Result<(), LogError> {
        let is_awaited = |c: &Committing| c.next == Next::Await;
        while self.committing.as_ref().is_some_and(is_awaited) {
            self.go_on_committing(super::END_LOOK_MS)?;
        }
        Ok(())
    }

    /// The next step of the commit that is on its way, when its time has come. One that has been
    /// sent is given `wait_ms` to end.
    pub(super) fn go_on_committing(&mut self, wait_ms: u64) -> Result<Progress, LogError> {
        let now_ms = self.log.now().as_ms();
        let Some(mut committing) = self.committing.take() else {
            return Ok(Progress::Smooth);
        };
        if !committing.is_over() {
            match committing.next {
                Next::Await => match self.log.ended(wait_ms) {
                    Some((batches, outcome)) => {
                        committing.take_back(batches);
                        self.sent(&mut committing, outcome)?;
                    }
                    None => {
                        self.committing = Some(committing);
                        return Ok(Progress::Smooth);
                    }
                },
                _ if committing.again_at_ms > now_ms => {
                    let wait_ms = committing.again_at_ms - now_ms;
                    self.committing = Some(committing);
                    let wait_ms = u64::try_from(wait_ms).unwrap_or(1);
                    return Ok(Progress::Mending(Turn::Idle(wait_ms)));
                }
                Next::Send => {
                    self.log.commit(std::mem::take(&mut committing.sealed));
                    committing.next = Next::Await;
                    self.committing = Some(committing);
                    return Ok(Progress::Smooth);
                }
                Next::Renew => self.renew(&mut committing)?,
                Next::Look => self.look(&mut committing)?,
            }
        }
        if committing.is_over() {
            self.commit_ended(committing.began_ms);
            return Ok(Progress::Smooth);
        }
        self.committing = Some(committing);
        Ok(Progress::Mending(Turn::Busy))
    }

    fn commit_ended(&mut self, began_ms: i64) {
        let now_ms = self.log.now().as_ms();
        self.report.update(|report| {
            report.commit_count += 1;
            report.commit_ms = now_ms - began_ms;
            report.trouble = None;
        });
        self.report_partitions();
    }

    /// What the end of a transaction asks for.
    fn sent(&mut self, committing: &mut Committing, outcome: Outcome) -> Result<(), LogError> {
        match outcome {
            Outcome::Committed => {
                let now_ms = self.log.now().as_ms();
                for batch in std::mem::take(&mut committing.sealed) {
                    self.settled(batch, now_ms);
                }
            }
            Outcome::Fenced { reason } => {
                return Err(LogError {
                    act: "commit",
                    reason,
                    fate: Fate::Halt,
                });
            }
            Outcome::Aborted { reason, refused } => {
                self.trouble(&reason, |report| report.abort_count += 1);
                self.leave_out(committing, &refused, &reason);
                committing.wait(self.log.now().as_ms());
            }
            Outcome::Unknown { reason } => {
                self.trouble(&reason, |report| report.unknown_count += 1);
                committing.next = Next::Renew;
            }
        }
        Ok(())
    }

    /// Once this has succeeded, everything that was sent is decided.
    fn renew(&mut self, committing: &mut Committing) -> Result<(), LogError> {
        match self.log.renew() {
            Ok(()) => committing.next = Next::Look,
            Err(error) if error.fate == Fate::Halt => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "an unknown commit stays unknown");
                committing.wait(self.log.now().as_ms());
            }
        }
        Ok(())
    }

    /// Finds out what became of a transaction whose end nobody saw.
    fn look(&mut self, committing: &mut Committing) -> Result<(), LogError> {
        let places: Vec<Place> = committing.sealed.iter().map(|b| b.place.clone()).collect();
        match self.log.committed(&places) {
            Ok(committed) => {
                let sealed = std::mem::take(&mut committing.sealed);
                for (batch, committed) in sealed.into_iter().zip(committed) {
                    committing.sealed.extend(self.resolve(batch, committed));
                }
                committing.next = Next::Send;
            }
            Err(error) if error.fate == Fate::Halt => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "an unknown commit stays unknown");
                committing.wait(self.log.now().as_ms());
            }
        }
        Ok(())
    }

    /// Gives back a batch that was not committed.
    fn resolve(&mut self, batch: Sealed, committed: Option<Committed>) -> Option<Sealed> {
        let metadata = committed.map(|c| c.metadata.parse::<CommitMetadata>());
        let id = match metadata {
            None => None,
            Some(Ok(metadata)) => Some(metadata.batch),
            Some(Err(error)) => {
                let error = LogError {
                    act: "commit",
                    reason: error.to_string(),
                    fate: Fate::Halt,
                };
                self.halt_place(&batch.place, &error);
                return None;
            }
        };
        match Verdict::of(id, batch.metadata.batch, batch.before) {
            Verdict::Committed => {
                let now_ms = self.log.now().as_ms();
                self.settled(batch, now_ms);
                None
            }
            Verdict::NotCommitted => Some(batch),
            Verdict::Lost => {
                tracing::warn!(
                    tenant = %batch.place.tenant, partition = batch.place.partition,
                    "another process has committed: what is here of the partition is void"
                );
                self.begin_anew(&batch.place, Start::Anew);
                None
            }
        }
    }

    /// A batch is in the log.
    fn settled(&mut self, batch: Sealed, now_ms: i64) {
        let place = batch.place.clone();
        let Some(partition) = self.partitions.get_mut(&place) else {
            return;
        };
        partition.committed(batch, now_ms);
        if let Some(told) = partition.committed_report() {
            self.report.update(|report| {
                report.partitions.insert(place, told);
            });
        }
    }

    /// Goes on without tenants whose topics refuse what is sent to them.
    fn leave_out(
        &mut self,
        committing: &mut Committing,
        refused: &BTreeSet<TenantId>,
        reason: &str,
    ) {
        let error = LogError {
            act: "commit",
            reason: reason.to_owned(),
            fate: Fate::Halt,
        };
        committing.sealed.retain(|batch| {
            let is_refused = refused.contains(&batch.place.tenant);
            if is_refused {
                self.halt_place(&batch.place, &error);
            }
            !is_refused
        });
    }

    fn trouble(&self, reason: &str, count: impl FnOnce(&mut Report)) {
        tracing::warn!(reason, "transaction did not commit");
        self.report.update(|report| {
            count(report);
            report.trouble = Some(reason.to_owned());
        });
    }
}
