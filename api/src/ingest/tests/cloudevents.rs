//! CloudEvents, structured and in batches.

use super::*;

#[test]
fn an_event_of_a_type_of_its_own_is_a_custom_event() {
    let event = event(
        Form::CloudEvent,
        r#"{"specversion": "1.0", "id": "a-1", "source": "/shop/cart", "type": "com.shop.paid",
            "subject": "order:7", "time": "2026-08-09T12:29:59Z", "datacontenttype": "application/json",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "region": "eu", "priority": 3, "urgent": true,
            "data": {"amount": 19.90, "fine": 1e-30, "currency": "EUR", "region": "us",
                     "items": [1, 2], "first": false, "none": null}}"#,
    );
    insta::assert_debug_snapshot!(event, @r#"
    Event {
        event_id: "a-1",
        event_type: CustomEvent,
        name: Some(
            "com.shop.paid",
        ),
        occurred_at: EventTime(
            1786278599000000,
        ),
        received_at: EventTime(
            1786278600000000,
        ),
        severity: Info,
        source: Source {
            service: "/shop/cart",
            host: None,
            method: None,
            endpoint: None,
            version: None,
        },
        subject: "order:7",
        sequence: None,
        title: None,
        trace_id: Some(
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        user_id: None,
        tags: {
            "currency": "EUR",
            "datacontenttype": "application/json",
            "first": "false",
            "priority": "3",
            "region": "eu",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "urgent": "true",
        },
        metrics: {
            "amount": 19.9,
        },
        payload: Some(
            "{\"amount\": 19.90, \"fine\": 1e-30, \"currency\": \"EUR\", \"region\": \"us\",\n                     \"items\": [1, 2], \"first\": false, \"none\": null}",
        ),
    }
    "#);
}

#[test]
fn a_known_type_is_that_type_and_a_reserved_one_is_refused() {
    let body = |kind: &str| {
        format!(
            r#"{{"specversion": "1.0", "id": "1", "source": "shop", "type": "{kind}",
                 "time": "2026-08-09T12:29:59Z"}}"#
        )
    };
    let event = event(Form::CloudEvent, &body("api_call"));
    assert_eq!(event.event_type.as_str(), "api_call");
    assert_eq!((event.name, event.payload), (None, None));
    let said = faults(Form::CloudEvent, &body("gap"), &RULES);
    assert_eq!(said, "/type gap is kept for connectors");
}

#[test]
fn what_is_missing_is_named_as_cloudevents_names_it() {
    let said = faults(Form::CloudEvent, "{\"data\": 5, \"a\": []}", &RULES);
    insta::assert_snapshot!(said, @r#"
    /a must be a text, a number, true or false
    /specversion is missing, or no version that is known
    /id is missing
    /type is missing
    /source is missing: the service that says this
    "#);
    let said = faults(
        Form::CloudEvent,
        r#"{"specversion": "0.3", "id": "1", "source": "coinbase:x", "type": "a",
            "data": 1, "data_base64": "A=="}"#,
        &RULES,
    );
    insta::assert_snapshot!(said, @r#"
    /data_base64 stands beside data, and there is only one of the two
    /specversion is missing, or no version that is known
    /data_base64 must be a text in base64
    /id needs a timestamp beside it: without one a retry could not be told from a new event
    /source begins with an exchange's name or pulse and a colon, and such subjects are its connector's
    "#);
}

#[test]
fn bytes_are_kept_as_base64() {
    let event = event(
        Form::CloudEvents,
        r#"[{"specversion": "1.0", "id": "1", "source": "shop", "type": "a.b",
             "time": "2026-08-09T12:29:59Z", "data_base64": "AAEC"}]"#,
    );
    assert_eq!(event.payload.as_deref(), Some("\"AAEC\""));
}

#[test]
fn data_beyond_what_metrics_and_tags_hold_is_in_the_payload_alone() {
    let numbers: Vec<String> = (0..100).map(|i| format!("\"n{i}\": {i}")).collect();
    let texts: Vec<String> = (0..100).map(|i| format!("\"t{i}\": \"{i}\"")).collect();
    let data = format!("{{{}, {}}}", numbers.join(","), texts.join(","));
    let event = event(
        Form::CloudEvent,
        &format!(
            r#"{{"specversion": "1.0", "id": "1", "source": "shop", "type": "a.b",
                 "time": "2026-08-09T12:29:59Z", "data": {data}}}"#
        ),
    );
    assert_eq!((event.metrics.len(), event.tags.len()), (64, 64));
    assert_eq!(event.payload.as_deref(), Some(data.as_str()));
}

#[test]
fn a_batch_tells_each_events_fate() {
    let body = r#"[{"specversion": "1.0", "id": "1", "source": "shop", "type": "a.b",
                    "time": "2026-08-09T12:29:59Z"},
                   {"specversion": "1.0", "id": "1", "source": "shop", "type": "a.b"}]"#;
    let prepared = acknowledged(Form::CloudEvents, body, &RULES);
    assert_eq!(prepared.answer().status, 207);
    assert_eq!(
        answer(&prepared)["events"][1]["errors"][0]["pointer"],
        "/id"
    );
}
