//! The data folder: where everything of an installation is, and the lock that lets one `pulse up`
//! in at a time.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use runtime::config::Environment;

use super::DATA;

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It, or a file in it, cannot be read or written.
    #[error("the data folder's {} cannot be used: {source}", path.display())]
    Unusable {
        /// The folder or the file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another `pulse up` works in it.
    #[error("another `pulse up` works in {}", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
}

impl FolderError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Unusable { path, source }
    }
}

/// A data folder, which need not exist yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataFolder {
    path: PathBuf,
}

/// Held by the one `pulse up` of a folder, until it is dropped or the process is gone.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl DataFolder {
    /// The folder that `--data` names, else `PULSE_DATA`, else `.pulse` where we stand.
    ///
    /// # Errors
    /// When the current folder is gone.
    pub fn find(given: Option<&Path>, env: &mut Environment) -> Result<Self, FolderError> {
        let named = given
            .map(Path::to_owned)
            .or_else(|| env.parse::<PathBuf>(&DATA));
        let path = named.expect("the key has a default, and every text is a path");
        // Processes that are told of it stand elsewhere, perhaps.
        let path = std::path::absolute(&path).map_err(FolderError::at(&path))?;
        Ok(Self { path })
    }

    /// The folder itself, an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where a process's output goes.
    pub fn log(&self, process: &str) -> PathBuf {
        self.path.join("logs").join(format!("{process}.log"))
    }

    /// Makes the folder, for its owner alone, where it is not there yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self) -> Result<(), FolderError> {
        let logs = self.path.join("logs");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&logs);
        made.map_err(FolderError::at(&logs))
    }

    /// Takes the folder's lock.
    ///
    /// # Errors
    /// [`FolderError::Taken`] while another process holds it.
    pub fn lock(&self) -> Result<Lock, FolderError> {
        let path = self.path.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = file.map_err(FolderError::at(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(FolderError::Taken {
                path: self.path.clone(),
            }),
            Err(TryLockError::Error(source)) => Err(FolderError::Unusable { path, source }),
        }
    }

    /// True while another process holds the lock.
    pub fn is_taken(&self) -> bool {
        matches!(self.lock(), Err(FolderError::Taken { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &Path) -> DataFolder {
        DataFolder::find(Some(path), &mut Environment::of::<String, String>([])).unwrap()
    }

    #[test]
    fn one_lock_at_a_time_and_it_goes_with_its_holder() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(&temporary.path().join("new"));
        folder.make().unwrap();
        let lock = folder.lock().unwrap();
        assert!(folder.is_taken());
        assert!(matches!(folder.lock(), Err(FolderError::Taken { .. })));
        drop(lock);
        assert!(!folder.is_taken());
    }

    #[test]
    fn the_option_wins_over_the_environment_and_that_over_the_default() {
        let find = |given: Option<&str>, set: &[(&str, &str)]| {
            let mut env = Environment::of(set.iter().copied());
            DataFolder::find(given.map(Path::new), &mut env)
                .unwrap()
                .path
        };
        let here = std::env::current_dir().unwrap();
        assert_eq!(find(Some("/a"), &[(DATA.name, "/b")]), Path::new("/a"));
        assert_eq!(find(None, &[(DATA.name, "/b")]), Path::new("/b"));
        assert_eq!(find(None, &[]), here.join(".pulse"));
    }
}
