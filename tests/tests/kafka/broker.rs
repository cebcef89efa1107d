//! What the tests share: one broker for all of them, and clients of it with names of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use runtime::fate::Fate;
use runtime::kafka::admin::TopicSpec;
use runtime::kafka::{
    Admin, Committed, Event, GroupConsumer, GroupMetadata, GroupSettings, Isolation, KafkaConfig,
    Outcome, Partition, Publisher, PublisherSettings, Reader, Start, Transactional,
    TransactionalSettings,
};

pub(crate) use crate::shared::shared;
pub(crate) use runtime::testing::{PATIENCE, until};

/// A name that no other test has, not in an earlier run against the same broker either.
pub(crate) fn name(stem: &str) -> String {
    format!("{stem}.{:08x}", fastrand::u32(..))
}

/// Begins a transaction once the producer that takes the name over is there.
#[track_caller]
pub(crate) fn begin(producer: &mut Transactional) {
    until(|| match producer.begin() {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.fate(), Fate::Retry, "{error}");
            false
        }
    });
}

/// Bytes that no compression makes smaller; always the same.
pub(crate) fn garbage(count: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..))
        .take(count)
        .collect()
}

/// A topic of its own.
pub(crate) async fn topic(kafka: &KafkaConfig, stem: &str, partition_count: i32) -> String {
    let topic = name(stem);
    let spec = TopicSpec::new(topic.clone(), partition_count, kafka).kept(86_400_000);
    Admin::new(kafka).unwrap().ensure(&[spec]).await.unwrap();
    topic
}

pub(crate) fn publisher(kafka: &KafkaConfig) -> Publisher {
    let mut settings = PublisherSettings::new("tests");
    settings.linger = Duration::from_millis(1);
    Publisher::new(kafka, &settings).unwrap()
}

pub(crate) fn transactional_settings(id: &str) -> TransactionalSettings {
    TransactionalSettings::new(id, Duration::from_secs(60))
}

pub(crate) fn transactional(kafka: &KafkaConfig, id: &str) -> Transactional {
    Transactional::open(kafka, transactional_settings(id)).unwrap()
}

#[track_caller]
pub(crate) fn assert_committed(outcome: Outcome) {
    assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
}

/// The metadata of a group for transactions without positions.
pub(crate) fn lonely_group(kafka: &KafkaConfig) -> GroupMetadata {
    let settings = group_settings(&name("lonely"), "lonely");
    GroupConsumer::join(kafka, settings)
        .unwrap()
        .metadata()
        .unwrap()
}

pub(crate) fn group_settings(group: &str, instance: &str) -> GroupSettings {
    GroupSettings::new(group, instance, Duration::from_secs(12))
}

/// A record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) appended_at_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// All committed records of a topic, partition by partition.
pub(crate) fn read_all(kafka: &KafkaConfig, topic: &str, partition_count: i32) -> Vec<Found> {
    let spans: Vec<_> = (0..partition_count)
        .map(|n| (Partition::new(topic, n), Start::Beginning))
        .collect();
    let reader = Reader::open(kafka, "tests", Isolation::Committed, &spans).unwrap();
    let ends = reader.watermarks(Isolation::Uncommitted, PATIENCE).unwrap();
    let ends: Vec<_> = ends.iter().map(|end| end.high).collect();
    let mut found = Vec::new();
    let own = |bytes: &[u8]| bytes.to_vec();
    reader
        .read_until(&ends, PATIENCE, |_, record| {
            found.push(Found {
                partition: record.partition(),
                offset: record.offset(),
                appended_at_ms: record.appended_at_ms(),
                key: record.key().map(own),
                value: record.value().map(own),
                headers: record
                    .headers()
                    .map(|(key, value)| (own(key), value.map(own)))
                    .collect(),
            });
        })
        .unwrap();
    found.sort_by_key(|record| (record.partition, record.offset));
    found
}

/// The same, as texts.
pub(crate) fn values(kafka: &KafkaConfig, topic: &str, partition_count: i32) -> Vec<String> {
    let text = |found: Found| String::from_utf8(found.value.unwrap()).unwrap();
    read_all(kafka, topic, partition_count)
        .into_iter()
        .map(text)
        .collect()
}

/// A member of a group and all that it has read.
pub(crate) struct Member {
    pub(crate) group: GroupConsumer,
    pub(crate) seen: BTreeMap<Partition, Vec<i64>>,
}

impl Member {
    pub(crate) fn join<const N: usize>(
        kafka: &KafkaConfig,
        group: &str,
        instance: &str,
        topics: [&str; N],
    ) -> Self {
        Self::join_with(kafka, group_settings(group, instance), topics)
    }

    pub(crate) fn join_with<const N: usize>(
        kafka: &KafkaConfig,
        settings: GroupSettings,
        topics: [&str; N],
    ) -> Self {
        let mut group = GroupConsumer::join(kafka, settings).unwrap();
        group
            .subscribe(topics.into_iter().map(String::from).collect())
            .unwrap();
        Self {
            group,
            seen: BTreeMap::new(),
        }
    }

    #[track_caller]
    pub(crate) fn poll(&mut self) -> Vec<Event> {
        self.group.poll().unwrap()
    }

    pub(crate) fn owned(&self) -> usize {
        self.group.owned().count()
    }

    #[track_caller]
    pub(crate) fn until_owned(&mut self, count: usize) {
        until(|| {
            self.poll();
            self.owned() == count
        });
    }

    /// Reads what has arrived.
    pub(crate) fn read(&mut self) {
        let owned: Vec<_> = self.group.owned().cloned().collect();
        for partition in owned {
            let batch = self.group.next(&partition, 100).unwrap();
            for record in batch.records() {
                self.seen
                    .entry(partition.clone())
                    .or_default()
                    .push(record.offset());
            }
        }
    }

    pub(crate) fn committed(&self, partitions: &[Partition]) -> Vec<Option<Committed>> {
        self.group.committed(partitions, PATIENCE).unwrap()
    }
}
