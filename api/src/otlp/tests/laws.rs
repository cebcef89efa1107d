//! What holds for any request whatsoever.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Variant;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Status};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Names that mean something, so that a request at random says something too.
const NAMES: [&str; 34] = [
    "http.request.method",
    "http.method",
    "http.response.status_code",
    "http.status_code",
    "http.route",
    "http.target",
    "http.url",
    "http.host",
    "url.path",
    "url.full",
    "url.template",
    "url.scheme",
    "server.address",
    "server.port",
    "net.peer.name",
    "service.name",
    "service.version",
    "service.namespace",
    "service.instance.id",
    "host.name",
    "deployment.environment",
    "deployment.environment.name",
    "user.id",
    "enduser.id",
    "error.type",
    "exception.type",
    "exception.message",
    "exception.stacktrace",
    "event.name",
    "log.record.uid",
    "otlp.cut",
    "kind",
    "span_id",
    "",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z/{}0-9:.?#@ -]{0,30}",
        2 => "\\PC{0,40}",
        1 => (any::<char>(), 0..70_000_usize).prop_map(|(c, count)| {
            // Each bound of an event is met by some.
            c.to_string().repeat(count % 3_000 + if count % 7 == 0 { count } else { 0 })
        }),
    ]
}

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        text().prop_map(|text| Some(Variant::StringValue(text))),
        any::<bool>().prop_map(|is_so| Some(Variant::BoolValue(is_so))),
        any::<i64>().prop_map(|number| Some(Variant::IntValue(number))),
        // A double that is no number is not equal to itself; `mapping` has that one.
        proptest::num::f64::NORMAL.prop_map(|number| Some(Variant::DoubleValue(number))),
        vec(any::<u8>(), 0..50).prop_map(|bytes| Some(Variant::BytesValue(bytes))),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 4, |value| {
        prop_oneof![
            vec(value.clone(), 0..4).prop_map(|values| AnyValue {
                value: Some(Variant::ArrayValue(ArrayValue { values })),
            }),
            vec(("[a-z]{0,4}", value), 0..4).prop_map(|pairs| {
                let pair = |(key, value)| pair(key, Some(value));
                let values = pairs.into_iter().map(pair).collect();
                AnyValue {
                    value: Some(Variant::KvlistValue(KeyValueList { values })),
                }
            }),
        ]
    })
}

fn pair(key: String, value: Option<AnyValue>) -> KeyValue {
    KeyValue {
        key,
        value,
        ..KeyValue::default()
    }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let name = prop_oneof![
        8 => proptest::sample::select(&NAMES[..]).prop_map(String::from),
        2 => text(),
    ];
    let one = (name, proptest::option::of(value()));
    let one = one.prop_map(|(name, value)| pair(name, value)).boxed();
    prop_oneof![4 => vec(one.clone(), 0..12), 1 => vec(one, 60..100)]
}

fn id(bytes: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => vec(any::<u8>(), bytes),
        1 => vec(any::<u8>(), 0..20),
        1 => Just(vec![0; bytes]),
    ]
}

fn resource() -> impl Strategy<Value = Resource> {
    attributes().prop_map(|attributes| Resource {
        attributes,
        ..Resource::default()
    })
}

fn scope() -> impl Strategy<Value = InstrumentationScope> {
    text().prop_map(|name| InstrumentationScope {
        name,
        ..InstrumentationScope::default()
    })
}

prop_compose! {
    fn span()(
        ids in (id(16), id(8), id(8)),
        name in text(),
        kind in 0..7,
        times in (any::<u64>(), any::<u64>()),
        attributes in attributes(),
        status in proptest::option::of((text(), 0..4)),
    ) -> Span {
        let (trace_id, span_id, parent_span_id) = ids;
        Span {
            trace_id,
            span_id,
            parent_span_id,
            name,
            kind,
            start_time_unix_nano: times.0.min(times.1),
            end_time_unix_nano: times.1,
            attributes,
            status: status.map(|(message, code)| Status { message, code }),
            ..Span::default()
        }
    }
}

prop_compose! {
    fn record()(
        ids in (id(16), id(8)),
        times in (any::<u64>(), 1..=u64::MAX),
        severity_number in -1..30,
        texts in (text(), text()),
        body in proptest::option::of(value()),
        attributes in attributes(),
    ) -> LogRecord {
        let ((trace_id, span_id), (severity_text, event_name)) = (ids, texts);
        LogRecord {
            time_unix_nano: times.0,
            observed_time_unix_nano: times.1,
            severity_number,
            severity_text,
            event_name,
            body,
            attributes,
            trace_id,
            span_id,
            ..LogRecord::default()
        }
    }
}

fn trace_request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope_spans = (scope(), vec(span(), 0..4)).prop_map(|(scope, spans)| ScopeSpans {
        scope: Some(scope),
        spans,
        ..ScopeSpans::default()
    });
    let of_one =
        (resource(), vec(scope_spans, 0..3)).prop_map(|(resource, scope_spans)| ResourceSpans {
            resource: Some(resource),
            scope_spans,
            ..ResourceSpans::default()
        });
    vec(of_one, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn log_request() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scope_logs = (scope(), vec(record(), 0..4)).prop_map(|(scope, log_records)| ScopeLogs {
        scope: Some(scope),
        log_records,
        ..ScopeLogs::default()
    });
    let of_one =
        (resource(), vec(scope_logs, 0..3)).prop_map(|(resource, scope_logs)| ResourceLogs {
            resource: Some(resource),
            scope_logs,
            ..ResourceLogs::default()
        });
    vec(of_one, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any spans give events that every reader takes, the same ones in either form, and none is
    /// left out unsaid.
    #[test]
    fn any_spans(request in trace_request()) {
        let translated = traces(PROTOBUF, &request.encode_to_vec(), RECEIVED_AT).unwrap();
        assert_taken(&translated);
        let counts = (translated.events.len() as u64, translated.ignored_count);
        let scopes = request.resource_spans.iter().flat_map(|one| &one.scope_spans);
        let all: usize = scopes.map(|one| one.spans.len()).sum();
        prop_assert_eq!(counts.0 + counts.1 + translated.rejected_count, all as u64);
        let json = serde_json::to_vec(&request).unwrap();
        let same = traces(JSON, &json, RECEIVED_AT).unwrap();
        prop_assert_eq!(same.events, translated.events);
        prop_assert_eq!(same.rejected, translated.rejected);
    }

    /// Any log records give events that every reader takes, each its own, and the same ones in
    /// either form but for the ids that are hashes of their bytes.
    #[test]
    fn any_logs(request in log_request()) {
        let mut translated = logs(PROTOBUF, &request.encode_to_vec(), RECEIVED_AT).unwrap();
        assert_taken(&translated);
        prop_assert_eq!(translated.rejected_count, 0);
        let scopes = request.resource_logs.iter().flat_map(|one| &one.scope_logs);
        let all: usize = scopes.map(|one| one.log_records.len()).sum();
        prop_assert_eq!(translated.events.len(), all);
        let json = serde_json::to_vec(&request).unwrap();
        let mut same = logs(JSON, &json, RECEIVED_AT).unwrap();
        for event in same.events.iter_mut().chain(&mut translated.events) {
            event.event_id.clear();
        }
        prop_assert_eq!(same.events, translated.events);
    }

    /// Any bytes are refused or read, and never a panic.
    #[test]
    fn any_bytes(body in vec(any::<u8>(), 0..200)) {
        for format in [PROTOBUF, JSON] {
            for translated in [
                traces(format, &body, RECEIVED_AT),
                logs(format, &body, RECEIVED_AT),
            ].into_iter().flatten() {
                assert_taken(&translated);
            }
        }
    }

    /// A request with some bytes changed is refused or read as well.
    #[test]
    fn a_damaged_request(
        request in log_request(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        is_json in any::<bool>(),
    ) {
        let mut body = match is_json {
            true => serde_json::to_vec(&request).unwrap(),
            false => request.encode_to_vec(),
        };
        for (at, byte) in changes {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        let format = if is_json { JSON } else { PROTOBUF };
        if let Ok(translated) = logs(format, &body, RECEIVED_AT) {
            assert_taken(&translated);
        }
    }
}
