//! The step's state as records of its compacted topic, and back.
//!
//! | key | value |
//! |---|---|
//! | `c` subject | name, seen, at, floor |
//! | `g` series | meter, version, subject, until when its windows are partial, the group's values |
//! | `w` series run start | flags, revision, cells, carries, sketches, last event: a window |
//! | `p` series run start | the same: a pane of a hopping window |
//! | `i` subject start chunk | identities of a slice, 16 bytes each |
//! | `m` meter | version, subjects that were there before it, the clock when it began |
//! | `n` | the five counts |
//! | `a` | the meters of two steps that the second one has been told of: id and version |
//!
//! Cells lie packed where they can be, behind their number of words, and a flag says so; else their
//! words lie there as they are. Sketches come where a flag says so: of quantiles the buckets, each
//! as how far its key is from the one before, and its count; of distinct texts the bytes that a
//! metric's record has. A session has how long its last event is after its first, where a flag says
//! so.
//! Records may come in any order: compaction leaves the latest of each key where it lies.

use std::collections::BTreeMap;

use schemas::sketch::{Quantiles, Sketch, SketchError};
use schemas::wire::{DecodeError, Reader, avro};

use runtime::step::{Output, StateError, Step};

use super::layout::Carry;
use super::panes::Packed;
use super::series::{Beginning, NO_SLOT, position};
use super::step::{Gone, MetricsStep, WindowKey};
use super::takeover::Whole;

/// First byte of each value; another one is another format.
pub(super) const FORMAT: u8 = 2;
/// The same without packed cells, which is read as well.
pub(super) const UNPACKED_FORMAT: u8 = 1;
/// Identities in one record: 64 KB.
const CHUNK_IDS_MAX: usize = 4_096;

pub(super) const PARTIAL: u8 = 1;
pub(super) const TOUCHED: u8 = 2;
pub(super) const PACKED: u8 = 4;
pub(super) const SKETCHED: u8 = 8;
pub(super) const SESSION: u8 = 16;

/// The forms of a sketch.
const QUANTILES: i64 = 1;
const DISTINCT: i64 = 2;

/// What a restore has read and cannot place yet.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// Per meter id: version, and where it began.
    pub(super) meters: BTreeMap<Box<str>, (i64, Beginning)>,
    /// The meters that groups name.
    pub(super) names: Vec<MeterName>,
}

/// A meter as groups name it.
#[derive(Debug)]
pub(super) struct MeterName {
    pub(super) id: Box<str>,
    pub(super) version: i64,
    /// The most runs that one of its groups has: the others will have as many.
    pub(super) run_count: usize,
}

impl MetricsStep {
    pub(super) fn write_changes(&mut self, out: &mut Output) {
        // Sums go out instead: what the second step makes of them is the same either way.
        self.tell_sums(out);
        if let Some(told) = self.split.take_changed_told() {
            self.put(
                out,
                |k| k.push(b'a'),
                |v| {
                    avro::put_long(v, told.len() as i64);
                    for (id, version) in &told {
                        avro::put_bytes(v, id.as_bytes());
                        avro::put_long(v, *version);
                    }
                },
            );
        }
        self.write_gone(out);
        for subject in self.subjects.take_changed() {
            let clock = self.subjects.clocks[subject as usize];
            let name = self.subjects.name(subject);
            self.put(
                out,
                |k| key(k, b'c', subject),
                |v| {
                    avro::put_bytes(v, name.as_bytes());
                    avro::put_long(v, clock.seen.as_us());
                    avro::put_long(v, clock.at.as_ms());
                    avro::put_long(v, clock.floor.as_us());
                },
            );
        }
        for at in std::mem::take(&mut self.new_meters) {
            let Some(meter) = self.meters.get(at) else {
                continue;
            };
            self.put(
                out,
                |k| meter_key(k, &meter.id),
                |v| {
                    avro::put_long(v, meter.version);
                    avro::put_long(v, i64::from(meter.beginning.subject_count));
                    avro::put_long(v, meter.beginning.at.as_ms());
                },
            );
        }
        for id in std::mem::take(&mut self.new_series) {
            self.write_series(id, out);
        }
        for key in std::mem::take(&mut self.changed) {
            self.write_window(key, out);
        }
        self.write_ids(out);
        if self.counts != self.stored_counts {
            self.stored_counts = self.counts;
            let c = self.counts;
            self.put(
                out,
                |k| k.push(b'n'),
                |v| {
                    for count in [c.observed, c.counted, c.late, c.duplicate, c.dead_lettered] {
                        avro::put_long(v, count as i64);
                    }
                },
            );
        }
    }

    fn put(
        &self,
        out: &mut Output,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        out.put(Self::STATE, Some(self.place.partition), key, |v| {
            v.push(FORMAT);
            value(v);
        });
    }

    /// What is gone goes first: a place may have been taken again since.
    fn write_gone(&mut self, out: &mut Output) {
        for gone in std::mem::take(&mut self.gone) {
            out.put_tombstone(Self::STATE, Some(self.place.partition), |k| match gone {
                Gone::Window(window) => window_key(k, window),
                Gone::Series(series) => key(k, b'g', series),
                Gone::Ids(subject, start_us, chunk) => ids_key(k, subject, start_us, chunk),
                Gone::Meter(id) => meter_key(k, &id),
            });
        }
    }

    fn write_series(&mut self, id: u32, out: &mut Output) {
        let series = &self.series[id as usize];
        // It may be gone again already.
        let Some(meter) = self.meters.of(series) else {
            return;
        };
        self.put(
            out,
            |k| key(k, b'g', id),
            |v| {
                avro::put_bytes(v, meter.id.as_bytes());
                avro::put_long(v, meter.version);
                avro::put_long(v, i64::from(series.subject));
                avro::put_long(v, series.partial_until.as_us());
                for value in &series.values {
                    avro::put_bytes(v, value.as_bytes());
                }
            },
        );
        self.series[id as usize].is_stored = true;
    }

    fn write_window(&mut self, key: WindowKey, out: &mut Output) {
        let partition = self.place.partition;
        let Self {
            meters,
            series,
            panes,
            scratch,
            ..
        } = self;
        let whole = &mut scratch.whole;
        let series = &mut series[key.series as usize];
        let Some(meter) = meters.of(series) else {
            return;
        };
        let Some(run) = series.runs.get_mut(usize::from(key.run)) else {
            return;
        };
        let entries = if key.is_pane {
            &mut run.panes
        } else {
            &mut run.windows
        };
        // It may have left since it changed.
        let Ok(index) = position(entries, key.start_us) else {
            return;
        };
        let entry = &mut entries[index];
        entry.mark_stored();
        let entry = *entry;
        let last_us = run.lasts.get(key.start_us);
        whole.clear();
        // A hopping window's cells are its panes', which have records of their own.
        if entry.slot != NO_SLOT {
            whole.fill((meter, series), usize::from(key.run), &entry, panes);
        }
        let value = |v: &mut Vec<u8>| {
            v.push(FORMAT);
            let is_packed = entry.slot != NO_SLOT && Packed::can_be_of(whole.words.len());
            let is_sketched = !whole.sketches.is_empty();
            let flags = [
                (entry.is_partial(), PARTIAL),
                (entry.is_touched(), TOUCHED),
                (is_packed, PACKED),
                (is_sketched, SKETCHED),
                (last_us.is_some(), SESSION),
            ];
            let set = flags.iter().filter(|(is_set, _)| *is_set);
            v.push(set.fold(0, |all, (_, flag)| all | flag));
            avro::put_long(v, i64::from(entry.revision()));
            put_words(v, &whole.words, is_packed);
            put_carries(v, &whole.carries);
            if is_sketched {
                put_sketches(v, &whole.sketches);
            }
            if let Some(last_us) = last_us {
                avro::put_long(v, last_us.wrapping_sub(key.start_us));
            }
        };
        out.put(Self::STATE, Some(partition), |k| window_key(k, key), value);
        if entry.has_fired() && entry.slot != NO_SLOT {
            // What has fired stays for corrections, which are few.
            let run = &mut series.runs[usize::from(key.run)];
            let memory = &mut panes[meter.runs[usize::from(key.run)].panes];
            run.windows[index].slot = memory.pack(entry.slot);
        }
    }

    fn write_ids(&mut self, out: &mut Output) {
        for (subject, start_us) in std::mem::take(&mut self.fresh_slices) {
            let Some(slice) = self.subjects.ids[subject as usize].get_mut(start_us) else {
                continue;
            };
            let (fresh, first) = slice.take_fresh(CHUNK_IDS_MAX);
            for (ids, chunk) in fresh.chunks(CHUNK_IDS_MAX).zip(first..) {
                self.put(
                    out,
                    |k| ids_key(k, subject, start_us, chunk),
                    |v| {
                        for id in ids {
                            v.extend_from_slice(&id.to_le_bytes());
                        }
                    },
                );
            }
        }
    }
}

/// Writes cells.
pub(super) fn put_cells(out: &mut Vec<u8>, cells: &Whole) {
    let is_packed = Packed::can_be_of(cells.words.len());
    out.push(u8::from(is_packed));
    put_words(out, &cells.words, is_packed);
    put_carries(out, &cells.carries);
    put_sketches(out, &cells.sketches);
}

/// What [`put_cells`] wrote.
pub(super) fn read_cells(r: &mut Reader<'_>) -> Result<Whole, StateError> {
    let words = if r.boolean("packed").map_err(wrong)? {
        let word_count = usize::try_from(r.long("words").map_err(wrong)?);
        let word_count = word_count.map_err(|_| other_length())?;
        let bytes = r.bytes("cells").map_err(wrong)?;
        let packed = Packed::read(bytes, word_count).ok_or_else(other_length)?;
        let mut words = vec![0; word_count];
        packed.unpack(&mut words);
        words
    } else {
        let (words, rest) = r.bytes("cells").map_err(wrong)?.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(other_length());
        }
        words.iter().map(|word| u64::from_le_bytes(*word)).collect()
    };
    Ok(Whole {
        words,
        carries: super::restore::read_carries(r)?,
        sketches: read_sketches(r)?.into(),
    })
}

pub(super) fn other_length() -> StateError {
    StateError::new("cells of another length")
}

/// Packed words lie behind their number, others behind that of their bytes.
fn put_words(out: &mut Vec<u8>, words: &[u64], is_packed: bool) {
    if is_packed {
        avro::put_long(out, words.len() as i64);
        avro::put_bytes(out, Packed::of(words).as_bytes());
    } else {
        avro::put_long(out, words.len() as i64 * 8);
        out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
}

fn put_carries(out: &mut Vec<u8>, carries: &[Carry]) {
    avro::put_long(out, carries.len() as i64);
    for (word, carry) in carries {
        avro::put_long(out, i64::from(*word));
        avro::put_bytes(out, &carry.to_le_bytes());
    }
}

/// Sketches, in fewer bytes than a record has for its readers.
fn put_sketches(out: &mut Vec<u8>, sketches: &[Sketch]) {
    avro::put_long(out, sketches.len() as i64);
    for sketch in sketches {
        match sketch {
            Sketch::Quantiles(quantiles) => {
                avro::put_long(out, QUANTILES);
                avro::put_long(out, quantiles.buckets().count() as i64);
                let mut last = 0;
                for (key, count) in quantiles.buckets() {
                    avro::put_long(out, i64::from(key) - last);
                    avro::put_long(out, count as i64);
                    last = i64::from(key);
                }
            }
            Sketch::Distinct(_) => {
                avro::put_long(out, DISTINCT);
                let mut bytes = vec![];
                sketch.encode(&mut bytes);
                avro::put_bytes(out, &bytes);
            }
        }
    }
}

/// What [`put_sketches`] wrote.
pub(super) fn read_sketches(r: &mut Reader<'_>) -> Result<Box<[Sketch]>, StateError> {
    let count = r.long("sketches").map_err(wrong)?;
    let invalid = |error: SketchError| StateError::new(error.to_string());
    let mut sketches = vec![];
    for _ in 0..count {
        sketches.push(match r.long("sketch").map_err(wrong)? {
            QUANTILES => {
                let mut buckets = vec![];
                let mut key = 0_i64;
                for _ in 0..r.long("buckets").map_err(wrong)? {
                    key = key.saturating_add(r.long("key").map_err(wrong)?);
                    let whole =
                        i16::try_from(key).map_err(|_| StateError::new("a bucket's key"))?;
                    buckets.push((whole, r.long("count").map_err(wrong)? as u64));
                }
                Sketch::Quantiles(Quantiles::from_buckets(buckets).map_err(invalid)?)
            }
            DISTINCT => Sketch::decode(r.bytes("sketch").map_err(wrong)?).map_err(invalid)?,
            _ => return Err(StateError::new("a sketch of another form")),
        });
    }
    Ok(sketches.into())
}

pub(super) fn wrong(error: DecodeError) -> StateError {
    StateError::new(error.to_string())
}

pub(super) fn number(bytes: &[u8]) -> Result<u32, StateError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| StateError::new("a key of another length"))?;
    Ok(u32::from_be_bytes(bytes))
}

fn key(out: &mut Vec<u8>, kind: u8, id: u32) {
    out.push(kind);
    out.extend_from_slice(&id.to_be_bytes());
}

fn meter_key(out: &mut Vec<u8>, id: &str) {
    out.push(b'm');
    out.extend_from_slice(id.as_bytes());
}

fn ids_key(out: &mut Vec<u8>, subject: u32, start_us: i64, chunk: u32) {
    key(out, b'i', subject);
    out.extend_from_slice(&start_us.to_be_bytes());
    out.extend_from_slice(&chunk.to_be_bytes());
}

pub(super) fn window_key(out: &mut Vec<u8>, window: WindowKey) {
    key(out, if window.is_pane { b'p' } else { b'w' }, window.series);
    out.push(window.run);
    out.extend_from_slice(&window.start_us.to_be_bytes());
}

pub(super) fn parse_window_key(is_pane: bool, bytes: &[u8]) -> Result<WindowKey, StateError> {
    let bytes: [u8; 13] = bytes
        .try_into()
        .map_err(|_| StateError::new("a window's key"))?;
    let [a, b, c, d, run, start @ ..] = bytes;
    Ok(WindowKey {
        series: u32::from_be_bytes([a, b, c, d]),
        run,
        is_pane,
        start_us: i64::from_be_bytes(start),
    })
}
