//! What is remembered of a row: enough to compare it, and to find it again.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::extent::Extents;
use crate::clickhouse::row_binary::text_of;
use crate::clickhouse::table::{Column, POSITION_COLUMN_COUNT, Table};

/// A row, as hashes of 128 bits, with its version and its place in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Hash of the table and the identity.
    pub key: u128,
    /// Hash of the contents.
    pub content: u128,
    /// Of rows with one identity the highest counts.
    pub version: u64,
    /// Its offset.
    pub offset: i64,
    /// When it was appended to the log.
    pub appended_at_ms: i64,
    /// The index of its partition; [`NOWHERE`] for none of the tenant's.
    pub place: u32,
    /// Which table.
    pub table: Table,
    /// What it stands for.
    pub mark: Mark,
}

/// The place of a row that names a partition that is not the tenant's.
pub const NOWHERE: u32 = u32::MAX;

/// What an entry stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// A row that readers see.
    Live,
    /// A row that takes its identity back.
    Deleted,
    /// An event that is refused by the limits of today, for its date or because producers of the
    /// tenant's own write there now, and was perhaps not by those of its day.
    Disputed,
}

impl Entry {
    /// Bytes of an entry in a file.
    pub const BYTES: usize = 16 + 16 + 8 + 8 + 8 + 4 + 1 + 1;

    /// The entry of a row, given its cells as a query answers them.
    pub fn of(table: Table, cells: &[&[u8]], extents: &Extents) -> Self {
        let columns = table.columns();
        let place = columns.len() - POSITION_COLUMN_COUNT;
        let [topic, partition, offset, appended_at] = [0, 1, 2, 3].map(|at| cells[place + at]);
        let offset = number(offset);
        let topic = std::str::from_utf8(text_of(topic)).unwrap_or_default();
        let partition = i32::try_from(number(partition)).unwrap_or(-1);
        let version = match table {
            Table::Events => !offset.unsigned_abs(),
            Table::Metrics => number(cells[at(columns, "revision")]).unsigned_abs(),
            Table::Late | Table::DeadLetters => 0,
        };
        let is_deleted = table == Table::Metrics && cells[at(columns, "deleted")] != [0];
        // A window that fired again with the same revision is the same row if it says the same.
        let content_count = if table == Table::Metrics {
            place
        } else {
            columns.len()
        };
        Self {
            key: hash(
                table,
                table.identity().iter().map(|name| cells[at(columns, name)]),
            ),
            content: hash(table, cells[..content_count].iter().copied()),
            version,
            offset,
            appended_at_ms: number(appended_at),
            place: extents.index(topic, partition).unwrap_or(NOWHERE),
            table,
            mark: if is_deleted {
                Mark::Deleted
            } else {
                Mark::Live
            },
        }
    }

    /// Appends the entry's bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.to_le_bytes());
        out.extend_from_slice(&self.content.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.appended_at_ms.to_le_bytes());
        out.extend_from_slice(&self.place.to_le_bytes());
        out.push(self.table as u8);
        out.push(self.mark as u8);
    }

    /// Reads what [`Self::write`] wrote.
    pub fn read(bytes: &[u8; Self::BYTES]) -> Self {
        let table = Table::ALL[usize::from(bytes[60])];
        let mark = [Mark::Live, Mark::Deleted, Mark::Disputed][usize::from(bytes[61])];
        Self {
            key: u128::from_le_bytes(part(bytes, 0)),
            content: u128::from_le_bytes(part(bytes, 16)),
            version: u64::from_le_bytes(part(bytes, 32)),
            offset: i64::from_le_bytes(part(bytes, 40)),
            appended_at_ms: i64::from_le_bytes(part(bytes, 48)),
            place: u32::from_le_bytes(part(bytes, 56)),
            table,
            mark,
        }
    }
}

fn part<const N: usize>(bytes: &[u8; Entry::BYTES], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the parts lie inside")
}

fn at(columns: &[Column], name: &str) -> usize {
    columns
        .iter()
        .position(|c| c.name == name)
        .expect("a table has its own columns")
}

/// A number of up to 8 bytes, the lowest first, with its sign.
fn number(cell: &[u8]) -> i64 {
    let mut bytes = match cell.last() {
        Some(last) if last & 0x80 != 0 => [0xff; 8],
        _ => [0; 8],
    };
    bytes[..cell.len()].copy_from_slice(cell);
    i64::from_le_bytes(bytes)
}

fn hash<'a>(table: Table, cells: impl Iterator<Item = &'a [u8]>) -> u128 {
    // Cells are behind their lengths or of fixed size, so none can flow into the next.
    let mut hasher = SipHasher24::new();
    hasher.write_u8(table as u8);
    for cell in cells {
        hasher.write(cell);
    }
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_sign() {
        assert_eq!(number(&(-7i32).to_le_bytes()), -7);
        assert_eq!(number(&7i32.to_le_bytes()), 7);
        assert_eq!(number(&i64::MIN.to_le_bytes()), i64::MIN);
        assert_eq!(number(&i64::MAX.to_le_bytes()), i64::MAX);
    }

    #[test]
    fn entries_read_back_as_written() {
        let entry = Entry {
            key: u128::MAX - 1,
            content: 7,
            version: u64::MAX - 2,
            offset: -1,
            appended_at_ms: i64::MIN,
            place: NOWHERE,
            table: Table::DeadLetters,
            mark: Mark::Disputed,
        };
        let mut bytes = vec![];
        entry.write(&mut bytes);
        assert_eq!(Entry::read(bytes.as_slice().try_into().unwrap()), entry);
    }
}
