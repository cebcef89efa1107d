//! Two ways to the brokers, and which one a request takes.
//!
//! Alone, a record should wait for nobody; among many it is cheaper to wait 5 ms for company, since
//! brokers and we pay by the batch. A producer's linger cannot be changed, so there are two.
//! Between requests that are on their way at the same time nobody promises an order; one that
//! begins after another was answered comes after it, whichever way each took.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runtime::kafka::publisher::{PublisherError, Undelivered};
use runtime::kafka::{KafkaConfig, Outgoing, Publisher, PublisherSettings};

/// From so many requests at the same time on, all wait for company.
const REQUESTS_MANY: usize = 128;
/// A request of so many records is company enough for itself, and its answer can wait a little.
const RECORDS_MANY: usize = 16;
/// The wait for company.
const LINGER: Duration = Duration::from_millis(5);
/// Kilobytes that may wait inside each.
const QUEUE_KILOBYTES: u32 = 48 * 1_024;

/// The ways to the brokers.
pub(super) struct Publishers {
    eager: Publisher,
    patient: Publisher,
    requests: AtomicUsize,
}

impl Publishers {
    /// Ways to these brokers; a record may take `timeout` until it is acknowledged.
    ///
    /// # Errors
    /// When librdkafka refuses the settings.
    pub(super) fn new(
        kafka: &KafkaConfig,
        client_id: &str,
        timeout: Duration,
    ) -> Result<Self, PublisherError> {
        let publisher = |name: &str, linger| {
            let mut settings = PublisherSettings::new(&format!("{client_id}-{name}"));
            settings.linger = linger;
            settings.timeout = timeout;
            settings.queue_kilobytes = QUEUE_KILOBYTES;
            Publisher::new(kafka, &settings)
        };
        Ok(Self {
            eager: publisher("eager", Duration::ZERO)?,
            patient: publisher("patient", LINGER)?,
            requests: AtomicUsize::new(0),
        })
    }

    /// Publishes a request's records in their order; returns those that were not acknowledged.
    pub(super) async fn publish(&self, records: &[Outgoing<'_>]) -> Vec<Undelivered> {
        let under_way = UnderWay::begin(&self.requests);
        let is_crowded = under_way.count >= REQUESTS_MANY || records.len() >= RECORDS_MANY;
        let publisher = match is_crowded {
            true => &self.patient,
            false => &self.eager,
        };
        publisher.publish(records).await
    }

    /// The way for what nobody waits for.
    pub(super) fn patient(&self) -> &Publisher {
        &self.patient
    }
}

/// Counts a request for as long as it lives, whoever gives it up.
struct UnderWay<'a> {
    requests: &'a AtomicUsize,
    count: usize,
}

impl<'a> UnderWay<'a> {
    fn begin(requests: &'a AtomicUsize) -> Self {
        let count = requests.fetch_add(1, Ordering::Relaxed) + 1;
        Self { requests, count }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
