//! A step: a state machine over one partition, and the only way out of it.
//!
//! A step sees records and the partition's clock alone. So the same records give the same bytes on
//! any machine, in any process, after any crash, and a restore may replay what it has seen.
//! The shell around it, [`crate::task`], does everything else.

use std::ops::Range;

use schemas::ids::{Offset, Stream, TenantId};
use schemas::origin::{HEADER, OriginKey};
use schemas::time::BrokerTime;

use crate::kafka::Record;

/// A record of the step's topic, as it lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// When the broker appended it.
    pub appended_at: BrokerTime,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// What tells whether it is one of our own.
    pub origin: Origin<'a>,
}

/// What tells whether a record is one of our own; nothing is looked at before somebody asks.
///
/// It is as much a part of the record as its value is: the answer hangs on the record's bytes and
/// the installation's secret alone.
#[derive(Clone, Copy, Default, Debug)]
pub enum Origin<'a> {
    /// There is nothing to look at, so it is not.
    #[default]
    Unknown,
    /// It is, whatever it looks like: for records that no broker has had.
    Own,
    /// Its headers tell, under this key.
    Headers(Record<'a>, &'a OriginKey),
}

impl<'a> Incoming<'a> {
    /// A record as it came, of a tenant with this key.
    #[inline]
    pub fn of(record: Record<'a>, key: &'a OriginKey) -> Self {
        Self {
            offset: record.offset(),
            appended_at: BrokerTime::from_ms(record.appended_at_ms()),
            key: record.key(),
            value: record.value(),
            origin: Origin::Headers(record, key),
        }
    }

    /// True when one of our own processes wrote it.
    pub fn is_own(&self) -> bool {
        match self.origin {
            Origin::Unknown => false,
            Origin::Own => true,
            Origin::Headers(record, key) => {
                let (of, value) = (self.key.unwrap_or_default(), self.value.unwrap_or_default());
                let mac = record.header(HEADER);
                mac.is_some_and(|mac| key.is_own(mac, of, value))
            }
        }
    }
}

/// Which partition a step works on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Whose stream it is.
    pub tenant: TenantId,
    /// The partition.
    pub partition: i32,
}

/// A record that is to be written, as a place in an [`Output`].
#[derive(Clone, Debug)]
struct Entry {
    stream: Stream,
    partition: Option<i32>,
    key: Range<usize>,
    value: Option<Range<usize>>,
}

/// Records that are to be written together, in order, in one piece of memory.
#[derive(Clone, Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// A record of an [`Output`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgoing<'a> {
    /// Which of the tenant's streams it goes to.
    pub stream: Stream,
    /// The partition; by the key's hash where none is given.
    pub partition: Option<i32>,
    /// Its key.
    pub key: &'a [u8],
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

impl Output {
    /// Appends a record whose key and value the caller writes in place.
    pub fn put(
        &mut self,
        stream: Stream,
        partition: Option<i32>,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        key(&mut self.bytes);
        let middle = self.bytes.len();
        value(&mut self.bytes);
        let value = Some(middle..self.bytes.len());
        self.entries.push(Entry {
            stream,
            partition,
            key: start..middle,
            value,
        });
    }

    /// Appends a tombstone.
    pub fn put_tombstone(
        &mut self,
        stream: Stream,
        partition: Option<i32>,
        key: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        key(&mut self.bytes);
        let key = start..self.bytes.len();
        self.entries.push(Entry {
            stream,
            partition,
            key,
            value: None,
        });
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True for none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// The records in the order in which they were put.
    pub fn iter(&self) -> impl Iterator<Item = Outgoing<'_>> {
        self.entries.iter().map(|entry| Outgoing {
            stream: entry.stream,
            partition: entry.partition,
            key: &self.bytes[entry.key.clone()],
            value: entry.value.clone().map(|value| &self.bytes[value]),
        })
    }

    /// Takes the records of `other` in behind its own.
    pub fn append(&mut self, other: &mut Self) {
        let base = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        self.entries
            .extend(other.entries.drain(..).map(|mut entry| {
                entry.key = entry.key.start + base..entry.key.end + base;
                entry.value = entry
                    .value
                    .map(|value| value.start + base..value.end + base);
                entry
            }));
    }

    /// Forgets the records and keeps the memory, unless it is much.
    pub fn clear(&mut self) {
        const KEPT_BYTES_MAX: usize = 2 << 20;
        self.entries.clear();
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            *self = Self::default();
        }
    }
}

/// A state record that does not fit the step that reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("state record cannot be restored: {reason}")]
pub struct StateError {
    /// What does not fit.
    pub reason: String,
}

impl StateError {
    /// With the given reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

/// How the records of a partition were accounted for, each once:
/// `observed = counted + late + duplicate + dead_lettered`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Records observed.
    pub observed: u64,
    /// Folded in, also those that match no meter.
    pub counted: u64,
    /// Behind their stream.
    pub late: u64,
    /// Seen before.
    pub duplicate: u64,
    /// Refused.
    pub dead_lettered: u64,
}

impl Counts {
    /// The sum of two partitions' counts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            observed: self.observed + other.observed,
            counted: self.counted + other.counted,
            late: self.late + other.late,
            duplicate: self.duplicate + other.duplicate,
            dead_lettered: self.dead_lettered + other.dead_lettered,
        }
    }

    /// True when each record has one fate.
    pub fn balances(self) -> bool {
        self.observed == self.counted + self.late + self.duplicate + self.dead_lettered
    }
}

/// Sizes of what a step holds, for its metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Holdings {
    /// Windows held, fired or not.
    pub windows: u64,
    /// Windows that have not fired, of at most a minute's length.
    pub open_short_windows: u64,
    /// Subjects with a clock.
    pub subjects: u64,
    /// Event identities remembered.
    pub ids: u64,
}

impl Holdings {
    /// The sum of two partitions' holdings.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            windows: self.windows + other.windows,
            open_short_windows: self.open_short_windows + other.open_short_windows,
            subjects: self.subjects + other.subjects,
            ids: self.ids + other.ids,
        }
    }
}

/// A state machine over one partition of one tenant's stream.
///
/// Laws, which the simulation in `processors` checks:
/// - `advance(a); advance(b)` leaves the state and gives the outputs of `advance(b)`, for `a <= b`;
/// - the state is a function of the records observed, the clock and the definitions;
/// - the changes drained so far, applied in order to a new step, give this state.
pub trait Step: Sized {
    /// What the outcome hangs on beside the records: part of the state.
    type Definitions: Clone + PartialEq + serde::Serialize + serde::de::DeserializeOwned;

    /// A record as the step has read it.
    type Read<'a>;

    /// The stream that it reads.
    const READS: Stream;
    /// The compacted stream that holds its state.
    const STATE: Stream;

    /// A step that has seen nothing and has no definitions: [`Self::redefine`] or
    /// [`Self::finish_restore`] gives it some.
    fn new(place: &Place, partition_count: i32) -> Self;

    /// Puts one state record back; `None` takes it away again.
    ///
    /// # Errors
    /// A record of another format or one that makes no sense.
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError>;

    /// Ends the restoring: builds what is derived under the definitions that were in force, and
    /// checks that nothing is missing.
    ///
    /// # Errors
    /// Records that refer to others that are not there.
    fn finish_restore(&mut self, definitions: &Self::Definitions) -> Result<(), StateError>;

    /// Reads records that are observed next, in this order, and asks the memory for what that will
    /// need: together they wait for it once, one after another each would wait for itself.
    ///
    /// What it appends for each holds until the definitions change, whatever is observed before.
    fn read<'a>(&self, records: &[Incoming<'a>], reads: &mut Vec<Self::Read<'a>>);

    /// Folds one record in. What cannot be used becomes a dead letter, never a panic.
    /// The shell has advanced the clock to the record's append before.
    fn observe(&mut self, record: &Incoming<'_>, read: &Self::Read<'_>, out: &mut Output);

    /// True while a record has made more due than [`Self::observe`] has done. The shell catches up
    /// before anything else, with a commit between two portions where they put out much; then the
    /// state that it flushes says how far it got.
    fn is_behind(&self) -> bool {
        false
    }

    /// Does one portion of what is due.
    fn catch_up(&mut self, _out: &mut Output) {}

    /// Reads one record and folds it in, with all that it makes due.
    fn observe_one(&mut self, record: &Incoming<'_>, out: &mut Output) {
        let mut reads = Vec::with_capacity(1);
        self.read(std::slice::from_ref(record), &mut reads);
        for read in &reads {
            self.observe(record, read, out);
        }
        while self.is_behind() {
            self.catch_up(out);
        }
    }

    /// Moves the partition's clock on and fires what is then due: before each record, and by ticks.
    fn advance(&mut self, now: BrokerTime, out: &mut Output);

    /// Takes new definitions into force, from the next record on.
    fn redefine(&mut self, definitions: &Self::Definitions, out: &mut Output);

    /// When `advance` will next do something, if no record comes before; `None` for never.
    fn due_at(&self) -> Option<BrokerTime>;

    /// When the step would like to be told the time, though nothing is due by then: asked for where
    /// the log has been read to its end, and never makes a clock that moves far stop on its way.
    fn tells_at(&self) -> Option<BrokerTime> {
        None
    }

    /// Puts what changed since the last call on the state stream, as records of its partition, and
    /// before that on others what it would have to write down otherwise.
    fn drain_changes(&mut self, changes: &mut Output);

    /// Changed keys and ids that wait for a flush, roughly.
    fn change_count(&self) -> usize;

    /// What became of the records.
    fn counts(&self) -> Counts;

    /// How much it holds.
    fn holdings(&self) -> Holdings;
}

/// First byte of the shell's own state keys; a step's begin with another.
pub const SHELL_KEY: u8 = 0;
