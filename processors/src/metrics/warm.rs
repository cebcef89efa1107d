//! Memory is asked for what events will change before they are observed.
//!
//! What an event changes lies behind three or four references, each of which is a wait for the
//! memory once there are more subjects than the caches hold. So a few events go together, and all
//! of them take a step along their references before any takes the next: the waits overlap.

use runtime::prefetch::prefetch;
use schemas::refusal::Refusal;

use super::ids::Slice;
use super::panes::{Panes, is_packed};
use super::series::{CompiledMeter, Entry, NO_SLOT, Run, RunSpec, Series};
use super::step::{MetricsStep, ReadEvent};

/// Groups of a subject that are looked at: nearly always there is one for each meter.
const GROUPS: usize = 2;

impl MetricsStep {
    /// Asks for what observing these events will change.
    #[inline]
    pub(super) fn warm(&self, reads: &[Result<ReadEvent<'_>, Refusal>]) {
        let subjects = &self.subjects;
        let known = || reads.iter().filter_map(known);
        for (at, _) in known() {
            prefetch(&subjects.ids[at]);
            prefetch(&subjects.own[at]);
            prefetch(&subjects.clocks[at]);
            prefetch(&subjects.next_end_us[at]);
            prefetch(&subjects.oldest_end_us[at]);
        }
        for (at, _) in known() {
            subjects.ids[at].latest().into_iter().for_each(prefetch);
            subjects.own[at].first().into_iter().for_each(prefetch);
        }
        for (at, read) in known() {
            let slice = subjects.ids[at].at(read.event.occurred_at);
            slice.into_iter().for_each(Slice::warm);
            for (_, series) in self.groups_of(at) {
                prefetch(&series.runs);
                prefetch(&series.lead_us);
            }
        }
        for (at, read) in known() {
            let slice = subjects.ids[at].at(read.event.occurred_at);
            slice
                .into_iter()
                .for_each(|slice| slice.warm_place(read.id));
            self.changing(at, read).for_each(|(_, run)| prefetch(run));
        }
        for (at, read) in known() {
            let runs = self.changing(at, read).map(|(_, run)| run);
            runs.filter_map(latest).for_each(prefetch);
        }
        for (at, read) in known() {
            let runs = self.changing(at, read);
            runs.for_each(|(spec, run)| warm_cells(&self.panes[spec.panes], run));
        }
    }

    /// A subject's groups, with their meter.
    #[inline]
    fn groups_of(&self, subject: usize) -> impl Iterator<Item = (&CompiledMeter, &Series)> {
        let groups = self.subjects.own[subject].iter().take(GROUPS);
        groups.filter_map(|(meter, series)| {
            let meter = self.meters.get(*meter)?;
            Some((meter, &self.series[*series as usize]))
        })
    }

    /// The windows of a subject's groups that an event goes into. Longer ones than the lead are
    /// left out: once in a while a mark is set in them as well.
    #[inline]
    fn changing(
        &self,
        subject: usize,
        read: &ReadEvent<'_>,
    ) -> impl Iterator<Item = (&RunSpec, &Run)> {
        let time_us = read.event.occurred_at.as_us();
        self.groups_of(subject).flat_map(move |(meter, series)| {
            let has_lead = meter.holds_lead(series, time_us);
            let runs = meter.runs.iter().zip(&series.runs);
            runs.filter(move |(spec, _)| !(has_lead && spec.takes_over))
        })
    }
}

#[inline]
fn known<'a, 'b>(read: &'a Result<ReadEvent<'b>, Refusal>) -> Option<(usize, &'a ReadEvent<'b>)> {
    let read = read.as_ref().ok()?;
    Some((read.subject? as usize, read))
}

/// The window or pane that the next event most likely goes into.
#[inline]
fn latest(run: &Run) -> Option<&Entry> {
    run.panes.back().or(run.windows.back())
}

#[inline]
fn warm_cells(panes: &Panes, run: &Run) {
    const LINE: usize = 8;
    // Of a window without cells of its own as well: its place reads as packed.
    let slot = latest(run).map_or(NO_SLOT, |entry| entry.slot);
    if !is_packed(slot) {
        panes.words(slot).iter().step_by(LINE).for_each(prefetch);
    }
}
