//! When windows fire, are corrected and leave, and when identities are forgotten.

use schemas::time::{BrokerTime, EventTime};

use runtime::step::Output;

use super::emit;
use super::ends::{End, Ends};
use super::panes::Panes;
use super::series::{Entry, NO_SLOT, position};
use super::sessions::Retracted;
use super::step::{Gone, MetricsStep, Scratch, Silence, WindowKey, is_short, settled_us};
use super::subjects::{NEVER, SubjectId};

impl MetricsStep {
    /// Fires what a subject's watermark has passed, drops what its events have left behind, and
    /// notes when silence makes more due. Called after each event of the subject.
    #[inline]
    pub(super) fn settle(&mut self, subject: SubjectId, out: &mut Output) {
        let at = subject as usize;
        let limits = &self.definitions.limits;
        let clock = &self.subjects.clocks[at];
        let watermark = match self.silence {
            Silence::Fires => clock.watermark(self.now, limits),
            Silence::Waits => clock.settled(limits),
        };
        if watermark.as_us() >= self.subjects.next_end_us[at] {
            self.fire(subject, watermark.as_us(), out);
        }
        let settled = settled_us(self, subject);
        if settled >= self.subjects.oldest_end_us[at] {
            self.leave(subject, settled);
        }
        self.note_due(subject);
    }

    /// Notes when silence next makes something due of a subject.
    #[inline]
    pub(super) fn note_due(&mut self, subject: SubjectId) {
        if self.silence == Silence::Waits {
            return;
        }
        let at = subject as usize;
        let limits = &self.definitions.limits;
        let clock = &self.subjects.clocks[at];
        let next_end_us = self.subjects.next_end_us[at];
        let mut due_ms = NEVER;
        if next_end_us != NEVER {
            due_ms = clock
                .silent_until(EventTime::from_us(next_end_us), limits)
                .as_ms();
        }
        if self.holds_droppable(subject) {
            due_ms = due_ms.min(clock.at.plus_ms(limits.silence_max_ms).as_ms());
        }
        self.subjects.set_due(subject, due_ms);
    }

    /// True when a long silence would drop something: identities, or a window that has fired.
    #[inline]
    fn holds_droppable(&self, subject: SubjectId) -> bool {
        let at = subject as usize;
        if !self.subjects.ids[at].is_empty() {
            return true;
        }
        let mut own = self.subjects.own[at]
            .iter()
            .flat_map(|(_, series)| &self.series[*series as usize].runs);
        own.any(|run| run.windows.len() > run.unfired_count as usize)
            || self.subjects.ends(subject).is_some_and(Ends::holds_fired)
    }

    /// Fires and drops what silence has made due by `now`.
    pub(super) fn fire_silent(&mut self, now: BrokerTime, out: &mut Output) {
        if self.subjects.earliest_due_ms() > now.as_ms() {
            return;
        }
        let mut due = std::mem::take(&mut self.scratch.due);
        self.subjects.take_due(now.as_ms(), &mut due);
        for subject in due.drain(..) {
            let at = subject as usize;
            let limits = self.definitions.limits;
            let clock = self.subjects.clocks[at];
            let watermark_us = clock.watermark(now, &limits).as_us();
            if watermark_us >= self.subjects.next_end_us[at] {
                self.fire(subject, watermark_us, out);
            }
            if clock.at.plus_ms(limits.silence_max_ms) <= now {
                self.drop_silent(subject);
            }
            self.note_due(subject);
        }
        self.scratch.due = due;
    }

    /// Fires a subject's windows that end at or before `watermark_us`.
    fn fire(&mut self, subject: SubjectId, watermark_us: i64, out: &mut Output) {
        let mut next_end_us = NEVER;
        for group in 0..self.subjects.own[subject as usize].len() {
            let (meter, id) = self.subjects.own[subject as usize][group];
            for run in 0..self.series[id as usize].runs.len() {
                let next = self.fire_run(meter, id, run, watermark_us, out);
                next_end_us = next_end_us.min(next);
            }
        }
        while let Some((_, id, run)) = self.subjects.take_unfired(subject, watermark_us) {
            let meter = self.series[id as usize].meter;
            let meter = meter.expect("a group with a window has a meter");
            self.fire_run(meter, id, usize::from(run), watermark_us, out);
        }
        let next = self.subjects.ends(subject).map_or(NEVER, Ends::next_us);
        self.subjects.next_end_us[subject as usize] = next_end_us.min(next);
    }

    /// Fires one of a group's windows; gives the end of the next that has not fired.
    fn fire_run(&mut self, at: u16, id: u32, run_at: usize, upto_us: i64, out: &mut Output) -> i64 {
        let run = &self.series[id as usize].runs[run_at];
        let mut left = run.unfired_count;
        let mut next_end_us = NEVER;
        let mut first = run.windows.len();
        // Those that have not fired stand at the end, or nearly.
        while left > 0 {
            first -= 1;
            left -= u32::from(!run.windows[first].has_fired());
        }
        for index in first..self.series[id as usize].runs[run_at].windows.len() {
            let run = &self.series[id as usize].runs[run_at];
            let entry = run.windows[index];
            let spec = &self.meters.in_force(at).runs[run_at];
            let end_us = spec.end_us(&run.lasts, entry.start_us);
            if entry.has_fired() {
                continue;
            }
            if end_us > upto_us {
                next_end_us = end_us;
                break;
            }
            let start_us = entry.start_us;
            self.fire_one(
                at,
                WindowKey {
                    series: id,
                    run: run_at as u8,
                    is_pane: false,
                    start_us,
                },
                out,
            );
        }
        next_end_us
    }

    /// Fires one window, for the first time or as a correction.
    fn fire_one(&mut self, at: u16, key: WindowKey, out: &mut Output) {
        let Self { meters, series, .. } = self;
        let meter = meters.in_force(at);
        let spec = &meter.runs[usize::from(key.run)];
        let run = &mut series[key.series as usize].runs[usize::from(key.run)];
        let Ok(index) = position(&run.windows, key.start_us) else {
            return;
        };
        let entry = &mut run.windows[index];
        if !entry.has_fired() {
            run.unfired_count -= 1;
            run.last_fired_us = run.last_fired_us.max(key.start_us);
            self.open_short_count -= u64::from(is_short(spec));
        }
        entry.fire();
        if entry.mark_changed() {
            self.changed.push(key);
        }
        let entry = *entry;
        let is_shortest = meter.shortest == Some(key.run);
        if is_shortest && series[key.series as usize].lead_us == key.start_us {
            self.take_over(at, key.series);
        }
        self.emit(at, key, entry, out);
    }

    /// Corrects the fired windows that the last event went into.
    #[inline]
    pub(super) fn refire(&mut self, out: &mut Output) {
        if self.scratch.refire.is_empty() {
            return;
        }
        if !self.scratch.retracted.is_empty() {
            self.retract(out);
        }
        let mut keys = std::mem::take(&mut self.scratch.refire);
        for key in keys.drain(..) {
            if let Some(meter) = self.series[key.series as usize].meter {
                self.fire_one(meter, key, out);
            }
        }
        self.scratch.refire = keys;
    }

    /// Takes back what the sessions that are no longer had told.
    #[cold]
    fn retract(&mut self, out: &mut Output) {
        let mut retracted = std::mem::take(&mut self.scratch.retracted);
        for Retracted { key, entry } in retracted.drain(..) {
            let series = &self.series[key.series as usize];
            let Some(meter) = self.meters.of(series) else {
                continue;
            };
            emit::retraction(
                out,
                (meter, &meter.runs[usize::from(key.run)], series),
                entry,
            );
        }
        self.scratch.retracted = retracted;
    }

    /// Tells the open values that changed in the slot of the clock that ends.
    pub(super) fn tell_open(&mut self, out: &mut Output) {
        let mut touched = std::mem::take(&mut self.touched);
        for key in touched.drain(..) {
            let series = &mut self.series[key.series as usize];
            let Some(meter) = series.meter else { continue };
            let Some(run) = series.runs.get_mut(usize::from(key.run)) else {
                continue;
            };
            let Ok(index) = position(&run.windows, key.start_us) else {
                continue;
            };
            let entry = &mut run.windows[index];
            if !entry.is_touched() {
                // Another window has taken the place of the one that was.
                continue;
            }
            entry.mark_told();
            // The state says whether there is something to tell, so this is a change of it.
            if entry.mark_changed() {
                self.changed.push(key);
            }
            if !entry.has_fired() {
                let entry = *entry;
                self.emit(meter, key, entry, out);
            }
        }
        self.touched = touched;
    }

    fn emit(&mut self, at: u16, key: WindowKey, entry: Entry, out: &mut Output) {
        let Scratch { whole, results, .. } = &mut self.scratch;
        let meter = self.meters.in_force(at);
        let series = &self.series[key.series as usize];
        let run = usize::from(key.run);
        whole.fill((meter, series), run, &entry, &self.panes);
        let spec = &meter.runs[run];
        let end_us = || spec.end_us(&series.runs[run].lasts, key.start_us);
        let whose = emit::Whose {
            meter,
            run,
            group: &series.group,
            values: &series.values,
            session_end: spec.is_session().then(|| EventTime::from_us(end_us())),
        };
        emit::metric(out, whose, &entry, whole, results);
    }

    /// Drops the windows and identities that no event in time can concern any more.
    fn leave(&mut self, subject: SubjectId, settled_us: i64) {
        self.drop_windows_until(subject, settled_us);
        while self.subjects.ids[subject as usize].oldest_end_us() <= settled_us {
            self.forget_oldest_slice(subject);
        }
        self.find_ends(subject);
    }

    /// Drops what a subject holds after a long silence: identities, and windows that have fired.
    fn drop_silent(&mut self, subject: SubjectId) {
        self.drop_windows_until(subject, i64::MAX);
        while !self.subjects.ids[subject as usize].is_empty() {
            self.forget_oldest_slice(subject);
        }
        self.find_ends(subject);
    }

    /// Drops a subject's windows that have fired and end at or before `until_us`: events for them
    /// are late from now on, also under limits that would let them in.
    fn drop_windows_until(&mut self, subject: SubjectId, until_us: i64) {
        let mut floor_us = i64::MIN;
        for group in (0..self.subjects.own[subject as usize].len()).rev() {
            let (meter, id) = self.subjects.own[subject as usize][group];
            for run in 0..self.series[id as usize].runs.len() {
                floor_us = floor_us.max(self.drop_run_until(meter, id, run, until_us));
            }
            if self.series[id as usize].is_empty() {
                self.subjects.own[subject as usize].remove(group);
                self.free(id);
            }
        }
        let mut kept = vec![];
        while let Some(end) = self.subjects.take_held(subject, until_us) {
            let (_, id, run) = end;
            // A run that this empties has had its others taken out with it.
            let Some(meter) = self.series[id as usize].meter else {
                continue;
            };
            floor_us = floor_us.max(self.drop_run_until(meter, id, usize::from(run), until_us));
            if self.series[id as usize].is_empty() {
                self.free(id);
            } else if self.is_held(end) {
                // It has not fired.
                let meter = self.meters.in_force(meter);
                kept.push((end, meter.runs[usize::from(run)].is_session()));
            }
        }
        for (end, is_session) in kept {
            self.subjects.ends_mut(subject).keep(end, is_session);
        }
        self.raise_floor(subject, floor_us);
    }

    /// True for a window that its group still has.
    fn is_held(&self, (end_us, id, run): End) -> bool {
        let series = &self.series[id as usize];
        let Some(meter) = series.meter.and_then(|at| self.meters.get(at)) else {
            return false;
        };
        let (spec, run) = (
            &meter.runs[usize::from(run)],
            &series.runs[usize::from(run)],
        );
        if spec.is_session() {
            let ends_there = |entry: &Entry| spec.end_us(&run.lasts, entry.start_us) == end_us;
            return run.windows.iter().any(ends_there);
        }
        let start_us = end_us.saturating_sub(spec.width_us);
        position(&run.windows, start_us).is_ok()
    }

    fn raise_floor(&mut self, subject: SubjectId, floor_us: i64) {
        let floor = &mut self.subjects.clocks[subject as usize].floor;
        if floor.as_us() < floor_us {
            *floor = EventTime::from_us(floor_us);
            self.subjects.mark_changed(subject);
        }
    }

    /// Drops the fired windows of one run that end at or before `until_us`; gives the last end.
    fn drop_run_until(&mut self, at: u16, id: u32, run_at: usize, until_us: i64) -> i64 {
        let Self {
            meters,
            series,
            panes,
            gone,
            ..
        } = self;
        let meter = meters.in_force(at);
        let spec = &meter.runs[run_at];
        let run = &mut series[id as usize].runs[run_at];
        let mut lasts = std::mem::take(&mut run.lasts);
        let mut last_end_us = i64::MIN;
        let mut leave = |entry: &Entry, is_pane: bool| {
            let key = WindowKey {
                series: id,
                run: run_at as u8,
                is_pane,
                start_us: entry.start_us,
            };
            let_go(gone, &mut panes[spec.panes], key, entry);
        };
        let held_count = run.windows.len() as u64;
        let mut leaves = |entry: &Entry| {
            let end_us = spec.end_us(&lasts, entry.start_us);
            let leaves = entry.has_fired() && end_us <= until_us;
            if leaves {
                lasts.remove(entry.start_us);
                last_end_us = last_end_us.max(end_us);
                leave(entry, false);
            }
            leaves
        };
        while run.windows.pop_front_if(|entry| leaves(entry)).is_some() {}
        if run.windows.len() > run.unfired_count as usize && until_us == i64::MAX {
            // Behind a window that an event opened when later ones had fired in a silence.
            run.windows.retain(|entry| !leaves(entry));
        }
        run.lasts = lasts;
        self.window_count -= held_count - run.windows.len() as u64;
        // A pane stays as long as a window that holds it.
        let first_us = run.windows.front().map_or(i64::MAX, |entry| entry.start_us);
        while let Some(pane) = run.panes.front().filter(|pane| pane.start_us < first_us) {
            leave(pane, true);
            run.panes.pop_front();
        }
        last_end_us
    }

    /// Finds a subject's earliest ends anew.
    pub(super) fn find_ends(&mut self, subject: SubjectId) {
        let at = subject as usize;
        let mut oldest_us = self.subjects.ids[at].oldest_end_us();
        let mut next_us = NEVER;
        if let Some(ends) = self.subjects.ends(subject) {
            oldest_us = oldest_us.min(ends.oldest_us());
            next_us = ends.next_us();
        }
        for (meter, id) in &self.subjects.own[at] {
            let Some(meter) = self.meters.get(*meter) else {
                continue;
            };
            for (run, spec) in self.series[*id as usize].runs.iter().zip(&meter.runs) {
                let end_us = |entry: &Entry| spec.end_us(&run.lasts, entry.start_us);
                oldest_us = oldest_us.min(run.windows.front().map_or(NEVER, end_us));
                let mut left = run.unfired_count;
                for entry in run.windows.iter().rev() {
                    if left == 0 {
                        break;
                    }
                    if !entry.has_fired() {
                        left -= 1;
                        next_us = next_us.min(end_us(entry));
                    }
                }
            }
        }
        self.subjects.oldest_end_us[at] = oldest_us;
        self.subjects.next_end_us[at] = next_us;
    }

    /// Forgets a subject's oldest slice of identities: its events are late from now on.
    fn forget_oldest_slice(&mut self, subject: SubjectId) {
        let Some(slice) = self.subjects.ids[subject as usize].remove_oldest() else {
            return;
        };
        self.id_count -= slice.len() as u64;
        for chunk in 0..slice.chunk_count() {
            self.gone.push(Gone::Ids(subject, slice.start_us(), chunk));
        }
        self.raise_floor(subject, slice.end_us());
    }

    /// Forgets the slices that are furthest behind their own subject's watermark, until there is
    /// room again for a sixteenth of the identities.
    #[cold]
    pub(super) fn forget_furthest_ids(&mut self) {
        let limits = self.definitions.limits;
        let mut behind = vec![];
        for subject in 0..self.subjects.len() as SubjectId {
            let watermark = self.subjects.clocks[subject as usize].watermark(self.now, &limits);
            for slice in self.subjects.ids[subject as usize].slices() {
                let behind_us = watermark.as_us().saturating_sub(slice.end_us());
                behind.push((behind_us, subject));
            }
        }
        behind.sort_unstable_by(|a, b| b.cmp(a));
        let room = limits.dedup_ids_max - limits.dedup_ids_max / 16;
        for (_, subject) in behind {
            if self.id_count <= room {
                break;
            }
            // Of one subject the oldest slice is the furthest behind, so it goes first.
            self.forget_oldest_slice(subject);
            self.find_ends(subject);
        }
    }
}

/// A window or pane is held no longer: its record goes from the state, and its memory to others.
pub(super) fn let_go(gone: &mut Vec<Gone>, panes: &mut Panes, key: WindowKey, entry: &Entry) {
    if entry.is_stored() {
        gone.push(Gone::Window(key));
    }
    if entry.slot != NO_SLOT {
        panes.give(entry.slot);
    }
}
