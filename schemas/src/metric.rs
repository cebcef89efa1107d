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

/// A metric inside a record. Each field's meaning is in `avro/metric.avsc`.
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
}

impl<'a> MetricView<'a> {
    /// Reads a framed record.
    ///
    /// # Errors
    /// Whatever the schema does not allow; never a panic, whatever the bytes.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(unframe(value, SchemaId::Metric)?);
        let r = &mut reader;
        let view = Self {
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
        };
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
