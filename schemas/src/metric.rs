//! A window's result, fired or still open.

use crate::decimal::Decimal;
use crate::time::{EventTime, Span, Width};
use crate::wire::{DecodeError, Items, Reader, SchemaId, Text, avro, frame, unframe};

/// A metric to be written. Each field's meaning is in `avro/metric.avsc`.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the schema documents the fields")]
pub struct MetricHead<'a> {
    pub meter: &'a str,
    pub meter_version: i64,
    pub group: &'a str,
    pub window: Span,
    pub window_ms: i64,
    pub is_final: bool,
    pub revision: i64,
    pub deleted: bool,
    pub partial: bool,
    pub overflow: bool,
    pub event_count: u64,
}

/// Appends the framed record of a metric.
///
/// # Panics
/// When `event_count` is beyond 2⁶³: a count is never clamped.
pub fn encode<'a>(
    out: &mut Vec<u8>,
    head: &MetricHead<'_>,
    labels: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    values: impl ExactSizeIterator<Item = (&'a str, Option<Decimal>)>,
) {
    frame(out, SchemaId::Metric);
    put_body(out, head, labels, values);
}

/// What a metric says beside its values.
#[derive(Clone, Debug)]
pub struct Detail<S> {
    /// Where the window ends, for a session.
    pub window_end: Option<EventTime>,
    /// The sketches' bytes, by the names of aggregates.
    pub sketches: S,
}

/// Appends the framed record of a metric with what only the schema of details has room for.
///
/// # Panics
/// As [`encode`].
pub fn encode_detailed<'a>(
    out: &mut Vec<u8>,
    head: &MetricHead<'_>,
    labels: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    values: impl ExactSizeIterator<Item = (&'a str, Option<Decimal>)>,
    detail: Detail<impl ExactSizeIterator<Item = (&'a str, &'a [u8])>>,
) {
    frame(out, SchemaId::MetricDetail);
    put_body(out, head, labels, values);
    avro::put_optional_long(out, detail.window_end.map(EventTime::as_us));
    avro::put_items(out, detail.sketches, |out, (name, bytes)| {
        avro::put_bytes(out, name.as_bytes());
        avro::put_bytes(out, bytes);
    });
}

fn put_body<'a>(
    out: &mut Vec<u8>,
    head: &MetricHead<'_>,
    labels: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    values: impl ExactSizeIterator<Item = (&'a str, Option<Decimal>)>,
) {
    avro::put_bytes(out, head.meter.as_bytes());
    avro::put_long(out, head.meter_version);
    avro::put_bytes(out, head.group.as_bytes());
    avro::put_items(out, labels, |out, (name, value)| {
        avro::put_bytes(out, name.as_bytes());
        avro::put_bytes(out, value.as_bytes());
    });
    avro::put_long(out, head.window_ms);
    avro::put_long(out, head.window.start().as_us());
    avro::put_boolean(out, head.is_final);
    avro::put_long(out, head.revision);
    avro::put_boolean(out, head.deleted);
    avro::put_boolean(out, head.partial);
    avro::put_boolean(out, head.overflow);
    let event_count = i64::try_from(head.event_count);
    avro::put_long(
        out,
        event_count.expect("an event each nanosecond takes 292 years to pass 2^63"),
    );
    avro::put_items(out, values, |out, (name, value)| {
        avro::put_bytes(out, name.as_bytes());
        match value {
            None => out.push(0),
            Some(value) => {
                out.push(2);
                avro::put_decimal(out, value);
            }
        }
    });
}

/// A metric inside a record of either schema. Each field's meaning is in `avro/metric_detail.avsc`;
/// what `avro/metric.avsc` has no room for is absent or empty in its records.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the schema documents the fields")]
pub struct MetricView<'a> {
    pub meter: Text<'a>,
    pub meter_version: i64,
    pub group: Text<'a>,
    pub labels: Labels<'a>,
    pub window_ms: i64,
    pub window_start: EventTime,
    pub is_final: bool,
    pub revision: i64,
    pub deleted: bool,
    pub partial: bool,
    pub overflow: bool,
    pub event_count: u64,
    pub values: Values<'a>,
    pub window_end: Option<EventTime>,
    pub sketches: Sketches<'a>,
}

impl<'a> MetricView<'a> {
    /// Reads a framed record.
    ///
    /// # Errors
    /// Whatever the schema does not allow; never a panic, whatever the bytes.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let is_detailed = value.starts_with(&SchemaId::MetricDetail.head());
        let schema = match is_detailed {
            true => SchemaId::MetricDetail,
            false => SchemaId::Metric,
        };
        let mut reader = Reader::new(unframe(value, schema)?);
        let r = &mut reader;
        let mut view = Self {
            meter: r.text("meter")?,
            meter_version: r.long("meter_version")?,
            group: r.text("group")?,
            labels: r.items("labels")?,
            window_ms: width(r)?,
            window_start: EventTime::from_us(r.long("window_start")?),
            is_final: r.boolean("final")?,
            revision: r.long("revision")?,
            deleted: r.boolean("deleted")?,
            partial: r.boolean("partial")?,
            overflow: r.boolean("overflow")?,
            event_count: u64::try_from(r.long("event_count")?).map_err(|_| {
                DecodeError::Invalid {
                    field: "event_count",
                    reason: "a count is not negative",
                }
            })?,
            values: Values(r.items("values")?),
            window_end: None,
            sketches: Sketches::NONE,
        };
        if is_detailed {
            view.window_end = r.optional_long("window_end")?.map(EventTime::from_us);
            view.sketches = r.items("sketches")?;
        }
        reader.end()?;
        Ok(view)
    }
}

fn width(reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
    let ms = reader.long("window_ms")?;
    match Width::from_ms(ms) {
        Some(_) => Ok(ms),
        None => Err(DecodeError::Invalid {
            field: "window_ms",
            reason: "1 ms to 366 days",
        }),
    }
}

/// A group's names and values.
pub type Labels<'a> = Items<'a, (Text<'a>, Text<'a>)>;

/// A window's sketches, by the names of the aggregates that are read from them; their bytes are
/// for [`crate::sketch::Sketch::decode`].
pub type Sketches<'a> = Items<'a, (Text<'a>, &'a [u8])>;

/// A window's aggregates.
#[derive(Clone, Copy)]
pub struct Values<'a>(Items<'a, (Text<'a>, Option<Decimal>)>);

impl<'a> Values<'a> {
    /// How many.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// True for none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the record.
    pub fn iter(self) -> impl Iterator<Item = (Text<'a>, Option<Decimal>)> {
        self.0.iter()
    }

    /// The value of a name; `None` where it is absent or null.
    pub fn get(self, name: &str) -> Option<Decimal> {
        self.0.get(name).flatten()
    }
}

impl std::fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "292 years")]
    fn a_count_is_never_clamped() {
        let width = Width::from_ms(1_000).unwrap();
        let head = MetricHead {
            meter: "candles",
            meter_version: 1,
            group: "",
            window: Span::starting(EventTime::from_us(0), width),
            window_ms: 1_000,
            is_final: true,
            revision: 1,
            deleted: false,
            partial: false,
            overflow: false,
            event_count: u64::MAX,
        };
        encode(&mut vec![], &head, [].into_iter(), [].into_iter());
    }
}
