//! What was fetched once and is used by every stack of this user: Kafka's jars, ClickHouse's
//! library.
//!
//! A thing is in the cache whole or not at all: it is put together in a folder of its own, checked,
//! and then renamed to its place, under a lock that makes a second process wait for the first.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::config::{Environment, Key};

use super::fetch::FetchError;

/// The settings of the local stack.
pub const KEYS: &[Key] = &[CACHE];

const CACHE: Key = Key {
    name: "PULSE_CACHE",
    default: None,
    doc: "The folder that keeps the fetched Kafka and ClickHouse; `~/.cache/pulsestream` if left \
          out.",
};
const XDG_CACHE_HOME: Key = Key {
    name: "XDG_CACHE_HOME",
    default: None,
    doc: "Where a user's caches are.",
};
const HOME: Key = Key {
    name: "HOME",
    default: None,
    doc: "The user's folder.",
};

/// Told in a line of text how far a long step is.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// The folder that holds what was fetched.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// This user's cache: `PULSE_CACHE`, else `pulsestream` in the user's folder for caches.
    ///
    /// # Errors
    /// When neither `PULSE_CACHE` nor `XDG_CACHE_HOME` nor `HOME` is set.
    pub fn of_user() -> Result<Self, FetchError> {
        Self::of(&mut Environment::of_process())
    }

    fn of(env: &mut Environment) -> Result<Self, FetchError> {
        let mut folder = |key| env.optional::<PathBuf>(key).flatten();
        let root = folder(&CACHE)
            .or_else(|| Some(folder(&XDG_CACHE_HOME)?.join("pulsestream")))
            .or_else(|| Some(folder(&HOME)?.join(".cache").join("pulsestream")))
            .ok_or(FetchError::NoCache)?;
        Ok(Self::at(root))
    }

    /// A cache in another folder, which is made when it is first needed.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of `name`, filled by `fill` unless it is there and `is_whole` says so.
    ///
    /// `fill` gets an empty folder; what it leaves there becomes the cache's when it succeeds and
    /// `is_whole` agrees.
    ///
    /// # Errors
    /// When the cache cannot be written, or `fill` fails.
    pub async fn install(
        &self,
        name: &'static str,
        is_whole: impl Fn(&Path) -> bool,
        progress: Progress<'_>,
        fill: impl AsyncFnOnce(&Path) -> Result<(), FetchError>,
    ) -> Result<PathBuf, FetchError> {
        let place = self.root.join(name);
        if is_whole(&place) {
            return Ok(place);
        }
        let _lock = self.lock(name, progress).await?;
        if is_whole(&place) {
            return Ok(place);
        }
        let fault = |source| FetchError::Cache {
            path: self.root.clone(),
            source,
        };
        let draft = self.root.join(format!("{name}.draft"));
        // Left over from a fetch that was killed, or not whole: the lock says that nobody uses it.
        remove(&draft).map_err(fault)?;
        remove(&place).map_err(fault)?;
        std::fs::create_dir(&draft).map_err(fault)?;

        let filled = fill(&draft).await.and_then(|()| match is_whole(&draft) {
            true => std::fs::rename(&draft, &place).map_err(fault),
            false => Err(FetchError::Incomplete { what: name }),
        });
        if let Err(error) = filled {
            // The first fault is the one to tell.
            let _ = remove(&draft);
            return Err(error);
        }
        Ok(place)
    }

    /// Holds the lock of `name` until the file that it returns is dropped.
    pub(super) async fn lock(
        &self,
        name: &str,
        progress: Progress<'_>,
    ) -> Result<File, FetchError> {
        let fault = |source| FetchError::Cache {
            path: self.root.clone(),
            source,
        };
        std::fs::create_dir_all(&self.root).map_err(fault)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join(format!("{name}.lock")))
            .map_err(fault)?;
        let mut is_told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(fault(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            if !std::mem::replace(&mut is_told, true) {
                progress(&format!("{name}: another process is at it, waiting for it"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
