//! A meter's longer windows take events over from its shortest ones.
//!
//! A candle of a minute is its sixty candles of a second put together. So an event goes into the
//! newest of its group's shortest windows alone, the *lead*, unless that one is far ahead of all
//! others; what the longer windows that hold it lack is then exactly what lies in it. They take it
//! over as a whole when it fires or a newer one opens, and whoever reads one of them before reads
//! both. What is written, to the state as well, is the same as if every event had gone into every
//! window: only the memory differs, so a restore begins without a lead.
//!
//! Once a longer window has fired, an event that still comes for it goes into each by itself.

use schemas::sketch::Sketch;

use super::layout::{Carry, Layout, Piece};
use super::panes::{Panes, Slot};
use super::series::{CompiledMeter, Entry, NO_LEAD, NO_SLOT, Run, RunSpec, Series, position};
use super::step::MetricsStep;

/// Where an event goes among the tumbling windows that hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lead {
    /// Into each of them.
    Nobody,
    /// Into the lead; the longer ones change with it, and that is to be noted.
    Shortest,
    /// Into the lead, and the change of the longer ones has been noted.
    ShortestAgain,
}

/// A window's cells, put together for a reader.
#[derive(Clone, Debug, Default)]
pub(super) struct Whole {
    /// The words.
    pub(super) words: Vec<u64>,
    /// What its sums carried, by word.
    pub(super) carries: Vec<Carry>,
    /// The sketches, where the windows have some.
    pub(super) sketches: Vec<Sketch>,
}

impl CompiledMeter {
    /// True when an instant lies in a group's lead.
    #[inline]
    pub(super) fn holds_lead(&self, series: &Series, time_us: i64) -> bool {
        let holds = |at: u8| self.runs[usize::from(at)].holds(series.lead_us, time_us);
        self.shortest.is_some_and(holds)
    }
}

impl Series {
    /// The group's lead, if it has one.
    #[inline]
    fn lead(&self, shortest: usize) -> Option<&Entry> {
        let windows = &self.runs[shortest].windows;
        let index = position(windows, self.lead_us).ok()?;
        Some(&windows[index])
    }
}

impl MetricsStep {
    /// Finds where an event of that time goes, and lets the window that it opens lead from now on,
    /// if it is newer than the lead.
    #[inline]
    pub(super) fn find_lead(&mut self, at: u16, id: u32, time_us: i64) -> Lead {
        let meter = self.meters.in_force(at);
        let Some(shortest) = meter.shortest.map(usize::from) else {
            return Lead::Nobody;
        };
        let series = &self.series[id as usize];
        if !meter.holds_lead(series, time_us) {
            return self.follow(at, id, time_us);
        }
        // Whatever marks the lead marks those that hold it, and marks are taken from all at once.
        match series.lead(shortest) {
            Some(lead) if lead.is_marked() => Lead::ShortestAgain,
            _ => Lead::Shortest,
        }
    }

    fn follow(&mut self, at: u16, id: u32, time_us: i64) -> Lead {
        let (meter, shortest) = self.shortest_of(at);
        let spec = &meter.runs[shortest];
        let start_us = spec.pane_start(time_us);
        let series = &self.series[id as usize];
        // One that is further ahead would lead for as long as nothing else is dated there.
        let ahead_us = start_us.saturating_sub(self.now.as_event_time().as_us());
        let is_open = position(&series.runs[shortest].windows, start_us).is_ok();
        if is_open || start_us < series.lead_us || ahead_us > spec.width_us {
            return Lead::Nobody;
        }
        self.take_over(at, id);
        let (meter, _) = self.shortest_of(at);
        let series = &self.series[id as usize];
        let has_fired = |(spec, run): (&RunSpec, &Run)| {
            let found = position(&run.windows, spec.pane_start(start_us));
            spec.takes_over && found.is_ok_and(|index| run.windows[index].has_fired())
        };
        if meter.runs.iter().zip(&series.runs).any(has_fired) {
            return Lead::Nobody;
        }
        self.series[id as usize].lead_us = start_us;
        Lead::Shortest
    }

    fn shortest_of(&self, at: u16) -> (&CompiledMeter, usize) {
        let meter = self.meters.in_force(at);
        (meter, meter.shortest.map_or(0, usize::from))
    }

    /// Ends a group's lead, if there is one: the longer windows take it over.
    pub(super) fn take_over(&mut self, at: u16, id: u32) {
        let Self {
            meters,
            series,
            panes,
            scratch,
            ..
        } = self;
        let series = &mut series[id as usize];
        let lead_us = std::mem::replace(&mut series.lead_us, NO_LEAD);
        if lead_us == NO_LEAD {
            return;
        }
        let meter = meters.in_force(at);
        let shortest = meter.shortest.map_or(0, usize::from);
        let from = &meter.runs[shortest];
        let windows = &series.runs[shortest].windows;
        let lead = position(windows, lead_us).map(|index| windows[index]);
        let lead = lead.expect("a lead is held until it has fired");
        let whole = &mut scratch.whole;
        whole.copy(&panes[from.panes], lead.slot);
        let piece = Piece {
            layout: &from.layout,
            words: &whole.words,
            carries: &whole.carries,
            start_us: lead_us,
        };
        for (spec, run) in meter.runs.iter().zip(&mut series.runs) {
            if !spec.takes_over {
                continue;
            }
            let start_us = spec.pane_start(lead_us);
            let index = position(&run.windows, start_us);
            let slot = &mut run.windows[index.expect("a window stays until it has fired")].slot;
            let memory = &mut panes[spec.panes];
            let words = memory.unpacked_mut(slot);
            let carries = &mut scratch.carries;
            spec.layout.merge(words, start_us, &piece, carries);
            if !carries.is_empty() {
                memory.add_carries(*slot, carries);
            }
            merge_sketches(memory.sketches_mut(*slot), &whole.sketches);
        }
    }
}

impl Whole {
    /// Puts a window together: its own cells with what it has not taken over, or its panes.
    pub(super) fn fill(
        &mut self,
        (meter, series): (&CompiledMeter, &Series),
        run_at: usize,
        entry: &Entry,
        panes: &[Panes],
    ) {
        let (spec, run) = (&meter.runs[run_at], &series.runs[run_at]);
        if entry.slot != NO_SLOT {
            self.copy(&panes[spec.panes], entry.slot);
            if let Some(shortest) = meter.shortest.map(usize::from)
                && spec.takes_over
                && spec.holds(entry.start_us, series.lead_us)
            {
                let lead = series.lead(shortest);
                let pieces = (spec, &meter.runs[shortest]);
                self.add(
                    pieces,
                    entry.start_us,
                    lead,
                    &panes[meter.runs[shortest].panes],
                );
            }
            return;
        }
        self.begin(&spec.layout);
        let end_us = entry.start_us.saturating_add(spec.width_us);
        let first = position(&run.panes, entry.start_us).unwrap_or_else(|at| at);
        let inside = run.panes.iter().skip(first);
        let inside = inside.take_while(|pane| pane.start_us < end_us);
        self.add((spec, spec), entry.start_us, inside, &panes[spec.panes]);
    }

    /// Adds up what pieces carried to one sum, so that the same window is always the same.
    pub(super) fn settle(&mut self) {
        let carries = &mut self.carries;
        carries.sort_unstable_by_key(|(word, _)| *word);
        carries.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            kept.1 += if is_same { next.1 } else { 0 };
            is_same
        });
        carries.retain(|(_, carry)| *carry != 0);
    }

    /// Those of a window without events.
    pub(super) fn empty(layout: &Layout) -> Self {
        let mut whole = Self::default();
        whole.begin(layout);
        whole
    }

    /// Makes them those of a window without events.
    pub(super) fn begin(&mut self, layout: &Layout) {
        self.clear();
        self.words.resize(layout.word_count(), 0);
        layout.clear(&mut self.words);
        if layout.is_sketched() {
            self.sketches.extend(layout.empty_sketches());
        }
    }

    /// Folds the cells of a shorter stretch, laid out as `from` and beginning at `at_us`, into
    /// these, which are laid out as `layout` and begin at `start_us`.
    pub(super) fn merge(
        &mut self,
        (layout, start_us): (&Layout, i64),
        (from, at_us): (&Layout, i64),
        cells: &Self,
    ) {
        let piece = Piece {
            layout: from,
            words: &cells.words,
            carries: &cells.carries,
            start_us: at_us,
        };
        layout.merge(&mut self.words, start_us, &piece, &mut self.carries);
        merge_sketches(&mut self.sketches, &cells.sketches);
        if !self.carries.is_empty() {
            self.settle();
        }
    }

    /// True for cells that are laid out as `layout` says.
    pub(super) fn fits(&self, layout: &Layout) -> bool {
        let empty = layout.empty_sketches();
        let mut sketches = self.sketches.iter().zip(&empty);
        self.words.len() == layout.word_count()
            && self.sketches.len() == empty.len()
            && sketches.all(|(own, like)| own.is_like(like))
            && self.carries.iter().all(|(word, _)| layout.has_carry(*word))
    }

    /// Nothing at all.
    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.carries.clear();
        self.sketches.clear();
    }

    /// What the sum at `word` carried.
    pub(super) fn carry(&self, word: u16) -> i128 {
        let of_word = self.carries.iter().find(|(of, _)| *of == word);
        of_word.map_or(0, |(_, carry)| *carry)
    }

    fn copy(&mut self, memory: &Panes, slot: Slot) {
        self.clear();
        memory.copy(slot, &mut self.words);
        self.carries.extend_from_slice(memory.carries(slot));
        self.sketches.extend_from_slice(memory.sketches(slot));
    }

    fn add<'a>(
        &mut self,
        (spec, from): (&RunSpec, &RunSpec),
        start_us: i64,
        pieces: impl IntoIterator<Item = &'a Entry>,
        memory: &Panes,
    ) {
        for entry in pieces {
            let piece = Piece {
                layout: &from.layout,
                words: memory.words(entry.slot),
                carries: memory.carries(entry.slot),
                start_us: entry.start_us,
            };
            let Self {
                words,
                carries,
                sketches,
            } = self;
            spec.layout.merge(words, start_us, &piece, carries);
            merge_sketches(sketches, memory.sketches(entry.slot));
        }
        if !self.carries.is_empty() {
            self.settle();
        }
    }
}

/// Merges the sketches of a piece into those of a window of the same aggregates.
pub(super) fn merge_sketches(own: &mut [Sketch], of: &[Sketch]) {
    for (own, of) in own.iter_mut().zip(of) {
        own.merge(of);
    }
}
