//! A folder that belongs to one process at a time.
//!
//! A server whose parent was killed needs a moment to end, and the next one must not come
//! meanwhile: it would find the folder locked and the ports taken. So a server holds a lock for
//! exactly as long as it lives, whoever started it: the locked file is its log, which it has open
//! as its output, and the kernel lets go of it when the process is gone, however it went.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::clock::Deadline;

/// Why a folder could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TenureError {
    /// Somebody has it and keeps it.
    #[error("the process that writes {} is still running: stop it first", log.display())]
    Taken {
        /// Its log.
        log: PathBuf,
    },
    /// It cannot be used at all.
    #[error("log file {} cannot be used", log.display())]
    Log {
        /// The log.
        log: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The lock, to be handed to a process with its log.
#[derive(Debug)]
pub struct Tenure {
    file: File,
}

impl Tenure {
    /// Makes `log` and its folder where there are none, and waits up to `patience` until no process
    /// has it.
    ///
    /// # Errors
    /// When the log cannot be used, or somebody still has it then.
    pub async fn take(log: &Path, patience: Duration) -> Result<Self, TenureError> {
        const ASKED_EVERY: Duration = Duration::from_millis(20);
        let fault = |source| TenureError::Log {
            log: log.to_owned(),
            source,
        };
        if let Some(folder) = log.parent() {
            std::fs::create_dir_all(folder).map_err(fault)?;
        }
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(fault)?;
        let deadline = Deadline::after(patience);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file }),
                Err(TryLockError::Error(error)) => return Err(fault(error)),
                Err(TryLockError::WouldBlock) if deadline.has_passed() => {
                    return Err(TenureError::Taken {
                        log: log.to_owned(),
                    });
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(ASKED_EVERY).await,
            }
        }
    }

    /// The log, whose lock goes with it.
    pub(super) fn log(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}
