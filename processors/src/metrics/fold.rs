//! A counted event goes into the windows of each meter that it matches.

use schemas::decimal::Decimal;
use schemas::event::{EventType, EventView};
use schemas::meter::{Field, push_label};
use schemas::sketch::text_hash;
use schemas::time::EventTime;

use super::layout::{Layout, Sample, Units};
use super::panes::{Panes, Slot};
use super::series::{CompiledMeter, Entry, NO_SLOT, Run, Series, position};
use super::step::{MetricsStep, OTHER, WindowKey, is_short};
use super::subjects::SubjectId;
use super::takeover::Lead;

impl MetricsStep {
    /// Folds an event into the windows of one meter, if it matches.
    #[inline]
    pub(super) fn fold(
        &mut self,
        at: u16,
        subject: SubjectId,
        of: EventType,
        event: &EventView<'_>,
    ) {
        let Some(meter) = self.meters.get(at) else {
            return;
        };
        if !meter.meter.filter.matches(of, event) {
            return;
        }
        let sample = sample(meter, event);
        hash_texts(meter, event, &mut self.scratch.hashes);
        let series = if meter.is_by_subject {
            let own = self.subjects.own[subject as usize]
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
        self.fold_into(at, series, &sample);
    }

    /// Folds an event into the windows of a group.
    #[inline]
    fn fold_into(&mut self, at: u16, series: u32, sample: &Sample) {
        let lead = self.find_lead(at, series, sample.time_us);
        for run in 0..self.meters.in_force(at).runs.len() {
            let takes_over = self.meters.in_force(at).runs[run].takes_over;
            match lead {
                Lead::ShortestAgain if takes_over => {}
                Lead::Shortest if takes_over => self.fold_run(at, series, run, sample, false),
                _ => self.fold_run(at, series, run, sample, true),
            }
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
        let meter = self.meters.in_force(at);
        let place = format!("{OTHER}/{}", self.place.partition);
        let own = self.subjects.name(subject);
        let own = if own == OTHER { place.as_str() } else { own };
        let is_full = self.groups.len() as u64 >= self.groups_max();
        let value = |field: &Field| -> Box<str> {
            if *field == Field::Subject {
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
        let folded = |field: &Field| match field {
            Field::Subject => own.into(),
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
        let meter = self.meters.in_force(at);
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
        series.runs.resize_with(meter.runs.len(), Default::default);
        let seen = EventTime::from_us(self.scratch.seen_before_us);
        series.partial_until = meter.beginning.partial_until(subject, seen);
        let is_own = meter.is_by_subject;
        if !is_own {
            self.groups.insert((subject, at, series.group.clone()), id);
        }
        self.series[id as usize] = series;
        if is_own {
            self.subjects.own[subject as usize].push((at, id));
        }
        self.new_series.push(id);
        id
    }

    /// Folds an event into one of a group's windows, or notes alone that it will be, if it is not
    /// `now`.
    #[inline]
    fn fold_run(&mut self, at: u16, series_id: u32, run_at: usize, sample: &Sample, now: bool) {
        let Self {
            meters,
            series,
            panes,
            subjects,
            scratch,
            ..
        } = self;
        let meter = meters.in_force(at);
        let spec = &meter.runs[run_at];
        if spec.is_hopping() {
            return self.fold_hopping(at, series_id, run_at, sample);
        }
        if spec.is_session() {
            return self.fold_session(at, series_id, run_at, sample);
        }
        let of = &mut series[series_id as usize];
        let subject = of.subject;
        let run = &mut of.runs[run_at];
        let start_us = match run.windows.back() {
            // Nearly always, and it saves a division.
            Some(last) if spec.holds(last.start_us, sample.time_us) => last.start_us,
            _ => spec.pane_start(sample.time_us),
        };
        let panes = &mut panes[spec.panes];
        let index = match position(&run.windows, start_us) {
            Ok(index) => index,
            Err(index) => {
                let slot = open_pane(panes, &spec.layout);
                let partial = start_us <= of.partial_until.as_us();
                run.make_room();
                run.windows
                    .insert(index, Entry::new(start_us, slot, partial));
                run.unfired_count += 1;
                let end_us = start_us.saturating_add(spec.width_us);
                subjects.opened(subject, end_us, meter.group_run(series_id, run_at));
                self.window_count += 1;
                self.open_short_count += u64::from(is_short(spec));
                index
            }
        };
        let entry = &mut run.windows[index];
        if now {
            let words = panes.unpacked_mut(&mut entry.slot);
            let carries = &mut scratch.carries;
            spec.layout.fold(words, start_us, sample, carries);
            if !carries.is_empty() {
                panes.add_carries(entry.slot, carries);
            }
            if spec.layout.is_sketched() {
                let sketches = panes.sketches_mut(entry.slot);
                spec.layout.fold_sketches(sketches, sample, &scratch.hashes);
            }
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
        let meter = meters.in_force(at);
        let spec = &meter.runs[run_at];
        let of = &mut series[series_id as usize];
        let subject = of.subject;
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
                let slot = open_pane(panes, &spec.layout);
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
                    subjects.opened(subject, end_us, meter.group_run(series_id, run_at));
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
        if spec.layout.is_sketched() {
            let sketches = panes.sketches_mut(pane.slot);
            spec.layout.fold_sketches(sketches, sample, &scratch.hashes);
        }
        if pane.mark_changed() {
            self.changed.push(key(true, pane_us));
        }
        let refire = &mut scratch.refire;
        let told = look_at_windows(run, (first_us, pane_us), |us| refire.push(key(false, us)));
        self.touched.extend(told.map(|(us, _)| key(false, us)));
        let changed = told.filter(|(_, is_change)| *is_change);
        self.changed.extend(changed.map(|(us, _)| key(false, us)));
    }
}

/// Hands on the fired windows that hold a pane, and touches the first that has not fired: gives its
/// start, and whether that is a change since the last flush, where it was not touched before.
fn look_at_windows(
    run: &mut Run,
    (first_us, pane_us): (i64, i64),
    mut fired: impl FnMut(i64),
) -> Option<(i64, bool)> {
    // In order, no window that holds the pane has fired, and one look tells.
    let may_have_fired = run.last_fired_us >= first_us;
    let first = position(&run.windows, first_us).unwrap_or_else(|at| at);
    let (mut is_told, mut touched) = (false, None);
    for entry in run.windows.iter_mut().skip(first) {
        if entry.start_us > pane_us || is_told && !may_have_fired {
            break;
        }
        if entry.has_fired() {
            fired(entry.start_us);
        } else if !is_told {
            is_told = true;
            if entry.mark_touched() {
                touched = Some((entry.start_us, entry.mark_changed()));
            }
        }
    }
    touched
}

/// What an event brings to a meter's windows.
#[inline]
pub(super) fn sample(meter: &CompiledMeter, event: &EventView<'_>) -> Sample {
    let fields = [meter.meter.value.as_ref(), meter.meter.weight.as_ref()];
    let [value, weight] = Field::numbers(fields, event);
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
        passes: passes(meter, event),
    }
}

/// The hashes of the texts that a meter's aggregates are distinct of.
#[inline]
pub(super) fn hash_texts(
    meter: &CompiledMeter,
    event: &EventView<'_>,
    hashes: &mut Vec<Option<u64>>,
) {
    if meter.texts.is_empty() {
        return;
    }
    hashes.clear();
    let hash = |field: &Field| field.text(event).map(|text| text_hash(text.as_bytes()));
    hashes.extend(meter.texts.iter().map(hash));
}

/// Takes the memory of a window without events.
#[inline]
pub(super) fn open_pane(panes: &mut Panes, layout: &Layout) -> Slot {
    let slot = panes.take();
    layout.clear(panes.words_mut(slot));
    if layout.is_sketched() {
        panes.put_sketches(slot, layout.empty_sketches());
    }
    slot
}

/// A bit for each gate of the meter that lets the event through.
#[inline]
fn passes(meter: &CompiledMeter, event: &EventView<'_>) -> u32 {
    let mut passes = 0;
    for (at, gate) in meter.gates.iter().enumerate() {
        let is_open = gate.iter().all(|condition| condition.holds(event));
        passes |= u32::from(is_open) << at;
    }
    passes
}
