//! The real log: a group consumer, a transactional producer on a thread of its own, and readers for
//! restores.
//!
//! Each restore opens readers of its own, on the partition's state and on the records since; both
//! end where the log stood when they were asked for, so a restore always ends.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::time::Duration;

use schemas::ids::{Offset, Stream, TenantId, Topic};
use schemas::origin::OriginKey;
use schemas::time::BrokerTime;

use super::committer::Committer;
use super::log::{Committed, Log, LogError, Outcome, Ownership, SEEK, Sealed, TOGETHER};
use crate::clock::{self, Deadline};
use crate::control::ControlConfig;
use crate::fate::Fate;
use crate::kafka::failure::Failure;
use crate::kafka::group::GroupError;
use crate::kafka::reader::ReadError;
use crate::kafka::transactional::TransactionError;
use crate::kafka::{
    self, Admin, Event, GroupConsumer, GroupSettings, Isolation, KafkaConfig, Partition, Position,
    Reader, Start, Transactional, TransactionalSettings,
};
use crate::step::{Incoming, Place, Step};
use crate::watchdog::Watchdog;

/// How long one question to the broker may take.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a restore may make no progress.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one partition is read before the others, the group and the commit have their turn.
const READ_MAX: Duration = Duration::from_millis(250);
/// How long brokers that did not answer are not asked again where logs end: that is asked for each
/// partition, many times a second, and each time waited for.
const SILENCE: Duration = Duration::from_secs(1);

/// Who joins which group, and writes under which name.
#[derive(Clone, Debug)]
pub struct KafkaLogSettings {
    /// Membership.
    pub group: GroupSettings,
    /// Transactions.
    pub transactional: TransactionalSettings,
    /// What tells which records are our own.
    pub control: ControlConfig,
}

/// The log of one kind of step.
pub struct KafkaLog<S: Step> {
    kafka: KafkaConfig,
    control: ControlConfig,
    /// Ends before the membership does.
    committer: Committer,
    consumer: GroupConsumer,
    admin: Admin,
    partitions: BTreeMap<Place, (Partition, OriginKey)>,
    partition_counts: BTreeMap<TenantId, i32>,
    /// The brokers did not say where a log ends, and are not asked before this.
    silent_until: Option<Deadline>,
    watchdog: Option<Watchdog>,
    step: PhantomData<S>,
}

impl<S: Step> KafkaLog<S> {
    /// Takes the producer's name over and joins the group.
    ///
    /// # Errors
    /// When the broker is away or refuses.
    pub fn open(kafka: &KafkaConfig, settings: &KafkaLogSettings) -> Result<Self, LogError> {
        let producer = Transactional::open(kafka, settings.transactional.clone())
            .map_err(|error| transaction("open", &error))?;
        let consumer = GroupConsumer::join(kafka, settings.group.clone())
            .map_err(|error| group("join", &error))?;
        let committer = Committer::start(producer, consumer.alarm()).map_err(|error| LogError {
            act: "open",
            reason: format!("no thread for commits: {error}"),
            fate: Fate::Retry,
        })?;
        let admin = Admin::new(kafka).map_err(|error| LogError {
            act: "open",
            reason: error.to_string(),
            fate: error.fate(),
        })?;
        Ok(Self {
            kafka: kafka.clone(),
            control: settings.control.clone(),
            consumer,
            committer,
            admin,
            partitions: BTreeMap::new(),
            partition_counts: BTreeMap::new(),
            silent_until: None,
            watchdog: None,
            step: PhantomData,
        })
    }

    /// Lets a watchdog know whenever a call begins, and that a long one goes on: every one of them
    /// has a bound, however long the brokers are away.
    ///
    /// Another one, `commits`, watches over commits from their beginning to their end.
    pub fn watched_by(mut self, watchdog: Watchdog, commits: Watchdog) -> Self {
        self.watchdog = Some(watchdog);
        self.committer.watched_by(commits);
        self
    }

    /// The member of the group.
    pub fn member(&self) -> &GroupConsumer {
        &self.consumer
    }

    fn is_alive(&self) {
        self.watchdog.iter().for_each(Watchdog::is_alive);
    }

    /// The same from within a long read, now and then.
    fn is_alive_at(&self, offset: i64) {
        if offset % 1_024 == 0 {
            self.is_alive();
        }
    }

    fn partition(&self, place: &Place) -> Partition {
        self.partitions
            .get(place)
            .map(|(partition, _)| partition.clone())
            .unwrap_or_else(|| partition(place, S::READS))
    }

    fn ownership(&mut self, event: Event) -> Option<Ownership> {
        let (Event::Assigned { partition, .. }
        | Event::Revoked { partition }
        | Event::Lost { partition }) = &event;
        let Ok(Topic { tenant, stream: _ }) = partition.topic.parse() else {
            tracing::error!(topic = %partition.topic, "a topic that nobody subscribed to");
            return None;
        };
        let place = Place {
            tenant,
            partition: partition.number,
        };
        Some(match event {
            Event::Assigned {
                partition,
                committed,
            } => {
                let key = self.control.origin_key(&place.tenant);
                self.partitions.insert(place.clone(), (partition, key));
                let committed = committed.map(|c| Committed {
                    offset: c.offset,
                    metadata: String::from_utf8_lossy(&c.metadata).into_owned(),
                });
                Ownership::Assigned(place, committed)
            }
            Event::Revoked { .. } => Ownership::Revoked(place),
            Event::Lost { .. } => Ownership::Lost(place),
        })
    }
}

impl<S: Step> Log for KafkaLog<S> {
    fn poll(&mut self) -> Result<Vec<Ownership>, LogError> {
        self.is_alive();
        let events = self
            .consumer
            .poll()
            .map_err(|error| group("poll", &error))?;
        Ok(events
            .into_iter()
            .filter_map(|event| self.ownership(event))
            .collect())
    }

    fn follow(&mut self, tenants: &BTreeSet<TenantId>) -> Result<(), LogError> {
        let topics = tenants
            .iter()
            .map(|tenant| tenant.topic(S::READS).to_string())
            .collect();
        self.consumer
            .subscribe(topics)
            .map_err(|error| group("subscribe", &error))
    }

    fn now(&self) -> BrokerTime {
        BrokerTime::from_ms(clock::now_ms())
    }

    fn partition_count(&mut self, place: &Place) -> Result<i32, LogError> {
        if let Some(count) = self.partition_counts.get(&place.tenant) {
            return Ok(*count);
        }
        let topic = place.tenant.topic(S::READS).to_string();
        let counted = self.admin.partition_count(&topic, QUESTION);
        let count = counted.map_err(|error| LogError {
            act: "partition count",
            reason: error.to_string(),
            fate: Fate::Retry,
        })?;
        let count = count.ok_or_else(|| LogError {
            act: "partition count",
            reason: format!("topic {topic} does not exist"),
            fate: Fate::Retry,
        })?;
        self.partition_counts.insert(place.tenant.clone(), count);
        Ok(count)
    }

    fn read(
        &mut self,
        place: &Place,
        count_max: usize,
        each: &mut dyn FnMut(&[Incoming<'_>]) -> usize,
    ) -> Result<usize, LogError> {
        let Some((partition, key)) = self.partitions.get(place) else {
            return Ok(0);
        };
        let batch = self
            .consumer
            .next(partition, count_max)
            .map_err(|error| read(&error))?;
        let mut count = 0;
        let mut records = batch.records().map(|record| Incoming::of(record, key));
        let mut few = Vec::with_capacity(TOGETHER);
        let deadline = Deadline::after(READ_MAX);
        let stopped_at = loop {
            few.clear();
            few.extend(records.by_ref().take(TOGETHER));
            let taken = each(&few);
            count += taken;
            let stopped = few.get(taken);
            if stopped.is_some() || few.len() < TOGETHER {
                break stopped.map(|record| record.offset);
            }
            self.watchdog.iter().for_each(Watchdog::is_alive);
            if deadline.has_passed() {
                break records.next().map(|record| record.offset);
            }
        };
        drop((records, few));
        drop(batch);
        if let Some(offset) = stopped_at {
            self.consumer
                .seek(partition, offset)
                .map_err(|error| group(SEEK, &error))?;
        }
        Ok(count)
    }

    fn seek(&mut self, place: &Place, to: Offset) -> Result<(), LogError> {
        self.is_alive();
        self.consumer
            .seek(&self.partition(place), to)
            .map_err(|error| group(SEEK, &error))
    }

    fn is_at_end(&mut self, place: &Place) -> Result<bool, LogError> {
        self.is_alive();
        let Some((partition, _)) = self.partitions.get(place) else {
            return Ok(false);
        };
        let failed = |failure: &Failure| LogError {
            act: "end",
            reason: format!("{partition}: {failure}"),
            fate: Fate::Retry,
        };
        if self.silent_until.is_some_and(|until| !until.has_passed()) {
            return Err(LogError {
                act: "end",
                reason: format!("{partition}: no broker answers"),
                fate: Fate::Retry,
            });
        }
        let asked = std::slice::from_ref(partition);
        let ends = self.consumer.ends(asked, SILENCE).map_err(|failure| {
            self.silent_until = Some(Deadline::after(SILENCE));
            failed(&failure)
        })?;
        let end = match &ends[0] {
            Ok(end) => *end,
            Err(failure) => return Err(failed(failure)),
        };
        Ok(self
            .consumer
            .position(partition)
            .is_some_and(|position| position >= end))
    }

    fn commit(&mut self, batches: Vec<Sealed>) {
        self.is_alive();
        let positions = batches
            .iter()
            .map(|batch| Position {
                partition: self.partition(&batch.place),
                offset: batch.next,
                metadata: batch.metadata.to_string(),
            })
            .collect();
        // The generation of this moment: should the group move on, the broker refuses the commit.
        let metadata = self.consumer.metadata().map_err(|error| error.to_string());
        self.committer.begin(batches, positions, metadata);
    }

    fn ended(&mut self, wait_ms: u64) -> Option<(Vec<Sealed>, Outcome)> {
        self.is_alive();
        self.committer.ended(Duration::from_millis(wait_ms))
    }

    fn renew(&mut self) -> Result<(), LogError> {
        self.is_alive();
        self.committer
            .renew()
            .map_err(|error| transaction("renew", &error))
    }

    fn committed(&mut self, places: &[Place]) -> Result<Vec<Option<Committed>>, LogError> {
        let partitions: Vec<Partition> = places.iter().map(|place| self.partition(place)).collect();
        let committed = self.consumer.committed(&partitions, QUESTION);
        let committed = committed.map_err(|error| group("committed", &error))?;
        let own = |c: kafka::Committed| Committed {
            offset: c.offset,
            metadata: String::from_utf8_lossy(&c.metadata).into_owned(),
        };
        Ok(committed
            .into_iter()
            .map(|committed| committed.map(own))
            .collect())
    }

    fn beginning(&mut self, place: &Place) -> Result<Offset, LogError> {
        let failed = |failure: Failure| LogError {
            act: "beginning",
            reason: failure.to_string(),
            fate: Fate::Retry,
        };
        let beginnings = self.consumer.beginnings(&[self.partition(place)], QUESTION);
        beginnings.map_err(failed)?.remove(0).map_err(failed)
    }

    fn restore(
        &mut self,
        place: &Place,
        each: &mut dyn FnMut(&[u8], Option<&[u8]>),
    ) -> Result<(), LogError> {
        self.is_alive();
        let spans = [(partition(place, S::STATE), Start::Beginning)];
        let reader = Reader::open(&self.kafka, "restore", Isolation::Committed, &spans)
            .map_err(|error| read(&error))?;
        let edges = reader
            .watermarks(Isolation::Uncommitted, QUESTION)
            .map_err(|error| LogError {
                fate: Fate::Retry,
                ..read(&error)
            })?;
        let ends: Vec<i64> = edges.iter().map(|edges| edges.high).collect();
        reader
            .read_until(&ends, PATIENCE, |_, record| {
                self.is_alive_at(record.offset());
                each(record.key().unwrap_or_default(), record.value());
            })
            .map_err(|error| read(&error))
    }

    fn replay(
        &mut self,
        place: &Place,
        from: Offset,
        to: Offset,
        each: &mut dyn FnMut(&Incoming<'_>),
    ) -> Result<(), LogError> {
        if from >= to {
            return Ok(());
        }
        self.is_alive();
        let spans = [(self.partition(place), Start::At(from))];
        let reader = Reader::open(&self.kafka, "replay", Isolation::Committed, &spans)
            .map_err(|error| read(&error))?;
        let key = self.control.origin_key(&place.tenant);
        reader
            .read_until(&[to], PATIENCE, |_, record| {
                self.is_alive_at(record.offset());
                if record.offset() < to {
                    each(&Incoming::of(record, &key));
                }
            })
            .map_err(|error| read(&error))
    }

    fn wait(&mut self, wait_ms: u64) {
        self.consumer.wait(Duration::from_millis(wait_ms));
    }
}

fn partition(place: &Place, stream: Stream) -> Partition {
    Partition::new(&place.tenant.topic(stream).to_string(), place.partition)
}

fn group(act: &'static str, error: &GroupError) -> LogError {
    LogError {
        act,
        reason: error.to_string(),
        fate: error.fate(),
    }
}

fn read(error: &ReadError) -> LogError {
    LogError {
        act: "read",
        reason: error.to_string(),
        fate: error.fate(),
    }
}

fn transaction(act: &'static str, error: &TransactionError) -> LogError {
    LogError {
        act,
        reason: error.to_string(),
        fate: error.fate(),
    }
}
