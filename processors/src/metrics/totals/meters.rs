//! The meters of two steps, as their sources tell them.
//!
//! A meter's windows fire once all sources have told it: until then events could still be counted
//! elsewhere. They go as soon as one source has it no longer, or has a later version.

use std::collections::{BTreeMap, BTreeSet};

use schemas::time::{BrokerTime, EventTime};
use schemas::wire::DecodeError;

use runtime::step::Output;

use super::{TotalsStep, invalid};
use crate::metrics::definitions::NamedMeter;
use crate::metrics::layout::Layout;
use crate::metrics::series::{Beginning, CompiledMeter};

/// A meter's place.
pub(super) type MeterAt = u16;

/// The meters, each in a place that stays its own while it is in force.
#[derive(Debug, Default)]
pub(super) struct TotalMeters {
    all: Vec<Option<TotalMeter>>,
    /// What is known of each id.
    pub(super) ids: BTreeMap<Box<str>, Known>,
    /// Ids that changed since the last flush.
    pub(super) changed: BTreeSet<Box<str>>,
}

/// What is known of a meter's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Known {
    /// Versions up to this are over.
    pub(super) over: i64,
    /// The version in force, if there is one.
    pub(super) at: Option<MeterAt>,
}

/// A meter in force.
#[derive(Debug)]
pub(super) struct TotalMeter {
    pub(super) named: NamedMeter,
    pub(super) compiled: CompiledMeter,
    /// The cells of a piece, which is what sums are of.
    pub(super) piece: Layout,
    pub(super) piece_us: i64,
    /// The sources that have told it.
    pub(super) begun_by: BTreeSet<u32>,
    /// Windows that start at or before this may lack events from before it.
    pub(super) partial_until: EventTime,
    /// Where groups that are not known begin: what was known of others has been dropped.
    pub(super) floor: EventTime,
}

impl TotalMeter {
    pub(super) fn new(named: NamedMeter) -> Self {
        let beginning = Beginning {
            subject_count: 0,
            at: BrokerTime::MIN,
        };
        let piece_ms = named.meter.piece_ms();
        Self {
            compiled: CompiledMeter::new(&named, beginning, |_| 0),
            piece: Layout::new(&named.meter, piece_ms),
            piece_us: piece_ms * 1_000,
            begun_by: BTreeSet::new(),
            partial_until: EventTime::MIN,
            floor: EventTime::MIN,
            named,
        }
    }
}

impl TotalMeters {
    /// The meter in a place that is known to hold one.
    pub(super) fn in_force(&self, at: MeterAt) -> &TotalMeter {
        let meter = self.all[usize::from(at)].as_ref();
        meter.expect("the meter is in force")
    }

    pub(super) fn in_force_mut(&mut self, at: MeterAt) -> &mut TotalMeter {
        let meter = self.all[usize::from(at)].as_mut();
        meter.expect("the meter is in force")
    }

    /// Where the meter of that id and version is, if it is in force.
    pub(super) fn find(&self, id: &str, version: i64) -> Option<MeterAt> {
        let at = self.ids.get(id)?.at?;
        (self.in_force(at).named.version == version).then_some(at)
    }

    /// Takes a meter into the first free place.
    pub(super) fn add(&mut self, meter: TotalMeter) -> MeterAt {
        let id: Box<str> = meter.named.id.as_str().into();
        let at = match self.all.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                self.all.push(None);
                self.all.len() - 1
            }
        };
        self.all[at] = Some(meter);
        let at = at as MeterAt;
        self.ids.entry(id).or_default().at = Some(at);
        at
    }

    /// Takes a meter out of force.
    pub(super) fn remove(&mut self, at: MeterAt) {
        self.all[usize::from(at)] = None;
    }
}

impl TotalsStep {
    /// A source has a meter in force from here on.
    pub(super) fn begin_meter(
        &mut self,
        source: u32,
        json: &[u8],
        partial_until: EventTime,
        out: &mut Output,
    ) -> Result<(), DecodeError> {
        let named: Result<NamedMeter, _> = serde_json::from_slice(json);
        let named = named.map_err(|_| invalid("meter", "the JSON of one"))?;
        if !named.meter.is_two_step() || !named.meter.faults().is_empty() {
            return Err(invalid("meter", "one of two steps without a fault"));
        }
        let known = self.meters.ids.get(named.id.as_str()).copied();
        let known = known.unwrap_or_default();
        let in_force = known.at.map(|at| self.meters.in_force(at).named.version);
        let is_behind = in_force.is_some_and(|version| named.version < version);
        if named.version <= known.over || is_behind {
            // Another source is further.
            return Ok(());
        }
        if let Some(version) = in_force.filter(|version| *version < named.version) {
            self.end_meter(&named.id, version);
        }
        self.meters.changed.insert(named.id.as_str().into());
        let found = self.meters.find(&named.id, named.version);
        let at = found.unwrap_or_else(|| self.meters.add(TotalMeter::new(named)));
        let meter = self.meters.in_force_mut(at);
        meter.begun_by.insert(source);
        meter.partial_until = meter.partial_until.max(partial_until);
        if self.is_complete(at) {
            self.settle_all(|of| of == at, out);
        }
        Ok(())
    }

    /// A source has a meter in force no longer.
    pub(super) fn end_meter(&mut self, id: &str, version: i64) {
        let at = self.meters.find(id, version);
        let known = self.meters.ids.entry(id.into()).or_default();
        if version <= known.over {
            return;
        }
        known.over = version;
        self.meters.changed.insert(id.into());
        if let Some(at) = at {
            known.at = None;
            self.drop_groups(at);
            self.meters.remove(at);
        }
    }

    /// True when all sources have told the meter.
    pub(super) fn is_complete(&self, at: MeterAt) -> bool {
        self.meters.in_force(at).begun_by.len() == self.sources.len()
    }
}
