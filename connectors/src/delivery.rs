//! Outputs on their way to the log: each tenant's in a lane of its own, in their order, until every
//! in-sync replica has them.
//!
//! A lane publishes one batch at a time and tries what failed again before it takes the next, so
//! nothing is dropped that the brokers may still take. While the brokers are away the lanes fill
//! up to a bound, then whoever reads the exchange waits. A tenant whose topics alone are in trouble
//! fills its own lane alone, and no more than half of all room; what goes beyond is lost, counted
//! and logged, and the other tenants go on. So do they when a tenant has no feed any more.
//!
//! librdkafka takes up to half a minute to say that a topic is gone, forgets it within a second and
//! begins again. Records may time out in between, as they do while the brokers are away. So a lane
//! is in trouble from the first word of a topic until a whole batch is settled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use runtime::control::ControlConfig;
use runtime::fate::{Backoff, Fate};
use runtime::kafka::admin::ENVELOPE_BYTES_MAX as RECORD_BYTES_MAX;
use runtime::kafka::publisher::Undelivered;
use runtime::kafka::{Failure, KafkaConfig, Outgoing, Publisher, PublisherSettings};
use runtime::telemetry::TARGET;
use schemas::dead_letter::{DeadLetter, ENVELOPE_BYTES_MAX};
use schemas::ids::{Stream, TenantId};
use schemas::origin::{HEADER, OriginKey};
use schemas::time::{BrokerTime, EventTime};
use schemas::wire::Text;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::exchange::FrameError;
use crate::subscription::{Audience, Subscriptions};
use crate::translate::Output;

mod lane;

use lane::{BUDGET_UNITS, Lane, Offered, Parcel, Record, SPARED_UNITS, Trouble};

/// Records that may wait in one lane.
const LANE_COUNT: usize = 131_072;

/// Records in one batch.
const BATCH_COUNT: usize = 2_000;

/// The first wait before a batch is tried again, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

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
    control: ControlConfig,
    wishes: watch::Receiver<Arc<Subscriptions>>,
    budget: Arc<Semaphore>,
    lanes: BTreeMap<TenantId, Lane>,
    tasks: JoinSet<Result<(), DeliveryError>>,
    taken: Counter,
    published: Counter,
    lost: Counter,
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
    /// Deliveries by `publisher`, sealed by `control`, which count what was `[taken, published,
    /// lost]`; a tenant of whom `wishes` say nothing any more is not waited for.
    pub fn new(
        publisher: Publisher,
        control: ControlConfig,
        wishes: watch::Receiver<Arc<Subscriptions>>,
        [taken, published, lost]: [Counter; 3],
    ) -> Self {
        Self {
            publisher,
            control,
            wishes,
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
            let record = Record {
                stream,
                key: Bytes::from(key),
                value: Bytes::copy_from_slice(&value),
            };
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
        let record = Record {
            stream: Stream::DeadLetters,
            key: Bytes::from(letter.record_key()),
            value: Bytes::from(value),
        };
        for tenant in subscriptions.tenants(&Audience::Feed) {
            self.send(tenant, &record).await?;
        }
        Ok(())
    }

    /// Lets go of the lanes of tenants that want nothing any more, once they are empty.
    pub fn retain(&mut self, subscriptions: &Subscriptions) {
        self.lanes.retain(|tenant, _| subscriptions.has(tenant));
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

    async fn send(&mut self, tenant: &TenantId, record: &Record) -> Result<(), DeliveryError> {
        self.taken.inc();
        match self.lane(tenant).offer(record).await {
            Offered::Taken => Ok(()),
            Offered::Lost => {
                self.lost.inc();
                Ok(())
            }
            Offered::Ended => Err(self.failed().await),
        }
    }

    fn lane(&mut self, tenant: &TenantId) -> &mut Lane {
        self.lanes.entry(tenant.clone()).or_insert_with(|| {
            let (sender, parcels) = mpsc::channel(LANE_COUNT);
            let (trouble, troubled) = watch::channel(None);
            let runner = Runner {
                tenant: tenant.clone(),
                origin_key: self.control.origin_key(tenant),
                publisher: self.publisher.clone(),
                parcels,
                trouble,
                budget: Arc::clone(&self.budget),
                backoff: Backoff::new(BACKOFF.0, BACKOFF.1),
                published: self.published.clone(),
                lost: self.lost.clone(),
            };
            self.tasks.spawn(runner.run());
            Lane {
                tenant: tenant.clone(),
                sender,
                trouble: troubled,
                wishes: self.wishes.clone(),
                budget: Arc::clone(&self.budget),
                lost_count: 0,
            }
        })
    }
}

/// A lane's task.
struct Runner {
    tenant: TenantId,
    /// Seals what the tenant's own producers must not write.
    origin_key: OriginKey,
    publisher: Publisher,
    parcels: mpsc::Receiver<Parcel>,
    trouble: watch::Sender<Trouble>,
    budget: Arc<Semaphore>,
    backoff: Backoff,
    published: Counter,
    lost: Counter,
}

/// What an attempt left undone.
#[derive(Default)]
struct Rest {
    again: Vec<Parcel>,
    /// The first topic that is gone, or not ours to use, and what was said of it.
    gone: Option<(Arc<str>, Failure)>,
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
        // Every event of a connector has the subject of an exchange, which is reserved.
        let seals: Vec<_> = batch
            .iter()
            .map(|Parcel { record, .. }| self.origin_key.seal(&record.key, &record.value))
            .collect();
        let headers: Vec<_> = seals.iter().map(|mac| [(HEADER, mac.as_slice())]).collect();
        let records = batch
            .iter()
            .zip(&headers)
            .map(|(Parcel { record, .. }, headers)| {
                let is_event = record.stream == Stream::Events;
                Outgoing {
                    headers: if is_event { headers } else { &[] },
                    ..Outgoing::keyed(name(record.stream), &record.key, &record.value)
                }
            });
        let records: Vec<_> = records.collect();
        let undelivered = self.publisher.publish(&records).await;
        drop(records);
        self.published
            .inc_by((batch.len() - undelivered.len()) as u64);
        let mut rest = Rest::default();
        let mut parcels: Vec<_> = batch.into_iter().map(Some).collect();
        for Undelivered { index, failure } in &undelivered {
            let parcel = parcels[*index].take();
            let topic = parcel.as_ref().map_or("", |p| name(p.record.stream));
            match verdict(failure) {
                Verdict::Again => rest.again.extend(parcel),
                Verdict::AgainUnlessGone => {
                    rest.gone
                        .get_or_insert_with(|| (topic.into(), failure.clone()));
                    rest.again.extend(parcel);
                }
                Verdict::Lost => {
                    tracing::error!(topic, %failure, "record lost");
                    self.lost.inc();
                }
                Verdict::Halt => {
                    return Err(DeliveryError::Refused {
                        topic: topic.to_owned(),
                        failure: failure.clone(),
                    });
                }
            }
        }
        let failure = undelivered.first().map(|first| &first.failure);
        Ok(self.wait(rest, failure).await)
    }

    /// Waits before the next attempt and returns what it is to try; gives up on a tenant that is
    /// gone, topics and wishes.
    async fn wait(&mut self, mut rest: Rest, failure: Option<&Failure>) -> Vec<Parcel> {
        self.note(&rest);
        if let Some((topic, failure)) = &rest.gone
            && self.parcels.is_closed()
        {
            let (tenant, topic, count) = (&self.tenant, &**topic, rest.again.len());
            tracing::error!(%tenant, topic, count, %failure, "records lost: the tenant is gone");
            self.lost.inc_by(count as u64);
            return vec![];
        }
        self.make_room(&mut rest.again);
        if rest.again.is_empty() && rest.gone.is_none() {
            self.backoff.reset();
        } else {
            let (tenant, count) = (&self.tenant, rest.again.len());
            let failure = failure.map(tracing::field::display);
            tracing::warn!(%tenant, count, failure, "records not delivered, tried again");
            tokio::time::sleep(self.backoff.next_wait()).await;
        }
        rest.again
    }

    /// Says when trouble begins and ends. Neither is told by a time-out.
    fn note(&self, rest: &Rest) {
        let tenant = &self.tenant;
        self.trouble
            .send_if_modified(|held| match (&held, &rest.gone) {
                (None, Some((topic, failure))) => {
                    tracing::error!(%tenant, topic = &**topic, %failure, "topic takes no records");
                    *held = Some(Arc::clone(topic));
                    true
                }
                (Some(topic), None) if rest.again.is_empty() => {
                    tracing::info!(%tenant, topic = &**topic, "topic takes records again");
                    *held = None;
                    true
                }
                _ => false,
            });
    }

    /// Gives up what a lane in trouble holds of the room that is the others'. They may wait for it
    /// already: it was taken before anybody knew of the trouble.
    fn make_room(&mut self, again: &mut Vec<Parcel>) {
        let Some(topic) = self.trouble.borrow().clone() else {
            return;
        };
        let mut count = 0;
        while self.budget.available_permits() < SPARED_UNITS {
            let parcel = self.parcels.try_recv().ok().or_else(|| again.pop());
            if parcel.is_none() {
                break;
            }
            count += 1;
        }
        if count > 0 {
            let (tenant, topic) = (&self.tenant, &*topic);
            tracing::error!(%tenant, topic, count, "others need the room: records lost");
            self.lost.inc_by(count);
        }
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

#[cfg(test)]
mod tests;
