//! The store copied to a file at one moment, and a copy put into its place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::database::{self, FILE, OpenError};
use super::migrations;

/// How long a copy rests when the other side is at work.
const REST: Duration = Duration::from_millis(20);

/// Why a copy was not made, or not put into place.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Nothing is written over.
    #[error("{0} is there already: a backup is a new file")]
    Exists(PathBuf),
    /// Nothing to copy.
    #[error(
        "there is no control store in {0}: name its folder in PULSE_API_DATA, or pulse-api's \
         operator routes in PULSE_API_INSTALLATION_URL"
    )]
    NoStore(PathBuf),
    /// The backup is not one.
    #[error("{path} is no backup of a control store that this release can read: {reason}")]
    NotOne {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The store is in use, or cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Copying failed.
    #[error("copying failed: {0}")]
    Copy(#[from] rusqlite::Error),
    /// A file cannot be written.
    #[error("{path}: {cause}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// Copies the store at `from` to the new file `to`, as it is at one moment. Whoever has the store
/// works on meanwhile.
pub(super) async fn backup(from: &Path, to: &Path) -> Result<(), BackupError> {
    let (from, to) = (from.to_owned(), to.to_owned());
    let work = tokio::task::spawn_blocking(move || {
        if to.exists() {
            return Err(BackupError::Exists(to));
        }
        let source = read_only(&from)?;
        let part = part_of(&to);
        let _ = std::fs::remove_file(&part);
        let mut target = database::connect(&part)?;
        copy(&source, &mut target)?;
        // One file and none beside it, whatever mode the source was in.
        target.pragma_update(None, "journal_mode", "DELETE")?;
        drop(target);
        let file = |cause| BackupError::File {
            path: to.clone(),
            cause,
        };
        let written = std::fs::File::open(&part).and_then(|part| part.sync_all());
        written.map_err(file)?;
        // The name appears when all of it is there.
        std::fs::rename(&part, &to).map_err(file)
    });
    work.await.expect("copying does not panic")
}

/// Copies the store in `folder` to the new file `to`; whether a process has it does not matter.
///
/// # Errors
/// When there is no store, the file is there already, or it cannot be written.
pub async fn backup_of(folder: &Path, to: &Path) -> Result<(), BackupError> {
    let path = folder.join(FILE);
    match path.is_file() {
        true => backup(&path, to).await,
        false => Err(BackupError::NoStore(folder.to_owned())),
    }
}

/// Looks whether a file is a backup that this release can restore.
///
/// # Errors
/// When it is not, with what is wrong with it.
pub fn check_backup(path: &Path) -> Result<(), BackupError> {
    read_checked(path).map(drop)
}

fn read_checked(path: &Path) -> Result<Connection, BackupError> {
    let not_one = |reason: String| BackupError::NotOne {
        path: path.to_owned(),
        reason,
    };
    let source = read_only(path).map_err(|error| not_one(error.to_string()))?;
    check(&source).map_err(not_one)?;
    Ok(source)
}

/// Puts the backup `from` into the place of the store in `folder`, all of it or nothing. No process
/// may have the store meanwhile. What was in the outbox of the backup is dropped: once a pulse-api
/// runs on it, the topic is made to say what this store says.
///
/// # Errors
/// When `from` is no backup, or the store is in use.
pub fn restore(from: &Path, folder: &Path) -> Result<(), BackupError> {
    let source = read_checked(from)?;
    let _lock = database::lock(folder)?;
    let mut target = database::connect(&folder.join(FILE))?;
    copy(&source, &mut target)?;
    target.pragma_update(None, "journal_mode", "WAL")?;
    target.execute("DELETE FROM outbox", [])?;
    Ok(())
}

/// What is wrong with a file that should be a backup.
fn check(source: &Connection) -> Result<(), String> {
    let last = migrations::last_applied(source).map_err(|error| error.to_string())?;
    if !migrations::is_known(last) {
        return Err(format!("its last migration is {last}"));
    }
    let verdict: String = source
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|error| error.to_string())?;
    match verdict.as_str() {
        "ok" => Ok(()),
        _ => Err(verdict),
    }
}

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// All pages in one step: what is written to the target is one transaction there.
fn copy(source: &Connection, target: &mut Connection) -> rusqlite::Result<()> {
    let backup = Backup::new(source, target)?;
    loop {
        match backup.step(-1)? {
            StepResult::Done => return Ok(()),
            _ => std::thread::sleep(REST),
        }
    }
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}
