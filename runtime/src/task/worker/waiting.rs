//! Partitions that are ours and wait: put to work with their state, or looked at again later.

use super::{Start, Waiting, Worker, redefine, retry};
use crate::fate::Fate;
use crate::step::{Place, Step};
use crate::task::definitions::{DefinitionSource, definitions_of};
use crate::task::log::{Log, LogError};
use crate::task::restore;

impl<S: Step, L: Log, D: DefinitionSource<S::Definitions>> Worker<S, L, D> {
    /// Puts partitions to work that are ours and wait.
    pub(super) fn restore_waiting(&mut self) -> Result<(), LogError> {
        let now_ms = self.log.now().as_ms();
        let is_due = |waiting: &Waiting| !waiting.is_halted && waiting.again_at_ms <= now_ms;
        let due: Vec<Place> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| is_due(waiting))
            .map(|(place, _)| place.clone())
            .collect();
        for place in due {
            if let Err(error) = self.restore(&place) {
                self.restore_failed(&place, error);
            }
            // A restore may take long.
            self.serve_membership()?;
        }
        Ok(())
    }

    fn restore(&mut self, place: &Place) -> Result<(), LogError> {
        let (offset, definitions) = definitions_of(&self.source, &place.tenant);
        let Some(definitions) = definitions else {
            return Err(retry(format!("tenant {} is not defined", place.tenant)));
        };
        let Some(waiting) = self.waiting.get(place) else {
            return Ok(());
        };
        let start = waiting.start.clone();
        let committed = match &start {
            Start::Assigned(committed) => committed.clone(),
            Start::Anew => self.log.committed(std::slice::from_ref(place))?.remove(0),
        };
        let mut partition = restore::partition::<S, L>(
            &mut self.log,
            place,
            committed,
            (&definitions, offset),
            self.settings.output_bytes_max,
        )?;
        if partition.control_at > offset {
            return Err(retry(format!(
                "the state knows control offset {}, and the view has reached {offset}",
                partition.control_at
            )));
        }
        if matches!(start, Start::Anew) {
            self.log.seek(place, partition.next)?;
        }
        redefine(&mut partition, &self.source);
        tracing::info!(
            tenant = %place.tenant, partition = place.partition, offset = partition.next,
            "partition is at work"
        );
        self.waiting.remove(place);
        self.report.update(|report| {
            report.waiting.remove(place);
            report.restore_count += 1;
        });
        self.partitions.insert(place.clone(), partition);
        Ok(())
    }

    fn restore_failed(&mut self, place: &Place, error: LogError) {
        let now_ms = self.log.now().as_ms();
        let Some(waiting) = self.waiting.get_mut(place) else {
            return;
        };
        let is_over = now_ms - waiting.since_ms > self.settings.restore_patience_ms;
        // A broker that is away is waited for; a state that does not fit is not.
        let is_misfit = error.act == "restore";
        waiting.is_halted = error.fate == Fate::Halt || is_over && is_misfit;
        // What has waited for long is looked at less often.
        waiting.again_at_ms = now_ms + ((now_ms - waiting.since_ms) / 10).clamp(100, 2_000);
        let (tenant, partition, is_halted) = (&place.tenant, place.partition, waiting.is_halted);
        let reason = error.to_string();
        if is_halted {
            tracing::error!(%tenant, partition, %error, "partition is halted");
        }
        self.report.update(|report| {
            let known = report.waiting.insert(place.clone(), reason.clone());
            if !is_halted && known != Some(reason) {
                tracing::warn!(%tenant, partition, %error, "partition waits");
            }
        });
    }
}
