//! A group of a meter of two steps: a clock for each source, a floor, and its windows.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use schemas::meter::push_label;
use schemas::time::{BrokerTime, EventTime};
use schemas::wire::DecodeError;

use runtime::step::{Incoming, Output};

use super::meters::MeterAt;
use super::state::Restored;
use super::{Fate, Gone, TotalsStep, invalid};
use crate::metrics::emit;
use crate::metrics::partial::Sum;
use crate::metrics::series::{Entry, NO_SLOT, RunSpec};
use crate::metrics::step::{OTHER, WindowKey, is_short};
use crate::metrics::takeover::Whole;

/// How far a group's events of one source have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    /// The highest of the lower of (occurred_at, append time).
    pub(super) seen: EventTime,
    /// The append time of the event that set it.
    pub(super) at: BrokerTime,
}

/// A window, or a pane of one.
#[derive(Debug)]
pub(super) struct Window {
    /// Its start, how often it has fired, and its marks; it never has a slot.
    pub(super) entry: Entry,
    /// Nothing for a hopping window, whose cells are its panes'.
    pub(super) cells: Whole,
}

/// One of the meter's windows.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// By start.
    pub(super) windows: BTreeMap<i64, Window>,
    /// The panes of hopping windows; a tumbling window is its own pane.
    pub(super) panes: BTreeMap<i64, Window>,
    /// The starts of windows that have not fired.
    pub(super) unfired: BTreeSet<i64>,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) meter: MeterAt,
    /// Its canonical text.
    pub(super) text: Box<str>,
    /// The values of the meter's group-by, in its order.
    pub(super) values: Box<[Box<str>]>,
    /// By source; `None` where none of its events lies, or none did for `silence_max`.
    pub(super) sources: Vec<Option<Seen>>,
    /// Sums before this are late: windows there have gone.
    pub(super) floor: EventTime,
    /// The meter's windows.
    pub(super) runs: Vec<Run>,
    /// When the clock next makes something due, in milliseconds.
    pub(super) due_ms: Option<i64>,
    pub(super) is_stored: bool,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.iter().all(|run| run.windows.is_empty())
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: BTreeMap<u32, Group>,
    by_name: HashMap<(MeterAt, Box<str>), u32>,
    /// Places below the highest that are free: the lowest is taken first, so that places are a
    /// function of what has happened, also after a restore.
    free: BTreeSet<u32>,
    due: BTreeSet<(i64, u32)>,
    /// Those without windows, by their floor.
    empty: BTreeSet<(EventTime, u32)>,
    changed: BTreeSet<u32>,
    /// What a restore could not place yet.
    pub(super) restored: BTreeMap<u32, Restored>,
}

impl Groups {
    /// Raises a group's floor.
    pub(super) fn raise_floor(&mut self, id: u32, floor: EventTime) {
        let own = &mut self.of_mut(id).floor;
        let before = std::mem::replace(own, floor);
        self.empty.remove(&(before, id));
        self.mark_changed(id);
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn changed_count(&self) -> usize {
        self.changed.len()
    }

    /// A group that is there.
    pub(super) fn of(&self, id: u32) -> &Group {
        self.all.get(&id).expect("the group is there")
    }

    pub(super) fn of_mut(&mut self, id: u32) -> &mut Group {
        self.all.get_mut(&id).expect("the group is there")
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Group> {
        self.all.get_mut(&id)
    }

    pub(super) fn find(&self, meter: MeterAt, text: &str) -> Option<u32> {
        self.by_name.get(&(meter, text.into())).copied()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = (u32, &Group)> {
        self.all.iter().map(|(id, group)| (*id, group))
    }

    /// Takes a group into the lowest free place.
    pub(super) fn add(&mut self, group: Group) -> u32 {
        let next = self.all.last_key_value().map_or(0, |(id, _)| *id + 1);
        let id = self.free.pop_first().unwrap_or(next);
        self.put(id, group);
        self.mark_changed(id);
        id
    }

    /// Puts a group into its place.
    pub(super) fn put(&mut self, id: u32, group: Group) {
        self.by_name.insert((group.meter, group.text.clone()), id);
        self.all.insert(id, group);
    }

    /// Finds the free places anew.
    pub(super) fn find_free(&mut self) {
        let end = self.all.last_key_value().map_or(0, |(id, _)| *id);
        self.free = (0..end).filter(|id| !self.all.contains_key(id)).collect();
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Group> {
        let group = self.all.remove(&id)?;
        self.by_name.remove(&(group.meter, group.text.clone()));
        group.due_ms.map(|due_ms| self.due.remove(&(due_ms, id)));
        self.empty.remove(&(group.floor, id));
        self.changed.remove(&id);
        self.free.insert(id);
        let end = self.all.last_key_value().map_or(0, |(id, _)| *id + 1);
        drop(self.free.split_off(&end));
        Some(group)
    }

    pub(super) fn mark_changed(&mut self, id: u32) {
        self.changed.insert(id);
    }

    pub(super) fn take_changed(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.changed)
    }

    /// Sets when the clock next makes something of a group due.
    pub(super) fn set_due(&mut self, id: u32, due_ms: Option<i64>) {
        let own = &mut self.of_mut(id).due_ms;
        let before = std::mem::replace(own, due_ms);
        if before != due_ms {
            before.map(|due_ms| self.due.remove(&(due_ms, id)));
            due_ms.map(|due_ms| self.due.insert((due_ms, id)));
        }
    }

    /// True when a group is due.
    pub(super) fn is_due(&self, now: BrokerTime) -> bool {
        self.due
            .first()
            .is_some_and(|(due_ms, _)| *due_ms <= now.as_ms())
    }

    /// The next group that is due.
    pub(super) fn take_due(&mut self, now: BrokerTime) -> Option<u32> {
        let (due_ms, id) = *self.due.first()?;
        (due_ms <= now.as_ms()).then(|| {
            self.set_due(id, None);
            id
        })
    }

    /// Notes whether a group has windows.
    pub(super) fn note_empty(&mut self, id: u32) {
        let group = self.of(id);
        let (floor, is_empty) = (group.floor, group.is_empty());
        match is_empty {
            true => self.empty.insert((floor, id)),
            false => self.empty.remove(&(floor, id)),
        };
    }

    /// The group without windows whose floor is the lowest.
    fn first_empty(&self) -> Option<u32> {
        self.empty.first().map(|(_, id)| *id)
    }
}

fn canonical(names: &[Box<str>], values: &[impl AsRef<str>]) -> Box<str> {
    let mut text = String::new();
    for (name, value) in names.iter().zip(values) {
        push_label(&mut text, name, value.as_ref());
    }
    text.into()
}

/// The canonical text of a group.
pub(super) fn text_of(names: &[Box<str>], values: &[Box<str>]) -> Box<str> {
    canonical(names, values)
}

impl TotalsStep {
    /// Adds a sum to its group's windows, or refuses it as late.
    pub(super) fn add(
        &mut self,
        record: &Incoming<'_>,
        source: u32,
        sum: &Sum<'_>,
        out: &mut Output,
    ) -> Result<Fate, DecodeError> {
        let Some(at) = self.meters.find(sum.meter, sum.version) else {
            // A meter is told before its sums, so it is in force no longer.
            return Ok(Fate::Taken);
        };
        let meter = self.meters.in_force(at);
        if !sum.cells.fits(&meter.piece) || sum.start_us.rem_euclid(meter.piece_us) != 0 {
            return Err(invalid("cells", "those of the meter"));
        }
        let names = &meter.compiled.label_names;
        if names.len() != sum.values.len() {
            return Err(invalid("values", "those of the meter's group_by"));
        }
        let mut text = canonical(names, &sum.values);
        let mut known = self.groups.find(at, &text);
        let mut values: Box<[Box<str>]> = sum.values.iter().map(|value| (*value).into()).collect();
        if known.is_none() && !self.makes_room() {
            let other = format!("{OTHER}/{}", self.place.partition);
            values = values.iter().map(|_| other.as_str().into()).collect();
            text = text_of(&self.meters.in_force(at).compiled.label_names, &values);
            known = self.groups.find(at, &text);
        }
        let meter_floor = self.meters.in_force(at).floor;
        let floor = known.map_or(meter_floor, |id| self.groups.of(id).floor);
        if sum.start_us < floor.as_us() {
            let of = (self.topic.as_str(), self.place.partition);
            emit::late_sum(out, of, record, (sum, &text), floor);
            return Ok(Fate::Late);
        }
        let id = known.unwrap_or_else(|| {
            let mut runs = vec![];
            let count = self.meters.in_force(at).compiled.runs.len();
            runs.resize_with(count, Run::default);
            self.groups.add(Group {
                meter: at,
                text,
                values,
                sources: vec![None; self.sources.len()],
                floor,
                runs,
                due_ms: None,
                is_stored: false,
            })
        });
        self.groups.mark_changed(id);
        let seen = Seen {
            seen: sum.seen,
            at: sum.at,
        };
        let own = &mut self.groups.of_mut(id).sources[source as usize];
        if own.is_none_or(|own| own.seen < seen.seen) {
            *own = Some(seen);
        }
        for run in 0..self.groups.of(id).runs.len() {
            self.add_to_run(id, run, sum);
        }
        self.groups.note_empty(id);
        self.correct(out);
        self.settle(id, out);
        Ok(Fate::Taken)
    }

    /// True when there is room for a new group, which may be that of one without windows: groups
    /// that come from then on begin where it ended.
    fn makes_room(&mut self) -> bool {
        if self.groups.len() < self.groups_max() {
            return true;
        }
        let Some(id) = self.groups.first_empty() else {
            return false;
        };
        let Some(group) = self.groups.remove(id) else {
            return false;
        };
        if group.is_stored {
            self.gone.push(Gone::Group(id));
        }
        let meter = self.meters.in_force_mut(group.meter);
        meter.floor = meter.floor.max(group.floor);
        let id = meter.named.id.as_str().into();
        self.meters.changed.insert(id);
        true
    }

    /// Adds a sum to the one window or pane that holds it.
    fn add_to_run(&mut self, id: u32, run_at: usize, sum: &Sum<'_>) {
        let group = self.groups.of_mut(id);
        let meter = self.meters.in_force(group.meter);
        let spec = &meter.compiled.runs[run_at];
        let start_us = spec.pane_start(sum.start_us);
        let run = &mut group.runs[run_at];
        let key = |is_pane, start_us| WindowKey {
            series: id,
            run: run_at as u8,
            is_pane,
            start_us,
        };
        let first_us = start_us.saturating_sub(spec.width_us - spec.pane_us);
        let held = match spec.is_hopping() {
            true => &mut run.panes,
            false => &mut run.windows,
        };
        let is_new = !held.contains_key(&start_us);
        let pane = held
            .entry(start_us)
            .or_insert_with(|| opened(start_us, Whole::empty(&spec.layout)));
        pane.cells.merge(
            (&spec.layout, start_us),
            (&meter.piece, sum.start_us),
            &sum.cells,
        );
        if pane.entry.mark_changed() {
            self.changed.push(key(spec.is_hopping(), start_us));
        }
        if is_new {
            let starts = (first_us..=start_us).step_by(spec.pane_us as usize);
            for window_us in starts {
                let is_there = run.windows.contains_key(&window_us);
                if spec.is_hopping() && is_there {
                    continue;
                }
                if spec.is_hopping() {
                    let mut window = opened(window_us, Whole::default());
                    window.entry.mark_changed();
                    self.changed.push(key(false, window_us));
                    run.windows.insert(window_us, window);
                }
                run.unfired.insert(window_us);
                self.window_count += 1;
                self.open_short_count += u64::from(is_short(spec));
            }
        }
        self.look_at_windows(id, run_at, (first_us, start_us));
    }

    /// Notes the windows that an addition has changed: those that have fired for correction, and
    /// the first that has not to be told of.
    fn look_at_windows(&mut self, id: u32, run_at: usize, (first_us, last_us): (i64, i64)) {
        let run = &mut self.groups.of_mut(id).runs[run_at];
        let mut is_told = false;
        for (start_us, window) in run.windows.range_mut(first_us..=last_us) {
            let key = WindowKey {
                series: id,
                run: run_at as u8,
                is_pane: false,
                start_us: *start_us,
            };
            if window.entry.has_fired() {
                self.refire.push(key);
            } else if !is_told {
                is_told = true;
                if window.entry.mark_touched() {
                    self.touched.push(key);
                    if window.entry.mark_changed() {
                        self.changed.push(key);
                    }
                }
            }
        }
    }

    /// Forgets all groups of a meter.
    pub(super) fn drop_groups(&mut self, meter: MeterAt) {
        let of = self.groups.ids().filter(|(_, group)| group.meter == meter);
        let ids: Vec<u32> = of.map(|(id, _)| id).collect();
        for id in ids {
            let Some(group) = self.groups.remove(id) else {
                continue;
            };
            if group.is_stored {
                self.gone.push(Gone::Group(id));
            }
            let specs = &self.meters.in_force(meter).compiled.runs;
            for (run_at, (run, spec)) in group.runs.iter().zip(specs).enumerate() {
                self.window_count -= run.windows.len() as u64;
                self.open_short_count -= open_short_count(spec, run);
                for (is_pane, held) in [(false, &run.windows), (true, &run.panes)] {
                    for window in held.values().filter(|window| window.entry.is_stored()) {
                        self.gone.push(Gone::Window(WindowKey {
                            series: id,
                            run: run_at as u8,
                            is_pane,
                            start_us: window.entry.start_us,
                        }));
                    }
                }
            }
        }
    }
}

/// Windows of a run that are short and have not fired.
pub(super) fn open_short_count(spec: &RunSpec, run: &Run) -> u64 {
    match is_short(spec) {
        true => run.unfired.len() as u64,
        false => 0,
    }
}

fn opened(start_us: i64, cells: Whole) -> Window {
    Window {
        entry: Entry::new(start_us, NO_SLOT, false),
        cells,
    }
}
