//! What is published is on every in-sync replica, in order, in the partition that Java would take.

use std::collections::BTreeMap;
use std::time::Duration;

use runtime::fate::Fate;
use runtime::kafka::{Outgoing, Publisher, PublisherSettings};
use schemas::murmur2::partition_of;

use crate::broker;

#[tokio::test]
async fn keys_lie_where_murmur2_says_in_the_order_of_publishing() {
    let kafka = broker::shared();
    let topic = broker::topic(&kafka, "murmur2", 4).await;
    let publisher = broker::publisher(&kafka);
    let keys: Vec<String> = (0..50).map(|n| format!("coinbase:PRODUCT-{n}")).collect();
    let values: Vec<String> = (0..2_000).map(|n| format!("{n}")).collect();
    let records: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(n, value)| {
            Outgoing::keyed(&topic, keys[n % keys.len()].as_bytes(), value.as_bytes())
        })
        .collect();
    for batch in records.chunks(300) {
        assert!(publisher.publish(batch).await.is_empty());
    }
    let mut last: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let found = broker::read_all(&kafka, &topic, 4);
    assert_eq!(found.len(), values.len());
    for record in found {
        let key = record.key.unwrap();
        assert_eq!(
            record.partition,
            partition_of(&key, 4),
            "{:?}",
            String::from_utf8(key)
        );
        let n: usize = String::from_utf8(record.value.unwrap())
            .unwrap()
            .parse()
            .unwrap();
        assert!(
            last.insert(key, n).is_none_or(|before| before < n),
            "out of order"
        );
    }
}

#[tokio::test]
async fn headers_tombstones_and_chosen_partitions_arrive() {
    let kafka = broker::shared();
    let topic = broker::topic(&kafka, "shapes", 3).await;
    let publisher = broker::publisher(&kafka);
    let headers: [(&str, &[u8]); 2] = [("traceparent", b"00-1-2-01"), ("empty", b"")];
    let records = [
        Outgoing {
            headers: &headers,
            ..Outgoing::keyed(&topic, b"a", b"1")
        }
        .in_partition(2),
        Outgoing::tombstone(&topic, b"a").in_partition(2),
        Outgoing {
            key: None,
            ..Outgoing::keyed(&topic, b"", b"")
        }
        .in_partition(2),
    ];
    assert!(publisher.publish(&records).await.is_empty());
    let found = broker::read_all(&kafka, &topic, 3);
    assert!(found.iter().all(|record| record.partition == 2));
    let seen: Vec<_> = found
        .iter()
        .map(|r| (r.key.as_deref(), r.value.as_deref()))
        .collect();
    let expected: [(Option<&[u8]>, Option<&[u8]>); 3] = [
        (Some(b"a"), Some(b"1")),
        (Some(b"a"), None),
        (None, Some(b"")),
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        found[0].headers,
        [
            (b"traceparent".to_vec(), Some(b"00-1-2-01".to_vec())),
            (b"empty".to_vec(), Some(Vec::new()))
        ]
    );
    let now_ms = runtime::clock::now_ms();
    assert!((now_ms - 60_000..=now_ms + 1_000).contains(&found[0].appended_at_ms));
}

#[tokio::test]
async fn a_record_that_fails_is_named_and_its_neighbours_are_not_harmed() {
    let kafka = broker::shared();
    let topic = broker::topic(&kafka, "failing", 1).await;
    let missing = broker::name("missing");
    let publisher = broker::publisher(&kafka);
    let huge = broker::garbage(9_000_000);
    let records = [
        Outgoing::keyed(&topic, b"k", b"1"),
        Outgoing::keyed(&topic, b"k", &huge),
        Outgoing::keyed(&missing, b"k", b"lost"),
        Outgoing::keyed(&topic, b"k", b"2"),
    ];
    let undelivered = publisher.publish(&records).await;
    let found: Vec<_> = undelivered
        .iter()
        .map(|u| (u.index, u.failure.fate()))
        .collect();
    assert_eq!(
        found,
        [(1, Fate::Reject), (2, Fate::Retry)],
        "{undelivered:?}"
    );
    let values: Vec<_> = broker::read_all(&kafka, &topic, 1)
        .into_iter()
        .map(|record| record.value.unwrap())
        .collect();
    assert_eq!(values, [b"1", b"2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_publishes_faster_than_the_broker_takes_waits() {
    let kafka = broker::shared();
    let topic = broker::topic(&kafka, "pressure", 2).await;
    let mut settings = PublisherSettings::new("pressure");
    settings.queue_count = 64;
    settings.linger = Duration::ZERO;
    let publisher = Publisher::new(&kafka, &settings).unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (publisher, topic) = (publisher.clone(), topic.clone());
            tokio::spawn(async move {
                let keys: Vec<_> = (0..1_000).map(|n| format!("{task}-{n}")).collect();
                let records: Vec<_> = keys
                    .iter()
                    .map(|key| Outgoing::keyed(&topic, key.as_bytes(), b"v"))
                    .collect();
                publisher.publish(&records).await
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().is_empty());
    }
    // The records of an answer are freed after the last of them was told.
    broker::until(|| publisher.in_flight_count() == 0);
    let keys: std::collections::BTreeSet<_> = broker::read_all(&kafka, &topic, 2)
        .into_iter()
        .map(|record| record.key.unwrap())
        .collect();
    assert_eq!(keys.len(), 8_000, "each record is there, once");
}
