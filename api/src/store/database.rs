//! The store's file: who has it, and the one thread that reads and writes it.
//!
//! SQLite in WAL mode with `synchronous = FULL`: what was committed survives a loss of power. All
//! work is done by one thread, one job after the other, so that no request's thread ever waits for
//! the disk and no transaction ever finds another one in its way.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{StoreError, migrations};

/// The file's name in its folder.
pub const FILE: &str = "control.sqlite";
/// Locked by the process that has the store; there is nothing in it.
const LOCK: &str = "control.lock";

/// Jobs that may wait; who comes then waits at the door.
const JOBS_MAX: usize = 64;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it.
    #[error("{path}: {cause}")]
    File {
        /// Which.
        path: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "the control store in {folder} is in use by another process: two on one store would \
         publish over each other; stop the other one, or name another folder in PULSE_API_DATA"
    )]
    InUse {
        /// Where.
        folder: String,
    },
    /// A later release has written it.
    #[error(
        "the control store in {folder} has the migration {found}, and this release knows them up \
         to {known}: start the later release, or restore a backup of this one"
    )]
    Newer {
        /// Where.
        folder: String,
        /// The last one that was applied.
        found: i64,
        /// The last one that is known here.
        known: i64,
    },
    /// It cannot be read or written.
    #[error("the control store in {folder} cannot be used: {cause}")]
    Unusable {
        /// Where.
        folder: String,
        /// What SQLite says.
        cause: String,
    },
}

impl OpenError {
    fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |cause| Self::File { path, cause }
    }

    pub(super) fn unusable(folder: &Path, cause: &dyn std::fmt::Display) -> Self {
        Self::Unusable {
            folder: folder.display().to_string(),
            cause: cause.to_string(),
        }
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to the thread. Cheap to clone; the last clone waits for the thread to end.
#[derive(Clone)]
pub(super) struct Database {
    desk: Arc<Desk>,
}

struct Desk {
    /// Absent only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

impl Database {
    /// Locks the folder, opens the file and applies the migrations that it lacks.
    pub(super) async fn open(folder: &Path) -> Result<Self, OpenError> {
        let folder = folder.to_owned();
        let open = tokio::task::spawn_blocking(move || {
            let lock = lock(&folder)?;
            let path = folder.join(FILE);
            let mut connection = connect(&path)?;
            migrations::apply(&mut connection, &folder)?;
            Ok((lock, connection, path))
        });
        let (lock, connection, path) = open.await.expect("opening a store does not panic")?;
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || work(connection, waiting, lock))
            .expect("a process that cannot start a thread cannot work");
        let desk = Desk {
            jobs: Some(jobs),
            thread: Some(thread),
            path,
        };
        Ok(Self {
            desk: Arc::new(desk),
        })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.desk.path
    }

    /// Has the thread do `job`, behind those that came before. It is done even when nobody waits
    /// for it any more.
    pub(super) async fn run<T, E>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Whoever asked may have gone.
            let _ = answer.send(job(connection));
        });
        let jobs = self.desk.jobs.as_ref().expect("it is not dropped yet");
        jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Desk {
    /// The lock is given back when the thread has ended, and not before: so whoever dropped the
    /// store may open it again.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was logged where it happened.
            let _ = thread.join();
        }
    }
}

fn work(mut connection: Connection, mut waiting: mpsc::Receiver<Job>, lock: File) {
    while let Some(job) = waiting.blocking_recv() {
        job(&mut connection);
    }
    drop(connection);
    drop(lock);
}

/// Makes the folder where it is not there, and takes its lock.
pub(super) fn lock(folder: &Path) -> Result<File, OpenError> {
    // Its files hold the hashes of passwords: they are nobody else's to read.
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(OpenError::at(folder))?;
    let path = folder.join(LOCK);
    let file = private(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            folder: folder.display().to_string(),
        }),
        Err(TryLockError::Error(cause)) => Err(OpenError::at(&path)(cause)),
    }
}

/// A file that its owner alone may read, made where it is not there.
fn private(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(path);
    file.map_err(OpenError::at(path))
}

/// Opens the file, made where it is not there.
pub(super) fn connect(path: &Path) -> Result<Connection, OpenError> {
    // SQLite gives the files beside it the same rights.
    drop(private(path)?);
    let unusable = |error| OpenError::unusable(path, &error);
    let connection = Connection::open(path).map_err(unusable)?;
    prepare(&connection).map_err(unusable)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")
}
