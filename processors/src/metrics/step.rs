//! The step itself: each event is refused, late, a duplicate, or counted, in this order; counted
//! events go into their windows, and windows fire as their subject's clock moves on.

use hashbrown::HashMap;
use schemas::control::Limits;
use schemas::decimal::Decimal;
use schemas::event::{EventType, EventView};
use schemas::ids::Stream;
use schemas::meter::push_label;
use schemas::murmur2::partition_of;
use schemas::refusal::{Refusal, read_event};
use schemas::time::{BrokerTime, EventTime};

use runtime::step::{Counts, Holdings, Incoming, Output, Place, StateError, Step};

use super::definitions::Definitions;
use super::emit;
use super::ids::{Seen, identity};
use super::layout::{Carry, Sample, Units};
use super::panes::Panes;
use super::series::{CompiledMeter, Entry, NO_SLOT, RunSpec, Series, position};
use super::state::Restored;
use super::subjects::{NEVER, SubjectId, Subjects};

/// The subject that all others share once there are `subjects_max` of them.
pub const OTHER: &str = "__other__";

/// How often a group's open window is told of: once in each such stretch of the partition's clock.
pub const OPEN_SLOT_MS: i64 = 250;

/// Where a window or pane stands: in which group, which of the meter's windows, and its start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WindowKey {
    /// The group.
    pub series: u32,
    /// Which of the meter's windows.
    pub run: u8,
    /// True for a pane of a hopping window.
    pub is_pane: bool,
    /// Its first instant, in microseconds.
    pub start_us: i64,
}

/// A record of the state that is no longer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gone {
    /// A window or pane.
    Window(WindowKey),
    /// A group.
    Series(u32),
    /// A chunk of a slice of identities: subject, start, chunk.
    Ids(SubjectId, i64, u32),
    /// A meter.
    Meter(Box<str>),
}

/// Whether silence fires windows. Only a comparison with engines that lack it switches it off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// Windows of a silent subject fire.
    Fires,
    /// Windows fire by their subject's events alone.
    Waits,
}

/// The metrics step over one partition of a tenant's events.
pub struct MetricsStep {
    pub(super) place: Place,
    pub(super) topic: String,
    pub(super) partition_count: i32,
    pub(super) silence: Silence,
    pub(super) definitions: Definitions,
    pub(super) now: BrokerTime,
    pub(super) counts: Counts,
    pub(super) stored_counts: Counts,

    pub(super) meters: Vec<Option<CompiledMeter>>,
    /// The meters that an event of each type may match.
    pub(super) by_type: [Vec<u16>; EventType::ALL.len()],
    pub(super) subjects: Subjects,
    pub(super) series: Vec<Series>,
    pub(super) free_series: Vec<u32>,
    pub(super) groups: HashMap<(SubjectId, u16, Box<str>), u32>,
    pub(super) panes: Vec<Panes>,

    pub(super) id_count: u64,
    pub(super) window_count: u64,
    pub(super) open_short_count: u64,

    /// Windows whose open value changed in this slot of the partition's clock.
    pub(super) touched: Vec<WindowKey>,
    pub(super) touched_slot: i64,
    /// Changes since the last flush.
    pub(super) changed: Vec<WindowKey>,
    pub(super) gone: Vec<Gone>,
    pub(super) fresh_slices: Vec<(SubjectId, i64)>,
    pub(super) new_series: Vec<u32>,
    pub(super) new_meters: Vec<u16>,

    /// What a restore could not place yet.
    pub(super) restored: Restored,
    /// Memory that is used again for each event.
    pub(super) scratch: Scratch,
}

/// Memory that is used again for each event; nothing in it outlives a call.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// How far the event's subject had come before it, in microseconds.
    pub(super) seen_before_us: i64,
    pub(super) refire: Vec<WindowKey>,
    pub(super) due: Vec<SubjectId>,
    pub(super) carries: Vec<Carry>,
    pub(super) words: Vec<u64>,
    pub(super) results: Vec<Option<Decimal>>,
}

impl Step for MetricsStep {
    type Definitions = Definitions;
    const READS: Stream = Stream::Events;
    const STATE: Stream = Stream::MetricsState;

    fn new(place: &Place, partition_count: i32) -> Self {
        Self {
            place: place.clone(),
            topic: place.tenant.topic(Stream::Events).to_string(),
            partition_count,
            silence: Silence::Fires,
            definitions: Definitions {
                limits: Limits::default(),
                meters: vec![],
            },
            now: BrokerTime::MIN,
            counts: Counts::default(),
            stored_counts: Counts::default(),
            meters: vec![],
            by_type: Default::default(),
            subjects: Subjects::new(),
            series: vec![],
            free_series: vec![],
            groups: HashMap::new(),
            panes: vec![],
            id_count: 0,
            window_count: 0,
            open_short_count: 0,
            touched: vec![],
            touched_slot: i64::MIN,
            changed: vec![],
            gone: vec![],
            fresh_slices: vec![],
            new_series: vec![],
            new_meters: vec![],
            restored: Restored::default(),
            scratch: Scratch::default(),
        }
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        self.restore_record(key, value)
    }

    fn finish_restore(&mut self, definitions: &Definitions) -> Result<(), StateError> {
        self.build_derived(definitions)
    }

    fn observe(&mut self, record: &Incoming<'_>, out: &mut Output) {
        self.counts.observed += 1;
        let dates = self.definitions.limits.dates();
        let found = read_event(record.value, record.appended_at, &dates)
            .and_then(|(event, of)| Ok((event, of, self.subject_of(&event)?)));
        let (event, event_type, subject) = match found {
            Ok(found) => found,
            Err(refusal) => {
                self.counts.dead_lettered += 1;
                let source = (self.topic.as_str(), self.place.partition);
                return emit::dead_letter(out, source, record, &refusal);
            }
        };
        let limit_at = self.subjects.clocks[subject as usize].limit_at(&self.definitions.limits);
        if event.occurred_at < limit_at {
            self.counts.late += 1;
            let source = (self.topic.as_str(), self.place.partition);
            return emit::late(out, source, record, &event, limit_at);
        }
        if !self.remember(subject, &event) {
            self.counts.duplicate += 1;
            return;
        }
        self.counts.counted += 1;
        let clock = &mut self.subjects.clocks[subject as usize];
        self.scratch.seen_before_us = clock.seen.as_us();
        clock.observe(event.occurred_at, record.appended_at);
        self.subjects.mark_changed(subject);
        for at in 0..self.by_type[event_type as usize].len() {
            let meter = self.by_type[event_type as usize][at];
            self.fold(meter, subject, event_type, &event);
        }
        self.refire(out);
        self.settle(subject, out);
        if self.id_count > self.definitions.limits.dedup_ids_max {
            self.forget_furthest_ids();
        }
    }

    fn advance(&mut self, now: BrokerTime, out: &mut Output) {
        if now <= self.now {
            return;
        }
        if self.now == BrokerTime::MIN {
            // The clock begins here: nothing is held yet, or all of it as of this instant.
            self.now = now;
            self.touched_slot = now.as_ms().div_euclid(OPEN_SLOT_MS);
            return;
        }
        // What the slot that ends had open is told as it stood at the slot's end, whenever the
        // clock is told of it: so a tick at any time between changes nothing.
        let slot = now.as_ms().div_euclid(OPEN_SLOT_MS);
        if slot != self.touched_slot {
            if !self.touched.is_empty() {
                let end_ms = (self.touched_slot + 1) * OPEN_SLOT_MS;
                self.fire_silent(BrokerTime::from_ms(end_ms), out);
                self.tell_open(out);
            }
            self.touched_slot = slot;
        }
        self.fire_silent(now, out);
        self.now = now;
    }

    fn redefine(&mut self, definitions: &Definitions, out: &mut Output) {
        // What was open under the old definitions is told or dropped under them.
        self.tell_open(out);
        self.install(definitions);
        for subject in 0..self.subjects.len() as SubjectId {
            self.settle(subject, out);
        }
    }

    fn due_at(&self) -> Option<BrokerTime> {
        let mut due_ms = self.subjects.earliest_due_ms();
        if !self.touched.is_empty() {
            due_ms = due_ms.min((self.touched_slot + 1) * OPEN_SLOT_MS);
        }
        (due_ms != NEVER).then(|| BrokerTime::from_ms(due_ms))
    }

    fn drain_changes(&mut self, changes: &mut Output) {
        self.write_changes(changes);
    }

    fn change_count(&self) -> usize {
        self.changed.len() + self.gone.len() + self.subjects.changed_count()
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn holdings(&self) -> Holdings {
        Holdings {
            windows: self.window_count,
            open_short_windows: self.open_short_count,
            subjects: self.subjects.len() as u64,
            ids: self.id_count,
        }
    }
}

impl MetricsStep {
    /// The same step, with windows that fire by events alone.
    #[must_use]
    pub fn with_silence(mut self, silence: Silence) -> Self {
        self.silence = silence;
        self
    }

    /// The subject of an event; a new one has its partition checked once, here.
    #[inline]
    fn subject_of(&mut self, event: &EventView<'_>) -> Result<SubjectId, Refusal> {
        match self.subjects.find(event.subject.as_bytes()) {
            Some(subject) => Ok(subject),
            None => self.new_subject(event),
        }
    }

    #[cold]
    fn new_subject(&mut self, event: &EventView<'_>) -> Result<SubjectId, Refusal> {
        let expected = partition_of(event.subject.as_bytes(), self.partition_count);
        if expected != self.place.partition {
            return Err(Refusal::WrongPartition { expected });
        }
        if self.subjects.len() as u64 >= self.definitions.limits.subjects_max {
            return Ok(match self.subjects.find(OTHER.as_bytes()) {
                Some(other) => other,
                None => self.subjects.add(OTHER),
            });
        }
        Ok(self.subjects.add(event.subject.as_str()))
    }

    /// Remembers an event's identity; false when it was known.
    #[inline]
    fn remember(&mut self, subject: SubjectId, event: &EventView<'_>) -> bool {
        let ids = &mut self.subjects.ids[subject as usize];
        let seen = ids.insert(event.occurred_at, identity(event));
        if seen == Seen::Before {
            return false;
        }
        if seen == Seen::FirstFresh {
            let start_us = super::ids::slice_start_us(event.occurred_at);
            self.fresh_slices.push((subject, start_us));
            let oldest = &mut self.subjects.oldest_end_us[subject as usize];
            *oldest = (*oldest).min(ids.oldest_end_us());
        }
        self.id_count += 1;
        true
    }

    /// Folds an event into the windows of one meter, if it matches.
    #[inline]
    fn fold(&mut self, at: u16, subject: SubjectId, of: EventType, event: &EventView<'_>) {
        let Some(meter) = &self.meters[usize::from(at)] else {
            return;
        };
        if !meter.meter.filter.matches(of, event) {
            return;
        }
        let sample = sample(meter, event);
        let series = if meter.is_by_subject {
            let own = self.subjects.series[subject as usize]
                .iter()
                .find(|(m, _)| *m == at);
            own.map(|(_, series)| *series)
        } else {
            let group = self.group_of(at, subject, event);
            let key = (subject, at, group.0);
            match self.groups.get(&key) {
                Some(series) => Some(*series),
                None => Some(self.new_series(at, subject, key.2, group.1)),
            }
        };
        let series = match series {
            Some(series) => series,
            None => {
                let (text, values) = self.group_of(at, subject, event);
                self.new_series(at, subject, text, values)
            }
        };
        for run in 0..self.meters[usize::from(at)]
            .as_ref()
            .map_or(0, |m| m.runs.len())
        {
            self.fold_run(at, series, run, &sample);
        }
    }

    /// The canonical text and the values of an event's group.
    #[cold]
    fn group_of(
        &self,
        at: u16,
        subject: SubjectId,
        event: &EventView<'_>,
    ) -> (Box<str>, Box<[Box<str>]>) {
        let meter = self.meters[usize::from(at)]
            .as_ref()
            .expect("the meter is in force");
        let place = format!("{OTHER}/{}", self.place.partition);
        let own = self.subjects.name(subject);
        let own = if own == OTHER { place.as_str() } else { own };
        let is_full = self.groups.len() as u64 >= self.groups_max();
        let value = |field: &schemas::meter::Field| -> Box<str> {
            if *field == schemas::meter::Field::Subject {
                return own.into();
            }
            field
                .text(event)
                .map_or("".into(), |text| text.as_str().into())
        };
        let text = |values: &[Box<str>]| {
            let mut text = String::new();
            for (name, value) in meter.label_names.iter().zip(values) {
                push_label(&mut text, name, value);
            }
            text.into_boxed_str()
        };
        let values: Box<[Box<str>]> = meter.meter.group_by.iter().map(value).collect();
        let group = text(&values);
        if meter.is_by_subject || !is_full || self.has_group(subject, at, &group) {
            return (group, values);
        }
        let folded = |field: &schemas::meter::Field| match field {
            schemas::meter::Field::Subject => own.into(),
            _ => OTHER.into(),
        };
        let values: Box<[Box<str>]> = meter.meter.group_by.iter().map(folded).collect();
        (text(&values), values)
    }

    fn has_group(&self, subject: SubjectId, at: u16, group: &str) -> bool {
        self.groups.contains_key(&(subject, at, group.into()))
    }

    /// Groups that this partition may hold: decided locally, so that replay decides the same.
    fn groups_max(&self) -> u64 {
        (self.definitions.limits.groups_max / u64::from(self.partition_count.unsigned_abs())).max(1)
    }

    #[cold]
    fn new_series(
        &mut self,
        at: u16,
        subject: SubjectId,
        group: Box<str>,
        values: Box<[Box<str>]>,
    ) -> u32 {
        let run_count = self.meters[usize::from(at)]
            .as_ref()
            .map_or(0, |m| m.runs.len());
        let is_by_subject = self.meters[usize::from(at)]
            .as_ref()
            .is_some_and(|m| m.is_by_subject);
        let id = match self.free_series.pop() {
            Some(id) => id,
            None => {
                self.series.push(Series::vacant());
                (self.series.len() - 1) as u32
            }
        };
        let mut series = Series {
            meter: Some(at),
            subject,
            group,
            values,
            ..Series::vacant()
        };
        series.runs.resize_with(run_count, Default::default);
        if let Some(meter) = &self.meters[usize::from(at)] {
            let seen = EventTime::from_us(self.scratch.seen_before_us);
            series.partial_until = meter.beginning.partial_until(subject, seen);
        }
        if !is_by_subject {
            self.groups.insert((subject, at, series.group.clone()), id);
        }
        self.series[id as usize] = series;
        self.subjects.series[subject as usize].push((at, id));
        self.new_series.push(id);
        id
    }

    /// Folds an event into one of a group's windows.
    #[inline]
    fn fold_run(&mut self, at: u16, series_id: u32, run_at: usize, sample: &Sample) {
        let Self {
            meters,
            series,
            panes,
            subjects,
            scratch,
            ..
        } = self;
        let meter = meters[usize::from(at)]
            .as_ref()
            .expect("the meter is in force");
        let spec = &meter.runs[run_at];
        if spec.is_hopping() {
            return self.fold_hopping(at, series_id, run_at, sample);
        }
        let of = &mut series[series_id as usize];
        let subject = of.subject as usize;
        let start_us = spec.pane_start(sample.time_us);
        let run = &mut of.runs[run_at];
        let panes = &mut panes[spec.panes];
        let index = match position(&run.windows, start_us) {
            Ok(index) => index,
            Err(index) => {
                let slot = panes.take();
                spec.layout.clear(panes.words_mut(slot));
                let partial = start_us <= of.partial_until.as_us();
                run.windows
                    .insert(index, Entry::new(start_us, slot, partial));
                run.unfired_count += 1;
                let end_us = start_us.saturating_add(spec.width_us);
                subjects.next_end_us[subject] = subjects.next_end_us[subject].min(end_us);
                subjects.oldest_end_us[subject] = subjects.oldest_end_us[subject].min(end_us);
                self.window_count += 1;
                self.open_short_count += u64::from(is_short(spec));
                index
            }
        };
        let entry = &mut run.windows[index];
        spec.layout.fold(
            panes.words_mut(entry.slot),
            start_us,
            sample,
            &mut scratch.carries,
        );
        if !scratch.carries.is_empty() {
            panes.add_carries(entry.slot, &mut scratch.carries);
        }
        let key = WindowKey {
            series: series_id,
            run: run_at as u8,
            is_pane: false,
            start_us,
        };
        if entry.mark_changed() {
            self.changed.push(key);
        }
        if entry.has_fired() {
            scratch.refire.push(key);
        } else if entry.mark_touched() {
            self.touched.push(key);
        }
    }

    /// Folds an event into the one pane that holds it, whatever the overlap.
    fn fold_hopping(&mut self, at: u16, series_id: u32, run_at: usize, sample: &Sample) {
        let Self {
            meters,
            series,
            panes,
            subjects,
            scratch,
            ..
        } = self;
        let meter = meters[usize::from(at)]
            .as_ref()
            .expect("the meter is in force");
        let spec = &meter.runs[run_at];
        let of = &mut series[series_id as usize];
        let subject = of.subject as usize;
        let pane_us = spec.pane_start(sample.time_us);
        let partial_until_us = of.partial_until.as_us();
        let run = &mut of.runs[run_at];
        let panes = &mut panes[spec.panes];
        let first_us = pane_us - spec.width_us + spec.pane_us;
        let key = |is_pane, start_us| WindowKey {
            series: series_id,
            run: run_at as u8,
            is_pane,
            start_us,
        };
        let index = match position(&run.panes, pane_us) {
            Ok(index) => index,
            Err(index) => {
                let slot = panes.take();
                spec.layout.clear(panes.words_mut(slot));
                run.panes.insert(index, Entry::new(pane_us, slot, false));
                for window_us in (first_us..=pane_us).step_by(spec.pane_us as usize) {
                    let Err(place) = position(&run.windows, window_us) else {
                        continue;
                    };
                    let partial = window_us <= partial_until_us;
                    let mut window = Entry::new(window_us, NO_SLOT, partial);
                    window.mark_changed();
                    self.changed.push(key(false, window_us));
                    run.windows.insert(place, window);
                    run.unfired_count += 1;
                    self.window_count += 1;
                    self.open_short_count += u64::from(is_short(spec));
                    let end_us = window_us.saturating_add(spec.width_us);
                    subjects.next_end_us[subject] = subjects.next_end_us[subject].min(end_us);
                    subjects.oldest_end_us[subject] = subjects.oldest_end_us[subject].min(end_us);
                }
                index
            }
        };
        let pane = &mut run.panes[index];
        spec.layout.fold(
            panes.words_mut(pane.slot),
            pane_us,
            sample,
            &mut scratch.carries,
        );
        if !scratch.carries.is_empty() {
            panes.add_carries(pane.slot, &mut scratch.carries);
        }
        if pane.mark_changed() {
            self.changed.push(key(true, pane_us));
        }
        // In order, no window that holds the pane has fired, and one look tells.
        let may_have_fired = run.last_fired_us.is_some_and(|last_us| last_us >= first_us);
        let first = position(&run.windows, first_us).unwrap_or_else(|at| at);
        let mut is_told = false;
        for entry in run.windows.iter_mut().skip(first) {
            if entry.start_us > pane_us || is_told && !may_have_fired {
                break;
            }
            if entry.has_fired() {
                scratch.refire.push(key(false, entry.start_us));
            } else if !is_told {
                is_told = true;
                if entry.mark_touched() {
                    self.touched.push(key(false, entry.start_us));
                    if entry.mark_changed() {
                        self.changed.push(key(false, entry.start_us));
                    }
                }
            }
        }
    }
}

/// True for windows of at most a minute: what a served replay waits for.
pub(super) fn is_short(spec: &RunSpec) -> bool {
    spec.width_us <= 60_000_000
}

/// What an event brings to a meter's windows.
#[inline]
fn sample(meter: &CompiledMeter, event: &EventView<'_>) -> Sample {
    let number = |field: &Option<schemas::meter::Field>| field.as_ref()?.number(event);
    let (value, weight) = (number(&meter.meter.value), number(&meter.meter.weight));
    let squared = |number: Option<Decimal>, needed: bool| {
        number
            .filter(|_| needed)
            .map(|number| Units::product(number, number))
    };
    Sample {
        time_us: event.occurred_at.as_us(),
        sequence: event.sequence.unwrap_or(i64::MIN),
        value,
        weight,
        product: match (value, weight) {
            (Some(value), Some(weight)) if meter.needs_product => {
                Some(Units::product(value, weight))
            }
            _ => None,
        },
        value_squared: squared(value, meter.needs_squares.0),
        weight_squared: squared(weight, meter.needs_squares.1),
    }
}

/// The end of what an instant of event time may be late by.
pub(super) fn settled_us(step: &MetricsStep, subject: SubjectId) -> i64 {
    let clock = &step.subjects.clocks[subject as usize];
    if clock.seen == EventTime::MIN {
        return i64::MIN;
    }
    let limits = &step.definitions.limits;
    clock
        .settled(limits)
        .plus_ms(-limits.allowed_lateness_ms)
        .as_us()
}
