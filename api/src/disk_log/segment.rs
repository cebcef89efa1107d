//! A file of the log: a head, then entries.
//!
//! The head is written twice, one copy behind the other, so that one damaged byte there does not
//! cost the segment: without its salt no entry can be told from a forged one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crc32c::crc32c;

/// Bytes before the first entry.
pub(super) const HEAD_BYTES: u64 = 128;

const COPY_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"PULSELOG";
const VERSION: u32 = 1;

/// What a segment says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// Its place among the log's segments.
    pub(super) index: u64,
    /// Random; part of its entries' checksums.
    pub(super) salt: u64,
    /// The number of its first entry.
    pub(super) first_number: u64,
}

/// Why a file is no segment that can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeadError {
    /// Both copies are damaged, or somebody else wrote the file.
    #[error("both copies of its head are damaged")]
    Damaged,
    /// A later release wrote it.
    #[error("it is of format {0}, and this program knows format 1")]
    Version(u32),
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Head {
    /// The head's bytes, both copies.
    pub(super) fn encode(&self) -> [u8; HEAD_BYTES as usize] {
        let mut out = [0; HEAD_BYTES as usize];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..20].copy_from_slice(&self.index.to_le_bytes());
        out[20..28].copy_from_slice(&self.salt.to_le_bytes());
        out[28..36].copy_from_slice(&self.first_number.to_le_bytes());
        let crc = crc32c(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out.copy_within(..COPY_BYTES, COPY_BYTES);
        out
    }

    /// The head of a file.
    pub(super) fn read(file: &File) -> Result<Self, HeadError> {
        let mut bytes = [0; HEAD_BYTES as usize];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(HeadError::Damaged);
            }
            Err(error) => return Err(error.into()),
        }
        let copies = bytes.chunks_exact(COPY_BYTES);
        let mut whole = copies
            .filter(|copy| copy[..8] == MAGIC && copy[60..] == crc32c(&copy[..60]).to_le_bytes());
        let copy = whole.next().ok_or(HeadError::Damaged)?;
        let four = |at: usize| u32::from_le_bytes(copy[at..at + 4].try_into().expect("4 bytes"));
        let eight = |at: usize| u64::from_le_bytes(copy[at..at + 8].try_into().expect("8 bytes"));
        match four(8) {
            VERSION => Ok(Self {
                index: eight(12),
                salt: eight(20),
                first_number: eight(28),
            }),
            version => Err(HeadError::Version(version)),
        }
    }
}

/// The file's name in the folder; names sort as the segments do.
pub(super) fn name(index: u64) -> String {
    format!("segment-{index:020}")
}

/// The segment that a name stands for.
pub(super) fn index_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        index: 3,
        salt: 5,
        first_number: 7,
    };

    fn read(bytes: &[u8]) -> Result<Head, HeadError> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        Head::read(&file)
    }

    #[test]
    fn one_damaged_byte_costs_nothing() {
        for at in 0..HEAD_BYTES as usize {
            let mut bytes = HEAD.encode();
            bytes[at] ^= 0x40;
            assert_eq!(read(&bytes).unwrap(), HEAD, "byte {at}");
        }
    }

    #[test]
    fn what_is_no_head_is_none() {
        assert!(matches!(read(b""), Err(HeadError::Damaged)));
        assert!(matches!(read(&[0; 128]), Err(HeadError::Damaged)));
        let mut later = HEAD.encode();
        later[8] = 2;
        let crc = crc32c(&later[..60]);
        later[60..64].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(read(&later), Err(HeadError::Version(2))));
    }

    #[test]
    fn names_read_back_as_written() {
        for index in [0, 1, u64::MAX] {
            assert_eq!(index_of(&name(index)), Some(index));
        }
        for other in [
            "segment-1",
            "position",
            "lock",
            "segment-0000000000000000000x",
        ] {
            assert_eq!(index_of(other), None);
        }
    }
}
