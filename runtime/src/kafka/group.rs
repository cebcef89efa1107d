//! A member of a consumer group, as the worker needs one.
//!
//! Classic protocol, cooperative-sticky, static membership: a process that is killed and comes back
//! within its session takes its partitions over at once, and a rebalance touches only those that
//! move.
//!
//! Ownership changes in [`GroupConsumer::poll`] alone, on the thread that calls it, so between two
//! calls everything that was read belongs to a partition that is still ours:
//! - a new partition stays paused until its stable committed position is known, with metadata; that
//!   may take as long as another member's transaction stays undecided, and nobody waits for it;
//! - a partition that goes is reported one call before it is given up, so that what is pending for
//!   it may still be committed;
//! - positions are always explicit: a position outside the log is an error, never a jump;
//! - what was learnt is reported, also when the call that learnt it fails on the way.
//!
//! A session that ends while nobody calls [`GroupConsumer::poll`] makes librdkafka send heartbeats
//! without a member id, which the broker answers as it answers a member whose name another has
//! taken. Only the order of the news tells the two apart: here the loss comes first. Such a member
//! joins anew; see [`GroupConsumer::poll`].
//!
//! End-of-partition marks stay off (`enable.partition.eof`): in batches, librdkafka 2.12 counts one
//! as a record, and after the next pause, as in every rebalance, it skips one.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::client::KafkaConfig;
pub use super::committed::Committed;
use super::committed::{self, Answer};
use super::failure::Failure;
use super::native::{self, Batch, PartitionQueue, Queue};
use super::offsets::{Edge, edges};
use super::reader::{Isolation, ReadError};
use super::record::Partition;
use super::transactional::Position;
use super::waker::{Alarm, Waker};
use crate::fate::Fate;
use intake::Intake;
pub use ownership::Standing;
use rebalance::{Change, Rebalances};

mod intake;
mod ownership;
mod rebalance;
mod seek;

/// A topic that does not exist. See [`GroupConsumer::look_again`].
const NO_TOPIC: &str = "pulse.rejoin";

/// Who joins which group, and how it reads.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// The group.
    pub group: String,
    /// This member's static id, unique in the group; the same after a restart.
    pub instance: String,
    /// How long the broker waits for a silent member before it gives its partitions away.
    pub session_timeout: Duration,
    /// How long the broker holds a fetch back while nothing is there.
    pub fetch_wait: Duration,
    /// How many kilobytes of each partition are read ahead at most.
    pub prefetch_kilobytes: u32,
}

impl GroupSettings {
    /// Settings that suit a worker on a live stream.
    pub fn new(group: &str, instance: &str, session_timeout: Duration) -> Self {
        Self {
            group: group.into(),
            instance: instance.into(),
            session_timeout,
            fetch_wait: Duration::from_millis(10),
            prefetch_kilobytes: 16_384,
        }
    }
}

/// The group's generation and a member's place in it, for transactions.
pub type GroupMetadata = Arc<ConsumerGroupMetadata>;

/// A change of what this member owns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The partition is ours and will be read from its committed position, or from its beginning.
    Assigned {
        /// Which.
        partition: Partition,
        /// The stable committed position, if there ever was one.
        committed: Option<Committed>,
    },
    /// The partition goes to another member. It is still ours until the next call of
    /// [`GroupConsumer::poll`]: what is pending may be committed now, and never later.
    Revoked {
        /// Which.
        partition: Partition,
    },
    /// The partition was taken from us; another member may have it already.
    Lost {
        /// Which.
        partition: Partition,
    },
}

/// Why membership failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GroupError {
    /// The consumer could not be made.
    #[error("group consumer cannot be made: {0}")]
    Join(#[source] Failure),
    /// Another process joined with this member's id: this one must go.
    #[error("member is fenced: {0}")]
    Fenced(#[source] Failure),
    /// The broker or librdkafka refused, and may not the next time.
    #[error("{act}: {failure}")]
    Refused {
        /// What was asked for.
        act: &'static str,
        /// What was answered.
        failure: Failure,
    },
}

impl GroupError {
    /// What becomes of the process.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Fenced(_) => Fate::Halt,
            // Also what a member hears whose session ended unnoticed: which of the two it is shows
            // in the next call of [`GroupConsumer::poll`].
            Self::Refused { failure, .. }
                if matches!(failure.code, Code::FencedInstanceId | Code::Fatal) =>
            {
                Fate::Retry
            }
            Self::Join(failure) | Self::Refused { failure, .. } => failure.fate(),
        }
    }

    fn refused<F: Into<Failure>>(act: &'static str) -> impl Fn(F) -> Self {
        move |failure| Self::Refused {
            act,
            failure: failure.into(),
        }
    }
}

/// A member of a group; owned by one thread.
pub struct GroupConsumer {
    // Queues before their client: fields are dropped in this order.
    owned: BTreeMap<Partition, Owned>,
    intake: Intake,
    /// The group's own queue: what arrives there rings a bell that ends [`Self::wait`].
    bell: Queue,
    waker: Waker,
    consumer: BaseConsumer<Rebalances>,
    kafka: KafkaConfig,
    settings: GroupSettings,
    topics: BTreeSet<String>,
    /// What [`Self::poll`] has not reported yet.
    events: Vec<Event>,
    /// Our session ended, and no assignment has come since.
    is_out: bool,
    /// Announced as going in the last call of [`Self::poll`].
    going: Option<Vec<Partition>>,
    has_looked_again: bool,
    /// A queue may hold more than was taken, so its bell has not rung for it.
    has_more: Cell<bool>,
}

struct Owned {
    queue: PartitionQueue,
    is_paused: bool,
}

impl GroupConsumer {
    /// Makes a member, without topics at first; see [`Self::subscribe`].
    ///
    /// # Errors
    /// When librdkafka refuses the settings. That brokers are away shows later.
    pub fn join(kafka: &KafkaConfig, settings: GroupSettings) -> Result<Self, GroupError> {
        let consumer = consumer(kafka, &settings).map_err(GroupError::Join)?;
        let waker = Waker::new().map_err(|error| {
            GroupError::Join(Failure {
                code: Code::CriticalSystemResource,
                text: error.to_string(),
            })
        })?;
        let bell = Queue::of_consumer(consumer.client().native_ptr());
        bell.wake(waker.pipe());
        Ok(Self {
            owned: BTreeMap::new(),
            intake: Intake::default(),
            bell,
            waker,
            consumer,
            kafka: kafka.clone(),
            settings,
            topics: BTreeSet::new(),
            events: Vec::new(),
            is_out: false,
            going: None,
            has_looked_again: false,
            has_more: Cell::new(false),
        })
    }

    /// Says which topics the group reads; nothing happens when they are the same as before.
    ///
    /// # Errors
    /// When librdkafka refuses a name.
    pub fn subscribe(&mut self, topics: BTreeSet<String>) -> Result<(), GroupError> {
        if topics == self.topics {
            return Ok(());
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        match names.is_empty() {
            true => self.consumer.unsubscribe(),
            false => self
                .consumer
                .subscribe(&names)
                .map_err(GroupError::refused("subscribe"))?,
        }
        self.topics = topics;
        Ok(())
    }

    /// Gives up what the last call announced, serves rebalances, and reports what changed; after an
    /// error the next call reports it.
    ///
    /// Must be called at least every few seconds, and always before [`Self::metadata`]. Where it
    /// was not, and the session ended meanwhile, everything is lost and the member joins anew.
    ///
    /// # Errors
    /// [`GroupError::Fenced`] ends the process; others may pass.
    pub fn poll(&mut self) -> Result<Vec<Event>, GroupError> {
        self.give_up();
        self.serve()?;
        self.welcome()?;
        Ok(std::mem::take(&mut self.events))
    }

    /// Takes in all that the group's coordinator has decided.
    fn serve(&mut self) -> Result<(), GroupError> {
        loop {
            let polled = self.consumer.poll(Duration::ZERO);
            // A log line is served without a word: there may be more behind it, and while brokers
            // are away there are many.
            let is_idle = polled.is_none() && self.bell.is_empty();
            let judged = match polled {
                Some(Err(error)) => judge(&error),
                Some(Ok(_)) => {
                    debug_assert!(false, "every partition has a queue of its own");
                    Ok(())
                }
                None => Ok(()),
            };
            let changes = self.consumer.context().take();
            let is_done = changes.is_empty() && is_idle;
            for change in changes {
                self.apply(change)?;
            }
            match judged {
                Err(GroupError::Fenced(failure)) if self.is_out => {
                    tracing::warn!(%failure, "the session ended unnoticed: joins anew");
                    self.join_anew()?;
                }
                judged => judged?,
            }
            if is_done {
                return Ok(());
            }
        }
    }

    /// Sleeps until something arrives for any partition or for the group, or an [`Alarm`] rings; at
    /// most `wait`. Returns at once while a partition gave as much as it was asked for.
    pub fn wait(&self, wait: Duration) {
        if !self.has_more.replace(false) && self.going.is_none() {
            self.waker.sleep(
                self.intake
                    .patience()
                    .map_or(wait, |patience| wait.min(patience)),
            );
        }
    }

    /// Rings from another thread to end [`Self::wait`].
    pub fn alarm(&self) -> Alarm {
        self.waker.alarm()
    }

    /// The partitions that are ours and whose position is known.
    pub fn owned(&self) -> impl Iterator<Item = &Partition> {
        self.owned.keys()
    }

    /// The next records of a partition, at most `max_count`; never waits. Nothing comes from a
    /// partition that is not ours, is going, or is paused.
    ///
    /// # Errors
    /// What the broker said about the partition.
    pub fn next(&self, partition: &Partition, max_count: usize) -> Result<Batch<'_>, ReadError> {
        let Some(owned) = self.owned.get(partition) else {
            return Ok(Batch::empty());
        };
        if owned.is_paused || self.is_going(partition) {
            return Ok(Batch::empty());
        }
        let batch = owned
            .queue
            .take(max_count, Duration::ZERO)
            .map_err(|failure| ReadError::of(partition, owned.queue.position(), failure))?;
        if batch.count() == max_count {
            self.has_more.set(true);
        }
        Ok(batch)
    }

    /// How far a partition was read: past its records, and past marks that are none.
    pub fn position(&self, partition: &Partition) -> Option<i64> {
        let owned = self.owned.get(partition)?;
        if let Some(position) = native::position(self.consumer.client().native_ptr(), partition) {
            owned.queue.advance(position);
        }
        Some(owned.queue.position())
    }

    /// The committed end of each partition, at or after the moment of the call: the offset up to
    /// which a reader of committed records must read to have seen all that was there.
    ///
    /// # Errors
    /// The whole request's failure; a partition's own comes in its place.
    pub fn ends(
        &self,
        partitions: &[Partition],
        wait: Duration,
    ) -> Result<Vec<Result<i64, Failure>>, Failure> {
        edges(
            self.consumer.client(),
            partitions,
            (Edge::High, Isolation::Committed),
            wait,
        )
    }

    /// The first offset that the log still holds of each partition.
    ///
    /// # Errors
    /// As [`Self::ends`].
    pub fn beginnings(
        &self,
        partitions: &[Partition],
        wait: Duration,
    ) -> Result<Vec<Result<i64, Failure>>, Failure> {
        edges(
            self.consumer.client(),
            partitions,
            (Edge::Low, Isolation::Committed),
            wait,
        )
    }

    /// The group's generation and our place in it, for a transaction. Take it afresh for each
    /// commit, after [`Self::poll`].
    ///
    /// # Errors
    /// When the client is being closed.
    pub fn metadata(&self) -> Result<GroupMetadata, GroupError> {
        self.consumer
            .group_metadata()
            .map(Arc::new)
            .ok_or_else(|| GroupError::Refused {
                act: "group metadata",
                failure: Failure::of(Code::UnknownGroup),
            })
    }

    /// The stable committed positions of `partitions`, waiting up to `wait` for transactions that
    /// are undecided.
    ///
    /// # Errors
    /// When the broker refuses, or a position does not become stable in time.
    pub fn committed(
        &self,
        partitions: &[Partition],
        wait: Duration,
    ) -> Result<Vec<Option<Committed>>, GroupError> {
        let client = self.consumer.client().native_ptr();
        let answers = committed::stable(client, &self.settings.group, partitions, wait);
        answers.map_err(GroupError::refused("committed positions"))
    }

    /// Commits positions without a transaction, for readers whose output is repeatable.
    ///
    /// # Errors
    /// When the group moved on meanwhile, or the coordinator is away.
    pub fn commit(&self, positions: &[Position]) -> Result<(), GroupError> {
        let list = Position::list(positions).map_err(GroupError::refused("commit"))?;
        self.consumer
            .commit(&list, CommitMode::Sync)
            .map_err(GroupError::refused("commit"))
    }

    /// Stops reading a partition, or goes on where it stopped. What was read ahead is kept.
    pub fn set_paused(&mut self, partition: &Partition, is_paused: bool) {
        if let Some(owned) = self.owned.get_mut(partition) {
            owned.is_paused = is_paused;
            self.has_more.set(!is_paused);
        }
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Which of the errors that concern no call end membership.
fn judge(error: &KafkaError) -> Result<(), GroupError> {
    let failure = Failure::of_crate(error);
    match (error, failure.code) {
        (_, Code::FencedInstanceId) | (KafkaError::MessageConsumptionFatal(_), _) => {
            return Err(GroupError::Fenced(failure));
        }
        (_, Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed) => {
            return Err(GroupError::Refused {
                act: "poll",
                failure,
            });
        }
        // A topic may be made after it is named here, and one of ours never is.
        (_, Code::UnknownTopicOrPartition) => tracing::debug!(%failure, "consumer reports"),
        _ => tracing::warn!(%failure, "consumer reports"),
    }
    Ok(())
}

fn consumer(
    kafka: &KafkaConfig,
    settings: &GroupSettings,
) -> Result<BaseConsumer<Rebalances>, Failure> {
    let ms = |span: Duration| span.as_millis().to_string();
    let consumer = kafka
        .client(&settings.instance)
        .set("group.id", &settings.group)
        .set("group.instance.id", &settings.instance)
        .set("session.timeout.ms", ms(settings.session_timeout))
        // A rebalance is learnt of by a heartbeat.
        .set("heartbeat.interval.ms", "500")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("auto.offset.reset", "error")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("fetch.wait.max.ms", ms(settings.fetch_wait))
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "100000")
        // Few large answers instead of many small ones: reading up is half as fast again. An answer
        // is unpacked whole before anybody looks at what waits, so it is a part of that.
        .set(
            "fetch.message.max.bytes",
            (u64::from(settings.prefetch_kilobytes) * 1_024 / 4).to_string(),
        )
        .set(
            "queued.max.messages.kbytes",
            settings.prefetch_kilobytes.to_string(),
        )
        .create_with_context(Rebalances::default())?;
    Ok(consumer)
}
