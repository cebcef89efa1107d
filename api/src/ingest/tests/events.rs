//! One JSON event: what becomes of each field, and what is said of each fault.

use schemas::event::{EventType, Severity};
use schemas::refusal::PAYLOAD_BYTES_MAX;

use super::*;

/// A body with these members beside a type and a source.
fn with(members: &str) -> String {
    format!(r#"{{"event_type": "user_action", "source": {{"service": "shop"}}, {members}}}"#)
}

#[track_caller]
fn check_faults(members: &str, expect: &str) {
    assert_eq!(faults(Form::Json, &with(members), &RULES), expect);
}

/// An event with every field.
const WHOLE: &str = r#"{
            "event_id": "a-1", "event_type": "custom_event", "name": "paid",
            "timestamp": "2026-08-09T14:29:59.5+02:00", "severity": "warning", "title": "Paid \"now\"",
            "subject": "order:7", "sequence": -12,
            "source": {"service": "shop", "host": "h1", "method": "POST", "endpoint": "/pay",
                       "version": "1.2", "region": "eu", "shard": 7},
            "context": {"tags": {"currency": "EUR", "retries": 1.50, "first": true, "none": null},
                        "user_id": "u1", "trace_id": "t1", "session_id": "s1"},
            "metrics": {"amount": 19.90, "rate": 0.000000000000000001, "big": 1e19},
            "payload": { "a" : [1, 2.50,null] }
        }"#;

#[test]
fn every_field_finds_its_place() {
    let event = event(Form::Json, WHOLE);
    insta::assert_debug_snapshot!(event, @r#"
    Event {
        event_id: "a-1",
        event_type: CustomEvent,
        name: Some(
            "paid",
        ),
        occurred_at: EventTime(
            1786278599500000,
        ),
        received_at: EventTime(
            1786278600000000,
        ),
        severity: Warning,
        source: Source {
            service: "shop",
            host: Some(
                "h1",
            ),
            method: Some(
                "POST",
            ),
            endpoint: Some(
                "/pay",
            ),
            version: Some(
                "1.2",
            ),
        },
        subject: "order:7",
        sequence: Some(
            -12,
        ),
        title: Some(
            "Paid \"now\"",
        ),
        trace_id: Some(
            "t1",
        ),
        user_id: Some(
            "u1",
        ),
        tags: {
            "currency": "EUR",
            "first": "true",
            "retries": "1.50",
            "session_id": "s1",
            "source.region": "eu",
            "source.shard": "7",
        },
        metrics: {
            "amount": 19.9,
            "big": 10000000000000000000,
            "rate": 0.000000000000000001,
        },
        payload: Some(
            "{ \"a\" : [1, 2.50,null] }",
        ),
    }
    "#);
}

#[test]
fn the_least_event_is_a_type_and_a_service() {
    let event = event(
        Form::Json,
        r#"{"event_type": "user_action", "source": {"service": "shop"}}"#,
    );
    assert_eq!(event.event_type, EventType::UserAction);
    assert_eq!((event.occurred_at, event.received_at), (NOW, NOW));
    assert_eq!(event.severity, Severity::Info);
    assert_eq!((event.subject.as_str(), event.event_id.len()), ("shop", 36));
    assert_eq!(&event.event_id[14..15], "7");
}

#[test]
fn null_is_as_good_as_absent() {
    let body = with(
        r#""event_id": null, "name": null, "timestamp": null, "severity": null, "title": null,
           "subject": null, "sequence": null, "context": null, "metrics": null, "payload": null"#,
    );
    let event = event(Form::Json, &body);
    assert_eq!((event.occurred_at, event.payload), (NOW, None));
    assert_eq!(event.subject, "shop");
}

#[test]
fn a_subject_is_found_where_none_is_given() {
    let subject = |source: &str, context: &str| {
        let body = format!(
            r#"{{"event_type": "api_call", "source": {{"service": "shop"{source}}},
                 "context": {{{context}}}}}"#
        );
        event(Form::Json, &body).subject
    };
    let endpoint = r#", "endpoint": "/cart/{id}""#;
    let user = r#""user_id": "u1""#;
    assert_eq!(subject(endpoint, user), "shop /cart/{id}");
    assert_eq!(subject("", user), "u1");
    assert_eq!(subject(r#", "endpoint": """#, user), "u1");
    assert_eq!(subject("", r#""user_id": """#), "shop");
    assert_eq!(subject("", ""), "shop");
}

#[test]
fn a_name_that_stands_twice_has_its_last_value() {
    let body = with(
        r#""title": 5, "title": "a", "context": {"tags": {"x": [], "x": "1"}},
           "metrics": {"m": "no", "m": 2}"#,
    );
    let event = event(Form::Json, &body);
    assert_eq!(event.title.as_deref(), Some("a"));
    assert_eq!(event.tags["x"], "1");
    assert_eq!(event.metrics["m"].to_string(), "2");
}

#[test]
fn an_unknown_type_lists_the_known_ones() {
    let body = r#"{"event_type": "purchase", "source": {"service": "a"}}"#;
    let prepared = acknowledged(Form::Json, body, &RULES);
    assert_eq!(prepared.answer().status, 422);
    insta::assert_snapshot!(answer(&prepared), @r#"{"accepted":0,"detail":"none of the events could be used (1 in all)","duplicate":0,"events":[{"errors":[{"accepted_values":["api_call","user_action","error_event","system_event","custom_event","trade","quote"],"pointer":"/event_type","reason":"is not one of the known types"}],"index":0,"status":"rejected"}],"rejected":1,"status":422,"title":"Unprocessable Entity","type":"urn:pulse:problem:invalid"}"#);
    for reserved in ["gap", "candle"] {
        let body = format!(r#"{{"event_type": "{reserved}", "source": {{"service": "a"}}}}"#);
        let said = faults(Form::Json, &body, &RULES);
        assert_eq!(
            said,
            format!("/event_type {reserved} is kept for connectors")
        );
    }
}

#[test]
fn every_fault_is_told() {
    let said = faults(
        Form::Json,
        r#"{"event_id": "", "timestamp": "soon", "severity": "bad", "title": 5, "subject": "",
            "sequence": 1.5, "source": {"host": []}, "extra": 1,
            "context": {"user_id": 5, "device": {}, "tags": {"a/b": [1], "": "x"}},
            "metrics": {"price": "12", "fine": 1e-19, "huge": 1e20, "": 1, "no": true}}"#,
        &RULES,
    );
    insta::assert_snapshot!(said, @r#"
    /event_id has 0 bytes, and must have 1 to 256
    /timestamp is no instant: RFC 3339 as 2026-08-09T12:30:00Z, or seconds or milliseconds since 1970, would be right
    /severity is not one of the known severities
    /title must be a text
    /subject has 0 bytes, and must have 1 to 512
    /sequence must be a whole number of at most 64 bits
    /source/host must be a text
    /extra is no field of an event
    /context/user_id must be a text
    /context/device must be a text, a number, true or false; what has parts is for payload
    /context/tags/a~1b must be a text, a number, true or false; what has parts is for payload
    /context/tags/ has a name that is empty or longer than 1024 bytes
    /metrics/price must be a number, without quotes
    /metrics/fine has more than 18 digits after the point: round it
    /metrics/huge is out of range: it must lie between -10^20 and 10^20
    /metrics/ has a name that is empty or longer than 1024 bytes
    /metrics/no must be a number
    /event_type is missing
    /source/service is missing: the service that says this
    "#);
}

#[test]
fn no_more_faults_are_told_than_anybody_reads() {
    let tags: Vec<String> = (0..50).map(|i| format!("\"t{i}\": []")).collect();
    let said = faults(
        Form::Json,
        &with(&format!(
            "\"context\": {{\"tags\": {{{}}}}}",
            tags.join(",")
        )),
        &RULES,
    );
    assert_eq!(said.lines().count(), 20);
}

#[test]
fn parts_that_are_no_objects_are_told_once() {
    let said = faults(
        Form::Json,
        r#"{"event_type": "api_call", "source": "shop", "context": [], "metrics": 5}"#,
        &RULES,
    );
    let expect =
        "/source must be an object\n/context must be an object\n/metrics must be an object";
    assert_eq!(said, expect);
}

#[test]
fn sizes_have_bounds() {
    let long = |count: usize| "x".repeat(count);
    let text = |name: &str, count: usize| format!(r#""{name}": "{}""#, long(count));
    let counted = |count: usize, item: &str| {
        let items: Vec<String> = (0..count).map(|i| format!("\"n{i}\": {item}")).collect();
        items.join(",")
    };
    for (name, max) in [("name", 1_024), ("title", 1_024), ("subject", 512)] {
        event(Form::Json, &with(&text(name, max)));
        let least = usize::from(name == "subject");
        let expect = format!(
            "/{name} has {} bytes, and must have {least} to {max}",
            max + 1
        );
        check_faults(&text(name, max + 1), &expect);
    }
    for (items, pointer) in [
        ("\"metrics\": {", "/metrics"),
        ("\"context\": {\"tags\": {", "/context/tags"),
    ] {
        let close = "}".repeat(items.matches('{').count());
        event(
            Form::Json,
            &with(&format!("{items}{}{close}", counted(64, "1"))),
        );
        for count in [65, 1_000] {
            let body = format!("{items}{}{close}", counted(count, "1"));
            check_faults(&body, &format!("{pointer} has more than 64 items"));
        }
    }
    let payload = |count: usize| format!(r#""payload": "{}""#, long(count - 2));
    event(Form::Json, &with(&payload(PAYLOAD_BYTES_MAX)));
    let expect = "/payload has 65537 bytes, and may have 65536";
    check_faults(&payload(PAYLOAD_BYTES_MAX + 1), expect);
}

#[test]
fn an_endpoint_that_makes_too_long_a_subject_is_named() {
    let body = format!(
        r#"{{"event_type": "api_call", "source": {{"service": "shop", "endpoint": "/{}"}}}}"#,
        "x".repeat(600)
    );
    let said = faults(Form::Json, &body, &RULES);
    assert_eq!(
        said,
        "/source/endpoint makes a subject of more than 512 bytes: give a subject"
    );
}

#[test]
fn an_id_needs_a_timestamp() {
    check_faults(
        r#""event_id": "a""#,
        "/event_id needs a timestamp beside it: without one a retry could not be told from a new \
         event",
    );
}

#[test]
fn dates_have_bounds_with_a_margin_for_the_way() {
    let at = |ms: i64| with(&format!("\"timestamp\": {}", NOW.as_ms() + ms));
    for ms in [0, 295_000, -3_000 * 86_400_000] {
        event(Form::Json, &at(ms));
    }
    let said = |ms| faults(Form::Json, &at(ms), &RULES);
    assert_eq!(
        said(295_001),
        "/timestamp is 295001 ms ahead of our clock, and may be 295000"
    );
    assert_eq!(
        said(-3_652 * 86_400_000 - 1),
        "/timestamp is 315532800001 ms ago, and may be 315532800000 ms ago"
    );
    let now_alone = DateLimits {
        future_max_ms: 0,
        past_max_ms: 0,
    };
    let rules = Rules {
        dates: now_alone,
        ..RULES
    };
    let body = with("\"title\": \"a\"");
    assert_eq!(
        prepare(Form::Json, body.as_bytes(), &rules)
            .unwrap()
            .record_count(),
        1
    );
}

#[test]
fn nobody_passes_for_the_platform() {
    check_faults(
        r#""subject": "coinbase:BTC-USD""#,
        "/subject begins with an exchange's name or pulse and a colon, and such subjects are its \
         connector's",
    );
    let own = " is the platform's own, of which nobody else may send a system_event";
    for (service, subject, pointer) in [
        ("coinbase", "a", "/source/service"),
        ("pulse-metrics", "a", "/source/service"),
    ] {
        let body = format!(
            r#"{{"event_type": "system_event", "source": {{"service": "{service}"}},
                 "subject": "{subject}"}}"#
        );
        assert_eq!(faults(Form::Json, &body, &RULES), format!("{pointer}{own}"));
        let body = body.replace("system_event", "custom_event");
        event(Form::Json, &body);
    }
}

#[test]
fn with_an_idempotency_key_ids_are_derived_and_timestamps_needed() {
    let body = r#"[{"event_type": "api_call", "source": {"service": "a"}, "timestamp": 1786278600},
                   {"event_type": "api_call", "source": {"service": "a"}}]"#;
    let ids = || {
        let rules = Rules {
            idempotency: Some(Idempotency::new("k", body.as_bytes())),
            ..RULES
        };
        let prepared = acknowledged(Form::Json, body, &rules);
        assert_eq!(prepared.answer().status, 207);
        let answer = answer(&prepared);
        assert_eq!(answer["events"][1]["errors"][0]["pointer"], "/timestamp");
        answer["events"][0]["event_id"].as_str().unwrap().to_owned()
    };
    assert_eq!(ids(), ids());
    assert_eq!(ids().len(), 32);
}

#[test]
fn a_payload_is_kept_to_the_letter() {
    let payload = r#"{"b" : 1.10, "a":[ "\u00e9\ud800", 1e400 ]}"#;
    let event = event(Form::Json, &with(&format!("\"payload\" :  {payload} ")));
    assert_eq!(event.payload.as_deref(), Some(payload));
}
