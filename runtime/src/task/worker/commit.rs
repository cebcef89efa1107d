//! One transaction with all that is pending, tried until it is known how it ended.

use std::collections::BTreeSet;

use schemas::ids::TenantId;

use super::Worker;
use crate::fate::Fate;
use crate::step::{Place, Step};
use crate::task::definitions::DefinitionSource;
use crate::task::log::{Log, LogError, Outcome, Ownership, Sealed};
use crate::task::metadata::{BatchId, CommitMetadata, Verdict};
use crate::task::report::Report;

impl<S: Step, L: Log, D: DefinitionSource<S::Definitions>> Worker<S, L, D> {
    /// One transaction with all that is pending; returns once it is known to be committed.
    pub(super) fn commit(&mut self) -> Result<(), LogError> {
        let began_ms = self.log.now().as_ms();
        let mut sealed: Vec<Sealed> = vec![];
        for partition in self
            .partitions
            .values_mut()
            .filter(|partition| partition.is_pending)
        {
            let flush = partition.must_flush
                || partition.state_at.is_none()
                || began_ms - partition.flushed_ms >= self.settings.flush_interval_ms
                || partition.step.change_count() >= self.settings.flush_changes_max;
            sealed.push(partition.seal(BatchId(self.next_batch), flush));
            self.next_batch = self.next_batch.wrapping_add(1);
        }
        self.pending_since_ms = None;
        let mut attempt_count = 0;
        while !sealed.is_empty() {
            match self.log.commit(&sealed) {
                Outcome::Committed => break,
                Outcome::Fenced { reason } => {
                    return Err(LogError {
                        act: "commit",
                        reason,
                        fate: Fate::Halt,
                    });
                }
                Outcome::Aborted { reason, refused } => {
                    self.trouble(&reason, |report| report.abort_count += 1);
                    sealed.retain(|batch| self.keep(&batch.place, &refused, &reason));
                }
                Outcome::Unknown { reason } => {
                    self.trouble(&reason, |report| report.unknown_count += 1);
                    self.resolve(&mut sealed)?;
                }
            }
            attempt_count += 1;
            self.log.wait(10 << attempt_count.min(6));
            self.serve_while_committing(&mut sealed)?;
        }
        let now_ms = self.log.now().as_ms();
        for batch in sealed {
            self.settled(batch, now_ms);
        }
        self.report.update(|report| {
            report.commit_count += 1;
            report.commit_ms = now_ms - began_ms;
            report.trouble = None;
        });
        self.report_partitions();
        Ok(())
    }

    /// A batch is in the log.
    fn settled(&mut self, batch: Sealed, now_ms: i64) {
        if let Some(partition) = self.partitions.get_mut(&batch.place) {
            partition.committed(batch, now_ms);
        }
    }

    /// False for a batch whose tenant's topics refuse it: that tenant is left out.
    fn keep(&mut self, place: &Place, refused: &BTreeSet<TenantId>, reason: &str) -> bool {
        if !refused.contains(&place.tenant) {
            return true;
        }
        let error = LogError {
            act: "commit",
            reason: reason.to_owned(),
            fate: Fate::Halt,
        };
        self.halt_place(place, &error);
        false
    }

    fn trouble(&self, reason: &str, count: impl FnOnce(&mut Report)) {
        tracing::warn!(reason, "transaction did not commit");
        self.report.update(|report| {
            count(report);
            report.trouble = Some(reason.to_owned());
        });
    }

    /// Finds out what became of a transaction whose end nobody saw.
    fn resolve(&mut self, sealed: &mut Vec<Sealed>) -> Result<(), LogError> {
        let mut attempt_count = 0;
        let committed = loop {
            let places: Vec<Place> = sealed.iter().map(|batch| batch.place.clone()).collect();
            let asked = self.log.renew().and_then(|()| self.log.committed(&places));
            match asked {
                Ok(committed) => break committed,
                Err(error) if error.fate == Fate::Halt => return Err(error),
                Err(error) => tracing::warn!(%error, "an unknown commit stays unknown"),
            }
            attempt_count += 1;
            self.log.wait(10 << attempt_count.min(6));
            self.serve_while_committing(sealed)?;
        };
        let now_ms = self.log.now().as_ms();
        for (batch, committed) in std::mem::take(sealed).into_iter().zip(committed) {
            let metadata = committed.map(|c| c.metadata.parse::<CommitMetadata>());
            let id = match metadata {
                None => None,
                Some(Ok(metadata)) => Some(metadata.batch),
                Some(Err(error)) => {
                    let reason = error.to_string();
                    let error = LogError {
                        act: "commit",
                        reason,
                        fate: Fate::Halt,
                    };
                    self.halt_place(&batch.place, &error);
                    continue;
                }
            };
            match Verdict::of(id, batch.metadata.batch, batch.before) {
                Verdict::Committed => self.settled(batch, now_ms),
                Verdict::NotCommitted => sealed.push(batch),
                Verdict::Lost => {
                    tracing::warn!(
                        tenant = %batch.place.tenant, partition = batch.place.partition,
                        "partition belongs to another process"
                    );
                    self.drop_place(&batch.place);
                }
            }
        }
        Ok(())
    }

    /// Serves membership while a commit is being tried: what is not ours any more leaves it.
    fn serve_while_committing(&mut self, sealed: &mut Vec<Sealed>) -> Result<(), LogError> {
        let changes = match self.log.poll() {
            Ok(changes) => changes,
            Err(error) if error.fate == Fate::Halt => return Err(error),
            Err(_) => return Ok(()),
        };
        // That poll gave away what was leaving: another process may own it by now, and nothing
        // would ever say again that it is not ours.
        for place in std::mem::take(&mut self.leaving) {
            sealed.retain(|batch| batch.place != place);
            self.drop_place(&place);
        }
        for change in changes {
            let (Ownership::Assigned(place, _)
            | Ownership::Revoked(place)
            | Ownership::Lost(place)) = &change;
            sealed.retain(|batch| batch.place != *place);
            match change {
                Ownership::Assigned(place, committed) => self.assigned(place, committed),
                Ownership::Revoked(place) | Ownership::Lost(place) => self.drop_place(&place),
            }
        }
        Ok(())
    }
}
