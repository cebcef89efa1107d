//! For tests of what a real broker does by luck alone: librdkafka's own broker, which refuses what
//! it is told to refuse.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::{GroupConsumer, GroupMetadata, GroupSettings, KafkaConfig};

/// A broker with these topics, its address, and a group in whose name positions are committed.
pub(crate) fn mock(
    topics: &[&str],
) -> (
    MockCluster<'static, DefaultProducerContext>,
    KafkaConfig,
    GroupMetadata,
) {
    let broker = MockCluster::new(1).unwrap();
    for topic in topics {
        broker.create_topic(topic, 1, 1).unwrap();
    }
    let kafka = KafkaConfig::plaintext(broker.bootstrap_servers());
    let settings = GroupSettings::new("group", "member", Duration::from_secs(10));
    let group = GroupConsumer::join(&kafka, settings).unwrap();
    let group = group.metadata().unwrap();
    (broker, kafka, group)
}
