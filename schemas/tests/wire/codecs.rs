//! Our side: each hand-written codec, from and to `apache-avro`'s values.

use std::collections::HashMap;

use apache_avro::types::Value;
use schemas::book::{Book, BookView, Level};
use schemas::control::ControlRecord;
use schemas::dead_letter::DeadLetter;
use schemas::decimal::Decimal;
use schemas::event::{self, EventHead, EventView, Severity};
use schemas::late::Late;
use schemas::metric::{self, Detail, MetricHead, MetricView};
use schemas::time::{BrokerTime, EventTime, Span, Width};
use schemas::wire::{DecodeError, SchemaId, Text};

use crate::values::{self, units};

/// The value of a framed record, by the hand-written codec.
pub(crate) fn decode(id: SchemaId, record: &[u8]) -> Result<Value, DecodeError> {
    match id {
        SchemaId::Event => EventView::decode(record).map(|view| event_value(&view)),
        SchemaId::Metric => MetricView::decode(record).map(|view| metric_value(&view)),
        SchemaId::MetricDetail => MetricView::decode(record).map(|view| detail_value(&view)),
        SchemaId::Book => BookView::decode(record).map(book_value),
        SchemaId::Late => Late::decode(record).map(|late| late_value(&late)),
        SchemaId::DeadLetter => DeadLetter::decode(record).map(|letter| letter_value(&letter)),
        SchemaId::Control => ControlRecord::decode(record).map(|record| control_value(&record)),
    }
}

/// The framed record of a value, by the hand-written codec.
pub(crate) fn encode(id: SchemaId, value: &Value) -> Vec<u8> {
    let mut out = vec![];
    let fields = Fields::of(value);
    match id {
        SchemaId::Event => encode_event(&fields, &mut out),
        SchemaId::Metric | SchemaId::MetricDetail => encode_metric(id, &fields, &mut out),
        SchemaId::Book => encode_book(&fields, &mut out),
        SchemaId::Late => encode_late(&fields, &mut out),
        SchemaId::DeadLetter => encode_letter(&fields, &mut out),
        SchemaId::Control => encode_control(&fields, &mut out),
    }
    out
}

/// A record's fields by name.
struct Fields<'a>(HashMap<&'a str, &'a Value>);

impl<'a> Fields<'a> {
    fn of(value: &'a Value) -> Self {
        let Value::Record(fields) = value else {
            panic!("{value:?} is no record");
        };
        Self(
            fields
                .iter()
                .map(|(name, value)| (name.as_str(), value))
                .collect(),
        )
    }

    fn record(&self, name: &str) -> Self {
        Self::of(self.0[name])
    }

    fn text(&self, name: &str) -> &'a str {
        text_of(self.0[name])
    }

    fn long(&self, name: &str) -> i64 {
        long_of(self.0[name])
    }

    fn int(&self, name: &str) -> i32 {
        self.long(name).try_into().unwrap()
    }

    fn instant(&self, name: &str) -> EventTime {
        EventTime::from_us(self.long(name))
    }

    fn boolean(&self, name: &str) -> bool {
        boolean_of(self.0[name])
    }

    fn bytes(&self, name: &str) -> &'a [u8] {
        bytes_of(self.0[name])
    }

    fn optional<T>(&self, name: &str, of: impl Fn(&'a Value) -> T) -> Option<T> {
        optional_of(self.0[name], of)
    }

    fn optional_text(&self, name: &str) -> Option<&'a str> {
        self.optional(name, text_of)
    }

    fn map<T>(&self, name: &str, of: impl Fn(&'a Value) -> T) -> Vec<(&'a str, T)> {
        let Value::Map(items) = self.0[name] else {
            panic!("{name} is no map");
        };
        items
            .iter()
            .map(|(name, value)| (name.as_str(), of(value)))
            .collect()
    }
}

fn text_of(value: &Value) -> &str {
    match value {
        Value::String(text) => text,
        other => panic!("{other:?} is no string"),
    }
}

fn long_of(value: &Value) -> i64 {
    match value {
        Value::Int(value) => (*value).into(),
        Value::Long(value) | Value::TimestampMicros(value) | Value::TimestampMillis(value) => {
            *value
        }
        other => panic!("{other:?} is no number"),
    }
}

fn boolean_of(value: &Value) -> bool {
    match value {
        Value::Boolean(value) => *value,
        other => panic!("{other:?} is no boolean"),
    }
}

fn bytes_of(value: &Value) -> &[u8] {
    match value {
        Value::Bytes(bytes) => bytes,
        other => panic!("{other:?} is no bytes"),
    }
}

fn decimal_of(value: &Value) -> Decimal {
    match value {
        Value::Decimal(decimal) => Decimal::from_units(units(decimal)).unwrap(),
        other => panic!("{other:?} is no decimal"),
    }
}

fn optional_of<'a, T>(value: &'a Value, of: impl Fn(&'a Value) -> T) -> Option<T> {
    match value {
        Value::Union(0, _) => None,
        Value::Union(1, value) => Some(of(value)),
        other => panic!("{other:?} is no optional"),
    }
}

fn record<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter();
    Value::Record(
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn text(text: Text<'_>) -> Value {
    Value::String(text.as_str().to_owned())
}

fn instant(at: EventTime) -> Value {
    Value::TimestampMicros(at.as_us())
}

fn decimal(value: Decimal) -> Value {
    values::decimal(value.units())
}

fn optional<T>(value: Option<T>, of: impl Fn(T) -> Value) -> Value {
    match value {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(value) => Value::Union(1, Box::new(of(value))),
    }
}

fn map<'a, T>(items: impl Iterator<Item = (Text<'a>, T)>, of: impl Fn(T) -> Value) -> Value {
    let items = items.map(|(name, value)| (name.as_str().to_owned(), of(value)));
    Value::Map(items.collect())
}

fn event_value(view: &EventView<'_>) -> Value {
    let severity = view.severity;
    record([
        ("event_id", text(view.event_id)),
        ("event_type", text(view.event_type)),
        ("name", optional(view.name, text)),
        ("occurred_at", instant(view.occurred_at)),
        ("received_at", instant(view.received_at)),
        (
            "severity",
            Value::Enum(severity as u32, severity.as_str().to_owned()),
        ),
        (
            "source",
            record([
                ("service", text(view.service)),
                ("host", optional(view.host, text)),
                ("method", optional(view.method, text)),
                ("endpoint", optional(view.endpoint, text)),
                ("version", optional(view.version, text)),
            ]),
        ),
        ("subject", text(view.subject)),
        ("sequence", optional(view.sequence, Value::Long)),
        ("title", optional(view.title, text)),
        ("trace_id", optional(view.trace_id, text)),
        ("user_id", optional(view.user_id, text)),
        ("tags", map(view.tags.iter(), text)),
        ("metrics", map(view.metrics.iter(), decimal)),
        ("payload", optional(view.payload, text)),
    ])
}

fn encode_event(fields: &Fields<'_>, out: &mut Vec<u8>) {
    let source = fields.record("source");
    let Value::Enum(severity, _) = fields.0["severity"] else {
        panic!("severity is an enum");
    };
    let head = EventHead {
        event_id: fields.text("event_id"),
        event_type: fields.text("event_type"),
        name: fields.optional_text("name"),
        occurred_at: fields.instant("occurred_at"),
        received_at: fields.instant("received_at"),
        severity: Severity::ALL[*severity as usize],
        service: source.text("service"),
        host: source.optional_text("host"),
        method: source.optional_text("method"),
        endpoint: source.optional_text("endpoint"),
        version: source.optional_text("version"),
        subject: fields.text("subject"),
        sequence: fields.optional("sequence", long_of),
        title: fields.optional_text("title"),
        trace_id: fields.optional_text("trace_id"),
        user_id: fields.optional_text("user_id"),
        payload: fields.optional_text("payload"),
    };
    let tags = fields.map("tags", text_of);
    let metrics = fields.map("metrics", decimal_of);
    event::encode(out, &head, tags.into_iter(), metrics.into_iter());
}

fn metric_value(view: &MetricView<'_>) -> Value {
    record([
        ("meter", text(view.meter)),
        ("meter_version", Value::Long(view.meter_version)),
        ("group", text(view.group)),
        ("labels", map(view.labels.iter(), text)),
        ("window_ms", Value::Long(view.window_ms)),
        ("window_start", instant(view.window_start)),
        ("final", Value::Boolean(view.is_final)),
        ("revision", Value::Long(view.revision)),
        ("deleted", Value::Boolean(view.deleted)),
        ("partial", Value::Boolean(view.partial)),
        ("overflow", Value::Boolean(view.overflow)),
        (
            "event_count",
            Value::Long(view.event_count.try_into().unwrap()),
        ),
        (
            "values",
            map(view.values.iter(), |value| optional(value, decimal)),
        ),
    ])
}

fn detail_value(view: &MetricView<'_>) -> Value {
    let Value::Record(mut fields) = metric_value(view) else {
        unreachable!("a metric is a record");
    };
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let sketches = view.sketches.iter();
    fields.push(("window_end".into(), optional(view.window_end, instant)));
    fields.push(("sketches".into(), map(sketches, bytes)));
    Value::Record(fields)
}

fn encode_metric(id: SchemaId, fields: &Fields<'_>, out: &mut Vec<u8>) {
    let window_ms = fields.long("window_ms");
    let width = Width::from_ms(window_ms).unwrap();
    let head = MetricHead {
        meter: fields.text("meter"),
        meter_version: fields.long("meter_version"),
        group: fields.text("group"),
        window: Span::starting(fields.instant("window_start"), width),
        window_ms,
        is_final: fields.boolean("final"),
        revision: fields.long("revision"),
        deleted: fields.boolean("deleted"),
        partial: fields.boolean("partial"),
        overflow: fields.boolean("overflow"),
        event_count: fields.long("event_count").try_into().unwrap(),
    };
    let labels = fields.map("labels", text_of);
    let values = fields.map("values", |value| optional_of(value, decimal_of));
    let (labels, values) = (labels.into_iter(), values.into_iter());
    if id == SchemaId::Metric {
        return metric::encode(out, &head, labels, values);
    }
    let detail = Detail {
        window_end: fields.optional("window_end", |us| EventTime::from_us(long_of(us))),
        sketches: fields.map("sketches", bytes_of).into_iter(),
    };
    metric::encode_detailed(out, &head, labels, values, detail);
}

fn book_value(view: BookView<'_>) -> Value {
    let levels = view.levels().map(|level| {
        record([
            ("bid", Value::Boolean(level.bid)),
            ("price", decimal(level.price)),
            ("quantity", decimal(level.quantity)),
        ])
    });
    record([
        ("subject", text(view.subject)),
        ("occurred_at", instant(view.occurred_at)),
        ("received_at", instant(view.received_at)),
        ("snapshot", Value::Boolean(view.snapshot)),
        ("levels", Value::Array(levels.collect())),
    ])
}

fn encode_book(fields: &Fields<'_>, out: &mut Vec<u8>) {
    let Value::Array(levels) = fields.0["levels"] else {
        panic!("levels is an array");
    };
    let levels = levels.iter().map(Fields::of).map(|level| Level {
        bid: level.boolean("bid"),
        price: decimal_of(level.0["price"]),
        quantity: decimal_of(level.0["quantity"]),
    });
    let book = Book {
        subject: fields.text("subject").to_owned(),
        occurred_at: fields.instant("occurred_at"),
        received_at: fields.instant("received_at"),
        snapshot: fields.boolean("snapshot"),
        levels: levels.collect(),
    };
    book.encode(out);
}

fn late_value(late: &Late<'_>) -> Value {
    record([
        ("topic", text(late.topic)),
        ("partition", Value::Int(late.partition)),
        ("offset", Value::Long(late.offset)),
        (
            "appended_at",
            Value::TimestampMillis(late.appended_at.as_ms()),
        ),
        ("event_id", text(late.event_id)),
        ("event_type", text(late.event_type)),
        ("subject", text(late.subject)),
        ("occurred_at", instant(late.occurred_at)),
        ("limit_at", instant(late.limit_at)),
        ("event", Value::Bytes(late.event.to_vec())),
    ])
}

fn encode_late(fields: &Fields<'_>, out: &mut Vec<u8>) {
    let late = Late {
        topic: Text::new(fields.text("topic")),
        partition: fields.int("partition"),
        offset: fields.long("offset"),
        appended_at: BrokerTime::from_ms(fields.long("appended_at")),
        event_id: Text::new(fields.text("event_id")),
        event_type: Text::new(fields.text("event_type")),
        subject: Text::new(fields.text("subject")),
        occurred_at: fields.instant("occurred_at"),
        limit_at: fields.instant("limit_at"),
        event: fields.bytes("event"),
    };
    late.encode(out);
}

fn letter_value(letter: &DeadLetter<'_>) -> Value {
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    record([
        ("source", text(letter.source)),
        ("partition", optional(letter.partition, Value::Int)),
        ("offset", optional(letter.offset, Value::Long)),
        (
            "appended_at",
            Value::TimestampMillis(letter.appended_at.as_ms()),
        ),
        ("reason", text(letter.reason)),
        ("detail", text(letter.detail)),
        ("replay_count", Value::Int(letter.replay_count)),
        ("key", optional(letter.key, bytes)),
        ("value", optional(letter.value, bytes)),
    ])
}

fn encode_letter(fields: &Fields<'_>, out: &mut Vec<u8>) {
    let letter = DeadLetter {
        source: Text::new(fields.text("source")),
        partition: fields.optional("partition", |value| long_of(value).try_into().unwrap()),
        offset: fields.optional("offset", long_of),
        appended_at: BrokerTime::from_ms(fields.long("appended_at")),
        reason: Text::new(fields.text("reason")),
        detail: Text::new(fields.text("detail")),
        replay_count: fields.int("replay_count"),
        key: fields.optional("key", bytes_of),
        value: fields.optional("value", bytes_of),
    };
    letter.encode(out);
}

fn control_value(control: &ControlRecord<'_>) -> Value {
    record([
        ("version", Value::Long(control.version)),
        ("changed_at", instant(control.changed_at)),
        ("body", optional(control.body, text)),
        ("mac", Value::Bytes(control.mac.to_vec())),
    ])
}

fn encode_control(fields: &Fields<'_>, out: &mut Vec<u8>) {
    let control = ControlRecord {
        version: fields.long("version"),
        changed_at: fields.instant("changed_at"),
        body: fields.optional_text("body").map(Text::new),
        mac: fields.bytes("mac"),
    };
    control.encode(out);
}
