//! A topic as a reader of committed records sees it.

use std::time::Duration;

use runtime::kafka::{Admin, Isolation, KafkaConfig, Partition, Reader, Start};

/// A record with its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owned {
    /// Its partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// When the broker appended it.
    pub appended_at_ms: i64,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

const WAIT: Duration = Duration::from_secs(30);

/// All committed records of a topic, partition by partition, as of the call.
///
/// # Panics
/// When the topic is not there or cannot be read.
pub fn read(kafka: &KafkaConfig, topic: &str) -> Vec<Owned> {
    let spans: Vec<_> = partitions(kafka, topic)
        .into_iter()
        .map(|partition| (partition, Start::Beginning))
        .collect();
    let reader = Reader::open(kafka, "test", Isolation::Committed, &spans).unwrap();
    let edges = reader.watermarks(Isolation::Committed, WAIT).unwrap();
    let ends: Vec<i64> = edges.iter().map(|edges| edges.high).collect();
    let mut records = vec![];
    reader
        .read_until(&ends, WAIT, |index, record| {
            if record.offset() < ends[index] {
                records.push(Owned {
                    partition: record.partition(),
                    offset: record.offset(),
                    appended_at_ms: record.appended_at_ms(),
                    key: record.key().unwrap_or_default().to_vec(),
                    value: record.value().map(<[u8]>::to_vec),
                });
            }
        })
        .unwrap();
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// A topic as it grows: each record is handed on once.
pub struct Tail {
    reader: Reader,
}

impl Tail {
    /// From the topic's beginning.
    ///
    /// # Panics
    /// When the topic is not there or cannot be read.
    pub fn new(kafka: &KafkaConfig, topic: &str) -> Self {
        let spans: Vec<_> = partitions(kafka, topic)
            .into_iter()
            .map(|partition| (partition, Start::Beginning))
            .collect();
        let reader = Reader::open(kafka, "test-tail", Isolation::Committed, &spans).unwrap();
        Self { reader }
    }

    /// Hands on the values of what was committed since the last call.
    ///
    /// # Panics
    /// When the topic cannot be read.
    pub fn read_on(&mut self, mut each: impl FnMut(Option<&[u8]>)) {
        let edges = self.reader.watermarks(Isolation::Committed, WAIT).unwrap();
        let ends: Vec<i64> = edges.iter().map(|edges| edges.high).collect();
        let read = self
            .reader
            .read_until(&ends, WAIT, |_, record| each(record.value()));
        read.unwrap();
    }
}

/// How many records were ever committed to a topic whose records are all no marks of transactions.
///
/// # Panics
/// When the topic is not there.
pub fn count(kafka: &KafkaConfig, topic: &str) -> i64 {
    let admin = Admin::new(kafka).unwrap();
    let partitions = partitions(kafka, topic);
    let edges = admin.watermarks(&partitions, Isolation::Committed, WAIT);
    edges.unwrap().iter().map(|edges| edges.high).sum()
}

fn partitions(kafka: &KafkaConfig, topic: &str) -> Vec<Partition> {
    let admin = Admin::new(kafka).unwrap();
    let count = admin.partition_count(topic, WAIT).unwrap();
    let count = count.unwrap_or_else(|| panic!("{topic} does not exist"));
    (0..count).map(|n| Partition::new(topic, n)).collect()
}
