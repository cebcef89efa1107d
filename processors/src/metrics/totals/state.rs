//! The second step's state as records of its compacted topic, and back.
//!
//! | key | value |
//! |---|---|
//! | `s` source | how many sources there are, and its clock if it has told one |
//! | `m` meter | the version up to which it is over, and the one in force: definition, until when its windows are partial, floor, sources that have told it |
//! | `g` group | meter, version, floor, the group's values, per source seen and at |
//! | `w` group run start | flags, revision, cells: a window |
//! | `p` group run start | the same: a pane of a hopping window |
//! | `n` | observed, counted, late and dead-lettered records, and whether a slot's open values are being told |
//!
//! Records may come in any order: compaction leaves the latest of each key where it lies.

use std::collections::BTreeSet;

use schemas::time::{BrokerTime, EventTime};
use schemas::wire::{Reader, avro};

use runtime::step::{Counts, Output, StateError, Step};

use super::groups::{Group, Run, Seen, Window, open_short_count, text_of};
use super::meters::TotalMeter;
use super::{Gone, TotalsStep};
use crate::metrics::series::{Entry, NO_SLOT};
use crate::metrics::state::{number, parse_window_key, put_cells, read_cells, window_key, wrong};
use crate::metrics::step::WindowKey;
use crate::metrics::takeover::Whole;

/// First byte of each value; another one is another format.
const FORMAT: u8 = 1;

const TOUCHED: u8 = 1;

/// The meter of a group that was restored, until all are there.
pub(super) type MeterName = (Box<str>, i64);

impl TotalsStep {
    pub(super) fn write_changes(&mut self, out: &mut Output) {
        for gone in std::mem::take(&mut self.gone) {
            out.put_tombstone(Self::STATE, Some(self.place.partition), |k| match gone {
                Gone::Window(window) => window_key(k, window),
                Gone::Group(id) => group_key(k, id),
            });
        }
        for source in std::mem::take(&mut self.changed_sources) {
            let clock = self.sources[source as usize];
            let key = |k: &mut Vec<u8>| {
                k.push(b's');
                k.extend_from_slice(&source.to_be_bytes());
            };
            self.put(out, key, |v| {
                avro::put_long(v, self.sources.len() as i64);
                avro::put_long(v, clock.unwrap_or(BrokerTime::MIN).as_ms());
            });
        }
        for id in std::mem::take(&mut self.meters.changed) {
            self.write_meter(&id, out);
        }
        for id in self.groups.take_changed() {
            self.write_group(id, out);
        }
        for key in std::mem::take(&mut self.changed) {
            self.write_window(key, out);
        }
        let is_telling = self.to_tell > 0;
        if (self.counts, is_telling) != self.stored_counts {
            self.stored_counts = (self.counts, is_telling);
            let c = self.counts;
            self.put(
                out,
                |k| k.push(b'n'),
                |v| {
                    for count in [c.observed, c.counted, c.late, c.dead_lettered] {
                        avro::put_long(v, count as i64);
                    }
                    avro::put_long(v, i64::from(is_telling));
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

    fn write_meter(&self, id: &str, out: &mut Output) {
        let Some(known) = self.meters.ids.get(id) else {
            return;
        };
        let key = |k: &mut Vec<u8>| {
            k.push(b'm');
            k.extend_from_slice(id.as_bytes());
        };
        self.put(out, key, |v| {
            avro::put_long(v, known.over);
            let Some(meter) = known.at.map(|at| self.meters.in_force(at)) else {
                return;
            };
            let json = serde_json::to_vec(&meter.named);
            avro::put_bytes(v, &json.expect("a meter is JSON: it came as such"));
            avro::put_long(v, meter.partial_until.as_us());
            avro::put_long(v, meter.floor.as_us());
            for source in &meter.begun_by {
                avro::put_long(v, i64::from(*source));
            }
        });
    }

    fn write_group(&mut self, id: u32, out: &mut Output) {
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        group.is_stored = true;
        let group = self.groups.of(id);
        let named = &self.meters.in_force(group.meter).named;
        self.put(
            out,
            |k| group_key(k, id),
            |v| {
                avro::put_bytes(v, named.id.as_bytes());
                avro::put_long(v, named.version);
                avro::put_long(v, group.floor.as_us());
                avro::put_long(v, group.values.len() as i64);
                for value in &group.values {
                    avro::put_bytes(v, value.as_bytes());
                }
                for (source, own) in (0..).zip(&group.sources) {
                    let Some(own) = own else { continue };
                    avro::put_long(v, source);
                    avro::put_long(v, own.seen.as_us());
                    avro::put_long(v, own.at.as_ms());
                }
            },
        );
    }

    fn write_window(&mut self, key: WindowKey, out: &mut Output) {
        let partition = Some(self.place.partition);
        // It may have left since it changed, with its group or without.
        let group = self.groups.get_mut(key.series);
        let run = group.and_then(|group| group.runs.get_mut(usize::from(key.run)));
        let Some(run) = run else { return };
        let held = match key.is_pane {
            true => &mut run.panes,
            false => &mut run.windows,
        };
        let Some(window) = held.get_mut(&key.start_us) else {
            return;
        };
        window.entry.mark_stored();
        out.put(
            Self::STATE,
            partition,
            |k| window_key(k, key),
            |v| {
                v.push(FORMAT);
                v.push(if window.entry.is_touched() {
                    TOUCHED
                } else {
                    0
                });
                avro::put_long(v, i64::from(window.entry.revision()));
                // A hopping window has none: they are its panes'.
                if !window.cells.words.is_empty() {
                    put_cells(v, &window.cells);
                }
            },
        );
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
        match (key, body) {
            ([b's', rest @ ..], Some(body)) => self.restore_source(number(rest)?, body),
            ([b'm', id @ ..], Some(body)) => self.restore_meter(id, body),
            ([b'g', rest @ ..], body) => self.restore_group(number(rest)?, body),
            ([kind @ (b'w' | b'p'), rest @ ..], body) => {
                self.restore_window(parse_window_key(*kind == b'p', rest)?, body)
            }
            ([b'n'], Some(body)) => self.restore_counts(body),
            _ => Err(StateError::new("a key of another format")),
        }
    }

    fn restore_source(&mut self, source: u32, body: &[u8]) -> Result<(), StateError> {
        let mut r: Reader<'_> = Reader::new(body);
        let count = usize::try_from(r.long("sources").map_err(wrong)?);
        let count = count.map_err(|_| StateError::new("a count of sources"))?;
        self.sources.resize(count, None);
        let own = self.sources.get_mut(source as usize);
        let own = own.ok_or_else(|| StateError::new("a source beyond their count"))?;
        let clock = BrokerTime::from_ms(r.long("clock").map_err(wrong)?);
        *own = Some(clock).filter(|clock| *clock != BrokerTime::MIN);
        r.end().map_err(wrong)
    }

    fn restore_meter(&mut self, id: &[u8], body: &[u8]) -> Result<(), StateError> {
        let id = std::str::from_utf8(id).map_err(|_| StateError::new("a meter's id"))?;
        let mut r: Reader<'_> = Reader::new(body);
        if let Some(at) = self.meters.ids.remove(id).and_then(|known| known.at) {
            self.meters.remove(at);
        }
        let over = r.long("over").map_err(wrong)?;
        if r.end().is_err() {
            let json = r.bytes("meter").map_err(wrong)?;
            let named = serde_json::from_slice(json);
            let named = named.map_err(|error| StateError::new(error.to_string()))?;
            let mut meter = TotalMeter::new(named);
            meter.partial_until = EventTime::from_us(r.long("partial_until").map_err(wrong)?);
            meter.floor = EventTime::from_us(r.long("floor").map_err(wrong)?);
            while r.end().is_err() {
                let source = u32::try_from(r.long("begun_by").map_err(wrong)?);
                let source = source.map_err(|_| StateError::new("a source"))?;
                meter.begun_by.insert(source);
            }
            self.meters.add(meter);
        }
        self.meters.ids.entry(id.into()).or_default().over = over;
        Ok(())
    }

    fn restore_group(&mut self, id: u32, body: Option<&[u8]>) -> Result<(), StateError> {
        let restored = self.groups.restored.entry(id).or_default();
        let Some(body) = body else {
            restored.head = None;
            return Ok(());
        };
        let mut r: Reader<'_> = Reader::new(body);
        let meter: Box<str> = r.text("meter").map_err(wrong)?.as_str().into();
        let version = r.long("version").map_err(wrong)?;
        let floor = EventTime::from_us(r.long("floor").map_err(wrong)?);
        let mut values = vec![];
        for _ in 0..r.long("values").map_err(wrong)? {
            values.push(r.text("values").map_err(wrong)?.as_str().into());
        }
        let mut sources = vec![];
        while r.end().is_err() {
            let source = usize::try_from(r.long("source").map_err(wrong)?);
            let source = source.map_err(|_| StateError::new("a source"))?;
            let own = Seen {
                seen: EventTime::from_us(r.long("seen").map_err(wrong)?),
                at: BrokerTime::from_ms(r.long("at").map_err(wrong)?),
            };
            sources.push((source, own));
        }
        restored.head = Some(Head {
            meter: (meter, version),
            floor,
            values: values.into(),
            sources,
        });
        Ok(())
    }

    fn restore_window(&mut self, key: WindowKey, body: Option<&[u8]>) -> Result<(), StateError> {
        let restored = self.groups.restored.entry(key.series).or_default();
        let run = usize::from(key.run);
        if restored.runs.len() <= run {
            restored.runs.resize_with(run + 1, Run::default);
        }
        let run = &mut restored.runs[run];
        let held = match key.is_pane {
            true => &mut run.panes,
            false => &mut run.windows,
        };
        let Some(body) = body else {
            held.remove(&key.start_us);
            return Ok(());
        };
        let [flags @ (0 | TOUCHED), body @ ..] = body else {
            return Err(StateError::new("a window's flags"));
        };
        let mut r: Reader<'_> = Reader::new(body);
        let revision = u32::try_from(r.long("revision").map_err(wrong)?);
        let revision = revision.map_err(|_| StateError::new("a revision"))?;
        let cells = match r.end() {
            Ok(()) => Whole::default(),
            Err(_) => read_cells(&mut r)?,
        };
        r.end().map_err(wrong)?;
        let mut entry = Entry::restored(key.start_us, NO_SLOT, revision, false);
        if *flags == TOUCHED {
            entry.mark_touched();
        }
        held.insert(key.start_us, Window { entry, cells });
        Ok(())
    }

    fn restore_counts(&mut self, body: &[u8]) -> Result<(), StateError> {
        let mut r: Reader<'_> = Reader::new(body);
        let mut next = || r.long("counts").map(|count| count as u64).map_err(wrong);
        self.counts = Counts {
            observed: next()?,
            counted: next()?,
            late: next()?,
            duplicate: 0,
            dead_lettered: next()?,
        };
        let is_telling = next()? > 0;
        self.stored_counts = (self.counts, is_telling);
        r.end().map_err(wrong)
    }

    /// Binds what was restored together, and checks that nothing is missing.
    pub(super) fn build_derived(&mut self) -> Result<(), StateError> {
        self.now = self.lowest_clock().unwrap_or(BrokerTime::MIN);
        for (id, restored) in std::mem::take(&mut self.groups.restored) {
            let holds = |run: &Run| !run.windows.is_empty() || !run.panes.is_empty();
            match restored.head {
                Some(head) => self.bind(id, head, restored.runs)?,
                None if restored.runs.iter().any(holds) => {
                    return Err(StateError::new(format!("group {id} is not there")));
                }
                None => {}
            }
        }
        self.groups.find_free();
        let ids: BTreeSet<u32> = self.groups.ids().map(|(id, _)| id).collect();
        for id in ids {
            self.groups.note_empty(id);
            let due_ms = self.due_ms(id);
            self.groups.set_due(id, due_ms);
        }
        if self.stored_counts.1 {
            self.to_tell = self.touched.len();
        }
        Ok(())
    }

    fn bind(&mut self, id: u32, head: Head, mut runs: Vec<Run>) -> Result<(), StateError> {
        let missing = |what: &str| Err(StateError::new(format!("group {id}: {what}")));
        let Some(at) = self.meters.find(&head.meter.0, head.meter.1) else {
            return missing("its meter is not in force");
        };
        let meter = self.meters.in_force(at);
        let names = &meter.compiled.label_names;
        let specs = &meter.compiled.runs;
        if runs.len() > specs.len() || head.values.len() != names.len() {
            return missing("its meter has another shape");
        }
        runs.resize_with(specs.len(), Run::default);
        for (run_at, (run, spec)) in runs.iter_mut().zip(specs).enumerate() {
            let (whole, bare) = match spec.is_hopping() {
                true => (&run.panes, Some(&run.windows)),
                false => (&run.windows, None),
            };
            let is_bare = |window: &Window| window.cells.words.is_empty();
            if !whole.values().all(|window| window.cells.fits(&spec.layout))
                || !bare.is_none_or(|bare| bare.values().all(is_bare))
            {
                return missing("cells of another length");
            }
            let unfired = run.windows.values().filter(|w| !w.entry.has_fired());
            run.unfired = unfired.map(|w| w.entry.start_us).collect();
            let touched = run.windows.values().filter(|w| w.entry.is_touched());
            self.touched.extend(touched.map(|w| WindowKey {
                series: id,
                run: run_at as u8,
                is_pane: false,
                start_us: w.entry.start_us,
            }));
            self.window_count += run.windows.len() as u64;
            self.open_short_count += open_short_count(spec, run);
        }
        let mut sources = vec![None; self.sources.len()];
        for (source, own) in head.sources {
            let Some(place) = sources.get_mut(source) else {
                return missing("a source beyond their count");
            };
            *place = Some(own);
        }
        let group = Group {
            meter: at,
            text: text_of(names, &head.values),
            values: head.values,
            sources,
            floor: head.floor,
            runs,
            due_ms: None,
            is_stored: true,
        };
        self.groups.put(id, group);
        Ok(())
    }
}

/// A group of which not everything may have been read yet.
#[derive(Debug, Default)]
pub(super) struct Restored {
    head: Option<Head>,
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Head {
    meter: MeterName,
    floor: EventTime,
    values: Box<[Box<str>]>,
    sources: Vec<(usize, Seen)>,
}

fn group_key(out: &mut Vec<u8>, id: u32) {
    out.push(b'g');
    out.extend_from_slice(&id.to_be_bytes());
}
