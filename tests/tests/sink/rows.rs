//! Every record is a row, each once, every field as it was.

use std::collections::BTreeMap;

use runtime::kafka::Admin;
use schemas::control::Limits;
use schemas::dead_letter::DeadLetter;
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::ids::{Stream, TenantId};
use schemas::late::Late;
use schemas::time::{BrokerTime, EventTime};
use schemas::wire::Text;
use serde_json::{Value, json};
use tests::samples::{self, Fired};
use tests::{Installation, eventually, tables};

use crate::{SINK, publish, start};

const DAY_MS: i64 = 86_400_000;

/// A tenant's widest dates.
fn wide() -> Limits {
    Limits {
        future_max_ms: 366 * DAY_MS,
        past_max_ms: 100 * 366 * DAY_MS,
        ..Limits::default()
    }
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

const LARGEST: &str = "99999999999999999999.999999999999999999";
const SMALLEST: &str = "-99999999999999999999.999999999999999999";

/// Every field at its largest, its smallest, or absent.
fn extreme_events() -> Vec<Event> {
    let now_ms = runtime::clock::now_ms();
    let text = |length: usize| Some("ü🜁\0\n'\\\t".repeat(length));
    let full = Event {
        event_id: "é".repeat(128),
        event_type: EventType::CustomEvent,
        name: text(3),
        occurred_at: EventTime::from_us((now_ms + 365 * DAY_MS) * 1_000 + 999),
        received_at: EventTime::from_us(i64::MAX),
        severity: Severity::Critical,
        source: Source {
            service: "s".repeat(1_024),
            host: text(1),
            method: text(2),
            endpoint: text(3),
            version: text(4),
        },
        subject: "主".repeat(170),
        sequence: Some(i64::MIN),
        title: text(93),
        trace_id: text(5),
        user_id: text(6),
        tags: (0..64)
            .map(|n| (format!("tag {n:02} ü"), "v".repeat(n)))
            .collect(),
        metrics: BTreeMap::from([
            ("largest".into(), decimal(LARGEST)),
            ("least".into(), decimal("0.000000000000000001")),
            ("smallest".into(), decimal(SMALLEST)),
            ("zero".into(), Decimal::ZERO),
        ]),
        payload: Some(format!("{:?}", "x".repeat(65_000))),
    };
    let empty = Event {
        event_id: "1".into(),
        event_type: EventType::Quote,
        name: None,
        occurred_at: EventTime::from_ms(now_ms - 100 * 365 * DAY_MS),
        received_at: EventTime::from_us(i64::MIN),
        severity: Severity::Debug,
        source: Source::default(),
        subject: "s".into(),
        sequence: None,
        title: None,
        trace_id: None,
        user_id: None,
        tags: BTreeMap::new(),
        metrics: BTreeMap::new(),
        payload: None,
    };
    let last = Event {
        event_id: "2".into(),
        sequence: Some(i64::MAX),
        ..empty.clone()
    };
    vec![full, empty, last]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_arrives_as_it_was_at_its_extremes() {
    let installation = start().await;
    let tenant = installation.tenant("extreme", wide(), &[]).await;
    let events = extreme_events();
    publish(&installation, &tenant, &events).await;
    tables::until_count(&installation, &tenant, "events", 3).await;

    let rows = tables::rows(&installation, EXTREMES).await;
    assert_eq!(rows.len(), events.len());
    for event in &events {
        let expect = expected(event);
        let row = rows
            .iter()
            .find(|row| row["event_id"] == expect["event_id"]);
        assert_eq!(row, Some(&expect));
    }
    // And byte by byte, every column of it.
    let report = tables::assert_equal(&installation, &[(&tenant, wide())]).await;
    assert_eq!(report.tenants[0].tables[0].equal_count, 3);
}

/// Times and decimals as text, since JSON would round them.
const EXTREMES: &str = "SELECT event_id, event_type, name, subject, toString(severity) AS severity,
    toString(toUnixTimestamp64Micro(occurred_at)) AS occurred,
    toString(toUnixTimestamp64Micro(received_at)) AS received,
    service, host, method, endpoint, version, title, trace_id, user_id, payload,
    toString(sequence) AS sequence, tags, mapApply((k, v) -> (k, toString(v)), metrics) AS metrics
    FROM events WHERE tenant = 'extreme'";

fn expected(event: &Event) -> Value {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let metrics = event
        .metrics
        .iter()
        .map(|(name, value)| (name.clone(), value.to_string()));
    json!({
        "event_id": event.event_id,
        "event_type": event.event_type.as_str(),
        "name": text(&event.name),
        "subject": event.subject,
        "severity": event.severity.as_str(),
        "occurred": event.occurred_at.as_us().to_string(),
        "received": event.received_at.as_us().to_string(),
        "service": event.source.service,
        "host": text(&event.source.host),
        "method": text(&event.source.method),
        "endpoint": text(&event.source.endpoint),
        "version": text(&event.source.version),
        "title": text(&event.title),
        "trace_id": text(&event.trace_id),
        "user_id": text(&event.user_id),
        "payload": text(&event.payload),
        "sequence": event.sequence.map(|sequence| sequence.to_string()),
        "tags": event.tags,
        "metrics": metrics.collect::<BTreeMap<_, _>>(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_late_events_and_dead_letters_arrive_as_they_were() {
    let installation = start().await;
    let tenant = installation.tenant("kinds", wide(), &[]).await;
    let values = [("open", Some(decimal(LARGEST))), ("volume", None)];
    let fired = Fired {
        subject: "coinbase:BTC-USD",
        start_s: 1_800_000_000,
        revision: 1,
        deleted: false,
        values: &values,
    };
    let ether = Fired {
        subject: "coinbase:ETH-USD",
        ..fired
    };
    let metrics = [fired, ether].map(|fired| samples::candle(&fired));
    installation
        .publish(&tenant.topic(Stream::Metrics).to_string(), &metrics)
        .await;
    let mut late = vec![];
    late_event(i64::MIN).encode(&mut late);
    installation
        .publish(&tenant.topic(Stream::Late).to_string(), &[(vec![], late)])
        .await;
    let letters = [letter(None, Some(&[])), letter(Some(&[0xff, 0]), None)].map(|letter| {
        let mut value = vec![];
        letter.encode(&mut value);
        (vec![], value)
    });
    installation
        .publish(&tenant.topic(Stream::DeadLetters).to_string(), &letters)
        .await;
    tables::until_count(&installation, &tenant, "candles", 2).await;
    tables::until_count(&installation, &tenant, "late", 1).await;
    tables::until_count(&installation, &tenant, "dead_letters", 2).await;

    let sql = "SELECT exchange, window_ms, toString(window_start) AS start, toString(open) AS open,
        volume, high, revision, trades, origin FROM candles WHERE product = 'BTC-USD'";
    let candles = tables::rows(&installation, sql).await;
    let expect = json!({
        "exchange": "coinbase", "window_ms": 1_000, "start": "2027-01-15 08:00:00.000000",
        "open": LARGEST, "volume": null, "high": null, "revision": 1, "trades": 0,
        "origin": "trades",
    });
    assert_eq!(candles, [expect]);
    let sql = "SELECT toString(toUnixTimestamp64Micro(limit_at)) AS at, offset FROM late";
    let late = tables::rows(&installation, sql).await;
    assert_eq!(
        late,
        [json!({"at": i64::MIN.to_string(), "offset": i64::MAX})]
    );
    let sql = "SELECT hex(key) AS key, hex(value) AS value, isNull(partition) AS absent
        FROM dead_letters ORDER BY _offset";
    let letters = tables::rows(&installation, sql).await;
    let absent = |key: Value, value: Value| json!({"key": key, "value": value, "absent": 1});
    assert_eq!(
        letters,
        [
            absent(Value::Null, json!("")),
            absent(json!("FF00"), Value::Null)
        ]
    );
    tables::assert_equal(&installation, &[(&tenant, wide())]).await;
}

fn late_event(limit_us: i64) -> Late<'static> {
    Late {
        topic: Text::new("pulse.kinds.events"),
        partition: 3,
        offset: i64::MAX,
        appended_at: BrokerTime::from_ms(1_800_000_000_000),
        event_id: Text::new("late"),
        event_type: Text::new("trade"),
        subject: Text::new("coinbase:BTC-USD"),
        occurred_at: EventTime::from_us(0),
        limit_at: EventTime::from_us(limit_us),
        event: &[0, 0xff, 1],
    }
}

fn letter(key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> DeadLetter<'static> {
    DeadLetter {
        source: Text::new("coinbase:feed"),
        partition: None,
        offset: None,
        appended_at: BrokerTime::from_ms(1_800_000_000_000),
        reason: Text::new("wrong_magic"),
        detail: Text::new("ü"),
        replay_count: i32::MAX,
        key,
        value,
    }
}

/// Events of which some are there twice, and windows of which some fired again or were taken back.
async fn publish_repeats(installation: &Installation, tenant: &TenantId) {
    let first: Vec<_> = (0..3_000).map(samples::trade).collect();
    let again = |event: &Event| Event {
        payload: Some("again".into()),
        ..event.clone()
    };
    publish(installation, tenant, &first).await;
    publish(
        installation,
        tenant,
        &first.iter().map(again).collect::<Vec<_>>(),
    )
    .await;
    let fire = |second: i64, revision: i64| {
        let values = [("open", Some(Decimal::from_int(revision)))];
        samples::candle(&Fired {
            subject: "coinbase:BTC-USD",
            start_s: 1_800_000_000 + second,
            revision,
            deleted: second % 3 == 0 && revision == 3,
            values: &values,
        })
    };
    let topic = tenant.topic(Stream::Metrics).to_string();
    for revision in 1..=3 {
        let fired: Vec<_> = (0..300).map(|second| fire(second, revision)).collect();
        installation.publish(&topic, &fired).await;
    }
}

/// What a reader sees after [`publish_repeats`], whatever happened meanwhile.
async fn check_repeats(installation: &Installation, tenant: &TenantId, limits: Limits) {
    let of =
        |table: &str, what: &str| format!("(SELECT {what} FROM {table} WHERE tenant = '{tenant}')");
    for (expect, expression) in [
        (3_000, of("events", "count()")),
        (0, of("events", "countIf(payload = 'again')")),
        (200, of("metrics", "count()")),
        (200, of("metrics", "countIf(revision = 3)")),
        (200, of("candles", "countIf(open = 3)")),
    ] {
        assert_eq!(
            tables::number(installation, &expression).await,
            expect,
            "{expression}"
        );
    }
    let report = tables::assert_equal(installation, &[(tenant, limits)]).await;
    let metrics = &report.tenants[0].tables[1];
    assert_eq!(
        (metrics.log_count, metrics.row_count, metrics.equal_count),
        (300, 200, 300)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_and_inserting_everything_again_change_nothing() {
    let mut installation = start().await;
    let tenant = installation.tenant("repeats", Limits::default(), &[]).await;
    publish_repeats(&installation, &tenant).await;
    tables::until_count(&installation, &tenant, "metrics", 200).await;
    check_repeats(&installation, &tenant, Limits::default()).await;

    // A successor without any memory: it inserts the whole log again.
    installation.stop(SINK).await;
    let admin = Admin::new(&installation.kafka()).unwrap();
    eventually("the group is forgotten", async || {
        admin.delete_groups(&[sinks::clickhouse::GROUP]).await
    })
    .await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    eventually("the log is inserted again", async || {
        let events = installation
            .figure(SINK, "pulse_clickhouse_rows_total", "events")
            .await?;
        let metrics = installation
            .figure(SINK, "pulse_clickhouse_rows_total", "metrics")
            .await?;
        match (events, metrics) == (6_000.0, 900.0) {
            true => Ok(()),
            false => Err(format!("{events} and {metrics} rows")),
        }
    })
    .await;
    check_repeats(&installation, &tenant, Limits::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_is_a_dead_letter_and_the_rest_flows_on() {
    let installation = start().await;
    let tenant = installation.tenant("garbage", Limits::default(), &[]).await;
    let garbage = [(b"key".to_vec(), b"{\"json\": true}".to_vec())];
    for stream in [
        Stream::Events,
        Stream::Metrics,
        Stream::Late,
        Stream::DeadLetters,
    ] {
        installation
            .publish(&tenant.topic(stream).to_string(), &garbage)
            .await;
    }
    publish(&installation, &tenant, &[samples::trade(1)]).await;
    tables::until_count(&installation, &tenant, "events", 1).await;
    tables::until_count(&installation, &tenant, "dead_letters", 3).await;
    let sql = "SELECT source, offset, reason, value, _topic = source AS same
        FROM dead_letters ORDER BY source";
    let row = |stream: &str| {
        json!({"source": format!("pulse.garbage.{stream}"), "offset": 0, "reason": "wrong_magic",
            "value": "{\"json\": true}", "same": 1})
    };
    let expect = [row("dead-letters"), row("late"), row("metrics")];
    assert_eq!(tables::rows(&installation, sql).await, expect);
    let report = tables::assert_equal(&installation, &[(&tenant, Limits::default())]).await;
    // The metrics step writes the event's dead letter; here it has no row.
    assert_eq!(report.tenants[0].refused_event_count, 1);
}
