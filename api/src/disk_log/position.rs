//! How far everything is settled, in a small file that is never half written.
//!
//! The file holds two copies, in blocks of the disk of their own, and each change goes into the
//! older one: a torn write leaves the other. Nothing is made or renamed, so a full disk takes it
//! too.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crc32c::crc32c;

/// The file's name in the folder.
pub(super) const NAME: &str = "position";

const COPY_BYTES: usize = 48;
/// Where the copies stand.
const PLACES: [u64; 2] = [0, 4_096];

/// A place between two entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Position {
    /// The segment.
    pub(super) index: u64,
    /// The place in its file.
    pub(super) offset: u64,
    /// The number of the entry that stands there, or will.
    pub(super) number: u64,
}

/// The file, and what was written to it last.
pub(super) struct PositionFile {
    file: File,
    generation: u64,
}

impl PositionFile {
    /// Opens the folder's file; `None` beside it when it holds no position.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Option<Position>)> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(NAME))?;
        let copies = PLACES.map(|place| {
            let mut bytes = [0; COPY_BYTES];
            let read = file.read_exact_at(&mut bytes, place);
            read.ok().and_then(|()| decode(&bytes))
        });
        let newest = copies.into_iter().flatten().max_by_key(|(at, _)| *at);
        let is_new = newest.is_none() && file.metadata()?.len() == 0;
        let (generation, position) = newest.unzip();
        let mut opened = Self {
            file,
            generation: generation.unwrap_or(0),
        };
        if is_new {
            // Takes the file's room on the disk while there is some.
            opened.write(Position::default())?;
            opened.write(Position::default())?;
        }
        Ok((opened, position))
    }

    /// Writes a position and returns once it is safe.
    pub(super) fn write(&mut self, position: Position) -> io::Result<()> {
        let generation = self.generation + 1;
        let mut bytes = [0; COPY_BYTES];
        bytes[..8].copy_from_slice(&generation.to_le_bytes());
        bytes[8..16].copy_from_slice(&position.index.to_le_bytes());
        bytes[16..24].copy_from_slice(&position.offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&position.number.to_le_bytes());
        let crc = crc32c(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        let place = PLACES[usize::from(generation % 2 == 1)];
        self.file.write_all_at(&bytes, place)?;
        self.file.sync_data()?;
        self.generation = generation;
        Ok(())
    }
}

fn decode(bytes: &[u8; COPY_BYTES]) -> Option<(u64, Position)> {
    let eight = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let is_whole = bytes[44..] == crc32c(&bytes[..44]).to_le_bytes();
    (is_whole && eight(0) > 0).then(|| {
        let position = Position {
            index: eight(8),
            offset: eight(16),
            number: eight(24),
        };
        (eight(0), position)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> Position {
        Position {
            index: 1,
            offset: number * 10,
            number,
        }
    }

    #[test]
    fn the_last_one_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, found) = PositionFile::open(folder.path()).unwrap();
        assert_eq!(found, None);
        for number in 1..6 {
            file.write(at(number)).unwrap();
            let (_, found) = PositionFile::open(folder.path()).unwrap();
            assert_eq!(found, Some(at(number)));
        }
    }

    #[test]
    fn a_torn_write_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, _) = PositionFile::open(folder.path()).unwrap();
        file.write(at(1)).unwrap();
        file.write(at(2)).unwrap();
        let place = PLACES[usize::from(file.generation % 2 == 1)];
        file.file.write_all_at(&[0xff; 20], place).unwrap();
        let (mut file, found) = PositionFile::open(folder.path()).unwrap();
        assert_eq!(found, Some(at(1)));
        file.write(at(3)).unwrap();
        let (_, found) = PositionFile::open(folder.path()).unwrap();
        assert_eq!(found, Some(at(3)));
    }
}
