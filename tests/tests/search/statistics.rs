//! How many events there are: each once, each tenant its own.

use schemas::event::{Event, EventType, Severity};
use schemas::ids::Stream;
use schemas::late::Late;
use schemas::time::{BrokerTime, EventTime};
use schemas::wire::Text;
use serde_json::{Value, json};
use tests::{eventually, tables};

use crate::desk::Client;
use crate::{Desk, event};

const STATISTICS: &str = "/api/v1/ingestion/statistics";

#[tokio::test(flavor = "multi_thread")]
async fn events_are_counted_once_by_type_service_severity_and_step() {
    let desk = Desk::open().await;
    let (acme, other) = (desk.client("acme").await, desk.client("other").await);
    let hour_ms = 3_600_000;
    let base_ms = runtime::clock::now_ms() / hour_ms * hour_ms - 5 * hour_ms;
    let at = |id: &str, minutes: i64| Event {
        occurred_at: EventTime::from_ms(base_ms + minutes * 60_000),
        ..event(id, 0)
    };
    let mut events: Vec<Event> = (0..10).map(|n| at(&n.to_string(), n)).collect();
    events[3].event_type = EventType::Trade;
    events[4].severity = Severity::Error;
    events[5].source.service = "billing".into();
    events.push(at("later", 70));
    desk.publish(&acme, &events, 11).await;
    // Once more, and of somebody else.
    desk.send(&acme, &events).await;
    desk.publish(&other, &[at("1", 1)], 1).await;
    eventually("the repeats are rows", async || {
        let figure = desk.installation.figure(
            "pulse-clickhouse-0",
            "pulse_clickhouse_rows_total",
            "events",
        );
        match figure.await? {
            n if n >= 23.0 => Ok(()),
            n => Err(format!("{n} rows")),
        }
    })
    .await;
    let mut late = vec![];
    late_event().encode(&mut late);
    let topic = acme.tenant.topic(Stream::Late).to_string();
    desk.installation.publish(&topic, &[(vec![], late)]).await;
    tables::until_count(&desk.installation, &acme.tenant, "late", 1).await;

    let (status, told) = acme.get(STATISTICS, &[("step", "1h")]).await;
    assert_eq!(status, 200, "{told}");
    let counts = json!({
        "total": 11, "by_type": {"custom_event": 10, "trade": 1},
        "by_service": {"shop": 10, "billing": 1}, "by_severity": {"info": 10, "error": 1},
        "late": 1, "dead_lettered": 0, "step_ms": hour_ms,
        "first": EventTime::from_ms(base_ms).to_string(),
        "last": EventTime::from_ms(base_ms + 70 * 60_000).to_string(),
    });
    for (name, expect) in counts.as_object().unwrap() {
        assert_eq!(&told[name], expect, "{name}: {told}");
    }
    let expect = json!([
        {"start": EventTime::from_ms(base_ms).to_string(), "total": 10,
            "by_type": {"custom_event": 9, "trade": 1}, "by_service": {"shop": 9, "billing": 1},
            "by_severity": {"info": 9, "error": 1}},
        {"start": EventTime::from_ms(base_ms + hour_ms).to_string(), "total": 1,
            "by_type": {"custom_event": 1}, "by_service": {"shop": 1},
            "by_severity": {"info": 1}},
    ]);
    assert_eq!(told["series"], expect);
    // What a tenant is accounted for equals its rows.
    assert_eq!(told["usage"]["events"], 11);
    let (_, told) = other.get(STATISTICS, &[]).await;
    assert_eq!(
        (&told["total"], &told["usage"]["events"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(told["late"], 0);
}

/// What is made of kept minutes, and the same counted whole.
async fn assert_same(client: &Client, total: usize) {
    let asked = async |step: &str| {
        let (status, told) = client.get(STATISTICS, &[("step", step)]).await;
        assert_eq!(status, 200, "{told}");
        told
    };
    let (kept, whole) = (asked("1m").await, asked("61s").await);
    assert_eq!(kept["total"], json!(total), "{kept}");
    for name in ["by_type", "by_service", "by_severity", "first", "last"] {
        assert_eq!(kept[name], whole[name], "{name}");
    }
    let steps = kept["series"].as_array().unwrap();
    let sum: u64 = steps
        .iter()
        .map(|step| step["total"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, total as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_minutes_is_what_is_counted_whole_whatever_comes_when() {
    let desk = Desk::open().await;
    let acme = desk.client("acme").await;
    let seed = 3;
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sent: Vec<Event> = vec![];
    for round in 0..8 {
        // Late ones and new ones, of many subjects and so of all partitions, or of one alone.
        let mut events: Vec<Event> = (0..200)
            .map(|n| Event {
                subject: format!("user-{}", if round < 2 { 1 } else { random.u8(0..50) }),
                event_type: [EventType::CustomEvent, EventType::UserAction][random.usize(0..2)],
                ..event(&format!("{round}-{n}"), random.i64(0..20 * 3_600_000))
            })
            .collect();
        for event in &mut events {
            event.source.service = format!("s{}", random.u8(0..70));
        }
        sent.extend(events.iter().cloned());
        // Repeats of what came before.
        let repeated = (0..50).map(|_| sent[random.usize(0..sent.len())].clone());
        events.extend(repeated);
        desk.publish(&acme, &events, sent.len() as u64).await;
        assert_same(&acme, sent.len()).await;
        assert_same(&acme, sent.len()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_events_are_no_error_and_a_wrong_step_is() {
    let desk = Desk::open().await;
    let acme = desk.client("acme").await;
    let (status, told) = acme.get(STATISTICS, &[]).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!((&told["total"], &told["first"]), (&json!(0), &Value::Null));
    assert_eq!(told["series"], json!([]));
    for step in ["1s", "0m", "x", "'", "5"] {
        let (status, told) = acme.get(STATISTICS, &[("step", step)]).await;
        assert_eq!(
            (status, &told["errors"][0]["pointer"]),
            (422, &json!("/step")),
            "{step}"
        );
    }
}

fn late_event() -> Late<'static> {
    Late {
        topic: Text::new("pulse.acme.events"),
        partition: 0,
        offset: 7,
        appended_at: BrokerTime::from_ms(1_800_000_000_000),
        event_id: Text::new("late"),
        event_type: Text::new("trade"),
        subject: Text::new("coinbase:BTC-USD"),
        occurred_at: EventTime::from_us(0),
        limit_at: EventTime::from_us(1),
        event: &[0],
    }
}
