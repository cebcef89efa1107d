//! Where a request's records go: to the brokers, or to the disk log where the brokers are away and
//! somebody switched it on.

use std::sync::Arc;

use anyhow::Context;
use runtime::control::ControlView;
use runtime::fate::Fate;
use runtime::kafka::publisher::Undelivered;
use runtime::kafka::{Failure, KafkaConfig, Outgoing, Publisher};
use runtime::service::Service;
use schemas::ids::{Stream, TenantId, Topic};

use super::IntakeConfig;
use super::publishers::Publishers;
use crate::disk_log::{Admission, DiskLog, Outcome, Outlet, Record, Stored};
use crate::ingest::{Delivery, Prepared};
use crate::problem::FieldFault;

/// The ways.
pub(super) struct Ways {
    publishers: Arc<Publishers>,
    log: Option<Arc<DiskLog>>,
}

impl Ways {
    /// Opens them and starts what empties the disk log.
    pub(super) async fn open(
        kafka: &KafkaConfig,
        config: &IntakeConfig,
        control: ControlView,
        service: &Service,
    ) -> anyhow::Result<Self> {
        let publishers = Publishers::new(kafka, &service.member(), config.timeout)?;
        let publishers = Arc::new(publishers);
        let log = match config.disk_log.clone() {
            None => None,
            Some(config) => {
                let (metrics, health) = (service.metrics.clone(), service.health.clone());
                let opening =
                    tokio::task::spawn_blocking(move || DiskLog::open(&config, &metrics, &health));
                let log = opening.await?.context("the disk log cannot be used")?;
                Some(Arc::new(log))
            }
        };
        if let Some(log) = &log {
            let (log, shutdown) = (Arc::clone(log), service.shutdown.clone());
            let outlet = Brokers {
                publishers: Arc::clone(&publishers),
                control,
            };
            tokio::spawn(async move { log.drain(&outlet, &shutdown).await });
        }
        Ok(Self { publishers, log })
    }

    /// The way for what nobody waits for.
    pub(super) fn patient(&self) -> &Publisher {
        self.publishers.patient()
    }

    /// Sends what was not acknowledged before, and notes what became of each record.
    pub(super) async fn send(
        &self,
        tenant: &TenantId,
        prepared: &mut Prepared,
        is_repeated: impl Fn(usize) -> bool,
    ) {
        let topic = tenant.topic(Stream::Events).to_string();
        let (mut indexes, mut records, mut repeated) = (vec![], vec![], vec![]);
        indexes.reserve_exact(prepared.record_count());
        records.reserve_exact(prepared.record_count());
        for (index, key, value) in prepared.records() {
            match is_repeated(index) {
                true => repeated.push(index),
                false => {
                    indexes.push(index);
                    records.push(Outgoing::keyed(&topic, key, value));
                }
            }
        }
        let fates = self.hand_over(&topic, &records).await;
        drop(records);
        match fates {
            Fates::All(delivery) => {
                for index in indexes {
                    prepared.deliver(index, delivery);
                }
            }
            Fates::Some(exceptions, delivery) => {
                let mut exceptions = exceptions.into_iter().peekable();
                for (at, index) in indexes.into_iter().enumerate() {
                    match exceptions.next_if(|undelivered| undelivered.index == at) {
                        None => prepared.deliver(index, Delivery::Acknowledged),
                        Some(undelivered) => tell(prepared, index, &undelivered.failure, delivery),
                    }
                }
            }
        }
        for index in repeated {
            prepared.deliver(index, Delivery::Repeated);
        }
    }

    async fn hand_over(&self, topic: &str, records: &[Outgoing<'_>]) -> Fates {
        if records.is_empty() {
            return Fates::All(Delivery::Acknowledged);
        }
        let Some(log) = &self.log else {
            let undelivered = self.publishers.publish(records).await;
            return Fates::of(undelivered, Delivery::Unavailable);
        };
        match log.admit().await {
            Admission::Through => {
                let undelivered = self.publishers.publish(records).await;
                let left = undelivered.iter().filter(|one| may_pass(&one.failure));
                let left: Vec<_> = left.map(|one| stored(topic, &records[one.index])).collect();
                let delivery = store(log, &left).await;
                Fates::of(undelivered, delivery)
            }
            Admission::Behind(_place) => {
                let all: Vec<_> = records.iter().map(|record| stored(topic, record)).collect();
                Fates::All(store(log, &all).await)
            }
        }
    }
}

/// What became of the records that were handed over.
enum Fates {
    /// All of them the same.
    All(Delivery),
    /// All but these are acknowledged, and those of these that may pass later became this.
    Some(Vec<Undelivered>, Delivery),
}

impl Fates {
    fn of(undelivered: Vec<Undelivered>, delivery: Delivery) -> Self {
        match undelivered.is_empty() {
            true => Self::All(Delivery::Acknowledged),
            false => Self::Some(undelivered, delivery),
        }
    }
}

/// True when the brokers may take the record later.
fn may_pass(failure: &Failure) -> bool {
    failure.fate() != Fate::Reject
}

fn stored<'a>(topic: &'a str, record: &Outgoing<'a>) -> Record<'a> {
    Record {
        topic,
        key: record.key.unwrap_or_default(),
        value: record.value.unwrap_or_default(),
    }
}

async fn store(log: &DiskLog, records: &[Record<'_>]) -> Delivery {
    match log.append(records).await {
        Ok(()) => Delivery::Stored,
        Err(error) => {
            tracing::warn!(%error, records = records.len(), "events could not be stored");
            Delivery::Unavailable
        }
    }
}

fn tell(prepared: &mut Prepared, index: usize, failure: &Failure, delivery: Delivery) {
    match may_pass(failure) {
        true => prepared.deliver(index, delivery),
        false => {
            let reason = format!("the brokers refuse it for what it is: {failure}");
            prepared.withdraw(index, FieldFault::new("", reason));
        }
    }
}

/// The brokers as the disk log sees them.
struct Brokers {
    publishers: Arc<Publishers>,
    control: ControlView,
}

impl Brokers {
    /// True when nobody has this topic any more.
    fn is_gone(&self, topic: &str) -> bool {
        match topic.parse::<Topic>() {
            Ok(topic) => self.control.snapshot().tenant(&topic.tenant).is_none(),
            Err(_) => true,
        }
    }
}

impl Outlet for Brokers {
    async fn publish(&self, records: &[Stored]) -> Vec<Outcome> {
        let outgoing: Vec<_> = records
            .iter()
            .map(|record| Outgoing::keyed(record.topic(), record.key(), record.value()))
            .collect();
        let mut outcomes = vec![Outcome::Published; records.len()];
        for undelivered in self.publishers.patient().publish(&outgoing).await {
            let is_lost =
                !may_pass(&undelivered.failure) || self.is_gone(records[undelivered.index].topic());
            outcomes[undelivered.index] = match is_lost {
                true => Outcome::Gone,
                false => Outcome::Retry,
            };
        }
        outcomes
    }
}
