//! Requests of SDKs, of the specification, and of nobody.

use http_body_util::BodyExt;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use schemas::refusal::{DateLimits, EventRules, read_event};
use schemas::time::BrokerTime;

use super::*;

mod laws;
mod mapping;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json; charset=utf-8";

/// When everything here is received.
const RECEIVED_AT: EventTime = EventTime::from_ms(1_795_369_927_000);

/// An event in a few lines; times are those of its item and not shown.
fn told(event: &Event) -> String {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let source = &event.source;
    let mut text = format!(
        "{} {} {} | {} {} {} {} {} | subject {} | user {}\n  at {} id {} trace {}\n  title {}\n",
        event.event_type,
        or(&event.name),
        event.severity.as_str(),
        source.service,
        or(&source.host),
        or(&source.version),
        or(&source.method),
        or(&source.endpoint),
        event.subject,
        or(&event.user_id),
        event.occurred_at.as_us(),
        event.event_id,
        or(&event.trace_id),
        or(&event.title),
    );
    for (name, value) in &event.tags {
        text.push_str(&format!("  {name}={value}\n"));
    }
    for (name, value) in &event.metrics {
        text.push_str(&format!("  {name} {value}\n"));
    }
    if let Some(payload) = &event.payload {
        text.push_str(&format!("  payload {payload}\n"));
    }
    text
}

#[track_caller]
fn golden(translated: Result<Translated, ApiError>, expect: &str) {
    let translated = translated.unwrap();
    let mut text: String = translated.events.iter().map(told).collect();
    text.push_str(&format!(
        "{} ignored, {} rejected\n",
        translated.ignored_count, translated.rejected_count
    ));
    assert!(text == expect, "it says now:\n{text}");
}

#[test]
fn spans_of_the_sdk_for_python() {
    let body = include_bytes!("golden/python-traces.pb");
    golden(
        traces(PROTOBUF, body, RECEIVED_AT),
        include_str!("golden/python-traces.txt"),
    );
}

#[test]
fn spans_with_the_names_from_before_they_were_stable() {
    let body = include_bytes!("golden/python-traces-older-names.pb");
    golden(
        traces(PROTOBUF, body, RECEIVED_AT),
        include_str!("golden/python-traces-older-names.txt"),
    );
}

#[test]
fn logs_of_the_sdk_for_python() {
    let body = include_bytes!("golden/python-logs.pb");
    golden(
        logs(PROTOBUF, body, RECEIVED_AT),
        include_str!("golden/python-logs.txt"),
    );
}

#[test]
fn spans_of_the_sdk_for_javascript() {
    let body = include_bytes!("golden/js-traces.json");
    golden(
        traces(JSON, body, RECEIVED_AT),
        include_str!("golden/js-traces.txt"),
    );
}

#[test]
fn logs_of_the_sdk_for_javascript() {
    let body = include_bytes!("golden/js-logs.json");
    golden(
        logs(JSON, body, RECEIVED_AT),
        include_str!("golden/js-logs.txt"),
    );
}

#[test]
fn the_same_request_again_gives_the_same_events() {
    let body = include_bytes!("golden/python-logs.pb");
    let first = logs(PROTOBUF, body, RECEIVED_AT).unwrap();
    let again = logs(PROTOBUF, body, RECEIVED_AT.plus_ms(5_000)).unwrap();
    let identity = |event: &Event| (event.event_id.clone(), event.occurred_at);
    let identities = |translated: &Translated| {
        let events = translated.events.iter();
        events.map(identity).collect::<Vec<_>>()
    };
    assert_eq!(identities(&first), identities(&again));
    // Two records that are the same to the last byte are two events.
    let twice = [&body[..], &body[..]].concat();
    let twice = logs(PROTOBUF, &twice, RECEIVED_AT).unwrap();
    let ids: std::collections::BTreeSet<_> = identities(&twice).into_iter().collect();
    assert_eq!(ids.len(), 2 * first.events.len());
}

#[test]
fn other_media_types_and_bodies_that_are_none_are_refused() {
    #[track_caller]
    fn check(content_type: &str, body: &[u8], status: u16) {
        for translated in [
            traces(content_type, body, RECEIVED_AT),
            logs(content_type, body, RECEIVED_AT),
        ] {
            assert_eq!(translated.unwrap_err().status().as_u16(), status);
        }
    }
    check("text/plain", b"", 415);
    check("", b"", 415);
    check("application/protobuf", b"", 415);
    for body in [
        &b"{}"[..],
        b"\x0a\x7f",
        b"\x0a",
        b"\x0b\x0c",
        b"\x08\x01\xff",
        b"\x08\x01\x02\x01",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
    ] {
        check(PROTOBUF, body, 400);
    }
    // A list that should be messages, and is a number.
    check(PROTOBUF, b"\x08\x01", 400);
    for body in [
        &b""[..],
        b"[]",
        b"1",
        b"{",
        b"{} {}",
        b"\xff",
        b"{\"resourceSpans\":",
    ] {
        check(JSON, body, 400);
    }
    for body in ["{\"resourceSpans\":{}}", "{\"resourceSpans\":[1]}"] {
        let refused = traces(JSON, body.as_bytes(), RECEIVED_AT).unwrap_err();
        assert_eq!(refused.status().as_u16(), 400, "{body}");
    }
}

#[test]
fn an_empty_request_is_fine() {
    for (format, body) in [(PROTOBUF, &b""[..]), (JSON, b"{}")] {
        let translated = traces(format, body, RECEIVED_AT).unwrap();
        assert!(translated.events.is_empty() && translated.rejected.is_empty());
        assert_eq!(translated.message(), "");
    }
}

#[test]
fn what_is_beyond_a_requests_share_is_rejected_and_told() {
    let record = "{\"timeUnixNano\":\"1\"},";
    let records = record.repeat(Limits::EVENTS + 30);
    let records = records.trim_end_matches(',');
    let body = format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{records}]}}]}}]}}");
    let translated = logs(JSON, body.as_bytes(), RECEIVED_AT).unwrap();
    assert_eq!(translated.events.len(), Limits::EVENTS);
    assert_eq!(translated.rejected_count, 30);
    assert_eq!(translated.rejected.len(), Limits::REASONS);
    let message = translated.message();
    assert!(
        message.starts_with("10000: comes after the first 10,000"),
        "{message}"
    );
    assert!(message.ends_with("; and 27 more"), "{message}");
}

/// A field of protobuf that holds bytes.
fn held(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut field = vec![number << 3 | 2];
    while length >= 0x80 {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(bytes);
    field
}

/// Reading the resource anew for each scope would take hours.
#[test]
fn a_large_resource_is_read_once_however_many_scopes_there_are() {
    let resource = held(1, &held(1, &[]).repeat(400_000));
    let scopes = held(2, &held(2, &[])).repeat(1_000_000);
    let body = held(1, &[resource, scopes].concat());
    let traced = traces("application/x-protobuf", &body, RECEIVED_AT).unwrap();
    assert_eq!(traced.ignored_count, 1_000_000);
    let logged = logs("application/x-protobuf", &body, RECEIVED_AT).unwrap();
    assert_eq!(logged.rejected_count, 1_000_000);
}

#[test]
fn texts_of_a_resource_that_would_be_repeated_too_often_are_rejected() {
    let text = "x".repeat(1_000);
    let named = |name: &str| format!(r#"{{"key":"{name}","value":{{"stringValue":"{text}"}}}}"#);
    let attributes = ["service.name", "host.name", "service.version"]
        .map(named)
        .join(",");
    let records = vec![r#"{"timeUnixNano":"1"}"#; 9_000].join(",");
    let body = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{attributes}]}},
            "scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#
    );
    let translated = logs(JSON, body.as_bytes(), RECEIVED_AT).unwrap();
    assert_eq!(
        translated.events.len(),
        Limits::BYTES / (3 * text.len() + 20)
    );
    let message = translated.message();
    assert!(message.contains("comes after the first 20 MB"), "{message}");
}

async fn answered(signal: Signal, format: Format, count: u64, message: &str) -> Vec<u8> {
    let response = answer(signal, format, count, message);
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        format.media_type()
    );
    let body = response.into_body().collect().await.unwrap();
    body.to_bytes().to_vec()
}

#[tokio::test]
async fn answers_come_in_the_form_of_the_request() {
    for signal in [Signal::Traces, Signal::Logs] {
        assert_eq!(answered(signal, Format::Protobuf, 0, "").await, b"");
        assert_eq!(answered(signal, Format::Json, 0, "").await, b"{}");
    }
    let body = answered(Signal::Traces, Format::Json, 2, "why").await;
    assert_eq!(
        String::from_utf8(body).unwrap(),
        r#"{"partialSuccess":{"errorMessage":"why","rejectedSpans":"2"}}"#
    );
    let body = answered(Signal::Logs, Format::Json, 0, "a word").await;
    assert_eq!(
        String::from_utf8(body).unwrap(),
        r#"{"partialSuccess":{"errorMessage":"a word","rejectedLogRecords":"0"}}"#
    );
    let body = answered(Signal::Traces, Format::Protobuf, 2, "why").await;
    let read = ExportTraceServiceResponse::decode(&body[..]).unwrap();
    let partial = read.partial_success.unwrap();
    assert_eq!(
        (partial.rejected_spans, &*partial.error_message),
        (2, "why")
    );
    let body = answered(Signal::Logs, Format::Protobuf, 3, "why").await;
    let read = ExportLogsServiceResponse::decode(&body[..]).unwrap();
    let partial = read.partial_success.unwrap();
    assert_eq!(
        (partial.rejected_log_records, &*partial.error_message),
        (3, "why")
    );
}

/// Fails unless every reader of `events` would take all of them, dates aside.
fn assert_taken(translated: &Translated) {
    let limits = DateLimits {
        future_max_ms: i64::MAX,
        past_max_ms: i64::MAX,
    };
    for event in &translated.events {
        let mut record = vec![];
        event.encode(&mut record);
        let strict = EventRules {
            dates: limits,
            direct_producers: true,
        };
        let read = read_event(Some(&record), BrokerTime::from_ms(0), &strict, || false);
        let (view, _) = read.unwrap_or_else(|refusal| panic!("{refusal}: {event:?}"));
        assert_eq!(view.to_owned().as_ref(), Some(event));
    }
}
