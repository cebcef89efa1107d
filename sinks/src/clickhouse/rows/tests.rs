//! Records as rows.

use std::collections::BTreeMap;

use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::metric::{self, Detail, MetricHead};
use schemas::time::{BrokerTime, EventTime, Span, Width};

use super::*;
use crate::clickhouse::native::Block;
use crate::clickhouse::row_binary::{RowBytes, Walk, text_of};

const DATES: DateLimits = DateLimits {
    future_max_ms: 1_000,
    past_max_ms: 1_000_000,
};

fn origin(stream: Stream, partition: i32) -> Origin {
    let topic = format!("pulse.demo.{}", stream.as_str());
    Origin::of(&topic.into(), partition, 4).unwrap()
}

fn record(value: Option<&[u8]>) -> Incoming<'_> {
    let appended_at = BrokerTime::from_ms(1_000_000);
    Incoming {
        offset: 42,
        appended_at,
        key: Some(b"key"),
        value,
    }
}

fn event() -> Event {
    Event {
        event_id: "id-1".into(),
        event_type: EventType::Trade,
        name: None,
        occurred_at: EventTime::from_ms(999_000),
        received_at: EventTime::from_ms(999_500),
        severity: Severity::Warning,
        source: Source {
            service: "coinbase".into(),
            ..Source::default()
        },
        subject: "coinbase:BTC-USD".into(),
        sequence: Some(-1),
        title: None,
        trace_id: None,
        user_id: None,
        tags: BTreeMap::from([("side".into(), "buy".into())]),
        metrics: BTreeMap::from([("price".into(), Decimal::ONE)]),
        payload: Some("{}".into()),
    }
}

/// The partition that the event of [`event`] belongs to.
fn home() -> i32 {
    partition_of(b"coinbase:BTC-USD", 4)
}

/// The texts of a row's columns, those that are texts, by name.
fn texts(origin: &Origin, record: &Incoming<'_>) -> (Table, BTreeMap<&'static str, String>) {
    let row = read(origin, record, &DATES).unwrap();
    let (table, mut bytes) = (row.table(), RowBytes::default());
    row.write(origin, record, &mut bytes);
    let mut cells = vec![];
    let columns = table.columns();
    assert_eq!(
        Walk::new(bytes.as_slice()).row(columns, &mut cells),
        Some(bytes.as_slice())
    );
    let named = columns.iter().zip(cells);
    let texts = named.filter(|(column, _)| column.sent_as == "String");
    let texts = texts.map(|(c, cell)| (c.name, String::from_utf8_lossy(text_of(cell)).into()));
    (table, texts.collect())
}

#[test]
fn an_event_is_a_row_with_its_place() {
    let mut value = vec![];
    event().encode(&mut value);
    let (table, texts) = texts(&origin(Stream::Events, home()), &record(Some(&value)));
    assert_eq!(table, Table::Events);
    assert_eq!(texts["tenant"], "demo");
    assert_eq!(texts["subject"], "coinbase:BTC-USD");
    assert_eq!(texts["host"], "");
    assert_eq!(texts["payload"], "{}");
    assert_eq!(texts["_topic"], "pulse.demo.events");
}

#[test]
fn an_event_that_nobody_may_use_has_no_row() {
    let mut value = vec![];
    event().encode(&mut value);
    let refusal = |partition, value| {
        read(&origin(Stream::Events, partition), &record(value), &DATES)
            .err()
            .map(|r| r.reason())
    };
    assert_eq!(refusal(home(), Some(&value[..])), None);
    assert_eq!(
        refusal((home() + 1) % 4, Some(&value[..])),
        Some("wrong_partition")
    );
    assert_eq!(refusal(home(), Some(&value[..9])), Some("truncated"));
    assert_eq!(refusal(home(), None), Some("no_frame"));
    let mut late = vec![];
    Event {
        occurred_at: EventTime::from_ms(-1),
        ..event()
    }
    .encode(&mut late);
    assert_eq!(refusal(home(), Some(&late[..])), Some("past"));
}

fn metric(is_final: bool, revision: i64) -> Vec<u8> {
    let start = EventTime::from_ms(60_000);
    let head = MetricHead {
        meter: "candles",
        meter_version: 1,
        group: "subject=coinbase:BTC-USD",
        window: Span::starting(start, Width::from_ms(1_000).unwrap()),
        window_ms: 1_000,
        is_final,
        revision,
        deleted: false,
        partial: false,
        overflow: true,
        event_count: 3,
    };
    let mut value = vec![];
    let labels = [("subject", "coinbase:BTC-USD")];
    let values = [("open", Some(Decimal::ONE)), ("volume", None)];
    metric::encode(&mut value, &head, labels.into_iter(), values.into_iter());
    value
}

#[test]
fn a_record_that_cannot_be_read_is_a_dead_letter_with_its_place() {
    let check = |stream, value: Option<&[u8]>, reason: &str| {
        let (table, texts) = texts(&origin(stream, 0), &record(value));
        assert_eq!(table, Table::DeadLetters, "{reason}");
        assert_eq!(texts["reason"], reason);
        assert_eq!(texts["source"], format!("pulse.demo.{}", stream.as_str()));
        assert_eq!(texts["_topic"], texts["source"]);
    };
    let (table, _) = texts(&origin(Stream::Metrics, 0), &record(Some(&metric(true, 1))));
    assert_eq!(table, Table::Metrics);
    check(Stream::Metrics, Some(&metric(true, 1)[..20]), "truncated");
    check(Stream::Metrics, Some(&metric(false, 0)), "not_final");
    check(Stream::Metrics, Some(&metric(true, -1)), "invalid_field");
    check(Stream::Metrics, None, "no_frame");
    check(Stream::Late, Some(&metric(true, 1)), "unknown_schema");
    check(
        Stream::DeadLetters,
        Some(b"{\"json\": true}"),
        "wrong_magic",
    );
}

#[test]
fn both_writers_take_every_row() {
    let mut value = vec![];
    event().encode(&mut value);
    for (stream, partition, value) in [
        (Stream::Events, home(), &value),
        (Stream::Metrics, 0, &metric(true, 1)),
        (Stream::Late, 0, &vec![0]),
    ] {
        let (origin, record) = (origin(stream, partition), record(Some(value)));
        let row = read(&origin, &record, &DATES).unwrap();
        let mut block = Block::new(row.table());
        row.write(&origin, &record, &mut block);
        block.end_row();
        assert_eq!(block.row_count(), 1, "{stream:?}");
    }
}

#[test]
fn details_of_a_metric_are_in_its_row() {
    let start = EventTime::from_ms(60_000);
    let gap = Width::from_ms(1_000).unwrap();
    let head = MetricHead {
        meter: "visits",
        meter_version: 1,
        group: "subject=u",
        window: Span::starting(start, gap),
        window_ms: 1_000,
        is_final: true,
        revision: 1,
        deleted: false,
        partial: false,
        overflow: false,
        event_count: 3,
    };
    let detail = Detail {
        window_end: Some(EventTime::from_ms(75_000)),
        sketches: [("p95", &[1_u8, 0xff, 0][..])].into_iter(),
    };
    let mut value = vec![];
    metric::encode_detailed(&mut value, &head, [].into_iter(), [].into_iter(), detail);
    let (origin, record) = (origin(Stream::Metrics, 0), record(Some(&value)));
    let row = read(&origin, &record, &DATES).unwrap();
    let (mut bytes, mut cells) = (RowBytes::default(), vec![]);
    row.write(&origin, &record, &mut bytes);
    let columns = row.table().columns();
    Walk::new(bytes.as_slice())
        .row(columns, &mut cells)
        .unwrap();
    let cell = |name: &str| cells[columns.iter().position(|c| c.name == name).unwrap()];
    let end = [&[0_u8][..], &75_000_000_i64.to_le_bytes()].concat();
    assert_eq!(cell("window_end"), end);
    assert_eq!(cell("sketches"), b"\x01\x03p95\x03\x01\xff\x00");
}

#[test]
fn topics_without_a_table_are_not_read() {
    for topic in [
        "pulse.demo.books",
        "pulse.demo.metrics.open",
        "pulse.control",
        "other",
    ] {
        assert_eq!(Origin::of(&topic.into(), 0, 1), None, "{topic}");
    }
}
