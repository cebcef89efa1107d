//! An event that came after its subject's stream had moved on.

use crate::time::{BrokerTime, EventTime};
use crate::wire::{DecodeError, Reader, SchemaId, Text, avro, frame, unframe};

/// A late event, to be written or as read. Each field's meaning is in `avro/late.avsc`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the schema documents the fields")]
pub struct Late<'a> {
    pub topic: Text<'a>,
    pub partition: i32,
    pub offset: i64,
    pub appended_at: BrokerTime,
    pub event_id: Text<'a>,
    pub event_type: Text<'a>,
    pub subject: Text<'a>,
    pub occurred_at: EventTime,
    pub limit_at: EventTime,
    pub event: &'a [u8],
}

impl<'a> Late<'a> {
    /// Appends the framed record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame(out, SchemaId::Late);
        avro::put_bytes(out, self.topic.as_bytes());
        avro::put_long(out, i64::from(self.partition));
        avro::put_long(out, self.offset);
        avro::put_long(out, self.appended_at.as_ms());
        avro::put_bytes(out, self.event_id.as_bytes());
        avro::put_bytes(out, self.event_type.as_bytes());
        avro::put_bytes(out, self.subject.as_bytes());
        avro::put_long(out, self.occurred_at.as_us());
        avro::put_long(out, self.limit_at.as_us());
        avro::put_bytes(out, self.event);
    }

    /// Reads a framed record.
    ///
    /// # Errors
    /// Whatever the schema does not allow; never a panic, whatever the bytes.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(unframe(value, SchemaId::Late)?);
        let r = &mut reader;
        let late = Self {
            topic: r.text("topic")?,
            partition: r.int("partition")?,
            offset: r.long("offset")?,
            appended_at: BrokerTime::from_ms(r.long("appended_at")?),
            event_id: r.text("event_id")?,
            event_type: r.text("event_type")?,
            subject: r.text("subject")?,
            occurred_at: EventTime::from_us(r.long("occurred_at")?),
            limit_at: EventTime::from_us(r.long("limit_at")?),
            event: r.bytes("event")?,
        };
        reader.end()?;
        Ok(late)
    }
}
