//! What a search finds, and what it gives.

use schemas::event::{Event, EventType, Severity, Source};
use serde_json::json;

use crate::desk::ids;
use crate::{Desk, decimal, event};

const SEARCH: &str = "/api/v1/ingestion/events/search";

/// Events that differ in one field each; `a` is the oldest.
fn events() -> Vec<Event> {
    let source = |service: &str| Source {
        service: service.into(),
        ..Source::default()
    };
    let tags = |pairs: &[(&str, &str)]| {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    };
    vec![
        Event {
            event_type: EventType::ErrorEvent,
            severity: Severity::Critical,
            title: Some("Payment FAILED".into()),
            ..event("a", 9_000_000)
        },
        Event {
            severity: Severity::Warning,
            source: source("billing"),
            tags: tags(&[("region", "eu"), ("plan", "")]),
            ..event("b", 8_000_000)
        },
        Event {
            name: Some("signup".into()),
            tags: tags(&[("region", "us"), ("a:b", "c:d")]),
            payload: Some("{\"note\": \"straße 100%\"}".into()),
            ..event("c", 60_000)
        },
        Event {
            subject: "user-2".into(),
            trace_id: Some("t-1".into()),
            user_id: Some("u-1".into()),
            severity: Severity::Debug,
            ..event("d", 5_000)
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_finds_what_it_names() {
    let desk = Desk::open().await;
    let acme = desk.client("acme").await;
    desk.publish(&acme, &events(), 4).await;
    let check = async |parameters: &[(&str, &str)], expect: &[&str]| {
        assert_eq!(acme.ids(parameters).await, expect, "{parameters:?}");
    };
    check(&[], &["d", "c", "b", "a"]).await;
    check(&[("type", "error_event")], &["a"]).await;
    check(
        &[("type", "error_event"), ("type", "custom_event")],
        &["d", "c", "b", "a"],
    )
    .await;
    check(&[("name", "signup")], &["c"]).await;
    check(
        &[("severity", "debug"), ("severity", "critical")],
        &["d", "a"],
    )
    .await;
    check(&[("severity_at_least", "warning")], &["b", "a"]).await;
    check(&[("service", "billing")], &["b"]).await;
    check(&[("subject", "user-2")], &["d"]).await;
    check(&[("tag", "region:eu")], &["b"]).await;
    check(&[("tag", "region:eu"), ("tag", "plan:")], &["b"]).await;
    check(&[("tag", "other:")], &[]).await;
    check(&[("tag", "region:eu"), ("tag", "plan:pro")], &[]).await;
    check(&[("text", "failed")], &["a"]).await;
    check(&[("text", "SIGN")], &["c"]).await;
    check(&[("text", "STRASSE")], &[]).await;
    check(&[("text", "Straße 100%")], &["c"]).await;
    check(
        &[("trace_id", "t-1"), ("user_id", "u-1"), ("event_id", "d")],
        &["d"],
    )
    .await;
    check(&[("limit", "1")], &["d"]).await;
    let hour_ago = (runtime::clock::now_ms() - 3_600_000).to_string();
    check(&[("from", &hour_ago)], &["d", "c"]).await;
    check(&[("to", &hour_ago)], &["b", "a"]).await;

    let (status, page) = acme
        .post(
            SEARCH,
            &json!({"tag": {"a:b": "c:d"}, "limit": 5, "from": null}),
        )
        .await;
    assert_eq!((status, ids(&page)), (200, vec!["c".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_soon_and_given_as_it_was_sent() {
    let desk = Desk::open().await;
    let acme = desk.client("acme").await;
    let sent = Event {
        source: Source {
            service: "shop".into(),
            host: Some("h".into()),
            method: Some("GET".into()),
            endpoint: Some("/v1/{id}".into()),
            version: Some("1.2".into()),
        },
        sequence: Some(i64::MIN),
        title: Some("a \"title\" / ü\u{1}\u{0}".into()),
        trace_id: Some("t".into()),
        user_id: Some("u".into()),
        tags: [("k".into(), "v".into())].into(),
        metrics: [
            (
                "large".into(),
                decimal("99999999999999999999.999999999999999999"),
            ),
            ("least".into(), decimal("-0.000000000000000001")),
            ("price".into(), decimal("42.50")),
        ]
        .into(),
        payload: Some("{\"n\": 1.10, \"big\": 123456789012345678901234567890}".into()),
        ..event("full", 0)
    };
    let began = runtime::clock::monotonic();
    desk.send(&acme, std::slice::from_ref(&sent)).await;
    let page = tests::eventually("the event is found", async || {
        let page = acme.search(&[]).await;
        match ids(&page).is_empty() {
            false => Ok(page),
            true => Err("nothing yet"),
        }
    })
    .await;
    println!("found after {} ms", began.elapsed().as_millis());
    // As text, since digits count.
    let told = page["events"][0].to_string();
    for digits in [
        "\"large\":99999999999999999999.999999999999999999",
        "\"least\":-0.000000000000000001",
        "\"price\":42.5",
        "\"n\":1.10",
        "\"big\":123456789012345678901234567890",
    ] {
        assert!(told.contains(digits), "{digits}: {told}");
    }
    let mut event = page["events"][0].clone();
    for exact in ["metrics", "payload"] {
        event.as_object_mut().unwrap().remove(exact);
    }
    let expect = json!({
        "event_id": "full", "event_type": "custom_event",
        "timestamp": sent.occurred_at.to_string(), "severity": "info",
        "title": "a \"title\" / ü\u{1}\u{0}", "subject": "user-1", "sequence": i64::MIN,
        "source": {"service": "shop", "host": "h", "method": "GET", "endpoint": "/v1/{id}",
            "version": "1.2"},
        "context": {"tags": {"k": "v"}, "user_id": "u", "trace_id": "t"},
    });
    assert_eq!(event, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_repeats_the_first_counts_whatever_the_others_say() {
    let desk = Desk::open().await;
    let acme = desk.client("acme").await;
    let first = event("same", 10_000);
    let again = Event {
        severity: Severity::Critical,
        ..first.clone()
    };
    let bystander = Event {
        severity: Severity::Critical,
        ..event("other", 20_000)
    };
    desk.publish(&acme, &[first.clone(), bystander.clone()], 2)
        .await;
    // In parts of their own, and as many as a page asks for.
    for _ in 0..5 {
        desk.send(&acme, std::slice::from_ref(&again)).await;
    }
    tests::eventually("the repeats are rows", async || {
        let figure = desk.installation.figure(
            "pulse-clickhouse-0",
            "pulse_clickhouse_rows_total",
            "events",
        );
        match figure.await? {
            7.0 => Ok(()),
            n => Err(format!("{n} rows")),
        }
    })
    .await;
    assert_eq!(acme.ids(&[]).await, ["same", "other"]);
    assert_eq!(acme.ids(&[("severity", "info")]).await, ["same"]);
    assert_eq!(acme.ids(&[("severity", "critical")]).await, ["other"]);
    let page = acme
        .search(&[("severity", "critical"), ("limit", "1")])
        .await;
    assert_eq!(ids(&page), ["other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_named() {
    let desk = Desk::open().await;
    let acme = desk.client("acme").await;
    let check = async |parameters: &[(&str, &str)], pointer: &str, reason: &str| {
        let (status, body) = acme.get(SEARCH, parameters).await;
        assert_eq!(status, 422, "{parameters:?}: {body}");
        let fault = &body["errors"][0];
        assert_eq!(fault["pointer"], pointer, "{body}");
        assert!(fault["reason"].as_str().unwrap().contains(reason), "{body}");
    };
    check(&[("typ", "trade")], "/typ", "no parameter").await;
    check(&[("type", "trades")], "/type", "no known type").await;
    check(&[("severity", "bad")], "/severity", "no known severity").await;
    check(
        &[("severity", "info"), ("severity_at_least", "info")],
        "/severity_at_least",
        "beside",
    )
    .await;
    check(&[("limit", "0")], "/limit", "1 to 1000").await;
    check(&[("limit", "1001")], "/limit", "1 to 1000").await;
    check(&[("from", "yesterday")], "/from", "RFC 3339").await;
    check(
        &[("from", "2026-01-02"), ("to", "2026-01-01")],
        "/from",
        "before the end",
    )
    .await;
    check(
        &[("from", "2026-01-01"), ("to", "2026-05-01")],
        "/from",
        "92 days",
    )
    .await;
    check(&[("tag", "region")], "/tag", "name and value").await;
    check(&[("text", "")], "/text", "empty").await;
    check(
        &[("event_id", &"x".repeat(1_025))],
        "/event_id",
        "1024 bytes",
    )
    .await;
    let (status, body) = acme.get(SEARCH, &[("type", "trades")]).await;
    assert_eq!(status, 422);
    assert_eq!(
        body["errors"][0]["accepted_values"]
            .as_array()
            .unwrap()
            .len(),
        9
    );
}
