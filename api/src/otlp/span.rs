//! A span of HTTP as an `api_call` event.

use std::borrow::Cow;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::refusal::{SUBJECT_BYTES_MAX, TEXT_BYTES_MAX};
use schemas::time::EventTime;

use super::endpoint::{host_of, path_of, template, without_port};
use super::fields::{self, Attributes, Origin, Tags};

/// Units of a decimal in a nanosecond, where the decimal counts milliseconds.
const UNITS_PER_NANOSECOND: i128 = 1_000_000_000_000;

/// Which end of a request a span tells of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Server,
    Client,
}

impl End {
    fn of(span: &Span) -> Option<Self> {
        match SpanKind::try_from(span.kind) {
            Ok(SpanKind::Server) => Some(Self::Server),
            Ok(SpanKind::Client) => Some(Self::Client),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// The span's event; `None` when it is no end of an HTTP request.
///
/// # Errors
/// What is wrong with a span that is one.
pub(super) fn event(
    span: &Span,
    origin: &Origin,
    received_at: EventTime,
) -> Result<Option<Event>, Cow<'static, str>> {
    let attributes = Attributes(&span.attributes);
    let method = attributes.first(&["http.request.method", "http.method"]);
    let (Some(end), Some(method)) = (End::of(span), method) else {
        return Ok(None);
    };
    let trace_id = fields::id(&span.trace_id, 16).ok_or("has no trace id of 16 bytes")?;
    let span_id = fields::id(&span.span_id, 8).ok_or("has no span id of 8 bytes")?;
    if span.end_time_unix_nano == 0 {
        return Err("has no end time".into());
    }
    let nanoseconds = span
        .end_time_unix_nano
        .checked_sub(span.start_time_unix_nano)
        .ok_or("ends before it starts")?;
    let duration_ms = Decimal::from_units(i128::from(nanoseconds) * UNITS_PER_NANOSECOND)
        .expect("64 bits of nanoseconds are 32 digits of units");
    let mut tags = Tags::of(origin);
    let endpoint = match end {
        End::Server => server_endpoint(span, attributes),
        End::Client => client_endpoint(attributes),
    };
    // Together with the service it is the subject, which takes half as much as another text.
    let endpoint_bytes_max = SUBJECT_BYTES_MAX - 1;
    let endpoint = endpoint.map(|endpoint| tags.cut(endpoint, endpoint_bytes_max));
    let status_code = attributes.first(&["http.response.status_code", "http.status_code"]);
    let has_failed = span
        .status
        .as_ref()
        .is_some_and(|status| status.code == StatusCode::Error as i32);
    let source = Source {
        method: Some(tags.cut(method, TEXT_BYTES_MAX)),
        endpoint,
        ..origin.source.clone()
    };
    let user_id = attributes.first(&["user.id", "enduser.id"]);
    let user_id = user_id.map(|user| tags.cut(user, TEXT_BYTES_MAX));
    let is_bad = has_failed || is_server_error(status_code.as_deref());
    tag(&mut tags, span, end, has_failed);
    tags.add_some("status_code", status_code);
    Ok(Some(Event {
        event_id: format!("{trace_id}-{span_id}"),
        event_type: EventType::ApiCall,
        name: None,
        occurred_at: at(span.end_time_unix_nano),
        received_at,
        severity: if is_bad {
            Severity::Error
        } else {
            Severity::Info
        },
        subject: fields::subject(&source, user_id.as_deref(), &mut tags),
        source,
        sequence: None,
        title: Some(tags.cut(span.name.clone(), TEXT_BYTES_MAX)).filter(|name| !name.is_empty()),
        trace_id: Some(trace_id),
        user_id,
        metrics: [("duration_ms".into(), duration_ms)].into(),
        tags: tags.finish(),
        payload: None,
    }))
}

/// An instant of OTLP, without what is finer than a microsecond.
pub(super) fn at(unix_nano: u64) -> EventTime {
    let us = i64::try_from(unix_nano / 1_000);
    EventTime::from_us(us.expect("64 bits of nanoseconds are 54 of microseconds"))
}

fn is_server_error(status_code: Option<&str>) -> bool {
    let number = status_code.and_then(|code| code.parse::<u16>().ok());
    number.is_some_and(|number| number >= 500)
}

/// The route; else the path with its ids left out; else what the span's name says behind the
/// method, as `GET /users/{id}` does.
fn server_endpoint(span: &Span, attributes: Attributes<'_>) -> Option<String> {
    if let Some(route) = attributes.text("http.route") {
        return Some(route);
    }
    let path = attributes.first(&["url.path", "http.target"]);
    if let Some(path) = path {
        return Some(template(path_of(&path)));
    }
    let url = attributes.first(&["url.full", "http.url"]);
    if let Some(url) = url {
        return Some(template(path_of(&url)));
    }
    let (_, path) = span.name.split_once(' ')?;
    path.starts_with('/').then(|| path.to_owned())
}

/// The peer, and the template of the path where the instrumentation knows one: without it a path
/// of somebody else's service may hold anything.
fn client_endpoint(attributes: Attributes<'_>) -> Option<String> {
    let peer = peer(attributes);
    let path = attributes.first(&["url.template", "http.route"]);
    match (peer, path) {
        (Some(peer), Some(path)) if path.starts_with('/') => Some(format!("{peer}{path}")),
        (Some(peer), Some(path)) => Some(format!("{peer}/{path}")),
        (Some(peer), None) => Some(peer),
        (None, path) => path,
    }
}

fn peer(attributes: Attributes<'_>) -> Option<String> {
    let host = attributes.first(&["server.address", "net.peer.name", "http.host"]);
    let host = host.map(|host| without_port(&host).to_owned());
    let of_url = || {
        let url = attributes.first(&["url.full", "http.url"])?;
        host_of(&url).map(Into::into)
    };
    host.or_else(of_url)
        .or_else(|| attributes.text("peer.service"))
}

fn tag(tags: &mut Tags, span: &Span, end: End, has_failed: bool) {
    let attributes = Attributes(&span.attributes);
    tags.add("kind", end.as_str().into());
    if has_failed {
        tags.add("error", "true".into());
    }
    let status = span.status.as_ref();
    let message = status.map(|status| status.message.clone());
    tags.add_some("error.message", message.filter(|text| !text.is_empty()));
    tags.add_some("span_id", fields::id(&span.span_id, 8));
    tags.add_some("parent_span_id", fields::id(&span.parent_span_id, 8));
    // In the older names a server's own address is the host's, and a client's server is the peer.
    let (address, port) = match end {
        End::Server => ("net.host.name", "net.host.port"),
        End::Client => ("net.peer.name", "net.peer.port"),
    };
    for (name, names) in [
        ("error.type", &["error.type"][..]),
        ("url.scheme", &["url.scheme", "http.scheme"]),
        ("server.address", &["server.address", address]),
        ("server.port", &["server.port", port]),
        (
            "network.protocol.version",
            &["network.protocol.version", "http.flavor"],
        ),
    ] {
        tags.add_some(name, attributes.first(names));
    }
}
