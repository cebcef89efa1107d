//! What was once written stays readable: each released schema and records of it, as files.
//!
//! `golden/<id>-<name>-v<version>.avsc` is a schema as it was released, docs apart, and `.hex`
//! holds
//! records of it. Nobody edits them; a new schema adds files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use schemas::book::{Book, Level};
use schemas::control::ControlRecord;
use schemas::dead_letter::DeadLetter;
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::late::Late;
use schemas::metric::{self, Detail, MetricHead};
use schemas::sketch::{Distinct, Quantiles, Sketch};
use schemas::time::{BrokerTime, EventTime, Span, Width};
use schemas::wire::{SchemaId, Text};

use crate::fingerprint::fingerprint;
use crate::{codecs, reference};

/// Each released schema, its files, and the CRC-64-AVRO of its parsing canonical form.
pub(crate) const RELEASED: [(SchemaId, &str, u64); 7] = [
    (SchemaId::Event, "1-event-v1", 0xe5e7_0442_2ca8_beb4),
    (SchemaId::Metric, "2-metric-v1", 0xbb09_648d_c50c_c049),
    (SchemaId::Book, "3-book-v1", 0x7b94_72cb_986b_1615),
    (SchemaId::Late, "4-late-v1", 0x424e_938b_907c_b47b),
    (
        SchemaId::DeadLetter,
        "5-dead_letter-v1",
        0x0638_258b_0315_b8b8,
    ),
    (SchemaId::Control, "6-control-v1", 0xfdcc_c537_9c0e_65b8),
    (
        SchemaId::MetricDetail,
        "7-metric_detail-v1",
        0x2dc0_3a00_07cc_1b20,
    ),
];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name)
}

/// A released schema as it was.
pub(crate) fn schema(name: &str) -> serde_json::Value {
    let path = file(&format!("{name}.avsc"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// The records of a file by their names.
pub(crate) fn records(name: &str) -> BTreeMap<String, Vec<u8>> {
    let path = file(&format!("{name}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut records = BTreeMap::new();
    let mut record = String::new();
    for line in text.lines() {
        match line.strip_suffix(':') {
            Some(name) => record = name.to_owned(),
            None => records
                .entry(record.clone())
                .or_insert_with(Vec::new)
                .extend(unhex(line)),
        }
    }
    records
}

/// The bytes of hexadecimal digits.
pub(crate) fn unhex(line: &str) -> impl Iterator<Item = u8> {
    let pairs = line.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
}

fn hex(records: &BTreeMap<String, Vec<u8>>) -> String {
    let mut text = String::new();
    for (name, record) in records {
        writeln!(text, "{name}:").unwrap();
        for line in record.chunks(40) {
            line.iter()
                .for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
    }
    text
}

#[test]
fn released_schemas_do_not_change() {
    for (id, name, print) in RELEASED {
        let mut ours: serde_json::Value = serde_json::from_str(id.json()).unwrap();
        strip_docs(&mut ours);
        assert_eq!(
            ours,
            schema(name),
            "{name} was released: a change of it is a new schema with an id of its own"
        );
        assert_eq!(fingerprint(&ours), print, "{name}");
        assert!(name.starts_with(&format!("{}-", id.number())), "{name}");
    }
}

/// A doc may be made better; it changes no byte.
fn strip_docs(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(parts) => {
            parts.remove("doc");
            parts.values_mut().for_each(strip_docs);
        }
        serde_json::Value::Array(parts) => parts.iter_mut().for_each(strip_docs),
        _ => {}
    }
}

#[test]
fn released_records_stay_readable() {
    for (id, name, _) in RELEASED {
        let records = records(name);
        assert!(!records.is_empty(), "{name}");
        for (record, bytes) in records {
            let ours = codecs::decode(id, &bytes);
            let theirs = reference::read(id, &bytes[5..]);
            assert!(ours.is_ok(), "{name}, {record}: {ours:?}");
            assert_eq!(ours.ok(), theirs, "{name}, {record}");
        }
    }
}

#[test]
fn the_same_values_give_the_same_bytes() {
    for (id, name, _) in RELEASED {
        let ours = written(id);
        let released = records(name);
        assert_eq!(ours, released, "{name}.hex would be\n{}", hex(&ours));
    }
}

#[test]
fn no_file_is_without_a_reader() {
    for file in fs::read_dir(file("")).unwrap() {
        let path = file.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            RELEASED.iter().any(|(_, name, _)| *name == stem),
            "{path:?}"
        );
    }
}

fn written(id: SchemaId) -> BTreeMap<String, Vec<u8>> {
    let records = match id {
        SchemaId::Event => events(),
        SchemaId::Metric => metrics(),
        SchemaId::Book => books(),
        SchemaId::Late => vec![("one", written_by(|out| late().encode(out)))],
        SchemaId::DeadLetter => letters(),
        SchemaId::Control => controls(),
        SchemaId::MetricDetail => details(),
    };
    let records = records.into_iter();
    records
        .map(|(name, record)| (name.to_owned(), record))
        .collect()
}

fn written_by(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![];
    encode(&mut out);
    out
}

fn number(text: &str) -> Decimal {
    text.parse().unwrap()
}

const OCCURRED_AT: EventTime = EventTime::from_us(1_786_309_548_228_568);
const RECEIVED_AT: EventTime = EventTime::from_us(1_786_309_548_276_001);
const APPENDED_AT: BrokerTime = BrokerTime::from_ms(1_786_309_548_281);

fn trade() -> Event {
    Event {
        event_id: "coinbase:BTC-USD:trade:1068571991".into(),
        event_type: EventType::Trade,
        name: None,
        occurred_at: OCCURRED_AT,
        received_at: RECEIVED_AT,
        severity: Severity::Info,
        source: Source {
            service: "coinbase".into(),
            ..Source::default()
        },
        subject: "coinbase:BTC-USD".into(),
        sequence: Some(1_068_571_991),
        title: None,
        trace_id: None,
        user_id: None,
        tags: [
            ("product_id", "BTC-USD"),
            ("side", "buy"),
            ("exchange", "coinbase"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into(),
        metrics: [("price", "65083.67"), ("size", "0.002186")]
            .map(|(name, value)| (name.into(), number(value)))
            .into(),
        payload: None,
    }
}

fn events() -> Vec<(&'static str, Vec<u8>)> {
    let full = Event {
        name: Some("Kauf über €100".into()),
        event_type: EventType::CustomEvent,
        severity: Severity::Critical,
        source: Source {
            service: "checkout".into(),
            host: Some("node-7".into()),
            method: Some("POST".into()),
            endpoint: Some("/orders/{id}".into()),
            version: Some("2.14.0".into()),
        },
        sequence: Some(i64::MIN),
        title: Some("an order of more than €100".into()),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        user_id: Some("user-42".into()),
        metrics: [
            ("most", "99999999999999999999.999999999999999999"),
            ("least", "-99999999999999999999.999999999999999999"),
            ("zero", "0"),
            ("fine", "-0.000000000000000001"),
        ]
        .map(|(name, value)| (name.into(), number(value)))
        .into(),
        payload: Some(format!(r#"{{"items":["{}"]}}"#, "x".repeat(100))),
        ..trade()
    };
    let least = Event {
        event_id: "1".into(),
        event_type: EventType::Gap,
        occurred_at: EventTime::from_us(0),
        received_at: EventTime::from_us(-1),
        source: Source::default(),
        subject: "s".into(),
        sequence: None,
        tags: BTreeMap::new(),
        metrics: BTreeMap::new(),
        ..trade()
    };
    vec![
        ("trade", written_by(|out| trade().encode(out))),
        ("full", written_by(|out| full.encode(out))),
        ("least", written_by(|out| least.encode(out))),
    ]
}

fn metrics() -> Vec<(&'static str, Vec<u8>)> {
    let width = Width::from_ms(60_000).unwrap();
    let fired = MetricHead {
        meter: "candles",
        meter_version: 3,
        group: "subject=coinbase:BTC-USD",
        window: Span::holding(OCCURRED_AT, width),
        window_ms: 60_000,
        is_final: true,
        revision: 1,
        deleted: false,
        partial: false,
        overflow: false,
        event_count: 1_234,
    };
    let open = MetricHead {
        is_final: false,
        revision: 0,
        partial: true,
        overflow: true,
        deleted: true,
        ..fired
    };
    let labels = || [("subject", "coinbase:BTC-USD")].into_iter();
    let values = [
        ("open", Some(number("65083.67"))),
        ("vwap", Some(number("65080.123456789012345678"))),
        ("stddev", None),
    ];
    vec![
        (
            "fired",
            written_by(|out| metric::encode(out, &fired, labels(), values.into_iter())),
        ),
        (
            "open",
            written_by(|out| metric::encode(out, &open, [].into_iter(), [].into_iter())),
        ),
    ]
}

fn details() -> Vec<(&'static str, Vec<u8>)> {
    let gap = Width::from_ms(1_800_000).unwrap();
    let session = MetricHead {
        meter: "visits",
        meter_version: 2,
        group: "subject=user-42",
        window: Span::starting(OCCURRED_AT, gap),
        window_ms: 1_800_000,
        is_final: true,
        revision: 2,
        deleted: false,
        partial: false,
        overflow: false,
        event_count: 3,
    };
    let mut quantiles = Quantiles::default();
    let values = ["-1", "0", "12.5", "12.5"].into_iter();
    values.for_each(|value| quantiles.add(number(value)));
    let mut distinct = Distinct::default();
    [7, 1 << 60].iter().for_each(|hash| distinct.add(*hash));
    let sketches = [
        ("p95", Sketch::Quantiles(quantiles)),
        ("pages", Sketch::Distinct(distinct)),
    ];
    let sketches = sketches.map(|(name, sketch)| (name, written_by(|out| sketch.encode(out))));
    let full = Detail {
        window_end: Some(RECEIVED_AT),
        sketches: sketches
            .iter()
            .map(|(name, bytes)| (*name, bytes.as_slice())),
    };
    let empty = Detail {
        window_end: None,
        sketches: [].into_iter(),
    };
    let labels = || [("subject", "user-42")].into_iter();
    let values = || [("p95", Some(number("12.5"))), ("pages", None)].into_iter();
    let write = |out: &mut Vec<u8>| {
        metric::encode_detailed(out, &session, labels(), values(), full);
    };
    let write_empty = |out: &mut Vec<u8>| {
        metric::encode_detailed(out, &session, labels(), values(), empty);
    };
    vec![
        ("session", written_by(write)),
        ("empty", written_by(write_empty)),
    ]
}

fn books() -> Vec<(&'static str, Vec<u8>)> {
    let level = |bid, price, quantity| Level {
        bid,
        price: number(price),
        quantity: number(quantity),
    };
    let snapshot = Book {
        subject: "coinbase:BTC-USD".into(),
        occurred_at: OCCURRED_AT,
        received_at: RECEIVED_AT,
        snapshot: true,
        levels: vec![
            level(true, "65083.66", "0.5"),
            level(false, "65083.68", "12"),
            level(false, "65084", "0"),
        ],
    };
    let empty = Book {
        snapshot: false,
        levels: vec![],
        ..snapshot.clone()
    };
    vec![
        ("snapshot", written_by(|out| snapshot.encode(out))),
        ("empty", written_by(|out| empty.encode(out))),
    ]
}

fn late() -> Late<'static> {
    Late {
        topic: Text::new("pulse.demo.events"),
        partition: 3,
        offset: 9_007_199_254_740_993,
        appended_at: APPENDED_AT,
        event_id: Text::new("coinbase:BTC-USD:trade:1068571991"),
        event_type: Text::new("trade"),
        subject: Text::new("coinbase:BTC-USD"),
        occurred_at: OCCURRED_AT,
        limit_at: RECEIVED_AT,
        event: &[0, 0, 0, 0, 1, 0xff],
    }
}

fn letters() -> Vec<(&'static str, Vec<u8>)> {
    let record = DeadLetter {
        source: Text::new("pulse.demo.events"),
        partition: Some(i32::MAX),
        offset: Some(0),
        appended_at: APPENDED_AT,
        reason: Text::new("truncated"),
        detail: Text::new("body ends inside field tags"),
        replay_count: 2,
        key: Some(&[]),
        value: Some(&[0, 0, 0, 0, 1, 0x80]),
    };
    let frame = DeadLetter {
        source: Text::new("coinbase:feed"),
        partition: None,
        offset: None,
        replay_count: 0,
        key: None,
        value: None,
        ..record
    };
    vec![
        ("record", written_by(|out| record.encode(out))),
        ("frame", written_by(|out| frame.encode(out))),
    ]
}

fn controls() -> Vec<(&'static str, Vec<u8>)> {
    let set = ControlRecord {
        version: 2,
        changed_at: OCCURRED_AT,
        body: Some(Text::new(r#"{"name":"Demo"}"#)),
        mac: &[0xa5; 32],
    };
    let deleted = ControlRecord {
        body: None,
        mac: &[],
        ..set
    };
    vec![
        ("set", written_by(|out| set.encode(out))),
        ("deleted", written_by(|out| deleted.encode(out))),
    ]
}
