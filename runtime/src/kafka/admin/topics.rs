//! What topics are like: how many partitions, how long their records are kept, how large they are.

use std::collections::BTreeMap;

use schemas::ids::{CONTROL_TOPIC, Stream, Topic};

use crate::kafka::client::KafkaConfig;

/// The largest record of a topic that carries other topics' records inside its own: a broker's
/// default for the others is 1 MiB.
pub const ENVELOPE_BYTES_MAX: usize = 16 * 1_048_576;

const HOUR_MS: i64 = 3_600_000;

/// A topic to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions, for ever.
    pub partition_count: i32,
    /// Its settings, by Kafka's names.
    pub settings: BTreeMap<&'static str, String>,
}

impl TopicSpec {
    /// The topic of one of a tenant's streams.
    pub fn of(topic: &Topic, kafka: &KafkaConfig) -> Self {
        let spec = Self::new(
            topic.to_string(),
            partition_count(topic.stream, kafka),
            kafka,
        );
        match topic.stream {
            Stream::Events | Stream::Metrics => spec.kept(7 * 24 * HOUR_MS),
            Stream::Books => spec.kept(HOUR_MS).set("segment.ms", 600_000),
            Stream::MetricsOpen => spec.kept(HOUR_MS).set("segment.ms", 600_000),
            Stream::MetricsPartials => spec.kept(3 * 24 * HOUR_MS),
            Stream::MetricsState | Stream::MetricsPartialsState => spec.compacted(),
            Stream::Late | Stream::DeadLetters => spec
                .kept(30 * 24 * HOUR_MS)
                .set("max.message.bytes", ENVELOPE_BYTES_MAX),
        }
    }

    /// The installation's control topic.
    pub fn control(kafka: &KafkaConfig) -> Self {
        Self::new(CONTROL_TOPIC.into(), 1, kafka).compacted()
    }

    /// A topic with what all of ours have: the broker's append time, as many replicas as asked, and
    /// batches as their producers packed them: a broker that packs anew unpacks in its own memory.
    pub fn new(name: String, partition_count: i32, kafka: &KafkaConfig) -> Self {
        let spec = Self {
            name,
            partition_count,
            settings: BTreeMap::new(),
        };
        spec.set("message.timestamp.type", "LogAppendTime")
            .set("compression.type", "producer")
            .set("min.insync.replicas", kafka.min_in_sync_replicas)
    }

    /// The same, with records kept for `retention_ms`.
    pub fn kept(self, retention_ms: i64) -> Self {
        self.set("cleanup.policy", "delete")
            .set("retention.ms", retention_ms)
    }

    /// The same, with the last record of each key kept for ever.
    pub fn compacted(self) -> Self {
        self.set("cleanup.policy", "compact")
            .set("segment.bytes", 33_554_432)
            .set("min.cleanable.dirty.ratio", "0.1")
    }

    /// The same with one more setting.
    pub fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.settings.insert(name, value.to_string());
        self
    }
}

/// How many partitions a stream has: many for those whose work is shared out, one for the others.
pub fn partition_count(stream: Stream, kafka: &KafkaConfig) -> i32 {
    match stream {
        Stream::Events
        | Stream::Metrics
        | Stream::MetricsOpen
        | Stream::MetricsState
        | Stream::MetricsPartials
        | Stream::MetricsPartialsState => kafka.partition_count,
        Stream::Books | Stream::Late | Stream::DeadLetters => 1,
    }
}
