//! A subject's windows, as lists of samples.

use std::collections::BTreeMap;

use processors::metrics::NamedMeter;
use schemas::event::{Event, EventType};
use schemas::meter::{Condition, Field, Meter, Operand, Test, Window};

use super::OTHER;
use crate::exact::{self, Sample};
use crate::facts::{Fact, Metric, WindowId};

/// A group: meter, its version, and the values of its group-by.
type GroupKey = (String, i64, Vec<String>);

/// The groups of one subject.
#[derive(Default)]
pub(super) struct Groups(BTreeMap<GroupKey, Group>);

struct Group {
    /// Windows that start here or before lack events that came before the meter.
    partial_until_us: i64,
    /// By the window's place in the meter, and its start.
    windows: BTreeMap<(usize, i64), Held>,
    /// A group that is no more than its subject needs no place of its own.
    is_capped: bool,
}

struct Held {
    width_ms: i64,
    /// Of a session: where it is cut, and when its last event was.
    session: Option<(i64, i64)>,
    samples: Vec<Sample>,
    revision: i64,
    partial: bool,
    /// Its open value has changed since it was told.
    is_touched: bool,
}

impl Held {
    fn end_us(&self, start_us: i64) -> i64 {
        match self.session {
            None => start_us + self.width_ms * 1_000,
            Some((cut_us, last_us)) => {
                let cut_end_us = start_us.div_euclid(cut_us) * cut_us + cut_us;
                cut_end_us.min(last_us + self.width_ms * 1_000)
            }
        }
    }
}

impl Groups {
    /// Width and revision of each window.
    pub(super) fn windows(&self) -> impl Iterator<Item = (i64, i64)> {
        let windows = self.0.values().flat_map(|group| group.windows.values());
        windows.map(|held| (held.width_ms, held.revision))
    }

    /// Groups that take a place of the tenant's.
    pub(super) fn capped_count(&self) -> usize {
        self.0.values().filter(|group| group.is_capped).count()
    }

    pub(super) fn has_touched(&self) -> bool {
        self.0
            .values()
            .flat_map(|group| group.windows.values())
            .any(|held| held.is_touched)
    }

    /// Folds an event into a meter's windows; gives the corrections of those that had fired.
    ///
    /// A new group's windows that start by `partial_until_us` lack what came before the meter.
    pub(super) fn fold(
        &mut self,
        named: &NamedMeter,
        event: &Event,
        subject: &str,
        partial_until_us: Option<i64>,
        room: &mut usize,
    ) -> Vec<Fact> {
        let meter = &named.meter;
        if !matches(meter, event) {
            return vec![];
        }
        let time_us = event.occurred_at.as_us();
        let key = self.place(named, event, subject, room);
        let group = self.0.entry(key.clone()).or_insert_with(|| Group {
            partial_until_us: partial_until_us.unwrap_or(i64::MIN),
            windows: BTreeMap::new(),
            is_capped: is_capped(meter),
        });
        let sample = sample(meter, event);
        let mut facts = vec![];
        for (at, window) in meter.windows.iter().enumerate() {
            if let Window::Session { .. } = window {
                facts.extend(group.fold_session(named, &key, at, &sample));
                continue;
            }
            let mut is_told = false;
            for start_us in starts_us(*window, time_us) {
                let held = group.windows.entry((at, start_us)).or_insert_with(|| Held {
                    width_ms: window.width_ms(),
                    session: None,
                    samples: vec![],
                    revision: 0,
                    partial: start_us <= group.partial_until_us,
                    is_touched: false,
                });
                held.samples.push(sample.clone());
                if held.revision > 0 {
                    held.revision += 1;
                    facts.push(fact(named, &key, start_us, held));
                } else if !is_told {
                    // Of windows that overlap, the one that fires next is told of.
                    is_told = true;
                    held.is_touched = true;
                }
            }
        }
        facts
    }

    /// The group of an event. "Beyond it a new group folds into its own subject's `__other__`."
    fn place(
        &self,
        named: &NamedMeter,
        event: &Event,
        subject: &str,
        room: &mut usize,
    ) -> GroupKey {
        let values = |other: bool| {
            let value = |field: &Field| match field {
                Field::Subject => subject.to_owned(),
                _ if other => OTHER.to_owned(),
                field => text(field, event).unwrap_or_default(),
            };
            named
                .meter
                .group_by
                .iter()
                .map(value)
                .collect::<Vec<String>>()
        };
        let own = (named.id.clone(), named.version, values(false));
        if !is_capped(&named.meter) || self.0.contains_key(&own) {
            return own;
        }
        if *room > 0 {
            *room -= 1;
            return own;
        }
        (own.0, own.1, values(true))
    }

    /// Fires the windows that end by then.
    pub(super) fn fire(&mut self, watermark_us: i64, meters: &[NamedMeter]) -> Vec<Fact> {
        let mut facts = vec![];
        for (key, group) in &mut self.0 {
            for ((_, start_us), held) in &mut group.windows {
                if held.revision == 0 && held.end_us(*start_us) <= watermark_us {
                    held.revision = 1;
                    facts.push(fact(meter_of(key, meters), key, *start_us, held));
                }
            }
        }
        facts
    }

    /// Tells the open windows that changed.
    pub(super) fn tell_open(&mut self, meters: &[NamedMeter]) -> Vec<Fact> {
        let mut facts = vec![];
        for (key, group) in &mut self.0 {
            for ((_, start_us), held) in &mut group.windows {
                if std::mem::take(&mut held.is_touched) && held.revision == 0 {
                    facts.push(fact(meter_of(key, meters), key, *start_us, held));
                }
            }
        }
        facts
    }

    /// Drops fired windows that end by then; gives the last of their ends.
    pub(super) fn leave(&mut self, until_us: i64, meters: &[NamedMeter]) -> Option<i64> {
        let mut last_end_us = None;
        self.0.retain(|key, group| {
            meter_of(key, meters);
            group.windows.retain(|(_, start_us), held| {
                let leaves = held.revision > 0 && held.end_us(*start_us) <= until_us;
                if leaves {
                    last_end_us = last_end_us.max(Some(held.end_us(*start_us)));
                }
                !leaves
            });
            // "A group keeps its place while it has a window in the state."
            !group.windows.is_empty()
        });
        last_end_us
    }

    /// Drops what belongs to meters that are no longer in force.
    pub(super) fn keep(&mut self, meters: &[NamedMeter]) {
        self.0
            .retain(|key, _| meters.iter().any(|m| (&m.id, m.version) == (&key.0, key.1)));
    }
}

impl Group {
    /// "When sessions merge or grow at the front, the old rows are retracted (revision + 1,
    /// deleted)."
    fn fold_session(
        &mut self,
        named: &NamedMeter,
        key: &GroupKey,
        at: usize,
        sample: &Sample,
    ) -> Vec<Fact> {
        let Window::Session {
            gap_ms,
            length_max_ms,
        } = named.meter.windows[at]
        else {
            unreachable!("the caller looked");
        };
        let (gap_us, cut_us, time_us) = (gap_ms * 1_000, length_max_ms * 1_000, sample.time_us);
        let joins = |place: usize, start_us: i64, held: &Held| {
            let (_, last_us) = held.session.unwrap_or_default();
            let is_near = start_us - time_us < gap_us && time_us - last_us < gap_us;
            let is_cut = start_us.div_euclid(cut_us) != time_us.div_euclid(cut_us);
            place == at && is_near && !is_cut
        };
        let windows = self.windows.iter();
        let joined = windows.filter(|((place, start_us), held)| joins(*place, *start_us, held));
        let joined: Vec<i64> = joined.map(|((_, start_us), _)| *start_us).collect();
        let start_us = joined.iter().copied().chain([time_us]).min().unwrap();
        let mut all = Held {
            width_ms: gap_ms,
            session: None,
            samples: vec![sample.clone()],
            revision: 0,
            partial: start_us - gap_us <= self.partial_until_us,
            is_touched: false,
        };
        let (mut facts, mut last_us, mut has_fired) = (vec![], time_us, false);
        for of_us in joined {
            let mut held = self.windows.remove(&(at, of_us)).unwrap();
            last_us = last_us.max(held.session.unwrap().1);
            has_fired |= held.revision > 0;
            all.partial |= held.partial;
            all.samples.append(&mut held.samples);
            if of_us == start_us {
                (all.revision, all.is_touched) = (held.revision, held.is_touched);
            } else if held.revision > 0 {
                facts.push(retraction(named, key, of_us, &held));
            }
        }
        all.session = Some((cut_us, last_us));
        if has_fired {
            all.revision += 1;
            facts.push(fact(named, key, start_us, &all));
        } else {
            all.is_touched = true;
        }
        self.windows.insert((at, start_us), all);
        facts
    }
}

/// What an event brings to a meter's windows.
pub(super) fn sample(meter: &Meter, event: &Event) -> Sample {
    let number = |field: &Option<Field>| match field {
        Some(Field::Metric(name)) => event.metrics.get(name).map(|number| number.units()),
        _ => None,
    };
    Sample {
        time_us: event.occurred_at.as_us(),
        sequence: event.sequence,
        value: number(&meter.value),
        weight: number(&meter.weight),
        passes: passes(meter, event),
        texts: meter
            .aggregates
            .iter()
            .map(|aggregate| match &aggregate.of {
                Operand::Field(field) => text(field, event),
                _ => None,
            })
            .collect(),
    }
}

fn retraction(named: &NamedMeter, key: &GroupKey, start_us: i64, held: &Held) -> Fact {
    let Fact::Metric(metric) = fact(named, key, start_us, held) else {
        unreachable!("a window's fact is a metric");
    };
    Fact::Metric(Metric {
        deleted: true,
        revision: metric.revision + 1,
        overflow: false,
        event_count: 0,
        values: vec![],
        sketches: vec![],
        window_end_us: None,
        ..metric
    })
}

fn meter_of<'a>(key: &GroupKey, meters: &'a [NamedMeter]) -> &'a NamedMeter {
    let own = meters
        .iter()
        .find(|meter| (&meter.id, meter.version) == (&key.0, key.1));
    own.expect("groups are of meters in force")
}

fn is_capped(meter: &Meter) -> bool {
    meter.group_by != [Field::Subject]
}

/// The starts of the windows that hold an instant.
pub(crate) fn starts_us(window: Window, time_us: i64) -> Vec<i64> {
    let (width_us, hop_us) = match window {
        Window::Tumbling { width_ms } => (width_ms * 1_000, width_ms * 1_000),
        Window::Hopping { width_ms, hop_ms } => (width_ms * 1_000, hop_ms * 1_000),
        Window::Session { .. } => unreachable!("sessions begin with an event"),
    };
    let last_us = time_us.div_euclid(hop_us) * hop_us;
    let starts = (0..width_us / hop_us).map(|back| last_us - back * hop_us);
    let mut starts: Vec<i64> = starts
        .filter(|start_us| time_us < start_us + width_us)
        .collect();
    starts.reverse();
    starts
}

fn fact(named: &NamedMeter, key: &GroupKey, start_us: i64, held: &Held) -> Fact {
    let (values, overflow) = exact::results(&held.samples, &named.meter.aggregates);
    let names = named.meter.group_by.iter().map(ToString::to_string);
    Fact::Metric(Metric {
        is_final: held.revision > 0,
        window: WindowId {
            meter: key.0.clone(),
            version: key.1,
            labels: names.zip(key.2.iter().cloned()).collect(),
            width_ms: held.width_ms,
            start_us,
        },
        revision: held.revision,
        deleted: false,
        window_end_us: held
            .session
            .filter(|_| held.revision > 0)
            .map(|_| held.end_us(start_us)),
        partial: held.partial,
        overflow,
        event_count: held.samples.len() as u64,
        values,
        sketches: match held.revision {
            0 => vec![],
            _ => exact::sketches(&held.samples, &named.meter.aggregates),
        },
    })
}

pub(super) fn matches(meter: &Meter, event: &Event) -> bool {
    meter
        .filter
        .event_type
        .is_none_or(|only| only == event.event_type)
        && meter
            .filter
            .all
            .iter()
            .all(|condition| holds(condition, event))
}

/// For each aggregate, whether its own conditions hold.
fn passes(meter: &Meter, event: &Event) -> Vec<bool> {
    let aggregates = meter.aggregates.iter();
    let passes = aggregates.map(|aggregate| {
        let mut conditions = aggregate.conditions.iter();
        conditions.all(|condition| holds(condition, event))
    });
    passes.collect()
}

/// The conditions that the plans use.
fn holds(condition: &Condition, event: &Event) -> bool {
    let number = match &condition.field {
        Field::Metric(name) => event.metrics.get(name).copied(),
        _ => None,
    };
    let text = text(&condition.field, event);
    match &condition.test {
        Test::Eq(expect) => text.as_ref() == Some(expect),
        Test::Ne(expect) => text.as_ref() != Some(expect),
        Test::In(all) => text.is_some_and(|text| all.contains(&text)),
        Test::Gt(least) => number.is_some_and(|number| number > *least),
        Test::Le(most) => number.is_some_and(|number| number <= *most),
        Test::Exists(expect) => (text.is_some() || number.is_some()) == *expect,
        test => panic!("no plan has {test:?}"),
    }
}

pub(super) fn text(field: &Field, event: &Event) -> Option<String> {
    match field {
        Field::EventType => Some(event.event_type.as_str().to_owned()),
        Field::Subject => Some(event.subject.clone()),
        Field::UserId => event.user_id.clone(),
        Field::Tag(name) => event.tags.get(name).cloned(),
        Field::Metric(_) => None,
        // "A number of 500 or more, or it has a `tags.error` other than `false`."
        Field::Error => {
            let status = event
                .tags
                .get("status_code")
                .map(|text| text.parse::<f64>());
            let is_bad = status.is_some_and(|status| status.is_ok_and(|status| status >= 500.0));
            let is_marked = event.tags.get("error").is_some_and(|text| text != "false");
            let is_call = event.event_type == EventType::ApiCall;
            Some((is_call && (is_bad || is_marked)).to_string())
        }
        field => panic!("no plan has {field}"),
    }
}
