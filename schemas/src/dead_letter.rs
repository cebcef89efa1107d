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

/// Bytes that are kept of a record: as many as `events` takes where nothing is compressed.
pub const RECORD_BYTES_MAX: usize = crate::refusal::EVENT_BYTES_MAX;
/// Bytes that are kept of the key of a record that is larger than that.
const CUT_KEY_BYTES_MAX: usize = 1_024;

/// What is kept of a record's key and value: all of it, but for records that only compression lets
/// the brokers take.
pub fn kept<'a>(
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    if len(key) + len(value) <= RECORD_BYTES_MAX {
        return (key, value);
    }
    let cut = |bytes: &'a [u8], max: usize| &bytes[..bytes.len().min(max)];
    let key = key.map(|key| cut(key, CUT_KEY_BYTES_MAX));
    (
        key,
        value.map(|value| cut(value, RECORD_BYTES_MAX - CUT_KEY_BYTES_MAX)),
    )
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_fits_into_a_letter_and_is_all_of_what_the_brokers_take_plain() {
        let bytes = vec![7; 2 * RECORD_BYTES_MAX];
        let lengths = [0, 1, 1_024, 1_025, RECORD_BYTES_MAX, bytes.len()];
        for (of_key, of_value) in lengths.iter().flat_map(|k| lengths.map(|v| (*k, v))) {
            let (key, value) = (&bytes[..of_key], &bytes[..of_value]);
            let (kept_key, kept_value) = kept(Some(key), Some(value));
            let (kept_key, kept_value) = (kept_key.unwrap(), kept_value.unwrap());
            assert!(key.starts_with(kept_key) && value.starts_with(kept_value));
            assert!(kept_key.len() + kept_value.len() <= RECORD_BYTES_MAX);
            let is_whole = (kept_key, kept_value) == (key, value);
            assert_eq!(is_whole, of_key + of_value <= RECORD_BYTES_MAX);
        }
        assert_eq!(kept(None, None), (None, None));
    }
}
