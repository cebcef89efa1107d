//! The log as the worker needs it. [`super::KafkaLog`] is the real one.

use std::collections::BTreeSet;

use schemas::ids::{Offset, TenantId};
use schemas::time::BrokerTime;

use super::metadata::{BatchId, CommitMetadata};
use crate::fate::Fate;
use crate::step::{Incoming, Output, Place};

/// A committed input position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The first record that was not observed.
    pub offset: Offset,
    /// What was committed with it.
    pub metadata: String,
}

/// A change of what this process owns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ownership {
    /// The partition is ours, with its stable committed position.
    Assigned(Place, Option<Committed>),
    /// It goes to another process with the next [`Log::poll`]; what is pending may still commit.
    Revoked(Place),
    /// It is gone.
    Lost(Place),
}

/// What was to be done when a log could not be set back to where reading goes on: until it is, it
/// may have gone past records that nobody observed.
pub const SEEK: &str = "seek";

/// Records that a log hands on together: as many as can wait for memory at the same time, and few
/// enough to stay in the nearest cache.
pub const TOGETHER: usize = 16;

/// What one partition puts into a transaction.
#[derive(Debug)]
pub struct Sealed {
    /// Which partition.
    pub place: Place,
    /// Records and state changes, in order.
    pub output: Output,
    /// The input position.
    pub next: Offset,
    /// Committed with the position.
    pub metadata: CommitMetadata,
    /// The batch before this one.
    pub before: Option<BatchId>,
    /// The state that it flushes: the position at which it is true, and the control offset.
    pub flush: Option<(Offset, Offset)>,
}

/// How a transaction ended.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Outcome {
    /// All of it is in the log.
    Committed,
    /// None of it is. Tenants whose topics refused it may be named.
    Aborted {
        /// Why.
        reason: String,
        /// Tenants that can be left out next time.
        refused: BTreeSet<TenantId>,
    },
    /// Nobody saw the end: [`Log::renew`], then look at what is committed.
    Unknown {
        /// Why.
        reason: String,
    },
    /// Another process has our name: this one ends.
    Fenced {
        /// Who said so.
        reason: String,
    },
}

/// A call on the log that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{act}: {reason}")]
pub struct LogError {
    /// What was asked for.
    pub act: &'static str,
    /// What was answered, with topic and partition.
    pub reason: String,
    /// Whether to ask again.
    pub fate: Fate,
}

/// The log, owned by one thread.
pub trait Log {
    /// Serves membership and says what changed. Between two calls ownership does not.
    ///
    /// # Errors
    /// [`Fate::Halt`] ends the process.
    fn poll(&mut self) -> Result<Vec<Ownership>, LogError>;

    /// Reads these tenants' streams from now on.
    ///
    /// # Errors
    /// When the names are refused.
    fn follow(&mut self, tenants: &BTreeSet<TenantId>) -> Result<(), LogError>;

    /// This machine's wall clock.
    fn now(&self) -> BrokerTime;

    /// How many partitions the place's stream has.
    ///
    /// # Errors
    /// When the broker does not say.
    fn partition_count(&mut self, place: &Place) -> Result<i32, LogError>;

    /// Hands on the next records of a partition, at most `count_max`, a few at a time; never waits.
    /// `each` says how many of the few it took; reading goes on behind these.
    ///
    /// # Errors
    /// [`Fate::Halt`] halts the place: its position is outside the log.
    fn read(
        &mut self,
        place: &Place,
        count_max: usize,
        each: &mut dyn FnMut(&[Incoming<'_>]) -> usize,
    ) -> Result<usize, LogError>;

    /// Reads a partition that is ours from `to` on.
    ///
    /// # Errors
    /// When it is not ours, or the log refuses.
    fn seek(&mut self, place: &Place, to: Offset) -> Result<(), LogError>;

    /// True when everything that was visible at some instant not before this call has been read.
    ///
    /// # Errors
    /// When the broker does not say.
    fn is_at_end(&mut self, place: &Place) -> Result<bool, LogError>;

    /// Begins to put batches and their positions into one transaction, as the owner that this
    /// process is now. One at a time: [`Self::ended`] gives the batches back.
    fn commit(&mut self, batches: Vec<Sealed>);

    /// How the commit that was begun has ended, with its batches; waits for that at most `wait_ms`.
    /// `None` while it goes on: it always ends.
    fn ended(&mut self, wait_ms: u64) -> Option<(Vec<Sealed>, Outcome)>;

    /// Makes the producer anew; what was sent before is decided when it returns.
    ///
    /// # Errors
    /// [`Fate::Retry`] to call again, [`Fate::Halt`] when fenced.
    fn renew(&mut self) -> Result<(), LogError>;

    /// The stable committed positions.
    ///
    /// # Errors
    /// When the broker does not say in time.
    fn committed(&mut self, places: &[Place]) -> Result<Vec<Option<Committed>>, LogError>;

    /// The first record that the log still holds.
    ///
    /// # Errors
    /// When the broker does not say.
    fn beginning(&mut self, place: &Place) -> Result<Offset, LogError>;

    /// Hands on the committed records of a place's state, up to the end as of the call, which also
    /// counts what is not committed yet.
    ///
    /// # Errors
    /// When the state cannot be read to that end.
    fn restore(
        &mut self,
        place: &Place,
        each: &mut dyn FnMut(&[u8], Option<&[u8]>),
    ) -> Result<(), LogError>;

    /// Hands on the records of a partition from `from` to before `to` once more.
    ///
    /// # Errors
    /// When the log no longer holds them.
    fn replay(
        &mut self,
        place: &Place,
        from: Offset,
        to: Offset,
        each: &mut dyn FnMut(&Incoming<'_>),
    ) -> Result<(), LogError>;

    /// Waits until something may be there to read or a commit has ended, at most `wait_ms`.
    fn wait(&mut self, wait_ms: u64);
}
