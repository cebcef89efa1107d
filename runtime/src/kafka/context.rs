//! What librdkafka tells besides its answers: log lines and errors of a whole client.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;

/// How many of a client's events are served in one go at most.
const EVENT_COUNT_MAX: usize = 100;

/// Hands librdkafka's lines to the process's log, at its level.
pub(super) struct Context;

impl ClientContext for Context {
    fn log(&self, level: Level, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        report(&error, reason);
    }
}

/// Serves a client that reads nothing: its main queue holds its log lines and errors, which appear,
/// and leave the memory, when it is served.
pub(super) fn serve<C: ConsumerContext>(client: &BaseConsumer<C>) {
    for _ in 0..EVENT_COUNT_MAX {
        if client.poll(Duration::from_millis(1)).is_none() {
            return;
        }
    }
}

/// A line of librdkafka. What it calls an error is mostly a broker that is away, which passes.
pub(super) fn log(level: Level, facility: &str, line: &str) {
    match level {
        Level::Emerg | Level::Alert | Level::Critical => {
            tracing::error!(target: "kafka", facility, "{line}");
        }
        Level::Error | Level::Warning => tracing::warn!(target: "kafka", facility, "{line}"),
        Level::Notice | Level::Info => tracing::info!(target: "kafka", facility, "{line}"),
        Level::Debug => tracing::debug!(target: "kafka", facility, "{line}"),
    }
}

/// An error that concerns no call in particular.
pub(super) fn report(error: &KafkaError, reason: &str) {
    tracing::warn!(target: "kafka", %error, "{reason}");
}
