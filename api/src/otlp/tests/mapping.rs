//! What each field becomes, and what OTLP's JSON may look like.

use super::*;

/// The events of one span in JSON, with a resource that says its service's name.
fn spans(span: &str) -> Translated {
    let body = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{}]}},"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#,
        attribute("service.name", "shop"),
    );
    traces(JSON, body.as_bytes(), RECEIVED_AT).unwrap()
}

/// A record that says no time was seen at 1 ns.
fn logged(record: &str) -> Translated {
    let record = match record.contains("imeUnixNano") {
        true => record.to_owned(),
        false => record
            .replacen('{', r#"{"observedTimeUnixNano":"1","#, 1)
            .replace(",}", "}"),
    };
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#);
    logs(JSON, body.as_bytes(), RECEIVED_AT).unwrap()
}

#[track_caller]
fn one(translated: Translated) -> Event {
    assert_taken(&translated);
    let [event] = &translated.events[..] else {
        panic!("{translated:?}");
    };
    event.clone()
}

fn attribute(name: &str, value: &str) -> String {
    serde_json::json!({"key": name, "value": {"stringValue": value}}).to_string()
}

const IDS: &str = r#""traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174""#;
const TIMES: &str =
    r#""startTimeUnixNano":"1544712660000000001","endTimeUnixNano":"1544712661000000000""#;

/// The event of a span of this kind with these attributes beside the method.
fn call(kind: i32, attributes: &[(&str, &str)]) -> Event {
    let mut all = vec![attribute("http.request.method", "GET")];
    all.extend(
        attributes
            .iter()
            .map(|(name, value)| attribute(name, value)),
    );
    let all = all.join(",");
    one(spans(&format!(
        r#"{{{IDS},{TIMES},"kind":{kind},"attributes":[{all}]}}"#
    )))
}

#[test]
fn identity_time_and_duration_are_exact() {
    let event = call(2, &[]);
    assert_eq!(
        event.event_id,
        "5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174"
    );
    assert_eq!(
        event.trace_id.as_deref(),
        Some("5b8efff798038103d269b633813fc60c")
    );
    assert_eq!(event.occurred_at.as_us(), 1_544_712_661_000_000);
    assert_eq!(event.metrics["duration_ms"].to_string(), "999.999999");
    assert_eq!(event.received_at, RECEIVED_AT);
}

#[track_caller]
fn server(attributes: &[(&str, &str)], endpoint: Option<&str>, subject: &str) {
    let event = call(2, attributes);
    assert_eq!(event.source.endpoint.as_deref(), endpoint);
    assert_eq!(event.subject, subject);
    assert_eq!(event.tags["kind"], "server");
}

#[test]
fn a_servers_endpoint_is_its_route_or_a_path_without_ids() {
    server(
        &[("http.route", "/a/{b}"), ("url.path", "/a/1")],
        Some("/a/{b}"),
        "shop /a/{b}",
    );
    server(&[("url.path", "/a/17")], Some("/a/{id}"), "shop /a/{id}");
    server(
        &[("http.target", "/a/17?q=1")],
        Some("/a/{id}"),
        "shop /a/{id}",
    );
    server(
        &[("http.url", "http://x/a/17?q=1")],
        Some("/a/{id}"),
        "shop /a/{id}",
    );
    server(&[("http.route", "")], None, "shop");
    server(&[("user.id", "ann")], None, "ann");
}

#[track_caller]
fn client(attributes: &[(&str, &str)], endpoint: Option<&str>) {
    let event = call(3, attributes);
    assert_eq!(event.source.endpoint.as_deref(), endpoint);
    assert_eq!(event.tags["kind"], "client");
}

#[test]
fn a_clients_endpoint_is_its_peer_and_no_path_that_nobody_made_a_template_of() {
    let url = ("url.full", "https://me:word@pay.example:8443/charges/ann");
    client(
        &[("server.address", "pay.example"), url],
        Some("pay.example"),
    );
    client(&[url], Some("pay.example"));
    client(
        &[("server.address", "pay"), ("url.template", "/c/{id}")],
        Some("pay/c/{id}"),
    );
    client(
        &[("server.address", "pay"), ("url.template", "c/{id}")],
        Some("pay/c/{id}"),
    );
    client(&[("net.peer.name", "pay")], Some("pay"));
    client(&[("http.host", "pay:8080")], Some("pay"));
    client(&[], None);
}

#[test]
fn an_error_is_a_status_of_the_span_or_of_http() {
    let span = |rest: &str| {
        let method = attribute("http.method", "POST");
        let body = format!(r#"{{{IDS},{TIMES},"kind":2,"attributes":[{method}{rest}}}"#);
        let event = one(spans(&body));
        let tag = |name: &str| event.tags.get(name).cloned();
        (event.severity.as_str(), tag("error"), tag("status_code"))
    };
    let some = |text: &str| Some(text.to_owned());
    let code = r#",{"key":"http.status_code","value":{"intValue":"503"}}]"#;
    assert_eq!(span(code), ("error", None, some("503")));
    let code = r#",{"key":"http.response.status_code","value":{"intValue":404}}]"#;
    assert_eq!(span(code), ("info", None, some("404")));
    assert_eq!(
        span(r#"],"status":{"code":2}"#),
        ("error", some("true"), None)
    );
    let named = r#"],"status":{"code":"STATUS_CODE_ERROR"}"#;
    assert_eq!(span(named), ("error", some("true"), None));
    assert_eq!(span(r#"],"status":{"code":1}"#), ("info", None, None));
}

#[test]
fn other_spans_make_no_event() {
    let method = attribute("http.request.method", "GET");
    for span in [
        format!(r#"{{{IDS},{TIMES},"kind":1,"attributes":[{method}]}}"#),
        format!(r#"{{{IDS},{TIMES},"kind":2}}"#),
        format!(r#"{{{IDS},{TIMES},"kind":77,"attributes":[{method}]}}"#),
        "{}".into(),
        "null".into(),
    ] {
        let translated = spans(&span);
        let counts = (translated.events.len(), translated.ignored_count);
        assert_eq!((counts, translated.rejected_count), ((0, 1), 0), "{span}");
    }
}

#[test]
fn a_span_without_identity_or_time_is_rejected_and_costs_no_other() {
    let method = attribute("http.request.method", "GET");
    let rest = format!(r#""kind":2,"attributes":[{method}]"#);
    let good = format!(r#"{{{IDS},{TIMES},{rest}}}"#);
    let check = |bad: &str, reason: &str| {
        let translated = spans(&format!("{bad},{good}"));
        assert_eq!(translated.events.len(), 1, "{bad}");
        let rejected = translated.rejected.first().unwrap();
        assert_eq!((rejected.index, &*rejected.reason), (0, reason), "{bad}");
        assert_eq!(translated.message(), format!("0: {reason}"));
    };
    check(
        &format!(r#"{{{TIMES},{rest}}}"#),
        "has no trace id of 16 bytes",
    );
    let zeros = IDS.replace("eee19b7ec3c1b174", "0000000000000000");
    check(
        &format!(r#"{{{zeros},{TIMES},{rest}}}"#),
        "has no span id of 8 bytes",
    );
    check(&format!(r#"{{{IDS},{rest}}}"#), "has no end time");
    let backwards = TIMES.replace("1544712660", "1544712662");
    check(
        &format!(r#"{{{IDS},{backwards},{rest}}}"#),
        "ends before it starts",
    );
    check(&format!(r#"{{"traceId":"xyz",{rest}}}"#), "cannot be read");
    check(&format!(r#"{{"traceId":"abc",{rest}}}"#), "cannot be read");
    check(
        &format!(r#"{{"name":{}}}"#, "9".repeat(10)),
        "cannot be read",
    );
    let long = "x".repeat(Limits::ITEM_BYTES);
    check(&format!(r#"{{"name":"{long}"}}"#), "has more than 1 MiB");
}

#[test]
fn json_may_be_written_in_many_ways() {
    let method = r#"{"key":"http.request.method","value":{"stringValue":"GET"}}"#;
    for span in [
        // Unknown keys, nothing as null, keys in any order, numbers bare.
        format!(
            r#"{{"new":[{{}}],"attributes":[{method},null_],"kind":2,"name":null,"status":null,
                "endTimeUnixNano":1544712661000000000,"startTimeUnixNano":1544712660000000001,
                "links":[],"events":null,"parentSpanId":"","traceState":"","flags":257,{IDS}}}"#
        )
        .replace(",null_", ""),
        // A kind by its name, and a number as some languages write it.
        format!(
            r#"{{{IDS},"kind":"SPAN_KIND_SERVER","attributes":[{method}],
                "startTimeUnixNano":"1544712660000000001","endTimeUnixNano":1.544712661e18}}"#
        ),
    ] {
        assert_eq!(one(spans(&span)), call(2, &[]), "{span}");
    }
}

#[test]
fn values_of_every_kind_become_texts() {
    let values = [
        (r#"{"stringValue":"a"}"#, "a"),
        (r#"{"boolValue":true}"#, "true"),
        (
            r#"{"intValue":"-9223372036854775808"}"#,
            "-9223372036854775808",
        ),
        (r#"{"intValue":7}"#, "7"),
        (r#"{"doubleValue":1.5}"#, "1.5"),
        (r#"{"doubleValue":"NaN"}"#, "NaN"),
        (r#"{"doubleValue":"-Infinity"}"#, "-inf"),
        (r#"{"bytesValue":"+/8="}"#, "+/8="),
        (r#"{"bytesValue":"-_8"}"#, "+/8="),
        (
            r#"{"arrayValue":{"values":[{"intValue":1},{},null]}}"#,
            "[1,null,null]",
        ),
        (r#"{"arrayValue":{}}"#, "[]"),
        (
            r#"{"kvlistValue":{"values":[{"key":"a","value":{"doubleValue":0.1}}]}}"#,
            r#"{"a":0.1}"#,
        ),
    ];
    for (value, expect) in values {
        let record = format!(r#"{{"attributes":[{{"key":"x","value":{value}}}]}}"#);
        assert_eq!(one(logged(&record)).tags["x"], expect, "{value}");
    }
    for none in [
        r#"{}"#,
        r#"{"newValue":1}"#,
        r#"{"stringValue":null}"#,
        "null",
    ] {
        let record = format!(r#"{{"attributes":[{{"key":"x","value":{none}}}]}}"#);
        assert_eq!(one(logged(&record)).tags.get("x"), None, "{none}");
    }
    for bad in [
        r#"{"intValue":"1.5"}"#,
        r#"{"bytesValue":"%"}"#,
        r#"{"boolValue":1}"#,
    ] {
        let record = format!(r#"{{"attributes":[{{"key":"x","value":{bad}}}]}}"#);
        assert_eq!(logged(&record).rejected_count, 1, "{bad}");
    }
}

#[track_caller]
fn severity(record: &str, expect: &str) {
    assert_eq!(one(logged(record)).severity.as_str(), expect, "{record}");
}

#[test]
fn severities_by_number_and_by_text() {
    for (number, expect) in [
        (1, "debug"),
        (8, "debug"),
        (9, "info"),
        (12, "info"),
        (13, "warning"),
        (17, "error"),
        (20, "error"),
        (21, "critical"),
        (24, "critical"),
        (25, "info"),
        (0, "info"),
    ] {
        severity(&format!(r#"{{"severityNumber":{number}}}"#), expect);
    }
    severity(r#"{"severityNumber":"SEVERITY_NUMBER_WARN2"}"#, "warning");
    severity(r#"{"severityText":"WARNING"}"#, "warning");
    severity(r#"{"severityText":"Fatal"}"#, "critical");
    severity(r#"{"severityNumber":9,"severityText":"ERROR"}"#, "info");
}

#[test]
fn a_logs_time_is_its_own_or_when_it_was_seen() {
    let at = |record: &str| one(logged(record)).occurred_at.as_us();
    assert_eq!(
        at(r#"{"timeUnixNano":"5999","observedTimeUnixNano":"9000"}"#),
        5
    );
    assert_eq!(at(r#"{"observedTimeUnixNano":"9000"}"#), 9);
    let body = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}, {"timeUnixNano":"1"}]}]}]}"#;
    let translated = logs(JSON, body.as_bytes(), RECEIVED_AT).unwrap();
    assert_eq!((translated.events.len(), translated.rejected_count), (1, 1));
    let message = translated.message();
    assert!(
        message.starts_with("0: has neither time_unix_nano nor"),
        "{message}"
    );
}

#[test]
fn a_body_is_the_title_and_what_does_not_fit_is_the_payload() {
    let said = |body: &str| {
        let event = one(logged(&format!(r#"{{"body":{body}}}"#)));
        (
            event.title.unwrap_or_default(),
            event.payload.unwrap_or_default(),
        )
    };
    let text = |title: &str, payload: &str| (title.to_owned(), payload.to_owned());
    assert_eq!(said(r#"{"stringValue":"short"}"#), text("short", ""));
    assert_eq!(said(r#"{"intValue":3}"#), text("3", ""));
    assert_eq!(said("null"), text("", ""));
    assert_eq!(
        said(r#"{"stringValue":"first\nsecond"}"#),
        text("first", r#"{"body":"first\nsecond"}"#)
    );
    assert_eq!(
        said(r#"{"kvlistValue":{"values":[{"key":"a","value":{"intValue":1}}]}}"#),
        text("", r#"{"body":{"a":1}}"#)
    );
    let (title, payload) = said(&format!(r#"{{"stringValue":"{}"}}"#, "é".repeat(1_000)));
    assert_eq!(
        (title.len(), payload.len()),
        (1_024, 2_000 + r#"{"body":""}"#.len())
    );
}

#[test]
fn an_exception_is_an_error_event() {
    let record = format!(
        r#"{{"body":{{"stringValue":"it broke"}},"attributes":[{},{},{}]}}"#,
        attribute("exception.type", "ValueError"),
        attribute("exception.message", "no such order"),
        attribute("exception.stacktrace", "line 1\nline 2"),
    );
    let event = one(logged(&record));
    assert_eq!(event.event_type.as_str(), "error_event");
    assert_eq!(event.name.as_deref(), Some("ValueError"));
    assert_eq!(event.title.as_deref(), Some("no such order"));
    let payload = r#"{"body":"it broke","stacktrace":"line 1\nline 2"}"#;
    assert_eq!(event.payload.as_deref(), Some(payload));
    let plain = one(logged("{}"));
    assert_eq!(plain.event_type.as_str(), "custom_event");
    assert_eq!(plain.name.as_deref(), Some("log"));
    assert_eq!(
        (&*plain.source.service, &*plain.subject),
        ("unknown_service", "unknown_service")
    );
    let named = one(logged(r#"{"eventName":"paid"}"#));
    assert_eq!(named.name.as_deref(), Some("paid"));
}

#[test]
fn what_is_cut_is_said() {
    let cut = |record: &str| one(logged(record)).tags.get("otlp.cut").cloned();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(cut("{}"), None);
    let long = attribute("a", &"x".repeat(1_025));
    assert_eq!(cut(&format!(r#"{{"attributes":[{long}]}}"#)), some("texts"));
    let many: Vec<String> = (0..64)
        .map(|at| attribute(&format!("a{at}"), "x"))
        .collect();
    let record = format!(r#"{{"attributes":[{}]}}"#, many.join(","));
    assert_eq!(cut(&record), some("tags"));
    assert_eq!(one(logged(&record)).tags.len(), 64);
    let record = format!(r#"{{"attributes":[{}]}}"#, many[..63].join(","));
    assert_eq!((cut(&record), one(logged(&record)).tags.len()), (None, 63));
    let body = "x".repeat(70_000);
    assert_eq!(
        cut(&format!(r#"{{"body":{{"stringValue":"{body}"}}}}"#)),
        some("payload")
    );
}

#[test]
fn a_record_may_bring_its_id() {
    let own = attribute("log.record.uid", "01HV");
    let event = one(logged(&format!(r#"{{"attributes":[{own}]}}"#)));
    assert_eq!(event.event_id, "01HV");
    let long = attribute("log.record.uid", &"x".repeat(257));
    let event = one(logged(&format!(r#"{{"attributes":[{long}]}}"#)));
    assert_eq!(event.event_id.len(), 32);
}
