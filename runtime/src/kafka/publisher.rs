//! Publishing outside transactions: acknowledged by every in-sync replica, in order, once.
//!
//! One [`Publisher`] serves all tasks of a process. It takes a batch at a time and answers when
//! every record of it is safe or lost for good. Its queue has a bound: who publishes faster than
//! the brokers take waits, and nobody is told "try again".

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::util::IntoOpaque;
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::{Mutex, Notify};

use super::client::KafkaConfig;
use super::context;
pub use super::delivery::Undelivered;
use super::delivery::{Shipment, Ticket};
use super::failure::Failure;
use super::record::Outgoing;
use crate::clock::Deadline;

/// How a publisher batches and how long it tries.
#[derive(Clone, Debug)]
pub struct PublisherSettings {
    /// The name under which brokers see it.
    pub client_id: String,
    /// How long a record may wait for company: 5 ms under load, 0 when few requests are in flight.
    pub linger: Duration,
    /// How long a record may take from [`Publisher::publish`] to its acknowledgement.
    pub timeout: Duration,
    /// How many records may wait inside.
    pub queue_count: u32,
    /// How many kilobytes may wait inside.
    pub queue_kilobytes: u32,
    /// The largest record that may be published, in bytes; brokers have their own bound per topic.
    pub record_bytes_max: u32,
}

impl PublisherSettings {
    /// Settings that suit connectors and the gateway.
    pub fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.into(),
            linger: Duration::from_millis(5),
            timeout: Duration::from_secs(30),
            queue_count: 200_000,
            queue_kilobytes: 262_144,
            record_bytes_max: 8 * 1_048_576,
        }
    }
}

/// Why there is no publisher.
#[derive(Debug, thiserror::Error)]
#[error("publisher cannot be made: {0}")]
pub struct PublisherError(#[from] pub Failure);

/// Publishes batches. Cheap to clone; all clones share one queue and one connection per broker.
#[derive(Clone)]
pub struct Publisher {
    producer: ThreadedProducer<Deliveries>,
    crowd: Arc<Crowd>,
    timeout: Duration,
}

/// How long whoever waits for room relies on acknowledgements alone. librdkafka frees the records
/// of one answer together, after the last one's callback: who was woken by that callback may find
/// the queue still full, and with nothing else on its way nobody would wake it again. Nor does an
/// acknowledgement ring for whom it does not see waiting yet.
pub(super) const ROOM_LOOK: Duration = Duration::from_millis(2);

/// Tasks that wait for room in the queue: one at the door, the others behind it in their order.
#[derive(Default)]
struct Crowd {
    /// How many wait.
    count: AtomicUsize,
    /// Held by the task whose turn is next.
    door: Mutex<()>,
    /// Rung by each acknowledgement, which makes room.
    room: Notify,
}

impl Publisher {
    /// A publisher to these brokers.
    ///
    /// # Errors
    /// When librdkafka refuses the settings. That brokers are away shows at [`Self::publish`].
    pub fn new(kafka: &KafkaConfig, settings: &PublisherSettings) -> Result<Self, PublisherError> {
        let crowd = Arc::new(Crowd::default());
        let mut config = kafka.client(&settings.client_id);
        idempotent(&mut config, settings.linger, settings.record_bytes_max);
        config
            .set(
                "message.timeout.ms",
                settings.timeout.as_millis().to_string(),
            )
            .set(
                "queue.buffering.max.messages",
                settings.queue_count.to_string(),
            )
            .set(
                "queue.buffering.max.kbytes",
                settings.queue_kilobytes.to_string(),
            );
        let deliveries = Deliveries {
            crowd: Arc::clone(&crowd),
        };
        let producer = config
            .create_with_context(deliveries)
            .map_err(Failure::from)?;
        Ok(Self {
            producer,
            crowd,
            timeout: settings.timeout,
        })
    }

    /// Publishes `records` in their order and returns once each has its answer: an empty vector
    /// means that all of them are on every in-sync replica.
    ///
    /// Waits while the queue is full, at most the settings' timeout. Dropping the future does not
    /// call records back that were taken already.
    pub async fn publish(&self, records: &[Outgoing<'_>]) -> Vec<Undelivered> {
        let shipment = Shipment::new(records.len());
        let deadline = Deadline::after(self.timeout);
        if self.crowd.count.load(Ordering::Acquire) > 0 {
            // Who came earlier is served earlier.
            let _ = tokio::time::timeout(deadline.left(), self.crowd.door.lock()).await;
        }
        for (index, record) in records.iter().enumerate() {
            match self
                .producer
                .send(base_record(record, shipment.ticket(index)))
            {
                Ok(()) => {}
                Err((error, refused)) if is_full(&error) => {
                    self.send_when_there_is_room(refused, deadline).await;
                }
                Err((error, refused)) => {
                    refused
                        .delivery_opaque
                        .settle(Err(Failure::of_crate(&error)));
                }
            }
        }
        shipment.finish().await
    }

    async fn send_when_there_is_room(
        &self,
        mut record: BaseRecord<'_, [u8], [u8], Ticket>,
        deadline: Deadline,
    ) {
        self.crowd.count.fetch_add(1, Ordering::AcqRel);
        let turn = tokio::time::timeout(deadline.left(), self.crowd.door.lock()).await;
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((error, refused)) if is_full(&error) && !deadline.has_passed() => {
                    record = refused;
                }
                Err((error, refused)) => {
                    refused
                        .delivery_opaque
                        .settle(Err(Failure::of_crate(&error)));
                    break;
                }
            }
            let wait = deadline.left().min(ROOM_LOOK);
            let _ = tokio::time::timeout(wait, self.crowd.room.notified()).await;
        }
        drop(turn);
        self.crowd.count.fetch_sub(1, Ordering::AcqRel);
    }

    /// The same for a thread without a runtime.
    pub fn publish_blocking(&self, records: &[Outgoing<'_>]) -> Vec<Undelivered> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime
            .expect("a runtime without I/O needs no resources")
            .block_on(self.publish(records))
    }

    /// How many records wait for their acknowledgement.
    pub fn in_flight_count(&self) -> usize {
        usize::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }
}

/// What every producer of ours has in common.
pub(super) fn idempotent(config: &mut ClientConfig, linger: Duration, record_bytes_max: u32) {
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("linger.ms", linger.as_millis().to_string())
        .set("batch.size", "1000000")
        .set("message.max.bytes", record_bytes_max.to_string())
        .set("retry.backoff.ms", "5")
        .set("retry.backoff.max.ms", "500");
}

/// librdkafka's form of a record.
pub(super) fn base_record<'a, D: IntoOpaque>(
    record: &Outgoing<'a>,
    opaque: D,
) -> BaseRecord<'a, [u8], [u8], D> {
    let headers = (!record.headers.is_empty()).then(|| {
        let list = OwnedHeaders::new_with_capacity(record.headers.len());
        let insert = |list: OwnedHeaders, (key, value): &(&str, &[u8])| {
            list.insert(Header {
                key,
                value: Some(*value),
            })
        };
        record.headers.iter().fold(list, insert)
    });
    BaseRecord {
        topic: record.topic,
        partition: record.partition,
        payload: record.value,
        key: record.key,
        timestamp: None,
        headers,
        delivery_opaque: opaque,
    }
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(Code::QueueFull)
}

struct Deliveries {
    crowd: Arc<Crowd>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        context::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::report(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Ticket;

    fn delivery(&self, delivered: &DeliveryResult<'_>, ticket: Ticket) {
        ticket.settle(match delivered {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(Failure::of_crate(error)),
        });
        // Mostly nobody waits, and each record of a batch would ring. Who begins to wait in this
        // very moment looks again soon.
        if self.crowd.count.load(Ordering::Relaxed) > 0 {
            self.crowd.room.notify_one();
        }
    }
}
