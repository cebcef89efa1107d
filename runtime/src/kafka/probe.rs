//! Whether the brokers answer, and why not: what `/health/ready` says about Kafka.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;

use super::client::KafkaConfig;
use super::context::{log, report, serve};
use super::failure::Failure;

/// A client that does nothing but ask for the cluster's brokers.
pub struct Probe {
    consumer: BaseConsumer<Refusals>,
}

impl Probe {
    /// A probe of these brokers.
    ///
    /// # Errors
    /// When librdkafka refuses the settings, a certificate file for instance.
    pub fn new(kafka: &KafkaConfig) -> Result<Self, Failure> {
        let config = kafka.client("pulse-probe");
        let consumer = config.create_with_context(Refusals::default())?;
        Ok(Self { consumer })
    }

    /// How many brokers there are. Blocks for at most `wait`.
    ///
    /// # Errors
    /// When no broker answered in time; where it refused us, with its words.
    pub fn broker_count(&self, wait: Duration) -> Result<usize, Failure> {
        serve(&self.consumer);
        let refusals = self.consumer.client().context();
        refusals.take();
        // A topic that cannot exist: the answer names the brokers alone.
        let answer = self
            .consumer
            .fetch_metadata(Some("pulse.probe"), wait)
            .map_err(Failure::from);
        answer
            .map(|metadata| metadata.brokers().len())
            .map_err(|failure| {
                serve(&self.consumer);
                refusals.take().unwrap_or(failure)
            })
    }
}

/// Keeps the last reason for which a broker did not let us in: the question itself only times out.
#[derive(Default)]
struct Refusals {
    last: Mutex<Option<Failure>>,
}

impl Refusals {
    fn take(&self) -> Option<Failure> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.take()
    }
}

impl ClientContext for Refusals {
    fn log(&self, level: Level, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        report(&error, reason);
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        let failure = Failure {
            code,
            text: words(reason).to_owned(),
        };
        if failure.is_locked_out() {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(failure);
        }
    }
}

impl ConsumerContext for Refusals {}

/// A reason without the time that it took, so that the same one is the same text.
fn words(reason: &str) -> &str {
    reason
        .rsplit_once(" (after ")
        .map_or(reason, |(words, _)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_loses_its_time_and_nothing_else() {
        let check = |reason, expect| assert_eq!(words(reason), expect);
        check(
            "a:1: SSL handshake failed (check it) (after 5ms in state SSL_HANDSHAKE)",
            "a:1: SSL handshake failed (check it)",
        );
        check("Authentication failed", "Authentication failed");
    }
}
