//! What the design says must come out of one partition, computed the long way.
//!
//! Plain maps, all samples of every window kept, every result from all its samples. Nothing here is
//! shared with the step but the reading of records. The comments quote the design.

mod groups;
mod spread;

use std::collections::{BTreeMap, BTreeSet};

use processors::metrics::Definitions;
use runtime::step::{Counts, Holdings, Place};
use schemas::event::{Event, EventType, EventView};
use schemas::murmur2::partition_of;

use crate::facts::Fact;
use groups::Groups;
pub(crate) use groups::starts_us;
pub(crate) use spread::Spread;

/// Identities are forgotten in slices of this much event time.
const SLICE_US: i64 = 30_000_000;
/// Open windows are told of once in each such stretch of the partition's clock.
const OPEN_SLOT_MS: i64 = 250;
/// Who cannot have a clock of their own share this subject's.
const OTHER: &str = "__other__";

/// A record of the input.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) appended_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Record {
    /// True for what PulseStream's own processes wrote: here by its bytes, so that a record that
    /// comes twice has one writer.
    pub(crate) fn is_own(&self) -> bool {
        let bytes = self.value.iter().flatten();
        bytes.map(|byte| u32::from(*byte)).sum::<u32>() % 3 != 0
    }
}

/// Type, subject, time and id.
type Identity = (String, String, i64, String);

/// A subject's stream.
struct Subject {
    name: String,
    /// Highest min(occurred_at, append time), and the append time of the record that set it.
    seen: Option<(i64, i64)>,
    floor_us: i64,
    /// By the start of the slice.
    ids: BTreeMap<i64, BTreeSet<Identity>>,
    groups: Groups,
}

/// One partition.
pub(crate) struct Oracle {
    place: Place,
    partition_count: i32,
    definitions: Definitions,
    now_ms: Option<i64>,
    counts: Counts,
    subjects: Vec<Subject>,
    /// How many subjects there were when a meter came into force, and the clock.
    beginnings: BTreeMap<(String, i64), (usize, i64)>,
    facts: Vec<Fact>,
    /// What belongs to meters whose groups have events in several partitions.
    spread: Spread,
}

impl Oracle {
    /// What this partition has for meters whose groups have events in several.
    pub(crate) fn spread(&self) -> &Spread {
        &self.spread
    }

    /// A partition that begins under these definitions.
    pub(crate) fn new(place: &Place, partition_count: i32, definitions: &Definitions) -> Self {
        let meters = definitions.meters.iter();
        Self {
            place: place.clone(),
            partition_count,
            beginnings: meters
                .map(|m| ((m.id.clone(), m.version), (0, 0)))
                .collect(),
            definitions: definitions.clone(),
            now_ms: None,
            counts: Counts::default(),
            subjects: vec![],
            facts: vec![],
            spread: Spread::default(),
        }
    }

    /// What came out since the last call, in no order.
    pub(crate) fn take_facts(&mut self) -> Vec<Fact> {
        let mut facts = std::mem::take(&mut self.facts);
        facts.sort();
        facts
    }

    /// "The four counts and `in`."
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Sizes of what is held.
    pub(crate) fn holdings(&self) -> Holdings {
        let windows = || {
            self.subjects
                .iter()
                .flat_map(|subject| subject.groups.windows())
        };
        let is_open_short =
            |(width_ms, revision): &(i64, i64)| *width_ms <= 60_000 && *revision == 0;
        let ids = |subject: &Subject| subject.ids.values().map(BTreeSet::len).sum::<usize>();
        Holdings {
            windows: windows().count() as u64,
            open_short_windows: windows().filter(is_open_short).count() as u64,
            subjects: self.subjects.len() as u64,
            ids: self.subjects.iter().map(ids).sum::<usize>() as u64,
        }
    }

    /// "Every record first advances its partition's clock to its own append time (the highest seen;
    /// it never goes back) and fires what is then due."
    pub(crate) fn advance(&mut self, now_ms: i64) {
        let Some(before_ms) = self.now_ms else {
            self.now_ms = Some(now_ms);
            return;
        };
        if now_ms <= before_ms {
            return;
        }
        let slot = before_ms.div_euclid(OPEN_SLOT_MS);
        if now_ms.div_euclid(OPEN_SLOT_MS) != slot
            && self
                .subjects
                .iter()
                .any(|subject| subject.groups.has_touched())
        {
            self.fall_silent((slot + 1) * OPEN_SLOT_MS);
            self.tell_open();
        }
        self.fall_silent(now_ms);
        self.now_ms = Some(now_ms);
    }

    /// "Silence fires windows"; "a subject silent for `silence_max` drops its ids and, once fired,
    /// its windows; its clock and floor stay."
    fn fall_silent(&mut self, now_ms: i64) {
        let limits = self.definitions.limits;
        for subject in &mut self.subjects {
            let Some((_, at_ms)) = subject.seen else {
                continue;
            };
            let watermark_us = subject.watermark_us(now_ms, limits.bound_ms);
            self.facts
                .extend(subject.groups.fire(watermark_us, &self.definitions.meters));
            if now_ms - at_ms >= limits.silence_max_ms {
                let last_slice_end_us = subject.ids.keys().max().map(|start| start + SLICE_US);
                subject.ids.clear();
                let last_end_us = subject.groups.leave(i64::MAX, &self.definitions.meters);
                subject.floor_us = subject
                    .floor_us
                    .max(last_end_us.max(last_slice_end_us).unwrap_or(i64::MIN));
            }
        }
    }

    fn tell_open(&mut self) {
        for subject in &mut self.subjects {
            self.facts
                .extend(subject.groups.tell_open(&self.definitions.meters));
        }
    }

    /// "Decided in this order: refused, late, duplicate, counted."
    pub(crate) fn observe(&mut self, record: &Record) {
        self.counts.observed += 1;
        let (event, subject) = match self.accept(record) {
            Ok(accepted) => accepted,
            Err(reason) => {
                self.counts.dead_lettered += 1;
                return self.facts.push(Fact::Dead {
                    offset: record.offset,
                    appended_ms: record.appended_ms,
                    reason: reason.to_owned(),
                    key: record.key.clone(),
                    value: record.value.clone(),
                });
            }
        };
        let occurred_us = event.occurred_at.as_us();
        let limit_us = self.subjects[subject].limit_us(&self.definitions);
        if occurred_us < limit_us {
            self.counts.late += 1;
            return self.facts.push(Fact::Late {
                offset: record.offset,
                appended_ms: record.appended_ms,
                event_id: event.event_id,
                subject: event.subject,
                occurred_us,
                limit_us,
                event: record.value.clone().unwrap_or_default(),
            });
        }
        let (kind, id) = (event.event_type.as_str().to_owned(), event.event_id.clone());
        let identity = (kind, event.subject.clone(), occurred_us, id);
        let slice_us = occurred_us.div_euclid(SLICE_US) * SLICE_US;
        if !self.subjects[subject]
            .ids
            .entry(slice_us)
            .or_default()
            .insert(identity)
        {
            self.counts.duplicate += 1;
            return;
        }
        self.counts.counted += 1;
        self.count(subject, &event, record.appended_ms);
        self.forget_ids();
    }

    /// Which subject's stream the event belongs to, or why nobody may use the record.
    fn accept(&mut self, record: &Record) -> Result<(Event, usize), &'static str> {
        let value = record.value.as_deref().unwrap_or_default();
        let view = EventView::decode(value).map_err(|error| error.reason())?;
        if EventType::from_bytes(view.event_type.as_bytes()).is_none() {
            return Err("unknown_event_type");
        }
        let event = view.to_owned().expect("its type is known");
        let is_of_type = |reserved| event.event_type == reserved;
        let is_reserved = event.subject.starts_with("coinbase:")
            || is_of_type(EventType::Gap)
            || is_of_type(EventType::Candle);
        if is_reserved && self.definitions.direct_producers && !record.is_own() {
            return Err("reserved");
        }
        let has = |text: &str, max: usize| (1..=max).contains(&text.len());
        let is_small = event.tags.len() <= 64
            && event.metrics.len() <= 64
            && event
                .payload
                .as_ref()
                .is_none_or(|payload| payload.len() <= 65_536);
        if !has(&event.event_id, 256) || !has(&event.subject, 512) || !is_small {
            return Err("size");
        }
        let limits = self.definitions.limits;
        let ahead_ms = event.occurred_at.as_us().div_euclid(1_000) - record.appended_ms;
        if ahead_ms > limits.future_max_ms {
            return Err("future");
        }
        if -ahead_ms > limits.past_max_ms {
            return Err("past");
        }
        if let Some(known) = self.subjects.iter().position(|s| s.name == event.subject) {
            return Ok((event, known));
        }
        if partition_of(event.subject.as_bytes(), self.partition_count) != self.place.partition {
            return Err("wrong_partition");
        }
        // "Beyond it all new subjects share one subject `__other__`."
        let is_full = self.subjects.len() as u64 >= limits.subjects_max;
        let name = if is_full { OTHER } else { &event.subject };
        if let Some(known) = self
            .subjects
            .iter()
            .position(|subject| subject.name == name)
        {
            return Ok((event, known));
        }
        self.subjects.push(Subject {
            name: name.to_owned(),
            seen: None,
            floor_us: i64::MIN,
            ids: BTreeMap::new(),
            groups: Groups::default(),
        });
        Ok((event, self.subjects.len() - 1))
    }

    /// Takes an event in: its stream's clock, its windows, and what is then due.
    fn count(&mut self, at: usize, event: &Event, appended_ms: i64) {
        let taken: usize = self
            .subjects
            .iter()
            .map(|subject| subject.groups.capped_count())
            .sum();
        let limits = self.definitions.limits;
        let max = (limits.groups_max / self.partition_count as u64).max(1) as usize;
        let subject = &mut self.subjects[at];
        let seen_before_us = subject.seen.map(|(seen_us, _)| seen_us);
        let seen_us = event.occurred_at.as_us().min(appended_ms * 1_000);
        if seen_before_us.is_none_or(|before_us| seen_us > before_us) {
            subject.seen = Some((seen_us, appended_ms));
        }
        let mut room = max.saturating_sub(taken);
        for named in &self.definitions.meters {
            if named.meter.is_two_step() {
                self.spread.count(named, event);
                continue;
            }
            let of_subject = match &*subject.name {
                OTHER => format!("{OTHER}/{}", self.place.partition),
                name => name.to_owned(),
            };
            let (known, began_ms) = self.beginnings[&(named.id.clone(), named.version)];
            // What a window that had begun before its meter lacks was counted before that.
            let partial_until_us = seen_before_us.filter(|_| at < known);
            let partial_until_us = partial_until_us.map(|seen_us| seen_us.min(began_ms * 1_000));
            let groups = &mut subject.groups;
            let corrected = groups.fold(named, event, &of_subject, partial_until_us, &mut room);
            self.facts.extend(corrected);
        }
        self.settle(at);
    }

    /// "A window fires when its subject's watermark passes its end"; it leaves "when `seen − bound`
    /// has passed its end by `allowed_lateness`; leaving raises its subject's `floor` to its end."
    fn settle(&mut self, at: usize) {
        let limits = self.definitions.limits;
        let now_ms = self.now_ms.expect("events come after the clock");
        let subject = &mut self.subjects[at];
        let Some((seen_us, _)) = subject.seen else {
            return;
        };
        let watermark_us = subject.watermark_us(now_ms, limits.bound_ms);
        self.facts
            .extend(subject.groups.fire(watermark_us, &self.definitions.meters));
        let passed_us = seen_us - (limits.bound_ms + limits.allowed_lateness_ms) * 1_000;
        let last_end_us = subject.groups.leave(passed_us, &self.definitions.meters);
        subject.floor_us = subject.floor_us.max(last_end_us.unwrap_or(i64::MIN));
        let is_over = |start_us: &i64| start_us + SLICE_US <= passed_us;
        while let Some(start_us) = subject.ids.keys().next().copied().filter(is_over) {
            subject.ids.remove(&start_us);
            subject.floor_us = subject.floor_us.max(start_us + SLICE_US);
        }
    }

    /// "Beyond `dedup_ids_max` the slice furthest behind its own subject's watermark goes first."
    /// Room is made for a sixteenth at once; of equals the one of the newest subject goes first.
    fn forget_ids(&mut self) {
        let max = self.definitions.limits.dedup_ids_max;
        let bound_ms = self.definitions.limits.bound_ms;
        let now_ms = self.now_ms.expect("events come after the clock");
        if self.holdings().ids <= max {
            return;
        }
        while self.holdings().ids > max - max / 16 {
            let oldest = |(at, subject): (usize, &Subject)| {
                let start_us = *subject.ids.keys().next()?;
                Some((
                    subject.watermark_us(now_ms, bound_ms) - start_us,
                    at,
                    start_us,
                ))
            };
            let furthest = self.subjects.iter().enumerate().filter_map(oldest).max();
            let (_, at, start_us) = furthest.expect("there are identities");
            self.subjects[at].ids.remove(&start_us);
            let floor_us = &mut self.subjects[at].floor_us;
            *floor_us = (*floor_us).max(start_us + SLICE_US);
        }
    }

    /// "A changed meter is a new version with windows of its own."
    pub(crate) fn redefine(&mut self, definitions: &Definitions) {
        self.tell_open();
        for named in &definitions.meters {
            let key = (named.id.clone(), named.version);
            if !self
                .definitions
                .meters
                .iter()
                .any(|m| (&m.id, m.version) == (&key.0, key.1))
            {
                let now_ms = self.now_ms.unwrap_or_default();
                self.beginnings.insert(key, (self.subjects.len(), now_ms));
            }
        }
        self.definitions = definitions.clone();
        for at in 0..self.subjects.len() {
            self.subjects[at].groups.keep(&self.definitions.meters);
            self.settle(at);
        }
    }
}

impl Subject {
    /// "`seen − bound + max(0, now − at)`."
    fn watermark_us(&self, now_ms: i64, bound_ms: i64) -> i64 {
        let Some((seen_us, at_ms)) = self.seen else {
            return i64::MIN;
        };
        seen_us - bound_ms * 1_000 + (now_ms - at_ms).max(0) * 1_000
    }

    /// "More than `allowed_lateness` behind `seen − bound`, or before `floor`."
    fn limit_us(&self, definitions: &Definitions) -> i64 {
        let limits = definitions.limits;
        let Some((seen_us, _)) = self.seen else {
            return self.floor_us;
        };
        self.floor_us
            .max(seen_us - (limits.bound_ms + limits.allowed_lateness_ms) * 1_000)
    }
}
