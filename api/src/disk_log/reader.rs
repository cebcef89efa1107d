//! Reading the log in its order, also where it is damaged.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::entry::{self, Head, MARKER, Stored};
use super::position::Position;
use super::segment;
use super::shelf::{Segment, Shelf};

/// Records in a batch.
const BATCH_COUNT: usize = 2_000;
/// Bytes in a batch, one record more or less.
const BATCH_BYTES: usize = 1024 * 1024;
/// Bytes that are read at once.
const WINDOW_BYTES: u64 = 256 * 1024;
/// Bytes that a disk gives or refuses as one.
const PAGE_BYTES: u64 = 4_096;

/// Records to be published together, and where the log goes on behind them.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<Stored>,
    pub(super) end: Position,
    /// Entries before `end` that could not be read.
    pub(super) lost_count: u64,
}

/// Reads batch after batch.
pub(super) struct Reader {
    folder: PathBuf,
    at: Position,
    open: Option<(u64, Cursor)>,
}

impl Reader {
    pub(super) fn new(folder: PathBuf, at: Position) -> Self {
        Self {
            folder,
            at,
            open: None,
        }
    }

    /// Reads on from here.
    pub(super) fn rewind(&mut self, at: Position) {
        (self.at, self.open) = (at, None);
    }

    /// The next records, as far as they are safe; none when there are none.
    ///
    /// # Errors
    /// When a segment's file cannot be opened. What in it cannot be read counts as damaged.
    pub(super) fn next_batch(&mut self, shelf: &Shelf) -> io::Result<Batch> {
        let mut batch = Batch {
            records: vec![],
            end: self.at,
            lost_count: 0,
        };
        let mut bytes = 0;
        let has_room =
            |batch: &Batch, bytes| batch.records.len() < BATCH_COUNT && bytes < BATCH_BYTES;
        while has_room(&batch, bytes) {
            let around = shelf.around(self.at.index);
            if let Some(this) = around.this {
                while self.at.offset < this.bytes && has_room(&batch, bytes) {
                    if let Some(record) = self.step(&this, &mut batch)? {
                        bytes += record.bytes();
                        batch.records.push(record);
                    }
                }
                if self.at.offset < this.bytes {
                    break;
                }
            }
            match around.next {
                Some(next) => self.turn_to(&next, &mut batch),
                None => break,
            }
        }
        batch.end = self.at;
        Ok(batch)
    }

    /// One entry, or one stretch that is none.
    fn step(&mut self, segment: &Segment, batch: &mut Batch) -> io::Result<Option<Stored>> {
        let expected = self.at.number;
        let cursor = self.cursor(segment)?;
        let Some((found, next)) = cursor.next(segment.bytes, expected) else {
            self.at.offset = segment.bytes;
            return Ok(None);
        };
        self.at.offset = next;
        match found {
            Found::Entry { head, stored } => {
                // Those between were in the stretch of damage before it.
                batch.lost_count += head.number - expected;
                self.at.number = head.number + 1;
                if stored.is_none() {
                    batch.lost_count += 1;
                    let offset = next - head.entry_bytes();
                    self.tell_damage(segment.index, offset, next, "its body is damaged");
                }
                Ok(stored)
            }
            Found::Damage { from, reason } => {
                self.tell_damage(segment.index, from, next, reason);
                if next >= segment.bytes {
                    batch.lost_count += segment.next_number.saturating_sub(expected);
                    self.at.number = self.at.number.max(segment.next_number);
                }
                Ok(None)
            }
        }
    }

    fn tell_damage(&self, index: u64, from: u64, to: u64, reason: &'static str) {
        tracing::error!(
            file = %self.path(index).display(), offset = from, bytes = to - from, reason,
            "the disk log is damaged here; reading goes on behind it"
        );
    }

    fn turn_to(&mut self, next: &Segment, batch: &mut Batch) {
        let lost = next.first_number.saturating_sub(self.at.number);
        if lost > 0 {
            let path = self.path(self.at.index);
            tracing::error!(
                file = %path.display(), offset = self.at.offset, lost,
                "entries of the disk log are damaged and lost, before this offset"
            );
        }
        batch.lost_count += lost;
        self.at = Position {
            index: next.index,
            offset: segment::HEAD_BYTES,
            number: next.first_number.max(self.at.number),
        };
    }

    fn cursor(&mut self, segment: &Segment) -> io::Result<&mut Cursor> {
        let is_open = matches!(&self.open, Some((index, _)) if *index == segment.index);
        if !is_open {
            let path = self.path(segment.index);
            let file = File::open(&path)?;
            // A head that was damaged since the log was opened: no entry will be read then, and
            // each is counted.
            let salt = segment::Head::read(&file).map_or(0, |head| head.salt);
            let cursor = Cursor::new(file, &path, salt, self.at.offset);
            self.open = Some((segment.index, cursor));
        }
        let (_, cursor) = self.open.as_mut().expect("it was opened above");
        Ok(cursor)
    }

    fn path(&self, index: u64) -> PathBuf {
        self.folder.join(segment::name(index))
    }
}

/// What stands at a place of a segment.
#[derive(Debug)]
pub(super) enum Found {
    /// An entry; without its record where the body is damaged.
    Entry { head: Head, stored: Option<Stored> },
    /// No entry.
    Damage { from: u64, reason: &'static str },
}

/// A place in a segment's file, and the bytes around it.
pub(super) struct Cursor {
    file: File,
    path: PathBuf,
    salt: u64,
    at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Cursor {
    pub(super) fn new(file: File, path: &Path, salt: u64, at: u64) -> Self {
        Self {
            file,
            path: path.into(),
            salt,
            at,
            window: vec![],
            window_at: 0,
        }
    }

    /// What stands here and where the file goes on behind it; `None` at `end`.
    ///
    /// An entry with a lower number than `expected` is none of this place.
    pub(super) fn next(&mut self, end: u64, expected: u64) -> Option<(Found, u64)> {
        if self.at >= end {
            return None;
        }
        let from = self.at;
        let found = match self.head(from, end, expected) {
            None => {
                self.at = self.resume_at(from + 1, end, expected);
                let reason = "no entry begins here";
                Found::Damage { from, reason }
            }
            Some(head) if from + head.entry_bytes() > end => {
                self.at = self.resume_at(from + 1, end, expected);
                let reason = "the segment ends within this entry";
                Found::Damage { from, reason }
            }
            Some(head) => {
                self.at = from + head.entry_bytes();
                let body = self.bytes(from + entry::HEAD_BYTES as u64, head.body_bytes as u64, end);
                let stored = body.filter(|body| head.is_of(body));
                let stored = stored.and_then(|body| Stored::of(&head, body));
                Found::Entry { head, stored }
            }
        };
        Some((found, self.at))
    }

    fn head(&mut self, at: u64, end: u64, expected: u64) -> Option<Head> {
        let salt = self.salt;
        let bytes = self.bytes(at, entry::HEAD_BYTES as u64, end)?;
        Head::read(bytes, salt, at).filter(|head| head.number >= expected)
    }

    /// The first place from `at` on where an entry begins; `end` when none does.
    fn resume_at(&mut self, mut at: u64, end: u64, expected: u64) -> u64 {
        while at + entry::HEAD_BYTES as u64 <= end {
            let length = WINDOW_BYTES.min(end - at);
            let Some(bytes) = self.bytes(at, length, end) else {
                return end;
            };
            match memchr::memmem::find(bytes, &MARKER) {
                None => at += length - (MARKER.len() as u64 - 1),
                Some(skipped) => {
                    at += skipped as u64;
                    if self.head(at, end, expected).is_some() {
                        return at;
                    }
                    at += 1;
                }
            }
        }
        end
    }

    /// `length` bytes at `at`; `None` where they would reach beyond `end`.
    fn bytes(&mut self, at: u64, length: u64, end: u64) -> Option<&[u8]> {
        if at + length > end {
            return None;
        }
        let window_end = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + length > window_end {
            self.fill(at, length.max(WINDOW_BYTES).min(end - at));
        }
        let start = usize::try_from(at - self.window_at).ok()?;
        self.window
            .get(start..start + usize::try_from(length).ok()?)
    }

    /// Reads a stretch of the file; what the disk does not give is zeros, so that it shows as
    /// damage and what is behind it is still read.
    fn fill(&mut self, at: u64, length: u64) {
        self.window_at = at;
        self.window.clear();
        self.window.resize(usize::try_from(length).unwrap_or(0), 0);
        let Err(error) = self.file.read_exact_at(&mut self.window, at) else {
            return;
        };
        tracing::error!(
            file = %self.path.display(), offset = at, %error,
            "the disk log cannot be read here; reading goes on page by page"
        );
        let mut from = at;
        for page in self.window.chunks_mut(PAGE_BYTES as usize) {
            if self.file.read_exact_at(page, from).is_err() {
                page.fill(0);
            }
            from += page.len() as u64;
        }
    }
}
