//! Sessions: windows that events make and that end by silence, so they grow and merge.
//!
//! An event stands for the stretch from itself to a gap later; a session is what overlaps, cut at
//! whole multiples of its greatest length. So which sessions there are hangs on the events alone
//! and not on their order. A session is known by its first event: when an earlier one comes, or two
//! sessions turn out to be one, what had fired under another start is taken back.

use super::layout::Piece;
use super::series::{Entry, Run, RunSpec, position};
use super::step::{MetricsStep, WindowKey, is_short};
use super::subjects::SubjectId;
use super::takeover::Whole;
use super::{fold, layout::Sample};

/// A fired session that is there no longer under its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retracted {
    pub(super) key: WindowKey,
    /// As it was.
    pub(super) entry: Entry,
}

/// The sessions that an event joins: the one that begins before it, and the one that begins behind
/// it.
struct Near {
    before: Option<usize>,
    behind: Option<usize>,
}

impl Near {
    fn of(spec: &RunSpec, run: &Run, cut_us: i64, time_us: i64) -> Self {
        let at = run
            .windows
            .partition_point(|entry| entry.start_us <= time_us);
        let is_cut = |start_us: i64| start_us.div_euclid(cut_us) != time_us.div_euclid(cut_us);
        let before = at.checked_sub(1).filter(|index| {
            let start_us = run.windows[*index].start_us;
            let last_us = run.lasts.get(start_us).unwrap_or(start_us);
            time_us.saturating_sub(last_us) < spec.width_us && !is_cut(start_us)
        });
        let behind = Some(at).filter(|index| {
            let entry = run.windows.get(*index);
            entry.is_some_and(|entry| {
                entry.start_us.saturating_sub(time_us) < spec.width_us && !is_cut(entry.start_us)
            })
        });
        Self { before, behind }
    }
}

impl MetricsStep {
    /// Folds an event into its session, which it may make, begin earlier, or make one of two.
    pub(super) fn fold_session(&mut self, at: u16, series_id: u32, run_at: usize, sample: &Sample) {
        let time_us = sample.time_us;
        let spec = &self.meters.in_force(at).runs[run_at];
        let run = &self.series[series_id as usize].runs[run_at];
        let cut_us = spec.cut_us.expect("the run is one of sessions");
        let near = Near::of(spec, run, cut_us, time_us);
        let key = |start_us| WindowKey {
            series: series_id,
            run: run_at as u8,
            is_pane: false,
            start_us,
        };
        let joined = near.behind.map(|index| run.windows[index].start_us);
        let start_us = near
            .before
            .map_or(time_us, |index| run.windows[index].start_us);
        let last_of = |start_us: i64| run.lasts.get(start_us).unwrap_or(start_us);
        let lasts = [Some(start_us), joined].map(|start_us| start_us.map(last_of));
        let last_us = lasts
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(time_us)
            .max(time_us);

        let mut whole = std::mem::take(&mut self.scratch.whole);
        let joined = joined.map(|start_us| self.take_session(at, key(start_us), &mut whole));
        if near.before.is_none() {
            self.open_session(at, key(start_us));
        }
        let has_fired = self.grow_session(at, key(start_us), sample, joined.map(|of| (of, &whole)));
        self.scratch.whole = whole;
        self.end_session(at, key(start_us), last_us, has_fired);
    }

    /// Takes a session out that is part of another one from now on; its cells are in `whole`.
    fn take_session(&mut self, at: u16, key: WindowKey, whole: &mut Whole) -> Entry {
        let Self {
            meters,
            series,
            panes,
            subjects,
            scratch,
            gone,
            ..
        } = self;
        let meter = meters.in_force(at);
        let of = &mut series[key.series as usize];
        let run_at = usize::from(key.run);
        let spec = &meter.runs[run_at];
        let index = position(&of.runs[run_at].windows, key.start_us);
        let index = index.expect("the session was found");
        let entry = of.runs[run_at].windows[index];
        whole.fill((meter, of), run_at, &entry, panes);
        let run = &mut of.runs[run_at];
        let end_us = spec.end_us(&run.lasts, key.start_us);
        if let Some((id, place)) = meter.group_run(key.series, run_at) {
            subjects
                .ends_mut(of.subject)
                .remove_session((end_us, id, place));
        }
        run.windows.remove(index);
        run.lasts.remove(key.start_us);
        self.window_count -= 1;
        if entry.has_fired() {
            scratch.retracted.push(Retracted { key, entry });
        } else {
            run.unfired_count -= 1;
            self.open_short_count -= u64::from(is_short(spec));
        }
        super::firing::let_go(gone, &mut panes[spec.panes], key, &entry);
        entry
    }

    /// Makes a session without events.
    fn open_session(&mut self, at: u16, key: WindowKey) {
        let Self {
            meters,
            series,
            panes,
            ..
        } = self;
        let spec = &meters.in_force(at).runs[usize::from(key.run)];
        let of = &mut series[key.series as usize];
        // Its first events may be among those before the meter.
        let partial = key.start_us.saturating_sub(spec.width_us) <= of.partial_until.as_us();
        let run = &mut of.runs[usize::from(key.run)];
        let slot = fold::open_pane(&mut panes[spec.panes], &spec.layout);
        let Err(index) = position(&run.windows, key.start_us) else {
            unreachable!("an event of a session's first instant is in it");
        };
        run.make_room();
        let entry = Entry::new(key.start_us, slot, partial);
        run.windows.insert(index, entry);
        run.unfired_count += 1;
        self.window_count += 1;
        self.open_short_count += u64::from(is_short(spec));
    }

    /// Folds an event, and what another session held, into a session; true where one of them has
    /// fired, so that it is told of at once.
    fn grow_session(
        &mut self,
        at: u16,
        key: WindowKey,
        sample: &Sample,
        joined: Option<(Entry, &Whole)>,
    ) -> bool {
        let Self {
            meters,
            series,
            panes,
            scratch,
            ..
        } = self;
        let spec = &meters.in_force(at).runs[usize::from(key.run)];
        let run = &mut series[key.series as usize].runs[usize::from(key.run)];
        let index = position(&run.windows, key.start_us).expect("the session is there");
        let entry = &mut run.windows[index];
        let panes = &mut panes[spec.panes];
        let carries = &mut scratch.carries;
        let words = panes.unpacked_mut(&mut entry.slot);
        spec.layout.fold(words, key.start_us, sample, carries);
        let mut has_fired = entry.has_fired();
        if let Some((of, whole)) = &joined {
            let piece = Piece {
                layout: &spec.layout,
                words: &whole.words,
                carries: &whole.carries,
                start_us: of.start_us,
            };
            spec.layout.merge(words, key.start_us, &piece, carries);
            has_fired |= of.has_fired();
            if of.is_partial() {
                entry.mark_partial();
            }
        }
        if !carries.is_empty() {
            panes.add_carries(entry.slot, carries);
        }
        if spec.layout.is_sketched() {
            let sketches = panes.sketches_mut(entry.slot);
            spec.layout.fold_sketches(sketches, sample, &scratch.hashes);
            if let Some((_, whole)) = joined {
                super::takeover::merge_sketches(sketches, &whole.sketches);
            }
        }
        if entry.mark_changed() {
            self.changed.push(key);
        }
        if has_fired {
            scratch.refire.push(key);
        } else if entry.mark_touched() {
            self.touched.push(key);
        }
        has_fired
    }

    /// Notes when a session's last event was, and with it when the session ends.
    fn end_session(&mut self, at: u16, key: WindowKey, last_us: i64, has_fired: bool) {
        let Self {
            meters,
            series,
            subjects,
            ..
        } = self;
        let meter = meters.in_force(at);
        let spec = &meter.runs[usize::from(key.run)];
        let of = &mut series[key.series as usize];
        let subject: SubjectId = of.subject;
        let run = &mut of.runs[usize::from(key.run)];
        let old_us = spec.end_us(&run.lasts, key.start_us);
        run.lasts.set(key.start_us, last_us);
        let end_us = spec.end_us(&run.lasts, key.start_us);
        subjects.opened(subject, end_us, None);
        if let Some((id, place)) = meter.group_run(key.series, usize::from(key.run)) {
            let ends = subjects.ends_mut(subject);
            ends.remove_session((old_us, id, place));
            ends.add_session((end_us, id, place), has_fired);
        }
    }
}
