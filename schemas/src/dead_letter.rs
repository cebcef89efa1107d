//! A record or frame that could not be used, kept whole, with the reason.

use crate::time::BrokerTime;
use crate::wire::{DecodeError, Reader, SchemaId, Text, avro, frame, unframe};

/// A dead letter, to be written or as read. Each field's meaning is in `avro/dead_letter.avsc`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the schema documents the fields")]
pub struct DeadLetter<'a> {
    pub source: Text<'a>,
    pub partition: Option<i32>,
    pub offset: Option<i64>,
    pub appended_at: BrokerTime,
    pub reason: Text<'a>,
    pub detail: Text<'a>,
    pub replay_count: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// What the envelope adds to a record at most; the topic takes records that much larger than
/// `events` does, so that the largest record can still be kept whole.
pub const ENVELOPE_BYTES_MAX: usize = 8 * 1024;

impl<'a> DeadLetter<'a> {
    /// Appends the framed record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame(out, SchemaId::DeadLetter);
        avro::put_bytes(out, self.source.as_bytes());
        avro::put_optional_long(out, self.partition.map(i64::from));
        avro::put_optional_long(out, self.offset);
        avro::put_long(out, self.appended_at.as_ms());
        avro::put_bytes(out, self.reason.as_bytes());
        avro::put_bytes(out, self.detail.as_bytes());
        avro::put_long(out, i64::from(self.replay_count));
        avro::put_optional_bytes(out, self.key);
        avro::put_optional_bytes(out, self.value);
    }

    /// Reads a framed record.
    ///
    /// # Errors
    /// Whatever the schema does not allow; never a panic, whatever the bytes.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(unframe(value, SchemaId::DeadLetter)?);
        let r = &mut reader;
        let letter = Self {
            source: r.text("source")?,
            partition: if r.is_some("partition")? {
                Some(r.int("partition")?)
            } else {
                None
            },
            offset: r.optional_long("offset")?,
            appended_at: BrokerTime::from_ms(r.long("appended_at")?),
            reason: r.text("reason")?,
            detail: r.text("detail")?,
            replay_count: r.int("replay_count")?,
            key: r.optional_bytes("key")?,
            value: r.optional_bytes("value")?,
        };
        reader.end()?;
        Ok(letter)
    }

    /// The record's key: the source's topic, partition and offset, so that the same refusal is the
    /// same letter however often it is written.
    pub fn record_key(&self) -> String {
        match (self.partition, self.offset) {
            (Some(partition), Some(offset)) => {
                format!("{}/{partition}/{offset}", self.source.as_str())
            }
            _ => self.source.as_str().to_owned(),
        }
    }
}
