//! Entries in buckets by their key; all but the ends of the buckets lie in one temporary file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::entry::Entry;

/// How many bytes of a bucket stay in memory before they go to the file.
const CHUNK_BYTES: usize = 256 * Entry::BYTES;

/// Entries, by bucket.
#[derive(Debug)]
pub struct Buckets {
    buckets: Vec<Bucket>,
    file: File,
    file_bytes: u64,
}

#[derive(Debug, Default)]
struct Bucket {
    /// Where its chunks begin in the file.
    chunks: Vec<u64>,
    pending: Vec<u8>,
}

impl Buckets {
    /// `count` empty buckets, with a file in `folder` that nobody else sees.
    ///
    /// # Errors
    /// When no file can be made.
    pub fn new(count: usize, folder: &Path) -> std::io::Result<Self> {
        let buckets = (0..count).map(|_| Bucket::default()).collect();
        Ok(Self {
            buckets,
            file: tempfile::tempfile_in(folder)?,
            file_bytes: 0,
        })
    }

    /// Adds an entry to its key's bucket.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, entry: &Entry) -> std::io::Result<()> {
        let count = self.buckets.len() as u128;
        let at = usize::try_from(entry.key % count).expect("a remainder is below its divisor");
        let bucket = &mut self.buckets[at];
        entry.write(&mut bucket.pending);
        if bucket.pending.len() >= CHUNK_BYTES {
            self.file.write_all_at(&bucket.pending, self.file_bytes)?;
            bucket.chunks.push(self.file_bytes);
            self.file_bytes += bucket.pending.len() as u64;
            bucket.pending.clear();
        }
        Ok(())
    }

    /// All entries of a bucket, in the order in which they came.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&mut self, index: usize) -> std::io::Result<Vec<Entry>> {
        let bucket = std::mem::take(&mut self.buckets[index]);
        let mut bytes = vec![0; bucket.chunks.len() * CHUNK_BYTES];
        for (chunk, start) in bytes.chunks_mut(CHUNK_BYTES).zip(&bucket.chunks) {
            self.file.read_exact_at(chunk, *start)?;
        }
        bytes.extend_from_slice(&bucket.pending);
        let (entries, rest) = bytes.as_chunks::<{ Entry::BYTES }>();
        assert!(rest.is_empty(), "a bucket holds whole entries");
        Ok(entries.iter().map(Entry::read).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::table::Table;
    use crate::reconcile::entry::Mark;

    #[test]
    fn a_bucket_holds_its_entries_in_order() {
        let entry = |number: u64| Entry {
            key: u128::from(number % 7),
            content: 0,
            version: number,
            offset: 0,
            appended_at_ms: 0,
            place: 0,
            table: Table::Events,
            mark: Mark::Live,
        };
        let mut buckets = Buckets::new(3, &std::env::temp_dir()).unwrap();
        for number in 0..10_000 {
            buckets.push(&entry(number)).unwrap();
        }
        for index in 0..3u64 {
            let read = buckets.read(index as usize).unwrap();
            let expect = (0..10_000)
                .filter(|number| number % 7 % 3 == index)
                .map(entry);
            assert!(expect.eq(read), "bucket {index}");
        }
    }
}
