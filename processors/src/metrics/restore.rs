//! The step put together again from the records of its state, in any order.

use schemas::meter::push_label;
use schemas::time::{BrokerTime, EventTime};
use schemas::wire::Reader;

use runtime::step::{Counts, StateError};

use super::clock::Clock;
use super::definitions::Definitions;
use super::ids::slice_start_us;
use super::layout::Carry;
use super::meters::MeterAt;
use super::panes::{Kind, Packed, Panes, Slot};
use super::series::{Beginning, Entry, NO_SLOT, Run, RunSpec, Series, position};
use super::state::{
    FORMAT, MeterName, PACKED, PARTIAL, Restored, SESSION, SKETCHED, TOUCHED, UNPACKED_FORMAT,
    number, other_length, parse_window_key, read_sketches, wrong,
};
use super::step::{MetricsStep, WindowKey, is_short};

/// Where a group's meter stands among those that were named.
fn name_index(names: &mut Vec<MeterName>, id: &str, version: i64) -> Result<u16, StateError> {
    let is_it = |name: &MeterName| *name.id == *id && name.version == version;
    let index = names.iter().position(is_it).unwrap_or_else(|| {
        names.push(MeterName {
            id: id.into(),
            version,
            run_count: 0,
        });
        names.len() - 1
    });
    u16::try_from(index).map_err(|_| StateError::new("more meters than can be"))
}

pub(super) fn read_carries(r: &mut Reader<'_>) -> Result<Vec<Carry>, StateError> {
    let count = r.long("carries").map_err(wrong)?;
    let mut carries: Vec<Carry> = vec![];
    for _ in 0..count {
        let word = r.long("carry").map_err(wrong)?;
        let word = u16::try_from(word).map_err(|_| StateError::new("a carry's word"))?;
        let carry = r.bytes("carry").map_err(wrong)?.try_into();
        let carry = carry.map_err(|_| StateError::new("a carry has 16 bytes"))?;
        carries.push((word, i128::from_le_bytes(carry)));
    }
    Ok(carries)
}

/// What is wrong with windows that were restored, if they are not those of their meter.
fn other_windows(spec: &RunSpec, run: &Run, panes: &Panes) -> Option<&'static str> {
    let lacks_cells = |entry: &Entry| entry.slot == NO_SLOT;
    if !spec.is_hopping() && run.windows.iter().any(lacks_cells) {
        return Some("a window without cells");
    }
    let is_session = |entry: &Entry| run.lasts.get(entry.start_us).is_some();
    if run
        .windows
        .iter()
        .any(|entry| is_session(entry) != spec.is_session())
    {
        return Some("sessions and other windows in one place");
    }
    (!has_its_sketches(spec, run, panes)).then_some("sketches of other aggregates")
}

/// True when each window and pane with cells has the sketches that its meter wants.
fn has_its_sketches(spec: &RunSpec, run: &Run, panes: &Panes) -> bool {
    if !spec.layout.is_sketched() {
        return true;
    }
    let expected = spec.layout.empty_sketches();
    let mut entries = run.windows.iter().chain(&run.panes);
    entries.all(|entry| {
        let own = panes.sketches(entry.slot);
        let are_like = || {
            own.iter()
                .zip(&expected)
                .all(|(own, like)| own.is_like(like))
        };
        entry.slot == NO_SLOT || own.len() == expected.len() && are_like()
    })
}

impl MetricsStep {
    pub(super) fn restore_record(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StateError> {
        let body = match value {
            None => None,
            Some([FORMAT | UNPACKED_FORMAT, body @ ..]) => Some(body),
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
            [b'a'] => self.split.restore(body),
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
        self.series_at(id);
        let series = &mut self.series[id as usize];
        let Some(body) = body else {
            *series = Series::vacant();
            return Ok(());
        };
        let mut r: Reader<'_> = Reader::new(body);
        let id = r.text("meter").map_err(wrong)?.as_str();
        let version = r.long("version").map_err(wrong)?;
        series.meter = Some(name_index(&mut self.restored.names, id, version)?);
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

    fn run_at(&mut self, key: WindowKey) -> &mut Run {
        let run = usize::from(key.run);
        let name = self.series_at(key.series).meter;
        let mut room = run + 1;
        if let Some(name) = name.and_then(|at| self.restored.names.get_mut(usize::from(at))) {
            room = room.max(name.run_count);
            name.run_count = room;
        }
        self.series[key.series as usize].run_mut(run, room)
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
        if flags & !(PARTIAL | TOUCHED | PACKED | SKETCHED | SESSION) != 0 {
            return Err(StateError::new("a window's flags"));
        }
        let mut r: Reader<'_> = Reader::new(body);
        let revision = r.long("revision").map_err(wrong)?;
        let revision = u32::try_from(revision).map_err(|_| StateError::new("a revision"))?;
        let slot = self.restore_cells(key, (revision, *flags), &mut r)?;
        let last_us = match flags & SESSION {
            0 => None,
            _ => Some(key.start_us.saturating_add(r.long("last").map_err(wrong)?)),
        };
        r.end().map_err(wrong)?;
        let mut entry = Entry::restored(key.start_us, slot, revision, flags & PARTIAL != 0);
        if flags & TOUCHED != 0 {
            entry.mark_touched();
        }
        let run = self.run_at(key);
        run.make_room();
        if let Some(last_us) = last_us {
            run.lasts.set(key.start_us, last_us);
        }
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
    fn restore_cells(
        &mut self,
        key: WindowKey,
        (revision, flags): (u32, u8),
        r: &mut Reader<'_>,
    ) -> Result<Slot, StateError> {
        let (is_packed, is_sketched) = (flags & PACKED != 0, flags & SKETCHED != 0);
        let word_count = match is_packed {
            true => Some(r.long("words").map_err(wrong)?),
            false => None,
        };
        let cells = r.bytes("cells").map_err(wrong)?;
        let mut carries = read_carries(r)?;
        let sketches = match is_sketched {
            true => read_sketches(r)?,
            false => [].into(),
        };
        if cells.is_empty() && !is_packed {
            return Ok(NO_SLOT);
        }
        let (memory, slot) = if let Some(word_count) = word_count {
            let packed = usize::try_from(word_count).ok();
            let packed = packed.and_then(|count| Some((count, Packed::read(cells, count)?)));
            let (word_count, packed) = packed.ok_or_else(other_length)?;
            let memory = self.memory_for((word_count, is_sketched));
            let is_done = revision > 0 && carries.is_empty();
            (memory, self.panes[memory].put_back(&packed, is_done))
        } else {
            let (words, rest) = cells.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(other_length());
            }
            let memory = self.memory_for((words.len(), is_sketched));
            let slot = self.panes[memory].take();
            let places = self.panes[memory].words_mut(slot);
            for (place, word) in places.iter_mut().zip(words) {
                *place = u64::from_le_bytes(*word);
            }
            (memory, slot)
        };
        self.panes[memory].add_carries(slot, &mut carries);
        self.panes[memory].put_sketches(slot, sketches);
        self.run_at(key).memory = u16::try_from(memory).ok();
        Ok(match revision {
            0 => slot,
            _ => self.panes[memory].pack(slot),
        })
    }

    /// Takes a window out again that a later record replaces or deletes.
    fn take_window(&mut self, key: WindowKey) {
        let Self { series, panes, .. } = self;
        let Some(series) = series.get_mut(key.series as usize) else {
            return;
        };
        let Some(run) = series.runs.get_mut(usize::from(key.run)) else {
            return;
        };
        let memory = run.memory;
        run.lasts.remove(key.start_us);
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
            let memory = memory.expect("a window with cells has noted its memory");
            panes[usize::from(memory)].give(entry.slot);
        }
    }

    fn memory_for(&mut self, kind: Kind) -> usize {
        let known = self.panes.iter().position(|panes| panes.kind() == kind);
        known.unwrap_or_else(|| {
            self.panes.push(Panes::for_kind(kind));
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
        if slice_start_us(EventTime::from_us(start_us)) != start_us {
            return Err(StateError::new("identities of a slice that begins nowhere"));
        }
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
        let Restored { meters, names, .. } = std::mem::take(&mut self.restored);
        for named in definitions.one_step() {
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
        let find = |name: &MeterName| self.meters.find(&name.id, name.version);
        let in_force: Vec<_> = names.iter().map(find).collect();
        for id in 0..self.series.len() as u32 {
            self.bind_series(id, &in_force)?;
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

    /// `in_force` says which meter each of the names is.
    fn bind_series(&mut self, id: u32, in_force: &[Option<MeterAt>]) -> Result<(), StateError> {
        let missing = |what: &str| Err(StateError::new(format!("series {id}: {what}")));
        let series = &mut self.series[id as usize];
        let Some(name) = series.meter.take() else {
            if !series.is_empty() {
                return missing("windows without their group");
            }
            self.free_series.push(id);
            return Ok(());
        };
        let Some(at) = in_force[usize::from(name)] else {
            return missing("its meter is not in force");
        };
        let meter = self.meters.in_force(at);
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
        series.meter = Some(at);
        for (run_at, (run, spec)) in series.runs.iter_mut().zip(&meter.runs).enumerate() {
            if run.memory.is_some_and(|at| usize::from(at) != spec.panes) {
                return missing("cells of another length");
            }
            if let Some(what) = other_windows(spec, run, &self.panes[spec.panes]) {
                return missing(what);
            }
            let unfired = run
                .windows
                .iter()
                .filter(|entry| !entry.has_fired())
                .count();
            run.unfired_count = unfired as u32;
            let fired = run.windows.iter().rev().find(|entry| entry.has_fired());
            run.last_fired_us = fired.map_or(i64::MIN, |entry| entry.start_us);
            let touched = run.windows.iter().filter(|entry| entry.is_touched());
            self.touched.extend(touched.map(|entry| WindowKey {
                series: id,
                run: run_at as u8,
                is_pane: false,
                start_us: entry.start_us,
            }));
            self.window_count += run.windows.len() as u64;
            self.open_short_count += if is_short(spec) { unfired as u64 } else { 0 };
        }
        if meter.is_by_subject {
            self.subjects.own[series.subject as usize].push((at, id));
            return Ok(());
        }
        self.groups
            .insert((series.subject, at, series.group.clone()), id);
        let ends = self.subjects.ends_mut(series.subject);
        for (run_at, (run, spec)) in (0..).zip(series.runs.iter().zip(&meter.runs)) {
            for entry in &run.windows {
                let end = (spec.end_us(&run.lasts, entry.start_us), id, run_at);
                match spec.is_session() {
                    true => ends.add_session(end, entry.has_fired()),
                    false => ends.add(end, entry.has_fired()),
                }
            }
        }
        Ok(())
    }
}
