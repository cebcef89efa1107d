//! One record in a segment: whole, or not there.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | a marker |
//! | 4 | the body's length |
//! | 8 | the entry's number: entries of a log are counted through |
//! | 8 | when it was stored, in ms since the epoch |
//! | 4 | 1 for the last entry of its request, else 0 |
//! | 4 | CRC32C of the body |
//! | 4 | CRC32C of the segment's salt, the entry's place in the file, and the 32 bytes before |
//!
//! The body is the topic's and the key's length in 4 bytes each, the topic, the key and the value.
//! Numbers are little-endian.
//!
//! A payload may hold bytes that look like an entry of another tenant. They are never taken for
//! one, not even where damage makes the reader look for the next entry byte by byte: the salt is
//! random and never leaves the folder.

use std::ops::Range;

use crc32c::{crc32c, crc32c_append};

/// Bytes before an entry's body.
pub(super) const HEAD_BYTES: usize = 36;
/// Bytes in a body: what a topic takes at most, several times over.
pub(super) const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(super) const MARKER: [u8; 4] = [0xd5, b'P', b'L', 0x9e];

const LENGTH: Range<usize> = 4..8;
const NUMBER: Range<usize> = 8..16;
const STORED_AT: Range<usize> = 16..24;
const ENDS_REQUEST: Range<usize> = 24..28;
const BODY_CRC: Range<usize> = 28..32;
const HEAD_CRC: Range<usize> = 32..36;

/// A record as it will be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl Record<'_> {
    fn body_bytes(&self) -> usize {
        8 + self.topic.len() + self.key.len() + self.value.len()
    }

    /// True when one entry can hold it.
    pub(super) fn fits(&self) -> bool {
        self.body_bytes() <= BODY_BYTES_MAX
    }
}

/// A record that was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its place among all records that the log ever took.
    pub number: u64,
    /// When it was stored, in ms since the epoch.
    pub stored_at_ms: i64,
    body: Box<[u8]>,
    topic_end: usize,
    key_end: usize,
}

impl Stored {
    /// Where it is to be published.
    pub fn topic(&self) -> &str {
        std::str::from_utf8(&self.body[8..self.topic_end]).expect("it was checked when it was read")
    }

    /// Its key.
    pub fn key(&self) -> &[u8] {
        &self.body[self.topic_end..self.key_end]
    }

    /// Its value.
    pub fn value(&self) -> &[u8] {
        &self.body[self.key_end..]
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The record of a body whose checksum holds; `None` when no writer of ours made it.
    pub(super) fn of(head: &Head, body: &[u8]) -> Option<Self> {
        let length = |at: usize| Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?));
        let topic_end = 8_usize.checked_add(length(0)? as usize)?;
        let key_end = topic_end.checked_add(length(4)? as usize)?;
        if key_end > body.len() || std::str::from_utf8(&body[8..topic_end]).is_err() {
            return None;
        }
        Some(Self {
            number: head.number,
            stored_at_ms: head.stored_at_ms,
            body: body.into(),
            topic_end,
            key_end,
        })
    }
}

/// What stands before a body, once its checksum holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) body_bytes: usize,
    pub(super) number: u64,
    pub(super) stored_at_ms: i64,
    pub(super) ends_request: bool,
    body_crc: u32,
}

impl Head {
    /// The head that stands at `place`; `None` when nothing that this log wrote there does.
    pub(super) fn read(bytes: &[u8], salt: u64, place: u64) -> Option<Self> {
        let head = bytes.get(..HEAD_BYTES)?;
        let is_ours = head[..4] == MARKER && four(head, HEAD_CRC) == head_crc(head, salt, place);
        let body_bytes = four(head, LENGTH) as usize;
        (is_ours && body_bytes <= BODY_BYTES_MAX).then(|| Self {
            body_bytes,
            number: eight(head, NUMBER),
            stored_at_ms: eight(head, STORED_AT).cast_signed(),
            ends_request: four(head, ENDS_REQUEST) == 1,
            body_crc: four(head, BODY_CRC),
        })
    }

    /// True when this is the body that was written behind it.
    pub(super) fn is_of(&self, body: &[u8]) -> bool {
        crc32c(body) == self.body_crc
    }

    /// Bytes of the whole entry.
    pub(super) fn entry_bytes(&self) -> u64 {
        (HEAD_BYTES + self.body_bytes) as u64
    }
}

/// Bytes that these records take in a segment.
pub(super) fn bytes_of(records: &[Record<'_>]) -> u64 {
    let entry = |record: &Record<'_>| (HEAD_BYTES + record.body_bytes()) as u64;
    records.iter().map(entry).sum()
}

/// The entries of a request, without what only the writer knows; see [`seal`].
pub(super) fn encode(records: &[Record<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(usize::try_from(bytes_of(records)).unwrap_or(0));
    for (index, record) in records.iter().enumerate() {
        let start = out.len();
        let ends_request = u32::from(index + 1 == records.len());
        out.extend_from_slice(&MARKER);
        out.extend_from_slice(&length(record.body_bytes()));
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&ends_request.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        let body = out.len();
        out.extend_from_slice(&length(record.topic.len()));
        out.extend_from_slice(&length(record.key.len()));
        out.extend_from_slice(record.topic.as_bytes());
        out.extend_from_slice(record.key);
        out.extend_from_slice(record.value);
        let body_crc = crc32c(&out[body..]);
        out[start..][BODY_CRC].copy_from_slice(&body_crc.to_le_bytes());
    }
    out
}

/// Where a request's entries will stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) salt: u64,
    /// The first entry's place in its file.
    pub(super) offset: u64,
    /// The first entry's number.
    pub(super) number: u64,
    pub(super) stored_at_ms: i64,
}

/// Puts into the entries of [`encode`] what only the writer knows.
pub(super) fn seal(entries: &mut [u8], place: &Place) {
    let (mut at, mut number) = (0, place.number);
    while at < entries.len() {
        let head = &mut entries[at..at + HEAD_BYTES];
        head[NUMBER].copy_from_slice(&number.to_le_bytes());
        head[STORED_AT].copy_from_slice(&place.stored_at_ms.to_le_bytes());
        let crc = head_crc(head, place.salt, place.offset + at as u64);
        head[HEAD_CRC].copy_from_slice(&crc.to_le_bytes());
        at += HEAD_BYTES + four(head, LENGTH) as usize;
        number += 1;
    }
}

fn head_crc(head: &[u8], salt: u64, place: u64) -> u32 {
    let crc = crc32c(&salt.to_le_bytes());
    let crc = crc32c_append(crc, &place.to_le_bytes());
    crc32c_append(crc, &head[..HEAD_CRC.start])
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes)
        .expect("a body has at most 8 MiB")
        .to_le_bytes()
}

fn four(bytes: &[u8], range: Range<usize>) -> u32 {
    u32::from_le_bytes(bytes[range].try_into().expect("the range has 4 bytes"))
}

fn eight(bytes: &[u8], range: Range<usize>) -> u64 {
    u64::from_le_bytes(bytes[range].try_into().expect("the range has 8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        salt: 7,
        offset: 128,
        number: 41,
        stored_at_ms: 1_000,
    };

    fn sealed() -> Vec<u8> {
        let record = Record {
            topic: "pulse.demo.events",
            key: b"shop",
            value: b"value",
        };
        let mut entries = encode(&[record, record]);
        assert_eq!(entries.len() as u64, bytes_of(&[record, record]));
        seal(&mut entries, &PLACE);
        entries
    }

    #[test]
    fn entries_read_back_as_written() {
        let entries = sealed();
        let first = Head::read(&entries, 7, 128).unwrap();
        let body = &entries[HEAD_BYTES..HEAD_BYTES + first.body_bytes];
        assert!(first.is_of(body) && !first.ends_request);
        let stored = Stored::of(&first, body).unwrap();
        assert_eq!((stored.number, stored.stored_at_ms), (41, 1_000));
        assert_eq!(stored.topic(), "pulse.demo.events");
        assert_eq!(
            (stored.key(), stored.value()),
            (&b"shop"[..], &b"value"[..])
        );
        let next = first.entry_bytes();
        let second = Head::read(&entries[next as usize..], 7, 128 + next).unwrap();
        assert!(second.ends_request && second.number == 42);
    }

    #[test]
    fn an_entry_elsewhere_or_of_another_salt_is_none() {
        let entries = sealed();
        assert_eq!(Head::read(&entries, 8, 128), None);
        assert_eq!(Head::read(&entries, 7, 129), None);
        assert_eq!(Head::read(&entries[..HEAD_BYTES - 1], 7, 128), None);
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let entries = sealed();
        let first = Head::read(&entries, 7, 128).unwrap().entry_bytes() as usize;
        for bit in 0..first * 8 {
            let mut entries = entries.clone();
            entries[bit / 8] ^= 1 << (bit % 8);
            let head = Head::read(&entries, 7, 128);
            let is_seen = head.is_none_or(|head| !head.is_of(&entries[HEAD_BYTES..first]));
            assert!(is_seen, "bit {bit}");
        }
    }

    #[test]
    fn a_body_that_nobody_wrote_is_no_record() {
        let head = Head {
            body_bytes: 0,
            number: 0,
            stored_at_ms: 0,
            ends_request: true,
            body_crc: 0,
        };
        for body in [&b""[..], &[1; 7], &[255; 8], &[1, 0, 0, 0, 0, 0, 0, 0, 255]] {
            assert_eq!(Stored::of(&head, body), None, "{body:?}");
        }
    }
}
