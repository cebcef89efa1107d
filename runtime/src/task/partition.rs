//! One partition at work: its step, its place in the log and on the clock, and what it has put out
//! since the last commit.

use schemas::ids::Offset;
use schemas::time::BrokerTime;

use super::log::Sealed;
use super::metadata::{BatchId, CommitMetadata};
use super::report::PartitionReport;
use super::restore;
use crate::step::{Incoming, Output, Place, Step};

/// A step at work on one partition.
pub(super) struct Partition<S: Step> {
    pub(super) place: Place,
    pub(super) step: S,
    pub(super) definitions: S::Definitions,
    /// The control offset that the definitions are of.
    pub(super) control_at: Offset,
    /// The first record that was not observed.
    pub(super) next: Offset,
    /// The highest "now" that the step was given.
    pub(super) clock: BrokerTime,
    /// The last tick since the last flush: no record older than it may be observed before another.
    pub(super) ticked: Option<BrokerTime>,
    /// The position at which the flushed state is true.
    pub(super) state_at: Option<Offset>,
    pub(super) flushed_ms: i64,
    /// The last committed batch.
    pub(super) batch: Option<BatchId>,
    pub(super) out: Output,
    /// The memory of the output that was committed last, to be used again.
    pub(super) spare: Output,
    /// What is to be told of it once the batch that is on its way is committed.
    pub(super) sealed_report: Option<PartitionReport>,
    /// True when the position, the clock's doings or the state wait for a commit.
    pub(super) is_pending: bool,
    pub(super) must_flush: bool,
    pub(super) is_at_end: bool,
    /// The last read gave records.
    pub(super) is_flowing: bool,
    pub(super) ticks_at_ms: i64,
    /// What the last record made due was parted by a commit, and is not at its end.
    pub(super) is_parted: bool,
    /// Bytes of output at which it goes no further until they are committed.
    pub(super) output_bytes_max: usize,
}

/// How far the clock goes at most beyond what is due next, before a look at what that has put out.
const STRIDE_MS: i64 = 10;

impl<S: Step> Partition<S> {
    /// One that has observed and committed nothing, before the record at `next`.
    pub(super) fn new(
        place: &Place,
        step: S,
        (definitions, control_at): (S::Definitions, Offset),
        next: Offset,
        output_bytes_max: usize,
    ) -> Self {
        // It was flushed in the middle.
        let is_parted = step.is_behind();
        Self {
            place: place.clone(),
            step,
            definitions,
            control_at,
            next,
            clock: BrokerTime::MIN,
            ticked: None,
            // The first commit flushes, so that the definitions in force are known from then on.
            state_at: None,
            flushed_ms: 0,
            batch: None,
            out: Output::default(),
            spare: Output::default(),
            sealed_report: None,
            is_pending: false,
            must_flush: false,
            is_at_end: false,
            is_flowing: false,
            ticks_at_ms: 0,
            is_parted,
            output_bytes_max,
        }
    }

    /// Observes records until one must wait; says how many.
    pub(super) fn observe(&mut self, records: &[Incoming<'_>]) -> usize {
        let mut reads = Vec::with_capacity(records.len());
        self.step.read(records, &mut reads);
        let each = records.iter().zip(&reads);
        each.take_while(|(record, read)| self.observe_next(record, read))
            .count()
    }

    /// Observes a record, after advancing the clock to it; false when it must wait.
    fn observe_next(&mut self, record: &Incoming<'_>, read: &S::Read<'_>) -> bool {
        if self.is_output_full() {
            return false;
        }
        if self
            .ticked
            .is_some_and(|ticked| record.appended_at < ticked)
        {
            // The tick did what this record comes before. A replay would see the record first, so
            // the state is flushed between the two.
            self.must_flush = true;
            self.is_pending = true;
            self.is_at_end = false;
            return false;
        }
        if !self.catch_up() || !self.advance(record.appended_at) {
            return false;
        }
        self.step.observe(record, read, &mut self.out);
        self.next = record.offset + 1;
        self.is_pending = true;
        self.catch_up();
        true
    }

    /// Ends what the last record made due; false when the output was full before.
    ///
    /// Where a commit parts it, the state is flushed with each part: positions and clocks say
    /// nothing of how far it got, and a replay would do all of it again.
    fn catch_up(&mut self) -> bool {
        while self.step.is_behind() {
            if self.is_output_full() {
                self.is_parted = true;
                self.must_flush = true;
                self.is_pending = true;
                return false;
            }
            self.step.catch_up(&mut self.out);
        }
        if std::mem::take(&mut self.is_parted) {
            self.must_flush = true;
            self.is_pending = true;
        }
        true
    }

    /// Moves the clock on to `now`; false when it got less far, since the output is full.
    ///
    /// A clock that moves far, or that many subjects wait for, makes much due. It goes in strides,
    /// and a commit may come between any two: what it says of the clock is how far it got. What is
    /// due in one millisecond is never parted.
    fn advance(&mut self, now: BrokerTime) -> bool {
        let mut stride_ms = 0;
        while self.clock < now {
            if self.is_output_full() {
                self.is_pending = true;
                return false;
            }
            let due_at = self.step.due_at().unwrap_or(now);
            let next = due_at.max(self.clock.plus_ms(1));
            let reached = next.plus_ms(stride_ms).min(now);
            let before = self.out.byte_count();
            self.step.advance(reached, &mut self.out);
            self.clock = reached;
            // Where much is due, it goes from moment to moment.
            let is_much = self.out.byte_count() - before > self.output_bytes_max / 8;
            stride_ms = if is_much { 0 } else { STRIDE_MS };
        }
        true
    }

    /// Gives the step the time, when everything before it has been read.
    pub(super) fn tick(&mut self, now: BrokerTime) {
        if !self.catch_up() {
            return;
        }
        let before = (self.clock, self.out.len(), self.step.change_count());
        self.advance(now);
        if self.clock > before.0 {
            self.ticked = Some(self.clock);
            self.is_pending |= (self.out.len(), self.step.change_count()) != (before.1, before.2);
        }
    }

    /// Takes new definitions into force, which forces a flush.
    pub(super) fn redefine(&mut self, definitions: S::Definitions, control_at: Offset) {
        self.step.redefine(&definitions, &mut self.out);
        self.definitions = definitions;
        self.control_at = control_at;
        self.must_flush = true;
        self.is_pending = true;
    }

    /// Takes everything that waits, to be committed; `flush` takes the state's changes as well.
    pub(super) fn seal(&mut self, batch: BatchId, flush: bool) -> Sealed {
        let spare = std::mem::take(&mut self.spare);
        let mut output = std::mem::replace(&mut self.out, spare);
        let mut state_at = self.state_at;
        if flush {
            self.step.drain_changes(&mut output);
            restore::write_shell_state::<S>(
                &mut output,
                &self.place,
                &restore::ShellState {
                    state_at: self.next,
                    clock: self.clock,
                    control_at: self.control_at,
                },
                (self.must_flush || self.state_at.is_none()).then_some(&self.definitions),
            );
            state_at = Some(self.next);
            // What comes from here on is in no commit before this one.
            self.must_flush = false;
            self.ticked = None;
        }
        let state_at = state_at.expect("the first batch of a partition flushes");
        self.is_pending = false;
        self.sealed_report = Some(self.report());
        Sealed {
            place: self.place.clone(),
            output,
            next: self.next,
            metadata: CommitMetadata {
                batch,
                clock: self.clock,
                state_at,
            },
            before: self.batch,
            flush: flush.then_some((self.next, self.control_at)),
        }
    }

    /// Notes that a batch is committed; gives its memory back for the next.
    pub(super) fn committed(&mut self, mut sealed: Sealed, now_ms: i64) {
        self.batch = Some(sealed.metadata.batch);
        if let Some((state_at, _)) = sealed.flush {
            self.state_at = Some(state_at);
            self.flushed_ms = now_ms;
        }
        sealed.output.clear();
        self.spare = sealed.output;
    }

    /// True while there is no use in reading on: what is there must be committed first.
    pub(super) fn is_full(&self) -> bool {
        self.must_flush || self.is_output_full()
    }

    fn is_output_full(&self) -> bool {
        self.out.byte_count() > self.output_bytes_max
    }

    /// What is true of it in the log, once a batch is committed.
    pub(super) fn committed_report(&mut self) -> Option<PartitionReport> {
        let report = self.sealed_report.take()?;
        Some(PartitionReport {
            is_caught_up: self.is_at_end && !self.is_pending,
            ..report
        })
    }

    pub(super) fn report(&self) -> PartitionReport {
        PartitionReport {
            position: self.next,
            clock: self.clock,
            counts: self.step.counts(),
            holdings: self.step.holdings(),
            is_caught_up: self.is_at_end && !self.is_pending,
        }
    }
}

#[cfg(test)]
mod tests;
