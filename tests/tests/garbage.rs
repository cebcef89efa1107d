//! What nobody can use ends in the dead letters, whole and with its reason, and the rest flows on.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::collections::BTreeMap;

use runtime::kafka::{Outgoing, Publisher, PublisherSettings};
use schemas::control::Limits;
use schemas::dead_letter::{DeadLetter, RECORD_BYTES_MAX};
use schemas::ids::Stream;
use schemas::meter::built_in;
use schemas::murmur2::partition_of;
use tests::trades::{self, Trade};
use tests::{Installation, topic};

/// The largest value that a broker takes with its settings as they come, less key and overhead.
const LARGEST: usize = 1_048_576 - 200;

/// What stands for a record without a value.
const TOMBSTONE: &[u8] = b"a tombstone";

fn trade(subject: &str, id: i64, at_us: i64) -> Trade {
    let unit = 1_000_000_000_000_000_000;
    Trade {
        subject: subject.into(),
        at_us,
        id,
        price: 7 * unit,
        size: unit,
    }
}

/// Garbage by the reason that it must be refused with.
fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    let (_, good) = trades::record(&trade("test:A", 1, 1_790_000_000_000_000));
    let changed = |at: usize, byte: u8| {
        let mut value = good.clone();
        value[at] = byte;
        value
    };
    let huge_length = [
        &good[..5],
        &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ];
    let dated = |at_us| trades::record(&trade("test:A", 2, at_us)).1;
    let mut largest = vec![0x5a; LARGEST];
    largest[..5].copy_from_slice(&good[..5]);
    // A metric's decimal of no bytes is no number: what a producer might make of NaN.
    let mut not_a_number = good[..good.len() - 1].to_vec();
    let price = not_a_number.windows(5).position(|w| w == b"price").unwrap() + 5;
    not_a_number.splice(price..=price + usize::from(not_a_number[price] / 2), [0]);
    not_a_number.push(0);
    vec![
        ("no_frame", b"{}".to_vec()),
        ("no_frame", vec![]),
        ("wrong_magic", changed(0, b'{')),
        ("unknown_schema", changed(4, 99)),
        ("unknown_schema", changed(1, 1)),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("truncated", huge_length.concat()),
        ("invalid_field", largest),
        ("trailing_bytes", [&good[..], b"x"].concat()),
        ("invalid_field", not_a_number),
        // 9999-12-31T23:59:59Z, and the year 1.
        ("future", dated(253_402_300_799_000_000)),
        ("future", dated(i64::MAX)),
        ("past", dated(-62_135_596_800_000_000)),
        ("past", dated(i64::MIN)),
    ]
}

/// Publishes a record that is larger than all that a processor can write, and small compressed:
/// the broker looks at that alone.
async fn publish_huge(installation: &Installation, events: &str) {
    let mut settings = PublisherSettings::new("huge");
    settings.record_bytes_max = 64 << 20;
    let publisher = Publisher::new(&installation.kafka(), &settings).unwrap();
    let huge = vec![0; 17 << 20];
    let refused = publisher
        .publish(&[Outgoing::keyed(events, b"test:A", &huge)])
        .await;
    assert!(refused.is_empty(), "{refused:?}");
}

/// Each value lies in a letter with its reason.
fn assert_letters(
    letters: &[topic::Owned],
    source: &str,
    mut expect: BTreeMap<String, Vec<Vec<u8>>>,
) {
    let mut found: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for letter in letters {
        let letter = DeadLetter::decode(letter.value.as_deref().unwrap()).unwrap();
        assert_eq!(letter.source.as_str(), source);
        let values = found.entry(letter.reason.as_str().to_owned()).or_default();
        values.push(letter.value.unwrap_or(TOMBSTONE).to_vec());
    }
    for values in found.values_mut().chain(expect.values_mut()) {
        values.sort();
    }
    let counts = |of: &BTreeMap<String, Vec<Vec<u8>>>| -> Vec<(String, usize)> {
        of.iter()
            .map(|(reason, values)| (reason.clone(), values.len()))
            .collect()
    };
    assert_eq!(counts(&found), counts(&expect));
    assert!(found == expect, "other bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_in_dead_letters_and_the_rest_flows_on() {
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("acme", Limits::default(), &built_in())
        .await;
    installation.role("pulse-metrics", "0", &[]).await;
    let events = tenant.topic(Stream::Events).to_string();

    let garbage = garbage();
    let mut records = vec![];
    for (_, value) in &garbage {
        records.push(Outgoing::keyed(&events, b"test:A", value));
    }
    let stray = trades::record(&trade("test:B", 3, 1_790_000_000_000_000)).1;
    let home = partition_of(b"test:B", 4);
    records.push(Outgoing::keyed(&events, b"test:B", &stray).in_partition((home + 1) % 4));
    records.push(Outgoing::tombstone(&events, b"test:A"));
    installation.publish_records(&records).await;
    publish_huge(&installation, &events).await;
    let good: Vec<Trade> = (0..50)
        .map(|id| trade("test:A", id, 1_790_000_000_000_000 + id * 100_000))
        .collect();
    let good_records: Vec<_> = good.iter().map(trades::record).collect();
    installation.publish(&events, &good_records).await;

    let total = garbage.len() + 3 + good.len();
    installation.until_counted(&[&tenant]).await;
    let kafka = installation.kafka();
    let letters = topic::read(&kafka, &tenant.topic(Stream::DeadLetters).to_string());
    let mut expect: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let no_value = ("no_frame", TOMBSTONE.to_vec());
    let huge_kept = vec![0; RECORD_BYTES_MAX - 1_024];
    let refused =
        garbage
            .into_iter()
            .chain([("wrong_partition", stray), no_value, ("size", huge_kept)]);
    for (reason, value) in refused {
        expect.entry(reason.into()).or_default().push(value);
    }
    let listed = installation.pulse(&["dlq", "list", "--tenant", tenant.as_str(), "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let counts: BTreeMap<_, _> = expect.iter().map(|(of, all)| (of, all.len())).collect();
    assert_eq!(listed["by_reason"], serde_json::json!(counts));
    assert_letters(&letters, &events, expect);
    assert_eq!(letters.len(), total - good.len());
    let fired = topic::read(&kafka, &tenant.topic(Stream::Metrics).to_string());
    let fired = trades::latest(fired.into_iter().map(|record| record.value.unwrap()));
    let short = fired
        .into_iter()
        .filter(|(key, _)| trades::SHORT_MS.contains(&key.1))
        .collect();
    trades::assert_same(
        "candles",
        &short,
        &trades::candles(&good, &trades::SHORT_MS),
    );
    installation.stop_all().await;
}
