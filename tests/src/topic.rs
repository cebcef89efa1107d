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
    let admin = Admin::new(kafka).unwrap();
    let count = admin.partition_count(topic, WAIT).unwrap();
    let count = count.unwrap_or_else(|| panic!("{topic} does not exist"));
    let spans: Vec<_> = (0..count)
        .map(|n| (Partition::new(topic, n), Start::Beginning))
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
