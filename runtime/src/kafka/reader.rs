//! Reading chosen partitions from chosen offsets, without a group: restore, views, reconciliation.

use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::client::KafkaConfig;
use super::context::Context;
use super::failure::Failure;
use super::native::{self, Batch, PartitionQueue, Queue};
use super::offsets::{Edge, edges};
use super::record::{Partition, Record};
use super::waker::{Alarm, Waker};
use crate::clock::Deadline;
use crate::fate::Fate;

/// How many records one call takes from librdkafka at most.
const BATCH_COUNT: usize = 10_000;

/// How long brokers may take to say where partitions begin.
const EDGE_WAIT: Duration = Duration::from_secs(10);

/// Whether records of transactions that are open or aborted are seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// Only what was committed; reading stops before the first open transaction.
    Committed,
    /// Everything.
    Uncommitted,
}

/// Where reading of a partition begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At the first record that the log still holds.
    Beginning,
    /// At this offset, which the log must hold or be about to get.
    At(i64),
}

/// The edges of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermarks {
    /// The first offset that the log still holds.
    pub low: i64,
    /// The offset that the next record will get.
    pub high: i64,
}

/// Why a partition could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The reader could not be made.
    #[error("reader cannot be made: {0}")]
    Open(#[source] Failure),
    /// The position is not in the log: it was deleted by retention, or the topic was made anew.
    #[error("{partition}: position {position} is outside the log")]
    OutOfRange {
        /// The partition.
        partition: Partition,
        /// Where reading should have gone on.
        position: i64,
    },
    /// The broker or librdkafka refused.
    #[error("{partition}: {failure}")]
    Partition {
        /// The partition.
        partition: Partition,
        /// What it said.
        failure: Failure,
    },
    /// An end that was asked for did not come in time.
    #[error("{partition}: stands at {position} of {end} after {wait_ms} ms")]
    Stalled {
        /// The partition.
        partition: Partition,
        /// How far reading came.
        position: i64,
        /// Where it should have come.
        end: i64,
        /// How long it made no progress.
        wait_ms: u64,
    },
}

impl ReadError {
    pub(super) fn of(partition: &Partition, position: i64, failure: Failure) -> Self {
        let partition = partition.clone();
        match failure.code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => Self::OutOfRange {
                partition,
                position,
            },
            _ => Self::Partition { partition, failure },
        }
    }

    /// What becomes of the work that needed the partition.
    pub fn fate(&self) -> Fate {
        match self {
            Self::OutOfRange { .. } => Fate::Halt,
            Self::Open(failure) | Self::Partition { failure, .. } => failure.fate(),
            Self::Stalled { .. } => Fate::Retry,
        }
    }

    /// True when the topic or the partition does not exist (any more).
    pub fn is_gone(&self) -> bool {
        let Self::Partition { failure, .. } = self else {
            return false;
        };
        matches!(
            failure.code,
            Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition
        )
    }
}

impl ConsumerContext for Context {}

/// Reads the partitions that it was opened with.
pub struct Reader {
    // Queues before their client: fields are dropped in this order.
    queues: Vec<(Partition, PartitionQueue)>,
    waker: Waker,
    consumer: BaseConsumer<Context>,
}

impl Reader {
    /// Begins to read `spans`. Where a partition begins is asked for here, so that a position is
    /// always a number.
    ///
    /// # Errors
    /// When the client cannot be made, or a partition's beginning cannot be learnt.
    pub fn open(
        kafka: &KafkaConfig,
        name: &str,
        isolation: Isolation,
        spans: &[(Partition, Start)],
    ) -> Result<Self, ReadError> {
        let open = |failure: Failure| ReadError::Open(failure);
        let consumer = consumer(kafka, name, isolation).map_err(open)?;
        let waker = Waker::new().map_err(|error| {
            open(Failure {
                code: Code::CriticalSystemResource,
                text: error.to_string(),
            })
        })?;
        let starts = starts(&consumer, spans)?;
        let mut queues = Vec::with_capacity(spans.len());
        let mut list = TopicPartitionList::with_capacity(spans.len());
        for ((partition, _), start) in spans.iter().zip(starts) {
            let client = consumer.client().native_ptr();
            let queue = Queue::of_partition(client, &partition.topic, partition.number);
            queue.wake(waker.pipe());
            list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(start))
                .map_err(|error| open(error.into()))?;
            queues.push((partition.clone(), PartitionQueue::new(queue, start)));
        }
        consumer.assign(&list).map_err(|error| open(error.into()))?;
        Ok(Self {
            queues,
            waker,
            consumer,
        })
    }

    /// The partitions, in the order in which they were given.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.queues.iter().map(|(partition, _)| partition)
    }

    /// The next records of the partition at `index`, if any are there; never waits.
    ///
    /// # Errors
    /// What the broker said about the partition.
    pub fn next(&self, index: usize) -> Result<Batch<'_>, ReadError> {
        self.serve();
        let (partition, queue) = &self.queues[index];
        queue
            .take(BATCH_COUNT, Duration::ZERO)
            .map_err(|failure| ReadError::of(partition, queue.position(), failure))
    }

    /// Sleeps until a partition has something, or the [`Alarm`] rings; at most `wait`. Only to be
    /// called after [`Self::next`] of each partition came back empty.
    pub fn wait(&self, wait: Duration) {
        self.waker.sleep(wait);
        self.serve();
    }

    /// Rings from another thread to end [`Self::wait`].
    pub fn alarm(&self) -> Alarm {
        self.waker.alarm()
    }

    /// How far the partition at `index` was read: past its records, and past marks that are none.
    pub fn position(&self, index: usize) -> i64 {
        let (partition, queue) = &self.queues[index];
        let client = self.consumer.client().native_ptr();
        if let Some(position) = native::position(client, partition) {
            queue.advance(position);
        }
        queue.position()
    }

    /// The edges of all partitions, in their order, as this isolation sees them.
    ///
    /// # Errors
    /// The first partition whose edges could not be learnt within `wait`.
    pub fn watermarks(
        &self,
        isolation: Isolation,
        wait: Duration,
    ) -> Result<Vec<Watermarks>, ReadError> {
        let partitions: Vec<_> = self.partitions().cloned().collect();
        watermarks(self.consumer.client(), &partitions, isolation, wait)
    }

    /// Reads every partition up to its end in `ends`, and hands each record on; the index is the
    /// partition's place in the order of opening. A record beyond its end is still handed on when
    /// it lies in the same batch.
    ///
    /// # Errors
    /// The first partition that failed, or that made no progress for `patience`.
    pub fn read_until(
        &self,
        ends: &[i64],
        patience: Duration,
        mut each: impl FnMut(usize, Record<'_>),
    ) -> Result<(), ReadError> {
        assert_eq!(ends.len(), self.queues.len(), "one end for each partition");
        let mut deadline = Deadline::after(patience);
        loop {
            let mut count = 0;
            for index in 0..self.queues.len() {
                let batch = self.next(index)?;
                count += batch.count();
                batch.records().for_each(|record| each(index, record));
            }
            let behind = (0..ends.len()).find(|index| self.position(*index) < ends[*index]);
            let Some(behind) = behind else { return Ok(()) };
            if count > 0 {
                deadline = Deadline::after(patience);
                continue;
            }
            if deadline.has_passed() {
                return Err(self.stalled(behind, ends[behind], patience));
            }
            self.wait(deadline.left().min(Duration::from_millis(100)));
        }
    }

    /// Why the partition at `index` did not reach its end: perhaps it is no more.
    fn stalled(&self, index: usize, end: i64, patience: Duration) -> ReadError {
        let partition = &self.queues[index].0;
        match lows(
            self.consumer.client(),
            std::slice::from_ref(partition),
            EDGE_WAIT,
        ) {
            Err(error) if error.is_gone() => error,
            _ => ReadError::Stalled {
                partition: partition.clone(),
                position: self.position(index),
                end,
                wait_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            },
        }
    }

    /// Lets librdkafka hand over its log lines and errors; no message comes this way.
    fn serve(&self) {
        let stray = self.consumer.poll(Duration::ZERO);
        debug_assert!(
            !matches!(stray, Some(Ok(_))),
            "every partition has a queue of its own"
        );
    }
}

/// Where reading of each span begins, as a number.
fn starts(
    consumer: &BaseConsumer<Context>,
    spans: &[(Partition, Start)],
) -> Result<Vec<i64>, ReadError> {
    let from_beginning = spans.iter().filter(|(_, start)| *start == Start::Beginning);
    let asked: Vec<_> = from_beginning
        .map(|(partition, _)| partition.clone())
        .collect();
    let mut lows = lows(consumer.client(), &asked, EDGE_WAIT)?.into_iter();
    let start = |(_, start): &(Partition, Start)| match start {
        Start::At(offset) => *offset,
        Start::Beginning => lows
            .next()
            .expect("one answer for each partition asked for"),
    };
    Ok(spans.iter().map(start).collect())
}

/// The edges of partitions, from any client.
pub(super) fn watermarks<C: ClientContext>(
    client: &Client<C>,
    partitions: &[Partition],
    isolation: Isolation,
    wait: Duration,
) -> Result<Vec<Watermarks>, ReadError> {
    let low = lows(client, partitions, wait)?;
    let high = edges_or_error(client, partitions, (Edge::High, isolation), wait)?;
    Ok(low
        .into_iter()
        .zip(high)
        .map(|(low, high)| Watermarks { low, high })
        .collect())
}

fn lows<C: ClientContext>(
    client: &Client<C>,
    partitions: &[Partition],
    wait: Duration,
) -> Result<Vec<i64>, ReadError> {
    edges_or_error(client, partitions, (Edge::Low, Isolation::Committed), wait)
}

fn edges_or_error<C: ClientContext>(
    client: &Client<C>,
    partitions: &[Partition],
    edge: (Edge, Isolation),
    wait: Duration,
) -> Result<Vec<i64>, ReadError> {
    let failed = |partition: &Partition, failure| ReadError::Partition {
        partition: partition.clone(),
        failure,
    };
    let Some(first) = partitions.first() else {
        return Ok(Vec::new());
    };
    let answers =
        edges(client, partitions, edge, wait).map_err(|failure| failed(first, failure))?;
    let named = partitions.iter().zip(answers);
    named
        .map(|(partition, answer)| answer.map_err(|failure| failed(partition, failure)))
        .collect()
}

fn consumer(
    kafka: &KafkaConfig,
    name: &str,
    isolation: Isolation,
) -> Result<BaseConsumer<Context>, Failure> {
    let isolation = match isolation {
        Isolation::Committed => "read_committed",
        Isolation::Uncommitted => "read_uncommitted",
    };
    // librdkafka assigns partitions only to a client with a group's name; none is joined, and
    // nothing is committed.
    let consumer = kafka
        .client(name)
        .set("group.id", format!("pulse.reader.{name}"))
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "100000")
        .set("queued.max.messages.kbytes", "65536")
        .create_with_context(Context)?;
    Ok(consumer)
}
