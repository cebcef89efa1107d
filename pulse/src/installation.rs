//! One installation on this machine: its data folder, what runs in it, and how to reach that.
//!
//! In: a folder and the environment. Out: the folder's lock, its secrets, the run file, and the
//! settings with which a client reaches the installation's servers.
//!
//! What can never happen: two `pulse up` work in one folder ([`folder`]); a process that is not the
//! one that was started is signalled, whatever its pid ([`process`]); a secret is readable for
//! anybody but its owner.
//!
//! Read in this order: [`folder`], [`secret`], [`process`], [`run_file`], [`access`].

pub mod folder;
pub mod secret;

pub mod process;
pub mod run_file;

pub mod access;

pub use access::Access;
pub use folder::{DataFolder, FolderError, Lock};
pub use process::ProcessId;
pub use run_file::{Entry, EntryState, FeedEntry, RunFile, RunState};

use runtime::config::Key;

/// The settings of the operator's tool itself.
pub const KEYS: &[Key] = &[DATA, API_URL];

/// Where the tool looks when `--data` is left out.
pub const DATA: Key = Key {
    name: "PULSE_DATA",
    default: Some(".pulse"),
    doc: "The folder in which `pulse up` keeps everything: logs, secrets, Kafka's and ClickHouse's data.",
};

/// Where pulse-api answers the operator.
pub const API_URL: Key = Key {
    name: "PULSE_API_INSTALLATION_URL",
    default: None,
    doc: "`http://host:port` of the operator's routes of pulse-api, which then writes all \
          definitions; that of the one that `pulse up` runs, when left out.",
};
