//! The step itself: each event is refused, late, a duplicate, or counted, in this order; counted
//! events go into their windows, and windows fire as their subject's clock moves on.

use hashbrown::HashMap;
use schemas::control::Limits;
use schemas::decimal::Decimal;
use schemas::event::{EventType, EventView};
use schemas::ids::Stream;
use schemas::murmur2::partition_of;
use schemas::refusal::{Refusal, read_event};
use schemas::time::{BrokerTime, EventTime};

use runtime::step::{Counts, Holdings, Incoming, Output, Place, StateError, Step};

use super::definitions::Definitions;
use super::emit;
use super::ids::{Seen, identity};
use super::layout::Carry;
use super::meters::Meters;
use super::panes::Panes;
use super::series::{RunSpec, Series};
use super::sessions::Retracted;
use super::split::Split;
use super::state::Restored;
use super::subjects::{NEVER, SubjectId, Subjects};
use super::takeover::Whole;

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

    pub(super) meters: Meters,
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

    /// What the meters of two steps have added up and not told yet.
    pub(super) split: Split,

    /// What a restore could not place yet.
    pub(super) restored: Restored,
    /// Memory that is used again for each event.
    pub(super) scratch: Scratch,
}

/// An event that may be used, with what can be said of it before any other is observed.
#[derive(Debug)]
pub struct ReadEvent<'a> {
    pub(super) event: EventView<'a>,
    of: EventType,
    pub(super) id: u128,
    name_hash: u64,
    /// `None` for a subject that was not known then.
    pub(super) subject: Option<SubjectId>,
}

/// Memory that is used again for each event; nothing in it outlives a call.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// How far the event's subject had come before it, in microseconds.
    pub(super) seen_before_us: i64,
    pub(super) refire: Vec<WindowKey>,
    /// Sessions that had fired and are no longer.
    pub(super) retracted: Vec<Retracted>,
    pub(super) due: Vec<SubjectId>,
    pub(super) carries: Vec<Carry>,
    /// Of the event's texts that a meter's aggregates are distinct of.
    pub(super) hashes: Vec<Option<u64>>,
    pub(super) whole: Whole,
    pub(super) results: Vec<Option<Decimal>>,
}

impl Step for MetricsStep {
    type Definitions = Definitions;
    type Read<'a> = Result<ReadEvent<'a>, Refusal>;
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
                direct_producers: false,
                meters: vec![],
            },
            now: BrokerTime::MIN,
            counts: Counts::default(),
            stored_counts: Counts::default(),
            meters: Meters::default(),
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
            split: Split::default(),
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

    fn read<'a>(&self, records: &[Incoming<'a>], reads: &mut Vec<Self::Read<'a>>) {
        let rules = self.definitions.event_rules();
        let read = |record: &Incoming<'a>| -> Self::Read<'a> {
            let is_own = || record.is_own();
            let (event, of) = read_event(record.value, record.appended_at, &rules, is_own)?;
            Ok(ReadEvent {
                of,
                id: identity(&event),
                subject: None,
                name_hash: self.subjects.hash(event.subject.as_bytes()),
                event,
            })
        };
        reads.extend(records.iter().map(read));
        for read in reads.iter_mut().flatten() {
            read.subject = self
                .subjects
                .find(read.name_hash, read.event.subject.as_bytes());
        }
        self.warm(reads);
    }

    fn observe(&mut self, record: &Incoming<'_>, read: &Self::Read<'_>, out: &mut Output) {
        self.counts.observed += 1;
        let found = match read {
            Ok(read) => self.subject_of(read).map(|subject| (read, subject)),
            Err(refusal) => Err(*refusal),
        };
        let (read, subject) = match found {
            Ok(found) => found,
            Err(refusal) => {
                self.counts.dead_lettered += 1;
                let source = (self.topic.as_str(), self.place.partition);
                return emit::dead_letter(out, source, record, &refusal);
            }
        };
        let event = &read.event;
        let limit_at = self.subjects.clocks[subject as usize].limit_at(&self.definitions.limits);
        if event.occurred_at < limit_at {
            self.counts.late += 1;
            let source = (self.topic.as_str(), self.place.partition);
            return emit::late(out, source, record, event, limit_at);
        }
        if !self.remember(subject, read) {
            self.counts.duplicate += 1;
            return;
        }
        self.counts.counted += 1;
        let clock = &mut self.subjects.clocks[subject as usize];
        self.scratch.seen_before_us = clock.seen.as_us();
        clock.observe(event.occurred_at, record.appended_at);
        self.subjects.mark_changed(subject);
        for at in 0..self.by_type[read.of as usize].len() {
            let meter = self.by_type[read.of as usize][at];
            self.fold(meter, subject, read.of, event);
        }
        if self.split.fold(read.of, event, record.appended_at) {
            self.tell_sums(out);
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
            self.tell_sums(out);
            self.tell_clock(now, out);
            self.touched_slot = slot;
        }
        self.fire_silent(now, out);
        self.now = now;
    }

    fn redefine(&mut self, definitions: &Definitions, out: &mut Output) {
        // What was open under the old definitions is told or dropped under them.
        self.tell_open(out);
        self.tell_sums(out);
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

    fn tells_at(&self) -> Option<BrokerTime> {
        let at = match self.now {
            BrokerTime::MIN => BrokerTime::MIN,
            _ => BrokerTime::from_ms((self.touched_slot + 1) * OPEN_SLOT_MS),
        };
        (!self.split.is_idle()).then_some(at)
    }

    fn drain_changes(&mut self, changes: &mut Output) {
        self.write_changes(changes);
    }

    fn change_count(&self) -> usize {
        self.changed.len()
            + self.gone.len()
            + self.subjects.changed_count()
            + self.fresh_slices.len()
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
    fn subject_of(&mut self, read: &ReadEvent<'_>) -> Result<SubjectId, Refusal> {
        // Subjects stay, but one may have come since.
        let found = read.subject;
        let find = || {
            self.subjects
                .find(read.name_hash, read.event.subject.as_bytes())
        };
        match found.or_else(find) {
            Some(subject) => Ok(subject),
            None => self.new_subject(&read.event),
        }
    }

    #[cold]
    fn new_subject(&mut self, event: &EventView<'_>) -> Result<SubjectId, Refusal> {
        let expected = partition_of(event.subject.as_bytes(), self.partition_count);
        if expected != self.place.partition {
            return Err(Refusal::WrongPartition { expected });
        }
        if self.subjects.len() as u64 >= self.definitions.limits.subjects_max {
            return Ok(match self.subjects.named(OTHER) {
                Some(other) => other,
                None => self.subjects.add(OTHER),
            });
        }
        Ok(self.subjects.add(event.subject.as_str()))
    }

    /// Remembers an event's identity; false when it was known.
    #[inline]
    fn remember(&mut self, subject: SubjectId, read: &ReadEvent<'_>) -> bool {
        let ids = &mut self.subjects.ids[subject as usize];
        let occurred_at = read.event.occurred_at;
        let seen = ids.insert(occurred_at, read.id);
        if seen == Seen::Before {
            return false;
        }
        if seen == Seen::FirstFresh {
            let start_us = super::ids::slice_start_us(occurred_at);
            self.fresh_slices.push((subject, start_us));
            let oldest = &mut self.subjects.oldest_end_us[subject as usize];
            *oldest = (*oldest).min(ids.oldest_end_us());
        }
        self.id_count += 1;
        true
    }
}

/// True for windows of at most a minute: what a served replay waits for.
pub(super) fn is_short(spec: &RunSpec) -> bool {
    spec.width_us <= 60_000_000
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
