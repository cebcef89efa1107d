//! What a segment is written to: a file, or in tests one that fails when it is told to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// A file that is written at its end, made safe, and cut.
pub(super) trait Medium: Send {
    /// Writes all of `bytes` at `offset`; after an error any part of them may be there.
    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything that was written, and the file's length, would survive the machine's
    /// death.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to its first `bytes`.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

/// Makes a file that must not be there yet.
pub(super) type Create = Box<dyn FnMut(&Path) -> io::Result<Box<dyn Medium>> + Send>;

/// Makes a segment's file; only this user may read it.
pub(super) fn create(path: &Path) -> io::Result<Box<dyn Medium>> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok(Box::new(file))
}

impl Medium for File {
    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

/// Makes names in a folder survive the machine's death.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether the folder's disk takes a few bytes.
pub(super) fn probe(folder: &Path) -> io::Result<()> {
    let path = folder.join("probe");
    let written = std::fs::write(&path, [0; 4_096]).and_then(|()| File::open(&path)?.sync_all());
    std::fs::remove_file(&path)?;
    written
}
