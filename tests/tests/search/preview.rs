//! A meter's preview is what the stream computes of the same events, to the last digit.

use std::collections::BTreeMap;

use api::query::preview::Preview;
use api::query::range::Range;
use schemas::control::Definition;
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::ids::Stream;
use schemas::meter::{Aggregate, Condition, Field, Filter, Function, Meter, Operand, Window};
use schemas::metric::MetricView;
use schemas::time::EventTime;
use tests::{eventually, topic};

use crate::{Desk, event};

const FUNCTIONS: [Function; 9] = [
    Function::Count,
    Function::Sum,
    Function::Min,
    Function::Max,
    Function::First,
    Function::Last,
    Function::Mean,
    Function::Vwap,
    Function::Stddev,
];

/// What needs conditions, sketches and other results.
fn newer() -> Vec<Aggregate> {
    let condition = |text: &str| -> Condition { serde_json::from_str(text).unwrap() };
    let dear = condition(r#"{"field": "metrics.price", "gt": "0"}"#);
    let sided = condition(r#"{"field": "tags.side", "exists": true}"#);
    let skipped = condition(r#"{"field": "name", "eq": "skip"}"#);
    let ratio = |name: &str, of: [&str; 2]| {
        Aggregate::new(
            name,
            Function::Ratio,
            Operand::Aggregates(of.map(str::to_owned)),
        )
    };
    let quantile = |name: &str, q: &str, of: Operand| Aggregate {
        of,
        ..Aggregate::quantile(name, q.parse().unwrap())
    };
    let distinct =
        |name: &str, field: Field| Aggregate::new(name, Function::Distinct, Operand::Field(field));
    vec![
        Aggregate::new("all", Function::Count, Operand::Value),
        Aggregate::new("dear", Function::Count, Operand::Value).only([dear.clone()]),
        Aggregate::new("dear sum", Function::Sum, Operand::Weight).only([dear.clone()]),
        Aggregate::new("dear vwap", Function::Vwap, Operand::Value).only([dear.clone()]),
        Aggregate::new("dear last", Function::Last, Operand::Value)
            .only([dear.clone(), sided.clone()]),
        Aggregate::new("skipped least", Function::Min, Operand::Weight).only([skipped.clone()]),
        Aggregate::new("skipped spread", Function::Stddev, Operand::Value).only([skipped.clone()]),
        ratio("dear share", ["dear", "all"]),
        ratio("of nothing", ["dear sum", "none"]),
        Aggregate::new("none", Function::Count, Operand::Value)
            .only([condition(r#"{"field": "name", "eq": "never"}"#)]),
        quantile("p50", "0.5", Operand::Value),
        quantile("p99", "0.99", Operand::Value),
        quantile("least", "0", Operand::Weight),
        quantile("dear p90", "0.9", Operand::Value).only([dear, sided]),
        distinct("names", Field::Name),
        distinct("sides", Field::Tag("side".into())),
        distinct("users", Field::UserId),
        distinct("skipping users", Field::UserId).only([skipped]),
        distinct("errors", Field::Error),
    ]
}

/// Every function of both operands.
fn aggregates() -> Vec<Aggregate> {
    let of = |of: Operand| {
        FUNCTIONS.map(|function| {
            let name = format!("{function:?} {of:?}").to_lowercase();
            Aggregate::new(name, function, of.clone())
        })
    };
    [of(Operand::Value), of(Operand::Weight)].concat()
}

fn meter(filter: &str, windows: &[Window], group_by: &[Field]) -> Meter {
    let filter: Filter = serde_json::from_str(filter).unwrap();
    Meter {
        filter,
        value: Some(Field::Metric("price".into())),
        weight: Some(Field::Metric("size".into())),
        group_by: group_by.to_vec(),
        windows: windows.to_vec(),
        aggregates: aggregates(),
    }
}

fn meters() -> Vec<(&'static str, Meter)> {
    let tumbling = |width_ms| Window::Tumbling { width_ms };
    let windows = [
        tumbling(1_000),
        tumbling(60_000),
        Window::Hopping {
            width_ms: 10_000,
            hop_ms: 2_000,
        },
    ];
    let session = |gap_ms, length_max_ms| Window::Session {
        gap_ms,
        length_max_ms,
    };
    let sessions = [session(1_000, 86_400_000), session(3_000, 7_000)];
    let by_side = [Field::Tag("side".into()), Field::Subject];
    let all = r#"{"all": [{"field": "tags.side", "in": ["buy", "x"]},
        {"field": "metrics.price", "gt": "-5"}, {"field": "metrics.price", "ne": "3.5"},
        {"field": "source.host", "exists": false}, {"field": "name", "ne": "skip"},
        {"field": "severity", "eq": "info"}, {"field": "source.service", "exists": true}]}"#;
    let newer = |windows: &[Window]| Meter {
        aggregates: newer(),
        ..meter("{}", windows, &[Field::Subject])
    };
    vec![
        ("newer", newer(&windows)),
        ("newer-sessions", newer(&sessions)),
        ("all", meter("{}", &windows, &[Field::Subject])),
        (
            "trades",
            meter(r#"{"event_type": "trade"}"#, &windows[..2], &by_side),
        ),
        ("narrow", meter(all, &windows[1..2], &by_side)),
        (
            "absent",
            meter(
                r#"{"all": [{"field": "tags.side", "exists": false},
                    {"field": "metrics.size", "le": "100"}]}"#,
                &windows[..1],
                &[
                    Field::Subject,
                    Field::Name,
                    Field::Severity,
                    Field::EventType,
                ],
            ),
        ),
        ("sessions", meter("{}", &sessions, &by_side)),
        ("spread", meter("{}", &windows, &by_side[..1])),
        (
            "newer-spread",
            Meter {
                group_by: vec![Field::Name, by_side[0].clone()],
                ..newer(&windows)
            },
        ),
    ]
}

/// Events of some seconds, in order, with numbers that are absent, negative, fine and large.
fn events(seed: u64) -> Vec<Event> {
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let start_ms = (runtime::clock::now_ms() - 600_000) / 60_000 * 60_000;
    (0..12_000)
        .map(|n| {
            let mut metrics = BTreeMap::new();
            let unit = 10_i128.pow(random.u32(0..34));
            let number = |random: &mut fastrand::Rng| {
                Decimal::from_units(i128::from(random.i64(-9_000..9_000)) * unit).unwrap()
            };
            if random.u8(0..10) > 0 {
                metrics.insert("price".into(), number(&mut random));
            }
            if random.u8(0..10) > 1 {
                metrics.insert("size".into(), Decimal::from_int(random.i64(0..200)));
            }
            let side = ["buy", "sell", "a,b=c\\"][random.usize(0..3)];
            Event {
                event_type: [EventType::Trade, EventType::CustomEvent][random.usize(0..2)],
                occurred_at: EventTime::from_ms(start_ms + n * 6),
                sequence: random.bool().then(|| random.i64(0..3)),
                subject: format!("m{}", random.u8(0..3)),
                name: random.bool().then(|| "skip".into()),
                severity: [Severity::Info, Severity::Error][random.usize(0..2)],
                source: Source {
                    service: "s".into(),
                    host: random.bool().then(|| "h".into()),
                    ..Source::default()
                },
                tags: match random.u8(0..4) {
                    0 => BTreeMap::new(),
                    _ => [("side".into(), side.into())].into(),
                },
                // More than are counted exactly, in a minute.
                user_id: random
                    .bool()
                    .then(|| format!("u{}", random.u32(0..100_000))),
                metrics,
                ..event(&n.to_string(), 0)
            }
        })
        .collect()
}

type Key = (i64, String, String);
/// End, events, values and whether one is out of range.
type Told = (String, u64, BTreeMap<String, Option<Decimal>>, bool);

/// The latest revision of each window that the stream fired for a meter.
fn fired(desk: &Desk, topic: &str, meter: &str) -> BTreeMap<Key, Told> {
    let mut fired = BTreeMap::new();
    for record in topic::read(&desk.installation.kafka(), topic) {
        let value = record.value.unwrap();
        let metric = MetricView::decode(&value).unwrap();
        if metric.meter.as_str() != meter {
            continue;
        }
        let values = metric.values.iter();
        let values = values.map(|(name, value)| (name.as_str().to_owned(), value));
        let start = metric.window_start.to_string();
        let key = (metric.window_ms, start, metric.group.as_str().to_owned());
        if metric.deleted {
            fired.remove(&key);
            continue;
        }
        let end = metric.window_start.plus_ms(metric.window_ms);
        let end = metric.window_end.unwrap_or(end).to_string();
        let told = (end, metric.event_count, values.collect(), metric.overflow);
        fired.insert(key, told);
    }
    fired
}

fn told(preview: &Preview) -> BTreeMap<Key, Told> {
    let windows = preview.windows.iter().map(|window| {
        let key = (window.window_ms, window.start.clone(), window.group.clone());
        let told = (
            window.end.clone(),
            window.event_count,
            window.values.clone(),
            window.overflow,
        );
        (key, told)
    });
    windows.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_what_the_stream_computes_to_the_last_digit() {
    let mut desk = Desk::open().await;
    let acme = desk.client("acme").await;
    for (id, meter) in meters() {
        assert_eq!(meter.faults(), [""; 0], "{id}");
        let definition = Definition::Meter(meter);
        desk.installation.define(&acme.tenant, id, definition).await;
    }
    desk.installation.role("pulse-metrics", "0", &[]).await;
    let events = events(11);
    desk.publish(&acme, &events, events.len() as u64).await;
    desk.installation.until_counted(&[&acme.tenant]).await;
    let range = Range {
        from: events[0].occurred_at.plus_ms(-60_000),
        to: EventTime::from_ms(runtime::clock::now_ms()),
    };
    let topic = acme.tenant.topic(Stream::Metrics).to_string();
    for (id, meter) in meters() {
        let mut preview = BTreeMap::new();
        for window in &meter.windows {
            let one = Meter {
                windows: vec![*window],
                ..meter.clone()
            };
            let part = desk.state.preview(&acme.tenant, &one, range).await.unwrap();
            assert!(!part.truncated && part.preview);
            preview.extend(told(&part));
        }
        assert!(preview.len() > 2, "{id}: {} windows", preview.len());
        // Those without the subject fire a little after their events were counted.
        eventually(&format!("the windows of {id} have fired"), async || {
            let fired = fired(&desk, &topic, id);
            let mut keys = preview.keys().chain(fired.keys());
            match keys.find(|key| preview.get(*key) != fired.get(*key)) {
                None => Ok(()),
                Some(key) => Err(format!(
                    "{key:?} is {:?}, previewed as {:?}",
                    fired.get(key),
                    preview.get(key)
                )),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_bounded_marks_what_it_cuts_and_is_the_tenants_own() {
    let desk = Desk::open().await;
    let (acme, other) = (desk.client("acme").await, desk.client("other").await);
    let events = events(12);
    desk.publish(&acme, &events, events.len() as u64).await;
    let hostile = r#"{"all": [{"field": "tags.'] OR 1 --", "ne": "{tenant:String}"}]}"#;
    let windows = [Window::Tumbling { width_ms: 100 }];
    let meter = meter(hostile, &windows, &[Field::Subject]);
    let range = Range {
        from: events[0].occurred_at.plus_ms(50),
        to: EventTime::from_ms(runtime::clock::now_ms()),
    };
    let preview = desk
        .state
        .preview(&acme.tenant, &meter, range)
        .await
        .unwrap();
    assert!(preview.truncated);
    assert_eq!(preview.windows.len(), 1_000);
    let newest = preview.windows.first().unwrap();
    assert!(newest.start > preview.windows.last().unwrap().start);
    let first = Range {
        to: range.from.plus_ms(100),
        ..range
    };
    let cut = desk
        .state
        .preview(&acme.tenant, &meter, first)
        .await
        .unwrap();
    assert!(!cut.windows.is_empty() && cut.windows.iter().all(|window| window.partial));
    let none = desk
        .state
        .preview(&other.tenant, &meter, range)
        .await
        .unwrap();
    assert_eq!(none.windows, []);
}
