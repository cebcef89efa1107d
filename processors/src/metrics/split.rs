//! The first of two steps, for meters whose groups have events in several partitions: each group's
//! events of a slot of the clock are added up, told to the second step and forgotten.
//!
//! What the second step makes of sums in time does not hang on where one ends and the next begins.
//! So they may go out whenever that is convenient, and no state holds any: a flush tells them
//! instead.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use schemas::event::{EventType, EventView};
use schemas::ids::Stream;
use schemas::meter::{Field, Window, push_label};
use schemas::murmur2::partition_of;
use schemas::time::{BrokerTime, EventTime};
use schemas::wire::Reader;

use runtime::step::{Output, StateError};

use super::definitions::{Definitions, NamedMeter};
use super::emit::metric_key;
use super::fold::{hash_texts, sample};
use super::partial::{Sum, put_begun, put_clock, put_ended, put_sum};
use super::series::{Beginning, CompiledMeter};
use super::state::wrong;
use super::step::MetricsStep;
use super::takeover::Whole;

/// Sums that wait at most: more of them go out before the slot has ended.
const SUMS_MAX: usize = 1_024;
/// Bytes of their groups' texts: more of them go out as well.
const TEXT_BYTES_MAX: usize = 1_048_576;

/// The meters of two steps at the first of them, and what they have added up.
#[derive(Debug, Default)]
pub(super) struct Split {
    /// Those in force, by id.
    meters: Vec<SplitMeter>,
    /// Those that the second step has been told of: id and version.
    told: Vec<(Box<str>, i64)>,
    is_told_changed: bool,
    /// In the order of their first events.
    sums: Vec<Open>,
    found: HashTable<u32>,
    /// Bytes of their groups' texts.
    text_bytes: usize,
    hasher: DefaultHashBuilder,
    /// Memory that is used again for each event.
    text: String,
    hashes: Vec<Option<u64>>,
}

#[derive(Debug)]
struct SplitMeter {
    named: NamedMeter,
    /// With windows as long as a piece.
    compiled: CompiledMeter,
    /// Its windows that start at or before this may lack events from before it.
    partial_until: EventTime,
}

/// Events of one group and one piece of event time.
#[derive(Debug)]
struct Open {
    meter: u16,
    start_us: i64,
    group: Box<str>,
    values: Box<[Box<str>]>,
    cells: Whole,
    seen: EventTime,
    at: BrokerTime,
}

impl SplitMeter {
    fn new(named: &NamedMeter, partial_until: EventTime) -> Self {
        let mut of_pieces = named.clone();
        let width_ms = named.meter.piece_ms();
        of_pieces.meter.windows = vec![Window::Tumbling { width_ms }];
        let beginning = Beginning {
            subject_count: 0,
            at: BrokerTime::MIN,
        };
        Self {
            named: named.clone(),
            compiled: CompiledMeter::new(&of_pieces, beginning, |_| 0),
            partial_until,
        }
    }
}

impl Split {
    /// True when nothing is to be told, now or when time passes.
    pub(super) fn is_idle(&self) -> bool {
        self.meters.is_empty() && self.told.is_empty()
    }

    /// Takes definitions into force; what the old ones have added up has been told.
    pub(super) fn install(
        &mut self,
        definitions: &Definitions,
        partial_until: impl Fn() -> EventTime,
    ) {
        debug_assert!(self.sums.is_empty(), "sums of other meters");
        let mut old = std::mem::take(&mut self.meters);
        for named in definitions.two_step() {
            let is_it = |meter: &SplitMeter| meter.named == *named;
            self.meters.push(match old.iter().position(is_it) {
                Some(at) => old.swap_remove(at),
                None => SplitMeter::new(named, partial_until()),
            });
        }
        self.meters
            .sort_unstable_by(|a, b| a.named.id.cmp(&b.named.id));
    }

    /// Adds a counted event up; true when there is no room for more.
    #[inline]
    pub(super) fn fold(
        &mut self,
        of: EventType,
        event: &EventView<'_>,
        appended_at: BrokerTime,
    ) -> bool {
        for at in 0..self.meters.len() {
            if self.meters[at].named.meter.filter.matches(of, event) {
                self.fold_one(at, event, appended_at);
            }
        }
        self.sums.len() >= SUMS_MAX || self.text_bytes >= TEXT_BYTES_MAX
    }

    fn fold_one(&mut self, at: usize, event: &EventView<'_>, appended_at: BrokerTime) {
        let meter = &self.meters[at].compiled;
        let sample = sample(meter, event);
        hash_texts(meter, event, &mut self.hashes);
        let spec = &meter.runs[0];
        let start_us = spec.pane_start(sample.time_us);
        self.text.clear();
        for (name, field) in meter.label_names.iter().zip(&meter.meter.group_by) {
            let value = field.text(event);
            let value = value.as_ref().map_or("", |text| text.as_str());
            push_label(&mut self.text, name, value);
        }
        let key = (at as u16, start_us, self.text.as_str());
        let hash = self.hasher.hash_one(key);
        let sums = &self.sums;
        let known = self.found.find(hash, |at| sums[*at as usize].key() == key);
        let index = match known {
            Some(index) => *index as usize,
            None => {
                let value = |field: &Field| -> Box<str> {
                    let text = field.text(event);
                    text.map_or("".into(), |text| text.as_str().into())
                };
                self.sums.push(Open {
                    meter: at as u16,
                    start_us,
                    group: self.text.as_str().into(),
                    values: meter.meter.group_by.iter().map(value).collect(),
                    cells: Whole::empty(&spec.layout),
                    seen: EventTime::MIN,
                    at: BrokerTime::MIN,
                });
                self.text_bytes += self.text.len();
                let (sums, hasher) = (&self.sums, &self.hasher);
                let of = |at: &u32| hasher.hash_one(sums[*at as usize].key());
                self.found.insert_unique(hash, sums.len() as u32 - 1, of);
                sums.len() - 1
            }
        };
        let open = &mut self.sums[index];
        let Whole {
            words,
            carries,
            sketches,
        } = &mut open.cells;
        spec.layout.fold(words, start_us, &sample, carries);
        spec.layout.fold_sketches(sketches, &sample, &self.hashes);
        if !carries.is_empty() {
            open.cells.settle();
        }
        let seen = event.occurred_at.min(appended_at.as_event_time());
        if seen > open.seen {
            (open.seen, open.at) = (seen, appended_at);
        }
    }

    /// The meters that the second step has been told of, where that has changed.
    pub(super) fn take_changed_told(&mut self) -> Option<Vec<(Box<str>, i64)>> {
        std::mem::take(&mut self.is_told_changed).then(|| self.told.clone())
    }

    pub(super) fn restore(&mut self, body: Option<&[u8]>) -> Result<(), StateError> {
        self.told.clear();
        let Some(body) = body else {
            return Ok(());
        };
        let mut r: Reader<'_> = Reader::new(body);
        for _ in 0..r.long("told").map_err(wrong)? {
            let id = r.text("told").map_err(wrong)?.as_str().into();
            self.told.push((id, r.long("version").map_err(wrong)?));
        }
        r.end().map_err(wrong)
    }

    /// Tells which meters are in force no longer, and which are from here on.
    fn tell_meters(&mut self, out: &mut Output, source: (u32, u32)) {
        let meters = &self.meters;
        let names = |named: &NamedMeter, id: &str, version: i64| {
            (named.id.as_str(), named.version) == (id, version)
        };
        let is_there =
            |id: &str, version| meters.iter().any(|meter| names(&meter.named, id, version));
        let ended = self
            .told
            .extract_if(.., |(id, version)| !is_there(id, *version));
        for (id, version) in ended {
            self.is_told_changed = true;
            for partition in 0..source.1 as i32 {
                put(out, partition, &id, |v| put_ended(v, source, &id, version));
            }
        }
        for SplitMeter {
            named,
            partial_until,
            ..
        } in meters
        {
            let mut told = self.told.iter();
            if told.any(|(id, version)| names(named, id, *version)) {
                continue;
            }
            let json = serde_json::to_vec(named).expect("a meter is JSON: it came as such");
            for partition in 0..source.1 as i32 {
                put(out, partition, &named.id, |v| {
                    put_begun(v, source, &json, *partial_until);
                });
            }
            self.is_told_changed = true;
            self.told.push((named.id.as_str().into(), named.version));
        }
    }
}

impl Open {
    fn key(&self) -> (u16, i64, &str) {
        (self.meter, self.start_us, &self.group)
    }
}

fn put(out: &mut Output, partition: i32, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
    out.put(
        Stream::MetricsPartials,
        Some(partition),
        |k| k.extend_from_slice(key.as_bytes()),
        value,
    );
}

impl MetricsStep {
    /// This partition, among how many.
    fn source(&self) -> (u32, u32) {
        (
            self.place.partition.unsigned_abs(),
            self.partition_count.unsigned_abs(),
        )
    }

    /// Tells the second step what has been added up, behind the meters that it is of.
    pub(super) fn tell_sums(&mut self, out: &mut Output) {
        if self.split.is_idle() {
            return;
        }
        let source = self.source();
        let split = &mut self.split;
        split.tell_meters(out, source);
        split.found.clear();
        split.text_bytes = 0;
        // What is earlier is not late for what is told with it.
        split.sums.sort_by_key(|open| open.start_us);
        for open in split.sums.drain(..) {
            let meter = &split.meters[usize::from(open.meter)].named;
            let mut key = vec![];
            metric_key(&mut key, &meter.id, &open.group);
            // Where the second step finds all of the group's sums.
            let partition = partition_of(&key, self.partition_count);
            let sum = Sum {
                meter: &meter.id,
                version: meter.version,
                start_us: open.start_us,
                event_count: open.cells.words[0],
                seen: open.seen,
                at: open.at,
                values: open.values.iter().map(|value| &**value).collect(),
                cells: open.cells,
            };
            out.put(
                Stream::MetricsPartials,
                Some(partition),
                |k| k.extend_from_slice(&key),
                |v| put_sum(v, source, &sum),
            );
        }
    }

    /// Tells the second step how far this partition's clock has come, behind all that it has added
    /// up until then.
    pub(super) fn tell_clock(&self, now: BrokerTime, out: &mut Output) {
        if self.split.meters.is_empty() {
            return;
        }
        let source = self.source();
        for partition in 0..self.partition_count {
            put(out, partition, "", |v| put_clock(v, source, now));
        }
    }
}
