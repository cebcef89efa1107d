//! What a folder holds when the log is opened, and what a crash left half done.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::medium::sync_folder;
use super::position::{Position, PositionFile};
use super::reader::{Cursor, Found};
use super::segment::{self, Head, HeadError};
use super::shelf::Segment;

/// The name of the file whose lock is the folder's.
const LOCK: &str = "lock";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two logs in one folder would overwrite each other.
    #[error("the disk log's folder {folder} is in use by process {holder}: each needs its own")]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process that says it has it.
        holder: String,
    },
    /// The folder or a file in it cannot be used.
    #[error("the disk log's folder {folder} cannot be used: {error}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A later release was here; its segments are left alone.
    #[error("{file} cannot be read: {reason}")]
    Version {
        /// The file.
        file: PathBuf,
        /// What it says of itself.
        reason: String,
    },
}

impl OpenError {
    pub(super) fn of(folder: &Path, error: io::Error) -> Self {
        Self::Io {
            folder: folder.into(),
            error,
        }
    }
}

/// What a folder holds.
pub(super) struct Opened {
    /// Held for as long as the log is.
    pub(super) lock: File,
    /// In their order.
    pub(super) segments: Vec<Segment>,
    pub(super) position: Position,
    pub(super) position_file: PositionFile,
    /// For the next segment; none before it ever had it.
    pub(super) next_index: u64,
}

/// Takes the folder and mends what a crash left.
pub(super) fn open(folder: &Path) -> Result<Opened, OpenError> {
    let of = |error| OpenError::of(folder, error);
    make(folder).map_err(of)?;
    let lock = lock(folder)?;
    let (position_file, noted) = PositionFile::open(folder).map_err(of)?;
    let indexes = indexes(folder).map_err(of)?;
    if noted.is_none() && !indexes.is_empty() {
        tracing::warn!(
            folder = %folder.display(),
            "the disk log's position is lost: its records are published again from the first"
        );
    }
    let noted = noted.unwrap_or_default();
    let newest = indexes.last().copied().unwrap_or(0);
    // The newest first: the last that can be used is the one whose end a crash may have left, and
    // whose entries nothing behind it counts.
    let mut segments = vec![];
    for index in indexes.into_iter().rev() {
        let path = folder.join(segment::name(index));
        if index < noted.index {
            // Settled; the process ended before it was deleted.
            std::fs::remove_file(&path).map_err(of)?;
        } else {
            let is_last = segments.is_empty();
            segments.extend(examine(&path, index, is_last).map_err(|error| error.at(&path))?);
        }
    }
    segments.reverse();
    number_through(&mut segments, noted);
    let position = match segments.first() {
        Some(first) if first.index == noted.index => Position {
            offset: noted.offset.min(first.bytes),
            ..noted
        },
        Some(first) => Position {
            index: first.index,
            offset: segment::HEAD_BYTES,
            number: first.first_number,
        },
        None => noted,
    };
    sync_folder(folder).map_err(of)?;
    Ok(Opened {
        lock,
        segments,
        position,
        position_file,
        next_index: newest.max(noted.index) + 1,
    })
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let of = |error| OpenError::of(folder, error);
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(of)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(of(error)),
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            let holder = match holder.trim() {
                "" => "that does not say its id".into(),
                id => id.into(),
            };
            let folder = folder.into();
            return Err(OpenError::InUse { folder, holder });
        }
    }
    // The id is for people alone, so a full disk may keep it out.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// The indexes of the folder's segments, in their order.
fn indexes(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder)? {
        found.extend(entry?.file_name().to_str().and_then(segment::index_of));
    }
    found.sort_unstable();
    Ok(found)
}

/// Why a segment could not be examined.
enum ExamineError {
    Io(io::Error),
    Version(HeadError),
}

impl ExamineError {
    fn at(self, path: &Path) -> OpenError {
        match self {
            Self::Io(error) => OpenError::of(path.parent().unwrap_or(path), error),
            Self::Version(error) => OpenError::Version {
                file: path.into(),
                reason: error.to_string(),
            },
        }
    }
}

impl From<io::Error> for ExamineError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One segment; `None` when nothing in it can be used.
fn examine(path: &Path, index: u64, is_last: bool) -> Result<Option<Segment>, ExamineError> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let bytes = file.metadata()?.len();
    let head = match Head::read(&file) {
        Ok(head) => head,
        Err(HeadError::Io(error)) => return Err(error.into()),
        Err(error @ HeadError::Version(_)) => return Err(ExamineError::Version(error)),
        Err(HeadError::Damaged) if is_last && bytes <= segment::HEAD_BYTES => {
            // Nothing is answered before the head is safe, so nothing was in it.
            std::fs::remove_file(path)?;
            return Ok(None);
        }
        Err(error @ HeadError::Damaged) => {
            let aside = path.with_extension("unreadable");
            tracing::error!(
                file = %path.display(), bytes, %error,
                "a segment of the disk log is lost, and put aside under the name .unreadable"
            );
            std::fs::rename(path, aside)?;
            return Ok(None);
        }
    };
    let mut segment = Segment {
        index,
        bytes,
        first_number: head.first_number,
        next_number: head.first_number,
    };
    if is_last {
        cut_tail(path, &file, head, &mut segment)?;
    }
    Ok(Some(segment))
}

/// Cuts the log's last segment to its last whole request, and makes what is left safe.
fn cut_tail(path: &Path, file: &File, head: Head, segment: &mut Segment) -> io::Result<()> {
    let mut cursor = Cursor::new(file.try_clone()?, path, head.salt, segment::HEAD_BYTES);
    let mut whole = segment::HEAD_BYTES;
    let mut expected = head.first_number;
    while let Some((found, next)) = cursor.next(segment.bytes, expected) {
        match found {
            Found::Entry { head, stored } => {
                expected = head.number + 1;
                // A head without its body is what a crash leaves as well.
                if head.ends_request && stored.is_some() {
                    whole = next;
                    segment.next_number = expected;
                }
            }
            // Told when it is drained, if something that can be read is behind it.
            Found::Damage { .. } => {}
        }
    }
    if whole < segment.bytes {
        tracing::warn!(
            file = %path.display(), offset = whole, bytes = segment.bytes - whole,
            "the disk log ends within a request, as a crash leaves it, and is cut behind the one before"
        );
        file.set_len(whole)?;
        segment.bytes = whole;
    }
    // What the crashed process wrote and had no time to make safe is whole as well.
    file.sync_all()
}

/// A segment's entries reach to the first of the next one: only the last was counted.
fn number_through(segments: &mut [Segment], noted: Position) {
    for at in 1..segments.len() {
        segments[at - 1].next_number = segments[at].first_number;
    }
    if let Some(last) = segments.last_mut()
        && last.index == noted.index
    {
        last.next_number = last.next_number.max(noted.number);
    }
}
