//! `run.json`: what `pulse up` has started, written at every change, for all other commands.

use std::io;
use std::path::PathBuf;

use schemas::ids::TenantId;
use serde::{Deserialize, Serialize};

use super::process::{self, ProcessId};
use super::{DataFolder, FolderError, secret};

/// Grows when the file's shape changes so that an older program would misread it.
const FORMAT: u32 = 1;

/// What runs in a data folder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunFile {
    format: u32,
    /// Which start of the machine the process ids are of.
    boot: String,
    /// How far `pulse up` has come.
    pub state: RunState,
    /// When it began, in ms since the epoch.
    pub began_at_ms: i64,
    /// `pulse up` itself.
    pub supervisor: ProcessId,
    /// `host:port` of the brokers, once they are known.
    pub brokers: Option<String>,
    /// True when Kafka is ours, so that nobody has to say who they are.
    #[serde(default)]
    pub kafka_is_own: bool,
    /// ClickHouse's address, once it is known.
    pub clickhouse_url: Option<String>,
    /// True when ClickHouse is ours, so that its user and password are those of the data folder.
    pub clickhouse_is_own: bool,
    /// `http://host:port` of the operator's routes, once a pulse-api serves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation_url: Option<String>,
    /// The tenant that the feed writes for.
    pub tenant: Option<TenantId>,
    /// Where events come from.
    pub feed: Option<FeedEntry>,
    /// The processes, in the order in which they were started.
    pub processes: Vec<Entry>,
}

/// How far `pulse up` has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It brings processes up.
    Starting,
    /// All were up, and are watched.
    Running,
    /// It takes them down.
    Stopping,
}

/// Where events come from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FeedEntry {
    /// `live`, `sim` or `replay`.
    pub kind: String,
    /// In words: what it is, and why it is not what was asked for.
    pub detail: String,
    /// The file that is replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// A process of the installation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// `kafka`, `pulse-metrics` and so on.
    pub name: String,
    /// Which process it is; absent while it is not running, and for a server that is not ours.
    pub process: Option<ProcessId>,
    /// Where clients reach it.
    pub address: String,
    /// Where it tells how it is: `host:port` of `/health/ready` and `/metrics`.
    pub health: Option<String>,
    /// Its output; absent for a server that is not ours.
    pub log: Option<PathBuf>,
    /// How it is, as seen by the one who started it.
    pub state: EntryState,
    /// How often it was started again.
    pub restart_count: u32,
    /// Why it is as it is, in words, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a process is, as seen by the one who started it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// It was started, and has not said that it can work.
    Starting,
    /// It runs.
    Running,
    /// It died, and will be started again.
    Restarting,
    /// It died, and starting it again would not help.
    Failed,
    /// It was told to end.
    Stopped,
    /// It is not ours: it runs, or does not, without us.
    External,
}

/// What a data folder says of what runs in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// No run file: nothing runs.
    Nothing,
    /// `pulse up` runs.
    Running(RunFile),
    /// `pulse up` was killed: what it left behind.
    Stale(RunFile),
}

impl Entry {
    /// A server that is not ours.
    pub fn external(name: &str, address: String) -> Self {
        Self {
            name: name.to_owned(),
            process: None,
            address,
            health: None,
            log: None,
            state: EntryState::External,
            restart_count: 0,
            reason: None,
        }
    }
}

impl RunFile {
    /// Where clients reach a process that runs here.
    pub fn address_of(&self, name: &str) -> Option<&str> {
        let entry = self.processes.iter().find(|entry| entry.name == name);
        entry.map(|entry| entry.address.as_str())
    }

    /// The file of this process, which has just begun.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn begin(began_at_ms: i64) -> io::Result<Self> {
        Ok(Self {
            format: FORMAT,
            boot: process::boot_id()?,
            state: RunState::Starting,
            began_at_ms,
            supervisor: ProcessId::own()?,
            brokers: None,
            clickhouse_url: None,
            kafka_is_own: false,
            clickhouse_is_own: false,
            installation_url: None,
            tenant: None,
            feed: None,
            processes: Vec::new(),
        })
    }

    /// Writes it to the folder, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &DataFolder) -> Result<(), FolderError> {
        let text = serde_json::to_string_pretty(self).expect("a run file is plain JSON");
        secret::write(&path(folder), &text)
    }

    /// Removes it: nothing runs any more.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove(folder: &DataFolder) -> Result<(), FolderError> {
        let path = path(folder);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FolderError::at(&path)(error))
            }
            _ => Ok(()),
        }
    }

    /// What the folder says.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn find(folder: &DataFolder) -> Result<Found, FolderError> {
        let path = path(folder);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(FolderError::at(&path)(error)),
        };
        let run: Self = serde_json::from_str(&text)
            .map_err(|error| FolderError::at(&path)(io::Error::other(error)))?;
        let is_of_this_boot = process::boot_id().is_ok_and(|boot| boot == run.boot);
        match is_of_this_boot && run.supervisor.is_alive() {
            true => Ok(Found::Running(run)),
            false => Ok(Found::Stale(run)),
        }
    }

    /// The processes that are alive, whoever watches them; none after the machine was restarted.
    pub fn alive(&self) -> Vec<(&Entry, ProcessId)> {
        if process::boot_id().map_or(true, |boot| boot != self.boot) {
            return Vec::new();
        }
        let pairs = self
            .processes
            .iter()
            .filter_map(|entry| Some((entry, entry.process?)));
        pairs.filter(|(_, process)| process.is_alive()).collect()
    }

    /// The process of that name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.processes.iter().find(|entry| entry.name == name)
    }
}

impl Found {
    /// The file, whether `pulse up` still runs or not.
    pub fn run_file(&self) -> Option<&RunFile> {
        match self {
            Self::Nothing => None,
            Self::Running(run) | Self::Stale(run) => Some(run),
        }
    }
}

fn path(folder: &DataFolder) -> PathBuf {
    folder.join("run.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::Environment;

    fn folder(temporary: &tempfile::TempDir) -> DataFolder {
        let mut env = Environment::of::<String, String>([]);
        DataFolder::find(Some(temporary.path()), &mut env).unwrap()
    }

    #[test]
    fn a_run_file_reads_back_and_knows_whether_its_owner_lives() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(&temporary);
        assert_eq!(RunFile::find(&folder).unwrap(), Found::Nothing);

        let mut run = RunFile::begin(7).unwrap();
        run.processes.push(Entry {
            name: "pulse-metrics".into(),
            process: Some(ProcessId::own().unwrap()),
            address: "127.0.0.1:9102".into(),
            health: Some("127.0.0.1:9102".into()),
            log: None,
            state: EntryState::Running,
            restart_count: 2,
            reason: None,
        });
        run.write(&folder).unwrap();
        assert_eq!(RunFile::find(&folder).unwrap(), Found::Running(run.clone()));
        assert_eq!(run.alive().len(), 1);

        run.supervisor.began_ticks += 1;
        run.write(&folder).unwrap();
        assert!(matches!(RunFile::find(&folder).unwrap(), Found::Stale(_)));

        run.boot = "another".into();
        run.write(&folder).unwrap();
        assert_eq!(run.alive(), []);
        assert!(matches!(RunFile::find(&folder).unwrap(), Found::Stale(_)));

        RunFile::remove(&folder).unwrap();
        RunFile::remove(&folder).unwrap();
        assert_eq!(RunFile::find(&folder).unwrap(), Found::Nothing);
    }

    #[test]
    fn a_file_of_something_else_is_an_error_that_names_it() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(&temporary);
        std::fs::write(folder.join("run.json"), "{}").unwrap();
        let error = RunFile::find(&folder).unwrap_err().to_string();
        assert!(
            error.contains("run.json") && error.contains("missing field"),
            "{error}"
        );
    }
}
