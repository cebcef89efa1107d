//! The second of two steps, for meters whose groups have events in several partitions: the sums
//! that the first step tells are put together, and fire when all their sources have come so far.
//!
//! A source is a partition of `events`. This step's clock is the lowest of its sources' clocks, and
//! moves by their records alone: the append times here say when somebody worked, and not when
//! something happened. What is in force comes from the sources as well, each meter before its
//! first sum, so no process can be ahead of the definitions of another.
//!
//! A group has a clock for each source ([`groups`]). Its windows fire when this step's clock, less
//! `bound` and the longest that a source's events are behind their append, has passed their end.
//! They leave when the lowest of the sources' `seen − bound` has passed it by `allowed_lateness`,
//! and raise the group's floor; a sum before that is late as a whole.

pub mod figures;
mod firing;
mod groups;
mod meters;
mod state;

use std::collections::BTreeSet;

use schemas::control::Limits;
use schemas::decimal::Decimal;
use schemas::ids::Stream;
use schemas::refusal::Refusal;
use schemas::time::BrokerTime;
use schemas::wire::DecodeError;

use runtime::step::{Counts, Holdings, Incoming, Output, Place, StateError, Step};

use super::emit;
use super::partial::{Partial, Told};
use super::step::{OPEN_SLOT_MS, WindowKey};
use super::takeover::Whole;
use groups::Groups;
use meters::TotalMeters;

/// The second step over one partition of a tenant's `metrics.partials`.
pub struct TotalsStep {
    place: Place,
    topic: String,
    partition_count: i32,
    limits: Limits,
    counts: Counts,
    /// As in the state, with whether open values were being told.
    stored_counts: (Counts, bool),
    /// The clock of each source, as far as it has told; empty until one did.
    sources: Vec<Option<BrokerTime>>,
    changed_sources: BTreeSet<u32>,
    /// The lowest of the sources' clocks.
    now: BrokerTime,
    meters: TotalMeters,
    groups: Groups,
    window_count: u64,
    open_short_count: u64,
    /// Windows whose open value changed in this slot of the clock.
    touched: Vec<WindowKey>,
    /// How many of them belong to a slot that has ended, and are to be told.
    to_tell: usize,
    /// Changes since the last flush.
    changed: Vec<WindowKey>,
    gone: Vec<Gone>,
    /// Memory that is used again for each record.
    refire: Vec<WindowKey>,
    whole: Whole,
    results: Vec<Option<Decimal>>,
}

/// A record of the state that is no longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gone {
    Window(WindowKey),
    Group(u32),
}

impl Step for TotalsStep {
    type Definitions = Limits;
    type Read<'a> = Result<Partial<'a>, DecodeError>;
    const READS: Stream = Stream::MetricsPartials;
    const STATE: Stream = Stream::MetricsPartialsState;

    fn new(place: &Place, partition_count: i32) -> Self {
        Self {
            place: place.clone(),
            topic: place.tenant.topic(Self::READS).to_string(),
            partition_count,
            limits: Limits::default(),
            counts: Counts::default(),
            stored_counts: (Counts::default(), false),
            sources: vec![],
            changed_sources: BTreeSet::new(),
            now: BrokerTime::MIN,
            meters: TotalMeters::default(),
            groups: Groups::default(),
            window_count: 0,
            open_short_count: 0,
            touched: vec![],
            to_tell: 0,
            changed: vec![],
            gone: vec![],
            refire: vec![],
            whole: Whole::default(),
            results: vec![],
        }
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        self.restore_record(key, value)
    }

    fn finish_restore(&mut self, limits: &Limits) -> Result<(), StateError> {
        self.limits = *limits;
        self.build_derived()
    }

    fn read<'a>(&self, records: &[Incoming<'a>], reads: &mut Vec<Self::Read<'a>>) {
        let read = |record: &Incoming<'a>| Partial::decode(record.value.unwrap_or_default());
        reads.extend(records.iter().map(read));
    }

    fn observe(&mut self, record: &Incoming<'_>, read: &Self::Read<'_>, out: &mut Output) {
        self.counts.observed += 1;
        let taken = match read {
            Ok(partial) => self.take(record, partial, out),
            Err(error) => Err(*error),
        };
        match taken {
            Ok(Fate::Taken) => self.counts.counted += 1,
            Ok(Fate::Late) => self.counts.late += 1,
            Err(error) => {
                self.counts.dead_lettered += 1;
                let source = (self.topic.as_str(), self.place.partition);
                emit::dead_letter(out, source, record, &Refusal::Unreadable(error));
            }
        }
    }

    fn is_behind(&self) -> bool {
        self.to_tell > 0 || self.groups.is_due(self.now)
    }

    fn catch_up(&mut self, out: &mut Output) {
        match self.groups.take_due(self.now) {
            Some(id) => self.settle(id, out),
            None => self.tell_open(out),
        }
    }

    /// Nothing: what these records were appended at says nothing of when anything happened.
    fn advance(&mut self, _: BrokerTime, _: &mut Output) {}

    fn redefine(&mut self, limits: &Limits, out: &mut Output) {
        self.limits = *limits;
        self.settle_all(|_| true, out);
    }

    fn due_at(&self) -> Option<BrokerTime> {
        None
    }

    fn drain_changes(&mut self, changes: &mut Output) {
        self.write_changes(changes);
    }

    fn change_count(&self) -> usize {
        self.changed.len() + self.gone.len() + self.groups.changed_count()
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn holdings(&self) -> Holdings {
        Holdings {
            windows: self.window_count,
            open_short_windows: self.open_short_count,
            subjects: self.groups.len() as u64,
            ids: 0,
        }
    }
}

/// What became of a record.
enum Fate {
    Taken,
    Late,
}

const fn invalid(field: &'static str, reason: &'static str) -> DecodeError {
    DecodeError::Invalid { field, reason }
}

impl TotalsStep {
    fn take(
        &mut self,
        record: &Incoming<'_>,
        partial: &Partial<'_>,
        out: &mut Output,
    ) -> Result<Fate, DecodeError> {
        if self.sources.is_empty() {
            self.sources.resize(partial.source_count as usize, None);
            self.changed_sources.insert(0);
        }
        if self.sources.len() != partial.source_count as usize {
            return Err(invalid("source_count", "as it always was"));
        }
        match &partial.told {
            Told::Begun {
                meter,
                partial_until,
            } => self.begin_meter(partial.source, meter, *partial_until, out)?,
            Told::Ended { id, version } => self.end_meter(id, *version),
            Told::Sum(sum) => return self.add(record, partial.source, sum, out),
            Told::Clock(clock) => self.move_source(partial.source, *clock),
        }
        Ok(Fate::Taken)
    }

    /// Moves a source's clock on, and with the lowest of them this step's. What that makes due is
    /// done in portions.
    fn move_source(&mut self, source: u32, clock: BrokerTime) {
        let own = &mut self.sources[source as usize];
        *own = (*own).max(Some(clock));
        self.changed_sources.insert(source);
        let Some(now) = self.lowest_clock().filter(|now| *now > self.now) else {
            return;
        };
        let slot = |now: BrokerTime| now.as_ms().div_euclid(OPEN_SLOT_MS);
        if slot(now) != slot(self.now) {
            self.to_tell = self.touched.len();
        }
        self.now = now;
    }

    /// `None` while one has told nothing yet.
    fn lowest_clock(&self) -> Option<BrokerTime> {
        self.sources.iter().copied().min().flatten()
    }

    /// Groups that this partition may hold: decided locally, so that replay decides the same.
    fn groups_max(&self) -> usize {
        let share = self.limits.groups_max / u64::from(self.partition_count.unsigned_abs().max(1));
        usize::try_from(share.max(1)).unwrap_or(usize::MAX)
    }
}
