//! The step's state as records of its compacted topic, and back.
//!
//! | key | value |
//! |---|---|
//! | `c` subject | name, seen, at, floor |
//! | `g` series | meter, version, subject, until when its windows are partial, the group's values |
//! | `w` series run start | flags, revision, cells, carries: a window |
//! | `p` series run start | the same: a pane of a hopping window |
//! | `i` subject start chunk | identities of a slice, 16 bytes each |
//! | `m` meter | version, subjects that were there before it, the clock when it began |
//! | `n` | the five counts |
//!
//! Records may come in any order: compaction leaves the latest of each key where it lies.

use std::collections::BTreeMap;

use schemas::meter::push_label;
use schemas::time::{BrokerTime, EventTime};
use schemas::wire::{DecodeError, Reader, avro};

use runtime::step::{Counts, Output, StateError, Step};

use super::clock::Clock;
use super::definitions::Definitions;
use super::layout::Carry;
use super::panes::Panes;
use super::series::{Beginning, Entry, NO_SLOT, Series, position};
use super::step::{Gone, MetricsStep, WindowKey, is_short};

/// First byte of each value; another one is another format.
const FORMAT: u8 = 1;
/// Identities in one record: 64 KB.
const CHUNK_IDS_MAX: usize = 4_096;

const PARTIAL: u8 = 1;
const TOUCHED: u8 = 2;

/// What a restore has read and cannot place yet.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// Per meter id: version, and where it began.
    meters: BTreeMap<Box<str>, (i64, Beginning)>,
}

impl MetricsStep {
    pub(super) fn write_changes(&mut self, out: &mut Output) {
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
            let Some(meter) = &self.meters[usize::from(at)] else {
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
        let Some(meter) = series
            .meter
            .and_then(|at| self.meters[usize::from(at)].as_ref())
        else {
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
            ..
        } = self;
        let series = &mut series[key.series as usize];
        let Some(meter) = series.meter.and_then(|at| meters[usize::from(at)].as_ref()) else {
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
        let memory = &panes[meter.runs[usize::from(key.run)].panes];
        let value = |v: &mut Vec<u8>| {
            v.push(FORMAT);
            let partial = if entry.is_partial() { PARTIAL } else { 0 };
            v.push(partial | if entry.is_touched() { TOUCHED } else { 0 });
            avro::put_long(v, i64::from(entry.revision()));
            let cells = (entry.slot != NO_SLOT)
                .then(|| memory.words(entry.slot))
                .unwrap_or(&[]);
            avro::put_long(v, cells.len() as i64 * 8);
            v.extend(cells.iter().flat_map(|word| word.to_le_bytes()));
            let carries = if cells.is_empty() {
                vec![]
            } else {
                memory.carries(entry.slot)
            };
            avro::put_long(v, carries.len() as i64);
            for (word, carry) in carries {
                avro::put_long(v, i64::from(word));
                avro::put_bytes(v, &carry.to_le_bytes());
            }
        };
        out.put(Self::STATE, Some(partition), |k| window_key(k, key), value);
    }

    fn write_ids(&mut self, out: &mut Output) {
        for (subject, start_us) in std::mem::take(&mut self.fresh_slices) {
            let Some(slice) = self.subjects.ids[subject as usize].get_mut(start_us) else {
                continue;
            };
            let fresh = slice.take_fresh();
            let first = slice.chunk_count;
            slice.chunk_count += fresh.len().div_ceil(CHUNK_IDS_MAX) as u32;
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

    pub(super) fn restore_record(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StateError> {
        let body = match value {
            None => None,
            Some([FORMAT, body @ ..]) => Some(body),
            Some(_) => return Err(StateError::new("a value of another format")),
        };
        match key {
            [b'c', rest @ ..] => self.restore_subject(number(rest)?, body),
            [b'g', rest @ ..] => self.restore_series(number(rest)?, body),
            [kind @ (b'w' | b'p'), rest @ ..] => {
                self.restore_window(parse_window_key(*kind == b'p', rest)?, body)
            }
            [b'i', rest @ ..] => self.restore_ids(rest, body),
            [b'm', id @ ..] => self.restore_meter(id, body),
            [b'n'] => self.restore_counts(body),
            _ => Err(StateError::new("a key of another format")),
        }
    }

    fn restore_subject(&mut self, subject: u32, body: Option<&[u8]>) -> Result<(), StateError> {
        let Some(body) = body else {
            return Err(StateError::new("a subject was deleted"));
        };
        let mut r: Reader<'_> = Reader::new(body);
        self.subjects.grow(subject);
        let name = r.text("name").map_err(wrong)?;
        self.subjects.set_name(subject, name.as_str());
        self.subjects.clocks[subject as usize] = Clock {
            seen: EventTime::from_us(r.long("seen").map_err(wrong)?),
            at: BrokerTime::from_ms(r.long("at").map_err(wrong)?),
            floor: EventTime::from_us(r.long("floor").map_err(wrong)?),
        };
        r.end().map_err(wrong)
    }

    fn restore_series(&mut self, id: u32, body: Option<&[u8]>) -> Result<(), StateError> {
        let series = self.series_at(id);
        let Some(body) = body else {
            *series = Series::vacant();
            return Ok(());
        };
        let mut r: Reader<'_> = Reader::new(body);
        let meter = r.text("meter").map_err(wrong)?.as_str().into();
        series.meter_name = Some((meter, r.long("version").map_err(wrong)?));
        let subject = r.long("subject").map_err(wrong)?;
        series.subject = u32::try_from(subject).map_err(|_| StateError::new("a subject's id"))?;
        series.partial_until = EventTime::from_us(r.long("partial_until").map_err(wrong)?);
        let mut values = vec![];
        while r.end().is_err() {
            values.push(r.text("values").map_err(wrong)?.as_str().into());
        }
        series.values = values.into();
        series.is_stored = true;
        Ok(())
    }

    fn series_at(&mut self, id: u32) -> &mut Series {
        if self.series.len() <= id as usize {
            self.series.resize_with(id as usize + 1, Series::vacant);
        }
        &mut self.series[id as usize]
    }

    fn restore_window(&mut self, key: WindowKey, body: Option<&[u8]>) -> Result<(), StateError> {
        self.take_window(key);
        let Some([flags, body @ ..]) = body else {
            return if body.is_none() {
                Ok(())
            } else {
                Err(StateError::new("an empty window"))
            };
        };
        let mut r: Reader<'_> = Reader::new(body);
        let revision = r.long("revision").map_err(wrong)?;
        let revision = u32::try_from(revision).map_err(|_| StateError::new("a revision"))?;
        let slot = self.restore_cells(key, &mut r)?;
        r.end().map_err(wrong)?;
        let mut entry = Entry::restored(key.start_us, slot, revision, flags & PARTIAL != 0);
        if flags & TOUCHED != 0 {
            entry.mark_touched();
            self.touched.push(key);
        }
        let run = self.series_at(key.series).run_mut(usize::from(key.run));
        let entries = if key.is_pane {
            &mut run.panes
        } else {
            &mut run.windows
        };
        let Err(index) = position(entries, key.start_us) else {
            return Err(StateError::new("a window twice"));
        };
        entries.insert(index, entry);
        Ok(())
    }

    /// Puts the cells of a window back, where it has any.
    fn restore_cells(&mut self, key: WindowKey, r: &mut Reader<'_>) -> Result<u32, StateError> {
        let words = r.bytes("cells").map_err(wrong)?;
        let carry_count = r.long("carries").map_err(wrong)?;
        if words.is_empty() {
            return Ok(NO_SLOT);
        }
        let memory = self.memory_for(words.len() / 8);
        let slot = self.panes[memory].take();
        let cells = self.panes[memory].words_mut(slot);
        for (word, bytes) in cells.iter_mut().zip(words.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("a chunk has 8 bytes"));
        }
        let mut carries: Vec<Carry> = vec![];
        for _ in 0..carry_count {
            let word = r.long("carry").map_err(wrong)?;
            let word = u16::try_from(word).map_err(|_| StateError::new("a carry's word"))?;
            let carry = r.bytes("carry").map_err(wrong)?.try_into();
            let carry = carry.map_err(|_| StateError::new("a carry has 16 bytes"))?;
            carries.push((word, i128::from_le_bytes(carry)));
        }
        self.panes[memory].add_carries(slot, &mut carries);
        self.series_at(key.series)
            .run_mut(usize::from(key.run))
            .memory = Some(memory);
        Ok(slot)
    }

    /// Takes a window out again that a later record replaces or deletes.
    fn take_window(&mut self, key: WindowKey) {
        let Self {
            series,
            panes,
            touched,
            ..
        } = self;
        let Some(series) = series.get_mut(key.series as usize) else {
            return;
        };
        let Some(run) = series.runs.get_mut(usize::from(key.run)) else {
            return;
        };
        let memory = run.memory;
        let entries = if key.is_pane {
            &mut run.panes
        } else {
            &mut run.windows
        };
        let Ok(index) = position(entries, key.start_us) else {
            return;
        };
        let Some(entry) = entries.remove(index) else {
            return;
        };
        if entry.slot != NO_SLOT {
            panes[memory.expect("a window with cells has noted its memory")].give(entry.slot);
        }
        if entry.is_touched() {
            touched.retain(|other| *other != key);
        }
    }

    fn memory_for(&mut self, word_count: usize) -> usize {
        let known = self
            .panes
            .iter()
            .position(|panes| panes.word_count() == word_count);
        known.unwrap_or_else(|| {
            self.panes.push(Panes::new(word_count));
            self.panes.len() - 1
        })
    }

    fn restore_ids(&mut self, key: &[u8], body: Option<&[u8]>) -> Result<(), StateError> {
        let Some((subject, rest)) = key.split_first_chunk::<4>() else {
            return Err(StateError::new("the key of identities"));
        };
        let Some((start, chunk)) = rest.split_first_chunk::<8>() else {
            return Err(StateError::new("the key of identities"));
        };
        let (subject, start_us) = (u32::from_be_bytes(*subject), i64::from_be_bytes(*start));
        let chunk = number(chunk)?;
        self.subjects.grow(subject);
        let ids = &mut self.subjects.ids[subject as usize];
        match body {
            // All chunks of a slice go together, and a slice that went never comes back.
            None => {
                if let Some(slice) = ids.remove(start_us) {
                    self.id_count -= slice.len() as u64;
                }
            }
            Some(body) => {
                let (known, rest) = body.as_chunks::<16>();
                if !rest.is_empty() {
                    return Err(StateError::new("an identity has 16 bytes"));
                }
                let known = known.iter().map(|id| u128::from_le_bytes(*id));
                self.id_count += ids.restore(start_us, chunk, known) as u64;
            }
        }
        Ok(())
    }

    fn restore_meter(&mut self, id: &[u8], body: Option<&[u8]>) -> Result<(), StateError> {
        let id = std::str::from_utf8(id).map_err(|_| StateError::new("a meter's id"))?;
        let Some(body) = body else {
            self.restored.meters.remove(id);
            return Ok(());
        };
        let mut r: Reader<'_> = Reader::new(body);
        let version = r.long("version").map_err(wrong)?;
        let count = r.long("subjects").map_err(wrong)?;
        let beginning = Beginning {
            subject_count: u32::try_from(count)
                .map_err(|_| StateError::new("a count of subjects"))?,
            at: BrokerTime::from_ms(r.long("began").map_err(wrong)?),
        };
        self.restored.meters.insert(id.into(), (version, beginning));
        r.end().map_err(wrong)
    }

    fn restore_counts(&mut self, body: Option<&[u8]>) -> Result<(), StateError> {
        let Some(body) = body else {
            return Err(StateError::new("the counts were deleted"));
        };
        let mut r: Reader<'_> = Reader::new(body);
        let mut next = || r.long("counts").map(|count| count as u64).map_err(wrong);
        self.counts = Counts {
            observed: next()?,
            counted: next()?,
            late: next()?,
            duplicate: next()?,
            dead_lettered: next()?,
        };
        self.stored_counts = self.counts;
        r.end().map_err(wrong)
    }

    /// Binds what was restored together, and checks that nothing is missing.
    pub(super) fn build_derived(&mut self, definitions: &Definitions) -> Result<(), StateError> {
        let meters = std::mem::take(&mut self.restored).meters;
        for named in &definitions.meters {
            let known = meters
                .get(named.id.as_str())
                .filter(|(v, _)| *v == named.version);
            let Some((_, beginning)) = known else {
                return Err(StateError::new(format!("meter {} is not there", named.id)));
            };
            self.add_meter(named, *beginning);
        }
        self.new_meters.clear();
        self.install(definitions);
        for id in 0..self.series.len() as u32 {
            self.bind_series(id)?;
        }
        for subject in 0..self.subjects.len() as u32 {
            if self.subjects.name(subject).is_empty() {
                return Err(StateError::new(format!("subject {subject} is not there")));
            }
            self.find_ends(subject);
            self.note_due(subject);
        }
        Ok(())
    }

    fn bind_series(&mut self, id: u32) -> Result<(), StateError> {
        let missing = |what: &str| Err(StateError::new(format!("series {id}: {what}")));
        let series = &mut self.series[id as usize];
        let Some((name, version)) = series.meter_name.take() else {
            if !series.is_empty() {
                return missing("windows without their group");
            }
            self.free_series.push(id);
            return Ok(());
        };
        let is_it = |m: &super::series::CompiledMeter| m.id == name && m.version == version;
        let found = self
            .meters
            .iter()
            .position(|meter| meter.as_ref().is_some_and(is_it));
        let Some(at) = found else {
            return missing("its meter is not in force");
        };
        let meter = self.meters[at].as_ref().expect("found above");
        if series.subject as usize >= self.subjects.len() {
            return missing("its subject is not there");
        }
        if series.runs.len() > meter.runs.len() || series.values.len() != meter.label_names.len() {
            return missing("its meter has another shape");
        }
        series.runs.resize_with(meter.runs.len(), Default::default);
        let mut group = String::new();
        for (name, value) in meter.label_names.iter().zip(&series.values) {
            push_label(&mut group, name, value);
        }
        series.group = group.into();
        series.meter = Some(at as u16);
        for (run, spec) in series.runs.iter_mut().zip(&meter.runs) {
            if run.memory.is_some_and(|memory| memory != spec.panes) {
                return missing("cells of another length");
            }
            let unfired = run
                .windows
                .iter()
                .filter(|entry| !entry.has_fired())
                .count();
            run.unfired_count = unfired as u32;
            let fired = run.windows.iter().rev().find(|entry| entry.has_fired());
            run.last_fired_us = fired.map(|entry| entry.start_us);
            self.window_count += run.windows.len() as u64;
            self.open_short_count += if is_short(spec) { unfired as u64 } else { 0 };
        }
        self.subjects.series[series.subject as usize].push((at as u16, id));
        if !meter.is_by_subject {
            self.groups
                .insert((series.subject, at as u16, series.group.clone()), id);
        }
        Ok(())
    }
}

fn wrong(error: DecodeError) -> StateError {
    StateError::new(error.to_string())
}

fn number(bytes: &[u8]) -> Result<u32, StateError> {
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

fn window_key(out: &mut Vec<u8>, window: WindowKey) {
    key(out, if window.is_pane { b'p' } else { b'w' }, window.series);
    out.push(window.run);
    out.extend_from_slice(&window.start_us.to_be_bytes());
}

fn parse_window_key(is_pane: bool, bytes: &[u8]) -> Result<WindowKey, StateError> {
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
