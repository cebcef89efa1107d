//! When windows of groups fire and leave.

use schemas::time::EventTime;

use runtime::step::Output;

use super::groups::{Group, Run, Window};
use super::meters::MeterAt;
use super::{Gone, TotalsStep};
use crate::metrics::emit;
use crate::metrics::series::RunSpec;
use crate::metrics::step::{WindowKey, is_short};

/// Open values that are told in one portion.
const TOLD_AT_ONCE: usize = 256;

impl Group {
    /// How far the events of its sources are behind their append, in microseconds: the longest,
    /// and at most `more_us` longer than the shortest. One source whose events are old must not
    /// hold back what the others say of now.
    fn lag_us(&self, more_us: i64) -> i64 {
        let sources = self.sources.iter().flatten();
        let lags = sources.map(|own| {
            let at_us = own.at.as_event_time().as_us();
            at_us.saturating_sub(own.seen.as_us()).max(0)
        });
        let (least, most) = lags.fold((i64::MAX, 0), |(least, most), lag| {
            (lag.min(least), lag.max(most))
        });
        most.min(least.saturating_add(more_us))
    }

    /// How far the source has come that is furthest behind, and at least as far as `less_us`
    /// before the one that is furthest ahead; the end of time where none is left.
    fn lowest_seen_us(&self, less_us: i64) -> i64 {
        let seen = || {
            let sources = self.sources.iter().flatten();
            sources.map(|own| own.seen.as_us())
        };
        match (seen().min(), seen().max()) {
            (Some(lowest), Some(highest)) => lowest.max(highest.saturating_sub(less_us)),
            _ => i64::MAX,
        }
    }
}

impl TotalsStep {
    /// Fires what a group's watermark has passed, drops what its sources have left behind, and
    /// notes when the clock makes more due.
    pub(super) fn settle(&mut self, id: u32, out: &mut Output) {
        self.forget_silent(id);
        let meter = self.groups.of(id).meter;
        if self.is_complete(meter) {
            let watermark_us = self.watermark_us(self.groups.of(id));
            for run in 0..self.groups.of(id).runs.len() {
                self.fire_run(id, run, watermark_us, out);
            }
        }
        self.leave(id);
        let due_ms = self.due_ms(id);
        self.groups.set_due(id, due_ms);
    }

    /// The same for the groups of some meters.
    pub(super) fn settle_all(&mut self, is_of: impl Fn(MeterAt) -> bool, out: &mut Output) {
        let of = self.groups.ids().filter(|(_, group)| is_of(group.meter));
        let ids: Vec<u32> = of.map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.settle(id, out));
    }

    /// "The lowest of the sources' clocks", less the bound and how far events are behind.
    fn watermark_us(&self, group: &Group) -> i64 {
        if self.lowest_clock().is_none() {
            return i64::MIN;
        }
        let now_us = self.now.as_event_time().plus_ms(-self.limits.bound_ms);
        now_us
            .as_us()
            .saturating_sub(group.lag_us(self.patience_us()))
    }

    /// How much longer than the others' a source's events may be awaited.
    fn patience_us(&self) -> i64 {
        self.limits.allowed_lateness_ms.saturating_mul(1_000)
    }

    /// A source that has had no event of a group for long holds nothing up any more.
    fn forget_silent(&mut self, id: u32) {
        let (now, silence_max_ms) = (self.now, self.limits.silence_max_ms);
        let group = self.groups.of_mut(id);
        let mut is_changed = false;
        for own in &mut group.sources {
            let gone = own.take_if(|own| own.at.plus_ms(silence_max_ms) <= now);
            is_changed |= gone.is_some();
        }
        if is_changed {
            self.groups.mark_changed(id);
        }
    }

    fn fire_run(&mut self, id: u32, run_at: usize, watermark_us: i64, out: &mut Output) {
        loop {
            let group = self.groups.of(id);
            let spec = &self.meters.in_force(group.meter).compiled.runs[run_at];
            let Some(start_us) = group.runs[run_at].unfired.first().copied() else {
                return;
            };
            if start_us.saturating_add(spec.width_us) > watermark_us {
                return;
            }
            let key = WindowKey {
                series: id,
                run: run_at as u8,
                is_pane: false,
                start_us,
            };
            self.fire_one(key, out);
        }
    }

    /// Fires one window, for the first time or as a correction.
    fn fire_one(&mut self, key: WindowKey, out: &mut Output) {
        let group = self.groups.of_mut(key.series);
        let spec = &self.meters.in_force(group.meter).compiled.runs[usize::from(key.run)];
        let run = &mut group.runs[usize::from(key.run)];
        let Some(window) = run.windows.get_mut(&key.start_us) else {
            return;
        };
        if run.unfired.remove(&key.start_us) {
            self.open_short_count -= u64::from(is_short(spec));
        }
        window.entry.fire();
        if window.entry.mark_changed() {
            self.changed.push(key);
        }
        self.emit(key, out);
    }

    /// Corrects the fired windows that the last sum went into.
    pub(super) fn correct(&mut self, out: &mut Output) {
        let mut keys = std::mem::take(&mut self.refire);
        for key in keys.drain(..) {
            self.fire_one(key, out);
        }
        self.refire = keys;
    }

    /// Tells open values that changed in the slot of the clock that has ended, a portion of them.
    pub(super) fn tell_open(&mut self, out: &mut Output) {
        let count = self.to_tell.min(TOLD_AT_ONCE);
        self.to_tell -= count;
        let told: Vec<WindowKey> = self.touched.drain(..count).collect();
        for key in told {
            let Some(group) = self.groups.get_mut(key.series) else {
                continue;
            };
            let run = group.runs.get_mut(usize::from(key.run));
            let Some(window) = run.and_then(|run| run.windows.get_mut(&key.start_us)) else {
                continue;
            };
            if !window.entry.is_touched() {
                // Another window has taken the place of the one that was.
                continue;
            }
            window.entry.mark_told();
            if window.entry.mark_changed() {
                self.changed.push(key);
            }
            if !window.entry.has_fired() {
                self.emit(key, out);
            }
        }
    }

    fn emit(&mut self, key: WindowKey, out: &mut Output) {
        let Self {
            meters,
            groups,
            whole,
            results,
            ..
        } = self;
        let group = groups.of(key.series);
        let meter = meters.in_force(group.meter);
        let spec = &meter.compiled.runs[usize::from(key.run)];
        let run = &group.runs[usize::from(key.run)];
        let Some(window) = run.windows.get(&key.start_us) else {
            return;
        };
        let mut entry = window.entry;
        if key.start_us <= meter.partial_until.as_us() {
            entry.mark_partial();
        }
        let whose = emit::Whose {
            meter: &meter.compiled,
            run: usize::from(key.run),
            group: &group.text,
            values: &group.values,
            session_end: None,
        };
        if !spec.is_hopping() {
            return emit::metric(out, whose, &entry, &window.cells, results);
        }
        whole.begin(&spec.layout);
        let end_us = key.start_us.saturating_add(spec.width_us);
        for (pane_us, pane) in run.panes.range(key.start_us..end_us) {
            whole.merge(
                (&spec.layout, key.start_us),
                (&spec.layout, *pane_us),
                &pane.cells,
            );
        }
        emit::metric(out, whose, &entry, whole, results);
    }

    /// Drops the windows that no sum in time can concern any more.
    fn leave(&mut self, id: u32) {
        let limits = self.limits;
        let group = self.groups.of(id);
        let behind_ms = limits.bound_ms + limits.allowed_lateness_ms;
        let settled_us = match group.lowest_seen_us(self.patience_us()) {
            i64::MAX => i64::MAX,
            seen_us => EventTime::from_us(seen_us).plus_ms(-behind_ms).as_us(),
        };
        let mut floor_us = group.floor.as_us();
        let before = group.floor;
        for run_at in 0..group.runs.len() {
            floor_us = floor_us.max(self.leave_run(id, run_at, settled_us));
        }
        let floor = EventTime::from_us(floor_us);
        if floor > before {
            self.groups.raise_floor(id, floor);
        }
        self.groups.note_empty(id);
    }

    /// Drops the fired windows of one run that end at or before `until_us`; gives the last end.
    fn leave_run(&mut self, id: u32, run_at: usize, until_us: i64) -> i64 {
        let Self {
            meters,
            groups,
            gone,
            window_count,
            ..
        } = self;
        let group = groups.of_mut(id);
        let spec = &meters.in_force(group.meter).compiled.runs[run_at];
        let run = &mut group.runs[run_at];
        let mut last_end_us = i64::MIN;
        let mut let_go = |window: &Window, is_pane| {
            if window.entry.is_stored() {
                gone.push(Gone::Window(WindowKey {
                    series: id,
                    run: run_at as u8,
                    is_pane,
                    start_us: window.entry.start_us,
                }));
            }
        };
        let leaving = leaving(spec, run, until_us);
        for start_us in leaving {
            if let Some(window) = run.windows.remove(&start_us) {
                let_go(&window, false);
                *window_count -= 1;
                last_end_us = last_end_us.max(start_us.saturating_add(spec.width_us));
            }
        }
        // A pane stays as long as a window that holds it.
        let first_us = run
            .windows
            .first_key_value()
            .map_or(i64::MAX, |(us, _)| *us);
        while let Some(pane) = run
            .panes
            .first_entry()
            .filter(|pane| *pane.key() < first_us)
        {
            let_go(&pane.remove(), true);
        }
        last_end_us
    }

    /// When the clock next makes something of a group due.
    pub(super) fn due_ms(&self, id: u32) -> Option<i64> {
        let group = self.groups.of(id);
        if group.is_empty() {
            return None;
        }
        let meter = self.meters.in_force(group.meter);
        let mut due_ms = None;
        let mut is_due = |ms: i64| due_ms = Some(due_ms.map_or(ms, |due_ms: i64| due_ms.min(ms)));
        if self.is_complete(group.meter) {
            let lag_us = group.lag_us(self.patience_us());
            let behind_us = lag_us.saturating_add(self.limits.bound_ms * 1_000);
            for (run, spec) in group.runs.iter().zip(&meter.compiled.runs) {
                let Some(start_us) = run.unfired.first() else {
                    continue;
                };
                let end_us = start_us.saturating_add(spec.width_us);
                let at_us = end_us.saturating_add(behind_us);
                is_due(at_us.div_euclid(1_000) + i64::from(at_us.rem_euclid(1_000) != 0));
            }
        }
        for own in group.sources.iter().flatten() {
            is_due(own.at.plus_ms(self.limits.silence_max_ms).as_ms());
        }
        due_ms
    }
}

/// The starts of windows that have fired and end at or before `until_us`: those that are in front
/// of all others, or all where nothing is awaited any more.
fn leaving(spec: &RunSpec, run: &Run, until_us: i64) -> Vec<i64> {
    let leaves = |window: &Window| {
        let end_us = window.entry.start_us.saturating_add(spec.width_us);
        window.entry.has_fired() && end_us <= until_us
    };
    let all = run.windows.values();
    let start_us = |window: &Window| window.entry.start_us;
    if until_us == i64::MAX {
        return all.filter(|window| leaves(window)).map(start_us).collect();
    }
    all.take_while(|window| leaves(window))
        .map(start_us)
        .collect()
}
