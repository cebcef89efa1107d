//! OTLP's JSON: protobuf's mapping, but for ids in hexadecimal and enums as numbers.
//!
//! As its specification wants it: unknown keys are ignored, 64-bit numbers are texts or numbers,
//! ids are hexadecimal in either case. And as protobuf's own: `null` is the same as nothing, bytes
//! are base64 in either alphabet, an enum may also stand by its name. Items are read one at a time,
//! as in [`wire`](super::wire).

use std::fmt;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Variant;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Items, Limits, Place, Unreadable};

/// Hands each item of a request to `items`, with the resource and the scope that it is of; `list`
/// is the name of the list of resources, `scopes` of that of scopes, `leaves` of that of items.
pub(super) fn walk<'a>(
    body: &'a [u8],
    names: &Names,
    items: &mut impl Items<'a>,
) -> Result<(), Unreadable> {
    let body = std::str::from_utf8(body).map_err(|_| Unreadable)?;
    each(field(body, names.resources)?, |of_resource| {
        let resource = field(of_resource, "resource")?;
        each(field(of_resource, names.scopes)?, |of_scope| {
            let scope = field(of_scope, "scope")?;
            each(field(of_scope, names.items)?, |item| {
                items.take(Place {
                    resource: bounded(resource),
                    scope: bounded(scope),
                    item: item.as_bytes(),
                });
                Ok(())
            })
        })
    })
}

/// What a signal's lists are called.
pub(super) struct Names {
    pub(super) resources: &'static str,
    pub(super) scopes: &'static str,
    pub(super) items: &'static str,
}

/// A resource or scope that is too large to be read says nothing.
fn bounded(text: &str) -> &[u8] {
    match text.len() <= Limits::ITEM_BYTES {
        true => text.as_bytes(),
        false => b"null",
    }
}

/// The text of an object's field; `null` when it has none.
fn field<'a>(object: &'a str, name: &str) -> Result<&'a str, Unreadable> {
    struct Find<'n>(&'n str);

    impl<'de> Visitor<'de> for Find<'_> {
        type Value = &'de str;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<&'de str, M::Error> {
            let mut found = "null";
            while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                let value: &RawValue = map.next_value()?;
                if key == self.0 {
                    found = value.get();
                }
            }
            Ok(found)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(object);
    let found = reader.deserialize_map(Find(name));
    let found = found.map_err(|_| Unreadable)?;
    reader.end().map_err(|_| Unreadable)?;
    Ok(found)
}

/// Each entry of a list, in order; none of `null`.
fn each<'a>(
    list: &'a str,
    take: impl FnMut(&'a str) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    struct Each<F>(F);

    impl<'de, F: FnMut(&'de str) -> Result<(), Unreadable>> Visitor<'de> for Each<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<(), S::Error> {
            while let Some(entry) = list.next_element::<&RawValue>()? {
                self.0(entry.get()).map_err(|_| S::Error::custom("within the list"))?;
            }
            Ok(())
        }
    }

    if list == "null" {
        return Ok(());
    }
    let mut reader = serde_json::Deserializer::from_str(list);
    reader.deserialize_seq(Each(take)).map_err(|_| Unreadable)
}

/// A message of one item, resource or scope.
pub(super) fn message<T: Twin>(text: &[u8]) -> Option<T> {
    let twin: Option<T::Json> = serde_json::from_slice(text).ok()?;
    Some(twin.map(T::of).unwrap_or_default())
}

/// A message, and the form in which JSON brings it.
pub(super) trait Twin: Default {
    /// That form.
    type Json: DeserializeOwned;
    /// The message.
    fn of(json: Self::Json) -> Self;
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(super) struct JsonResource {
    attributes: Option<Vec<JsonKeyValue>>,
}

impl Twin for Resource {
    type Json = JsonResource;

    fn of(json: JsonResource) -> Self {
        Self {
            attributes: attributes(json.attributes),
            ..Self::default()
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct JsonScope {
    name: Option<String>,
    version: Option<String>,
}

impl Twin for InstrumentationScope {
    type Json = JsonScope;

    fn of(json: JsonScope) -> Self {
        Self {
            name: json.name.unwrap_or_default(),
            version: json.version.unwrap_or_default(),
            ..Self::default()
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct JsonSpan {
    trace_id: Hex,
    span_id: Hex,
    parent_span_id: Hex,
    name: Option<String>,
    kind: Symbol<SpanKinds>,
    start_time_unix_nano: Number,
    end_time_unix_nano: Number,
    attributes: Option<Vec<JsonKeyValue>>,
    status: Option<JsonStatus>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct JsonStatus {
    message: Option<String>,
    code: Symbol<StatusCodes>,
}

impl Twin for Span {
    type Json = JsonSpan;

    fn of(json: JsonSpan) -> Self {
        Self {
            trace_id: json.trace_id.0,
            span_id: json.span_id.0,
            parent_span_id: json.parent_span_id.0,
            name: json.name.unwrap_or_default(),
            kind: json.kind.number,
            start_time_unix_nano: json.start_time_unix_nano.0,
            end_time_unix_nano: json.end_time_unix_nano.0,
            attributes: attributes(json.attributes),
            status: json.status.map(|status| Status {
                message: status.message.unwrap_or_default(),
                code: status.code.number,
            }),
            ..Self::default()
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct JsonLogRecord {
    time_unix_nano: Number,
    observed_time_unix_nano: Number,
    severity_number: Symbol<Severities>,
    severity_text: Option<String>,
    body: Option<JsonValue>,
    attributes: Option<Vec<JsonKeyValue>>,
    trace_id: Hex,
    span_id: Hex,
    event_name: Option<String>,
}

impl Twin for LogRecord {
    type Json = JsonLogRecord;

    fn of(json: JsonLogRecord) -> Self {
        Self {
            time_unix_nano: json.time_unix_nano.0,
            observed_time_unix_nano: json.observed_time_unix_nano.0,
            severity_number: json.severity_number.number,
            severity_text: json.severity_text.unwrap_or_default(),
            body: json.body.map(|body| AnyValue { value: body.0 }),
            attributes: attributes(json.attributes),
            trace_id: json.trace_id.0,
            span_id: json.span_id.0,
            event_name: json.event_name.unwrap_or_default(),
            ..Self::default()
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonKeyValue {
    key: Option<String>,
    value: Option<JsonValue>,
}

fn attributes(list: Option<Vec<JsonKeyValue>>) -> Vec<KeyValue> {
    let list = list.unwrap_or_default().into_iter();
    list.map(|one| KeyValue {
        key: one.key.unwrap_or_default(),
        value: one.value.map(|value| AnyValue { value: value.0 }),
        ..KeyValue::default()
    })
    .collect()
}

/// An attribute's value or a log's body.
#[derive(Default)]
struct JsonValue(Option<Variant>);

#[derive(Deserialize)]
struct JsonList<T> {
    values: Option<Vec<T>>,
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOf;

        impl<'de> Visitor<'de> for OneOf {
            type Value = JsonValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one of stringValue, boolValue, intValue and so on")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<JsonValue, M::Error> {
                let mut value = None;
                while let Some(key) = map.next_key::<String>()? {
                    value = match key.as_str() {
                        "stringValue" => map.next_value::<Option<_>>()?.map(Variant::StringValue),
                        "boolValue" => map.next_value::<Option<_>>()?.map(Variant::BoolValue),
                        "intValue" => map
                            .next_value::<Option<Whole>>()?
                            .map(|whole| Variant::IntValue(whole.0)),
                        "doubleValue" => map
                            .next_value::<Option<Double>>()?
                            .map(|double| Variant::DoubleValue(double.0)),
                        "bytesValue" => map
                            .next_value::<Option<Base64>>()?
                            .map(|bytes| Variant::BytesValue(bytes.0)),
                        "arrayValue" => map.next_value::<Option<_>>()?.map(array),
                        "kvlistValue" => map.next_value::<Option<_>>()?.map(pairs),
                        _ => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                            value
                        }
                    };
                }
                Ok(JsonValue(value))
            }
        }

        deserializer.deserialize_map(OneOf)
    }
}

fn array(list: JsonList<Option<JsonValue>>) -> Variant {
    let values = list.values.unwrap_or_default().into_iter();
    let value = |one: Option<JsonValue>| AnyValue {
        value: one.and_then(|one| one.0),
    };
    Variant::ArrayValue(ArrayValue {
        values: values.map(value).collect(),
    })
}

fn pairs(list: JsonList<JsonKeyValue>) -> Variant {
    Variant::KvlistValue(KeyValueList {
        values: attributes(list.values),
    })
}

/// The digits of a number that JSON brings bare or in quotes; `None` for `null`.
fn digits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    match raw.get() {
        "null" => Ok(None),
        text if text.starts_with('"') => serde_json::from_str(text).map_err(D::Error::custom),
        text => Ok(Some(text.to_owned())),
    }
}

/// A whole number that may be written as `1e3`, as some languages write large ones.
fn whole(text: &str) -> Option<i128> {
    if let Ok(whole) = text.parse() {
        return Some(whole);
    }
    let double: f64 = text.parse().ok()?;
    let is_whole = double.fract() == 0.0 && double.abs() < 2_f64.powi(64);
    is_whole.then_some(double as i128)
}

/// An unsigned number of 64 bits.
#[derive(Default)]
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = digits(deserializer)? else {
            return Ok(Self(0));
        };
        let number = whole(&text).and_then(|whole| u64::try_from(whole).ok());
        number
            .map(Self)
            .ok_or_else(|| D::Error::custom("not a number of 64 bits"))
    }
}

/// A signed number of 64 bits.
struct Whole(i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = digits(deserializer)?.unwrap_or_else(|| "0".into());
        let number = whole(&text).and_then(|whole| i64::try_from(whole).ok());
        number
            .map(Self)
            .ok_or_else(|| D::Error::custom("not a number of 64 bits"))
    }
}

/// A floating-point number, which may be `"NaN"` or `"Infinity"`.
struct Double(f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = digits(deserializer)?.unwrap_or_else(|| "0".into());
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// An id in hexadecimal.
#[derive(Default)]
struct Hex(Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        let nibble = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let pairs = text.as_bytes().chunks(2);
        let byte = |pair: &[u8]| Some(nibble(pair[0])? << 4 | nibble(*pair.get(1)?)?);
        let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
        bytes
            .map(Self)
            .ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

/// Bytes in base64.
struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const LENIENT: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let text = String::deserialize(deserializer)?;
        let is_url = text.contains(['-', '_']);
        let alphabet = if is_url { &URL_SAFE } else { &STANDARD };
        let bytes = GeneralPurpose::new(alphabet, LENIENT).decode(text);
        bytes.map(Self).map_err(D::Error::custom)
    }
}

/// An enum's number, or its name.
struct Symbol<N> {
    number: i32,
    names: std::marker::PhantomData<N>,
}

impl<N> Default for Symbol<N> {
    fn default() -> Self {
        Self {
            number: 0,
            names: std::marker::PhantomData,
        }
    }
}

trait Symbols {
    fn number(name: &str) -> Option<i32>;
}

struct SpanKinds;
struct StatusCodes;
struct Severities;

impl Symbols for SpanKinds {
    fn number(name: &str) -> Option<i32> {
        use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
        SpanKind::from_str_name(name).map(|kind| kind as i32)
    }
}

impl Symbols for StatusCodes {
    fn number(name: &str) -> Option<i32> {
        use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
        StatusCode::from_str_name(name).map(|code| code as i32)
    }
}

impl Symbols for Severities {
    fn number(name: &str) -> Option<i32> {
        use opentelemetry_proto::tonic::logs::v1::SeverityNumber;
        SeverityNumber::from_str_name(name).map(|severity| severity as i32)
    }
}

impl<'de, N: Symbols> Deserialize<'de> for Symbol<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = digits(deserializer)? else {
            return Ok(Self::default());
        };
        let number = whole(&text).and_then(|whole| i32::try_from(whole).ok());
        // A value that a later release of the protocol knows is as good as none.
        let number = number.or_else(|| N::number(&text)).unwrap_or(0);
        Ok(Self {
            number,
            ..Self::default()
        })
    }
}
