//! Whether the brokers answer: what `/health/ready` says about Kafka.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::client::KafkaConfig;
use super::context::Context;
use super::failure::Failure;

/// A client that does nothing but ask for the cluster's brokers.
pub struct Probe {
    consumer: BaseConsumer<Context>,
}

impl Probe {
    /// A probe of these brokers.
    ///
    /// # Errors
    /// When librdkafka refuses the settings, a certificate file for instance.
    pub fn new(kafka: &KafkaConfig) -> Result<Self, Failure> {
        let consumer = kafka.client("pulse-probe").create_with_context(Context)?;
        Ok(Self { consumer })
    }

    /// How many brokers there are. Blocks for at most `wait`.
    ///
    /// # Errors
    /// When no broker answered in time.
    pub fn broker_count(&self, wait: Duration) -> Result<usize, Failure> {
        // The main queue holds this client's log lines; serve it, so that they appear.
        let stray = self.consumer.poll(Duration::ZERO);
        drop(stray);
        // A topic that cannot exist: the answer names the brokers alone.
        let metadata = self.consumer.fetch_metadata(Some("pulse.probe"), wait)?;
        Ok(metadata.brokers().len())
    }
}
