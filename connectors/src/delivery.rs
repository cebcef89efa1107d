//! Outputs on their way to the log: each tenant's in a lane of its own, in their order, until every
//! in-sync replica has them.
//!
//! A lane publishes one batch at a time and tries what failed again before it takes the next, so
//! nothing is dropped that the brokers may still take. While the brokers are away the lanes fill
//! up to a bound, then whoever reads the exchange waits. A tenant whose topics alone are in trouble
//! fills its own lane alone; once that is full its records are lost, counted and logged, and the
//! other tenants go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use runtime::fate::{Backoff, Fate};
use runtime::kafka::admin::ENVELOPE_BYTES_MAX as RECORD_BYTES_MAX;
use runtime::kafka::{Failure, KafkaConfig, Outgoing, Publisher, PublisherSettings};
use runtime::telemetry::TARGET;
use schemas::dead_letter::{DeadLetter, ENVELOPE_BYTES_MAX};
use schemas::ids::{Stream, TenantId};
use schemas::time::{BrokerTime, EventTime};
use schemas::wire::Text;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::exchange::FrameError;
use crate::subscription::{Audience, Subscriptions};
use crate::translate::Output;

/// Bytes that may wait in all lanes of a feed together, in units of [`UNIT_BYTES`].
const BUDGET_UNITS: usize = 256 * 1024;
const UNIT_BYTES: usize = 1024;

/// Records that may wait in one lane.
const LANE_COUNT: usize = 131_072;

/// Records in one batch.
const BATCH_COUNT: usize = 2_000;

/// Why deliveries ended.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The brokers refuse this process for good.
    #[error("{topic}: {failure}")]
    Refused {
        /// Where a record should have gone.
        topic: String,
        /// What was said.
        failure: Failure,
    },
    /// A lane ended without saying why: it panicked.
    #[error("lane ended abruptly")]
    Lane,
}

/// The lanes of one feed.
pub struct Delivery {
    publisher: Publisher,
    budget: Arc<Semaphore>,
    lanes: BTreeMap<TenantId, Lane>,
    tasks: JoinSet<Result<(), DeliveryError>>,
    taken: Counter,
    published: Counter,
    lost: Counter,
}

struct Lane {
    sender: mpsc::Sender<Parcel>,
    in_trouble: Arc<AtomicBool>,
}

/// A record that waits for its acknowledgement.
struct Parcel {
    stream: Stream,
    key: Bytes,
    value: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Settings of the publisher that suits [`Delivery`]: frames come one by one, so company is not
/// waited for long.
pub fn publisher_settings(client_id: &str) -> PublisherSettings {
    PublisherSettings {
        linger: Duration::from_millis(1),
        record_bytes_max: u32::try_from(RECORD_BYTES_MAX).unwrap_or(u32::MAX),
        ..PublisherSettings::new(client_id)
    }
}

/// A publisher for deliveries.
///
/// # Errors
/// When librdkafka refuses the settings.
pub fn publisher(kafka: &KafkaConfig, client_id: &str) -> anyhow::Result<Publisher> {
    Ok(Publisher::new(kafka, &publisher_settings(client_id))?)
}

impl Delivery {
    /// Deliveries by `publisher`, which count what was `[taken, published, lost]`.
    pub fn new(publisher: Publisher, [taken, published, lost]: [Counter; 3]) -> Self {
        Self {
            publisher,
            budget: Arc::new(Semaphore::new(BUDGET_UNITS)),
            lanes: BTreeMap::new(),
            tasks: JoinSet::new(),
            taken,
            published,
            lost,
        }
    }

    /// Hands outputs to the lanes of all tenants that want them; waits while these are full.
    ///
    /// # Errors
    /// When a lane has ended.
    pub async fn dispatch(
        &mut self,
        subscriptions: &Subscriptions,
        outputs: &mut Vec<Output>,
    ) -> Result<(), DeliveryError> {
        let mut value = Vec::new();
        for output in outputs.drain(..) {
            value.clear();
            let (audience, stream, key) = match output {
                Output::Event(audience, event) => {
                    event.encode(&mut value);
                    (audience, Stream::Events, event.subject)
                }
                Output::Book(audience, book) => {
                    book.encode(&mut value);
                    (audience, Stream::Books, book.subject)
                }
            };
            let record = (stream, Bytes::from(key), Bytes::copy_from_slice(&value));
            for tenant in subscriptions.tenants(&audience) {
                self.send(tenant, &record).await?;
            }
        }
        Ok(())
    }

    /// Keeps a frame that cannot be read, for every tenant of the feed: whole, as far as a record
    /// can be; `frame` is empty where not even that much arrived.
    ///
    /// # Errors
    /// When a lane has ended.
    pub async fn dead_letter(
        &mut self,
        subscriptions: &Subscriptions,
        source: &str,
        (frame, error): (&[u8], &FrameError),
        received_at: EventTime,
    ) -> Result<(), DeliveryError> {
        let kept = &frame[..frame.len().min(RECORD_BYTES_MAX - ENVELOPE_BYTES_MAX)];
        let detail = match kept.len() == frame.len() {
            true => error.to_string(),
            false => format!("{error}; the first {} bytes are kept", kept.len()),
        };
        let letter = DeadLetter {
            source: Text::new(source),
            partition: None,
            offset: None,
            appended_at: BrokerTime::from_ms(received_at.as_ms()),
            reason: Text::new(error.reason()),
            detail: Text::new(detail.as_str()),
            replay_count: 0,
            key: None,
            value: (!kept.is_empty()).then_some(kept),
        };
        let mut value = Vec::with_capacity(kept.len() + 256);
        letter.encode(&mut value);
        let key = Bytes::from(letter.record_key());
        let record = (Stream::DeadLetters, key, Bytes::from(value));
        for tenant in subscriptions.tenants(&Audience::Feed) {
            self.send(tenant, &record).await?;
        }
        Ok(())
    }

    /// Lets go of the lanes of tenants that want nothing any more, once they are empty.
    pub fn retain(&mut self, subscriptions: &Subscriptions) {
        let wants = |tenant: &TenantId| subscriptions.tenants(&Audience::Feed).any(|t| t == tenant);
        self.lanes.retain(|tenant, _| wants(tenant));
    }

    /// Waits until a lane fails; for ever while none does.
    pub async fn failed(&mut self) -> DeliveryError {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return error,
                Some(Err(_)) => return DeliveryError::Lane,
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until everything that was handed in is acknowledged or lost for good.
    ///
    /// # Errors
    /// When a lane failed.
    pub async fn drain(mut self) -> Result<(), DeliveryError> {
        self.lanes.clear();
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|_| DeliveryError::Lane)??;
        }
        Ok(())
    }

    async fn send(
        &mut self,
        tenant: &TenantId,
        (stream, key, value): &(Stream, Bytes, Bytes),
    ) -> Result<(), DeliveryError> {
        self.taken.inc();
        let lane = self.lane(tenant);
        let (sender, in_trouble) = (lane.sender.clone(), Arc::clone(&lane.in_trouble));
        let units = (key.len() + value.len()).div_ceil(UNIT_BYTES).max(1);
        let budget = Arc::clone(&self.budget);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        if in_trouble.load(Ordering::Relaxed)
            && (sender.capacity() == 0 || budget.available_permits() < BUDGET_UNITS / 2)
        {
            // Its topics are in trouble, not the brokers: the others must not wait for it.
            self.lost.inc();
            return Ok(());
        }
        let room = budget.acquire_many_owned(units).await;
        let parcel = Parcel {
            stream: *stream,
            key: key.clone(),
            value: value.clone(),
            _room: room.expect("the budget is never closed"),
        };
        match sender.send(parcel).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failed().await),
        }
    }

    fn lane(&mut self, tenant: &TenantId) -> &Lane {
        self.lanes.entry(tenant.clone()).or_insert_with(|| {
            let (sender, parcels) = mpsc::channel(LANE_COUNT);
            let in_trouble = Arc::new(AtomicBool::new(false));
            let runner = Runner {
                tenant: tenant.clone(),
                publisher: self.publisher.clone(),
                parcels,
                in_trouble: Arc::clone(&in_trouble),
                backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
                published: self.published.clone(),
                lost: self.lost.clone(),
            };
            self.tasks.spawn(runner.run());
            Lane { sender, in_trouble }
        })
    }
}

/// A lane's task.
struct Runner {
    tenant: TenantId,
    publisher: Publisher,
    parcels: mpsc::Receiver<Parcel>,
    in_trouble: Arc<AtomicBool>,
    backoff: Backoff,
    published: Counter,
    lost: Counter,
}

/// What to do with a record that was not written.
enum Verdict {
    Again,
    AgainUnlessGone,
    Lost,
    Halt,
}

impl Runner {
    async fn run(mut self) -> Result<(), DeliveryError> {
        let mut batch = Vec::new();
        while self.parcels.recv_many(&mut batch, BATCH_COUNT).await > 0 {
            while !batch.is_empty() {
                batch = self.publish(batch).await?;
            }
        }
        Ok(())
    }

    /// Publishes a batch and returns what must be tried again.
    #[tracing::instrument(
        target = TARGET,
        level = "debug",
        skip_all,
        fields(tenant = %self.tenant, record_count = batch.len())
    )]
    async fn publish(&mut self, batch: Vec<Parcel>) -> Result<Vec<Parcel>, DeliveryError> {
        let topics = |stream| self.tenant.topic(stream).to_string();
        let names = [Stream::Events, Stream::Books, Stream::DeadLetters].map(|s| (s, topics(s)));
        let name = |stream| {
            let found = names.iter().find(|(s, _)| *s == stream);
            found.map_or("", |(_, name)| name.as_str())
        };
        let records: Vec<_> = batch
            .iter()
            .map(|parcel| Outgoing::keyed(name(parcel.stream), &parcel.key, &parcel.value))
            .collect();
        let undelivered = self.publisher.publish(&records).await;
        drop(records);
        self.published
            .inc_by((batch.len() - undelivered.len()) as u64);
        if undelivered.is_empty() {
            self.in_trouble.store(false, Ordering::Relaxed);
            self.backoff.reset();
            return Ok(vec![]);
        }
        let mut again = vec![];
        let mut is_gone = false;
        let mut parcels: Vec<_> = batch.into_iter().map(Some).collect();
        for record in &undelivered {
            let parcel = parcels[record.index].take();
            let topic = parcel.as_ref().map_or("", |p| name(p.stream));
            match verdict(&record.failure) {
                Verdict::Again => again.extend(parcel),
                Verdict::AgainUnlessGone => {
                    is_gone = true;
                    again.extend(parcel);
                }
                Verdict::Lost => {
                    tracing::error!(topic, failure = %record.failure, "record lost");
                    self.lost.inc();
                }
                Verdict::Halt => {
                    return Err(DeliveryError::Refused {
                        topic: topic.to_owned(),
                        failure: record.failure.clone(),
                    });
                }
            }
        }
        self.wait(again, is_gone, &undelivered[0].failure).await
    }

    /// Waits before the next attempt; gives up on a tenant that is gone, topics and wishes.
    async fn wait(
        &mut self,
        again: Vec<Parcel>,
        is_gone: bool,
        failure: &Failure,
    ) -> Result<Vec<Parcel>, DeliveryError> {
        self.in_trouble.store(is_gone, Ordering::Relaxed);
        let (tenant, count) = (&self.tenant, again.len());
        if is_gone && self.parcels.is_closed() {
            tracing::error!(%tenant, count, %failure, "records lost: the tenant is gone");
            self.lost.inc_by(count as u64);
            return Ok(vec![]);
        }
        if count > 0 {
            tracing::warn!(%tenant, count, %failure, "records not delivered, tried again");
            tokio::time::sleep(self.backoff.next_wait()).await;
        }
        Ok(again)
    }
}

fn verdict(failure: &Failure) -> Verdict {
    if failure.is_about_topic() {
        return Verdict::AgainUnlessGone;
    }
    match failure.fate() {
        Fate::Retry => Verdict::Again,
        Fate::Reject => Verdict::Lost,
        Fate::Halt => Verdict::Halt,
    }
}
