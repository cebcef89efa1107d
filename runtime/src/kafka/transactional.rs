//! Outputs and input positions that become true together, or not at all.
//!
//! One [`Transactional`] per process (KIP-447) serves all of its partitions. Its life:
//! `begin`, `send` any number of records, then `commit` with the positions that produced them, or
//! `abort`. Each ends in an [`Outcome`] that says what a reader of committed records sees:
//!
//! | outcome | the log | what to do |
//! |---|---|---|
//! | `Committed` | holds all of it | go on |
//! | `Aborted` | holds none of it | begin again, send the same bytes |
//! | `Unknown` | holds all or none | [`Transactional::renew`], then compare committed positions |
//! | `Fenced` | belongs to another process | exit |
//!
//! Every call has a bound below the transaction's timeout. librdkafka has no KIP-890: a request
//! that timed out may still reach the broker and would act on the *next* transaction of this epoch.
//! So the bound lies below librdkafka's own request timeout, no request is ever sent twice behind
//! our back, and after any call whose end we did not see, and after every abort that an error
//! caused, the producer is made anew: its new epoch fences whatever is still on its way.
#![allow(unsafe_code)]

mod acks;
mod positions;
mod settle;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use acks::{AckCount, Acks};
use rdkafka::error::KafkaResult;
use rdkafka::producer::{Producer, PurgeConfig, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys as sys;

use super::client::KafkaConfig;
use super::failure::{CallFailure, Failure};
use super::group::GroupMetadata;
use super::publisher::{ROOM_LOOK, base_record, idempotent};
use super::record::{Outgoing, Partition};
use crate::clock::Deadline;
use crate::fate::Fate;
use crate::telemetry::TARGET;

/// Who writes, and how long a transaction may last.
#[derive(Clone, Debug)]
pub struct TransactionalSettings {
    /// The producer's lasting name; the same after a restart, unique among living processes.
    pub id: String,
    /// How long the coordinator waits before it aborts a transaction itself; below the session
    /// timeout of the group whose positions it commits.
    pub timeout: Duration,
    /// How long a record may wait for company.
    pub linger: Duration,
    /// How many records may wait inside.
    pub queue_count: u32,
    /// How many kilobytes may wait inside.
    pub queue_kilobytes: u32,
    /// The largest record that may be sent, in bytes.
    pub record_bytes_max: u32,
}

impl TransactionalSettings {
    /// Settings that suit a worker that commits every 50 ms.
    pub fn new(id: &str, timeout: Duration) -> Self {
        Self {
            id: id.into(),
            timeout,
            linger: Duration::from_millis(1),
            queue_count: 500_000,
            queue_kilobytes: 262_144,
            record_bytes_max: 16 * 1_048_576,
        }
    }
}

/// How far an input was consumed, and what must be remembered with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Position {
    /// Which input.
    pub partition: Partition,
    /// The offset of the next record to be read: the last one's plus 1.
    pub offset: i64,
    /// Kept by the broker with the offset; at most 4,096 bytes unless the broker allows more.
    pub metadata: String,
}

impl Position {
    pub(super) fn list(positions: &[Self]) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for position in positions {
            let Partition { topic, number } = &position.partition;
            let mut element = list.add_partition(topic, *number);
            element.set_offset(Offset::Offset(position.offset))?;
            element.set_metadata(&position.metadata);
        }
        Ok(list)
    }
}

/// What a reader of committed records sees of a transaction.
#[derive(Debug)]
#[must_use = "an outcome that nobody looks at may be a loss"]
pub enum Outcome {
    /// All of it.
    Committed,
    /// None of it.
    Aborted(Reason),
    /// All or none: nobody told us. The producer must be renewed before anything else.
    Unknown(Failure),
    /// Another process writes under this name; this one must end.
    Fenced(Failure),
}

/// Why a transaction did not simply commit.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct Reason {
    /// What librdkafka or the broker said.
    pub failure: Failure,
    /// Topics that refused records, with the last answer of each: a caller may leave them out of
    /// the next batch.
    pub topics: BTreeMap<String, Failure>,
}

/// Why a transaction cannot begin, or a record cannot be added to it.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// Another process writes under this name.
    #[error("producer is fenced: {0}")]
    Fenced(#[source] Failure),
    /// The coordinator is away, or refused.
    #[error("transactions cannot begin: {0}")]
    Init(#[source] Failure),
    /// The transaction failed already: [`Transactional::abort`] it to learn its outcome.
    #[error("transaction has failed: {0}")]
    Failed(#[source] Failure),
    /// This record can never be sent; the others are untouched.
    #[error("record is refused: {0}")]
    Record(#[source] Failure),
}

impl TransactionError {
    /// What becomes of the work.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Fenced(_) => Fate::Halt,
            Self::Init(failure) => failure.fate(),
            Self::Failed(_) => Fate::Retry,
            Self::Record(_) => Fate::Reject,
        }
    }
}

/// What a failed transactional call asks of us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Call again: the work goes on in the background.
    Resume,
    /// The transaction is broken; aborting it is possible and settles it.
    Abort,
    /// The producer is of no use any more, or nobody knows what became of the transaction.
    Renew,
    /// Another producer has our name.
    Fenced,
}

/// The one place that tells fatal, abortable and retriable apart.
fn verdict(call: &CallFailure) -> Verdict {
    match (
        call.failure.code,
        call.is_fatal,
        call.requires_abort,
        call.is_retriable,
    ) {
        (Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch, ..) => Verdict::Fenced,
        (_, true, ..) => Verdict::Renew,
        (_, _, true, _) => Verdict::Abort,
        (_, _, _, true) => Verdict::Resume,
        _ => Verdict::Renew,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// A transaction may begin.
    Ready,
    /// One has begun.
    Open,
    /// A new producer is taking the name over: nothing may begin before it has.
    Starting,
    /// The producer must be made anew first.
    Spent,
}

/// How long after the end of a transaction the next one begins: a coordinator that still writes the
/// markers of the last refuses to add partitions, and librdkafka asks again 20 ms later. Of 54 that
/// began within 2 ms, 31 were refused; of 103 after 4 to 10 ms, 5.
const MARKERS_WAIT: Duration = Duration::from_millis(4);

/// How long [`Transactional::begin`] waits for a producer that is still taking its name over.
const BEGIN_WAIT: Duration = Duration::from_millis(250);

/// A transactional producer; owned by one thread.
pub struct Transactional {
    kafka: KafkaConfig,
    settings: TransactionalSettings,
    // `None` only before `renew` has made one.
    producer: Option<Arc<ThreadedProducer<Acks>>>,
    acks: Arc<AckCount>,
    stage: Stage,
    /// From when on the coordinator most likely takes the next transaction.
    begins_at: Option<Deadline>,
    /// A call of the open transaction whose end nobody saw.
    unseen: Option<CallFailure>,
}

impl Transactional {
    /// Takes the name over: transactions that an earlier process left open under it are aborted, or
    /// completed when their commit had been decided. Blocks for up to twice the timeout.
    ///
    /// # Errors
    /// [`TransactionError::Init`], to be tried again with [`Self::open`] when its fate is a retry.
    pub fn open(
        kafka: &KafkaConfig,
        settings: TransactionalSettings,
    ) -> Result<Self, TransactionError> {
        let mut transactional = Self {
            kafka: kafka.clone(),
            settings,
            producer: None,
            acks: Arc::default(),
            stage: Stage::Spent,
            begins_at: None,
            unseen: None,
        };
        transactional.renew(transactional.settings.timeout * 2)?;
        Ok(transactional)
    }

    /// Makes the producer anew under the same name. Once it returns, every earlier transaction is
    /// decided on the broker, and nothing that was sent for one can still act.
    ///
    /// Blocks for at most `wait`, and goes on in the background when that was too short: the next
    /// call goes on where this one was. So whoever is also a member of a group can serve it in
    /// between, however long the brokers are away.
    ///
    /// # Errors
    /// As [`Self::open`]; call again until it succeeds.
    pub fn renew(&mut self, wait: Duration) -> Result<(), TransactionError> {
        if self.stage != Stage::Starting {
            self.replace()?;
        }
        let Err(error) = self.producer().init_transactions(wait) else {
            self.stage = Stage::Ready;
            return Ok(());
        };
        let call = CallFailure::of_crate(error);
        let verdict = verdict(&call);
        if verdict != Verdict::Resume {
            self.stage = Stage::Spent;
        }
        Err(match verdict {
            Verdict::Fenced => TransactionError::Fenced(call.failure),
            _ => TransactionError::Init(call.failure),
        })
    }

    /// Puts a new producer in the place of the old one.
    fn replace(&mut self) -> Result<(), TransactionError> {
        self.stage = Stage::Spent;
        // The old one first: two with one name would fence each other. Only one that is stuck in a
        // call lives on, with nothing left to send, and cannot take the name back; see `positions`.
        if let Some(old) = self.producer.take() {
            old.purge(PurgeConfig::default().queue().inflight());
        }
        self.acks = Arc::default();
        let acks = Acks {
            count: Arc::clone(&self.acks),
        };
        let producer = self.client().create_with_context(acks);
        let producer = producer.map_err(|error| TransactionError::Init(error.into()))?;
        self.producer = Some(Arc::new(producer));
        self.stage = Stage::Starting;
        Ok(())
    }

    /// Begins a transaction, after renewing the producer where the last outcome asks for it, and
    /// [`MARKERS_WAIT`] after the end of the last one.
    ///
    /// # Errors
    /// [`TransactionError::Init`] or [`TransactionError::Fenced`]; the former also while the
    /// producer is still being renewed, to be called again.
    ///
    /// # Panics
    /// When a transaction is open: that is a mistake of the caller.
    pub fn begin(&mut self) -> Result<(), TransactionError> {
        assert_ne!(self.stage, Stage::Open, "a transaction is open");
        if self.stage != Stage::Ready {
            self.renew(BEGIN_WAIT)?;
        }
        if let Some(begins_at) = self.begins_at.take() {
            std::thread::sleep(begins_at.left());
        }
        self.acks.reset();
        let begun = self
            .producer()
            .begin_transaction()
            .map_err(CallFailure::of_crate);
        if let Err(call) = begun {
            self.stage = Stage::Spent;
            return Err(match verdict(&call) {
                Verdict::Fenced => TransactionError::Fenced(call.failure),
                _ => TransactionError::Init(call.failure),
            });
        }
        self.stage = Stage::Open;
        Ok(())
    }

    /// Adds a record. Waits while the queue is full, at most the transaction's timeout.
    ///
    /// # Errors
    /// [`TransactionError::Record`] concerns this record alone; after [`TransactionError::Failed`]
    /// the transaction must be aborted.
    pub fn send(&self, record: &Outgoing<'_>) -> Result<(), TransactionError> {
        debug_assert_eq!(self.stage, Stage::Open, "a record outside a transaction");
        let mut outgoing = base_record(record, ());
        let mut deadline = None;
        loop {
            let acked = self.acks.count();
            let (error, refused) = match self.producer().send(outgoing) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let failure = Failure::of_crate(&error);
            let deadline = *deadline.get_or_insert_with(|| Deadline::after(self.settings.timeout));
            match failure.code {
                Code::QueueFull if !deadline.has_passed() => {
                    outgoing = refused;
                    self.acks.wait_beyond(acked, deadline.left().min(ROOM_LOOK));
                }
                _ if failure.fate() == Fate::Reject => {
                    return Err(TransactionError::Record(failure));
                }
                _ => return Err(TransactionError::Failed(failure)),
            }
        }
    }

    /// Adds positions to the transaction before its end; [`Self::commit`] adds those that it is
    /// given itself. Until the transaction is decided, nobody learns these partitions' positions.
    ///
    /// # Errors
    /// [`TransactionError::Failed`]: the transaction must be aborted.
    pub fn add_positions(
        &mut self,
        positions: &[Position],
        group: &GroupMetadata,
    ) -> Result<(), TransactionError> {
        let deadline = Deadline::after(self.call_timeout());
        let added = self.send_positions(positions, group, deadline);
        added.map_err(|call| {
            let failure = call.failure.clone();
            self.unseen = (verdict(&call) == Verdict::Renew).then_some(call);
            TransactionError::Failed(failure)
        })
    }

    /// Makes everything sent since [`Self::begin`] true together with `positions`.
    ///
    /// Blocks until the broker answered, for less than the transaction's timeout.
    #[tracing::instrument(
        target = TARGET,
        level = "debug",
        skip_all,
        fields(positions = positions.len())
    )]
    pub fn commit(&mut self, positions: &[Position], group: &GroupMetadata) -> Outcome {
        assert_eq!(self.stage, Stage::Open, "nothing to commit");
        let deadline = Deadline::after(self.call_timeout());
        let settled = self
            .send_positions(positions, group, deadline)
            .and_then(|()| {
                self.until_settled(deadline, |native, wait_ms| {
                    // SAFETY: the producer is alive; its own thread serves the delivery reports
                    // that this call waits for. The crate's own method polls for 100 ms instead.
                    CallFailure::take(unsafe { sys::rd_kafka_commit_transaction(native, wait_ms) })
                })
            });
        match settled {
            Ok(()) => {
                self.end();
                Outcome::Committed
            }
            Err(call) => self.settle(call),
        }
    }

    /// Throws away everything sent since [`Self::begin`].
    pub fn abort(&mut self) -> Outcome {
        assert_eq!(self.stage, Stage::Open, "nothing to abort");
        if let Some(call) = self.unseen.take() {
            return self.undecided(call);
        }
        match self.abort_call() {
            Ok(()) => {
                self.end();
                Outcome::Aborted(self.reason(Failure {
                    code: Code::NoError,
                    text: "aborted by the caller".into(),
                }))
            }
            Err(call) => self.undecided(call),
        }
    }

    /// How many records wait for their acknowledgement.
    pub fn in_flight_count(&self) -> usize {
        usize::try_from(self.producer().in_flight_count()).unwrap_or(0)
    }

    fn end(&mut self) {
        self.stage = Stage::Ready;
        self.begins_at = Some(Deadline::after(MARKERS_WAIT));
    }
}

#[cfg(test)]
mod tests;
