//! What is known of the run: told to the user as it happens, kept in the run file for others.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use runtime::clock;

use crate::installation::{DataFolder, Entry, RunFile};

/// The run file and the user's ear. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Ledger {
    folder: DataFolder,
    run: Arc<Mutex<RunFile>>,
    began: Instant,
}

impl Ledger {
    /// A ledger of a run that has just begun.
    pub fn new(folder: DataFolder, run: RunFile) -> Self {
        Self {
            folder,
            run: Arc::new(Mutex::new(run)),
            began: clock::monotonic(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// The run file as it is now.
    pub fn run_file(&self) -> RunFile {
        self.run
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Tells the user something, with the time since the beginning.
    pub fn say(&self, text: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        let mut out = std::io::stdout().lock();
        // Nobody reads any more: no reason to stop what others use.
        let _ = writeln!(out, "[{seconds:6.1} s] {text}");
        let _ = out.flush();
    }

    /// Tells the user something as it stands.
    pub fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    /// True when a person looks.
    pub fn is_watched(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Changes the run file.
    pub fn change(&self, change: impl FnOnce(&mut RunFile)) {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut run);
        // Under the lock, so that an older state never covers a newer one.
        if let Err(error) = run.write(&self.folder) {
            self.say(&format!("the run file is out of date: {error}"));
        }
    }

    /// Changes a process's entry; adds it where there is none of its name.
    pub fn enter(&self, entry: Entry) {
        self.change(
            |run| match run.processes.iter_mut().find(|e| e.name == entry.name) {
                Some(held) => *held = entry,
                None => run.processes.push(entry),
            },
        );
    }

    /// Changes a process's entry.
    pub fn amend(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        self.change(|run| {
            if let Some(entry) = run.processes.iter_mut().find(|entry| entry.name == name) {
                change(entry);
            }
        });
    }
}
