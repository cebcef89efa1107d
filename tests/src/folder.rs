//! `pulse` as its users run it: the program itself, on a data folder of the test's own.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use pulse::installation::{Access, DataFolder};
use pulse::stack::binary;
use runtime::config::Environment;
use runtime::kafka::KafkaConfig;
use schemas::ids::TenantId;
use serde_json::Value;
use sinks::clickhouse::server::Server;

use crate::PATIENCE;

/// A data folder, and what runs in it; all of it is gone with the test, however it ends.
pub struct Folder {
    folder: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Folder {
    /// An empty one.
    ///
    /// # Panics
    /// When the system's folder for temporary files cannot be written.
    pub fn make() -> Self {
        let folder = tempfile::Builder::new().prefix("pulse-test-").tempdir();
        Self {
            folder: folder.unwrap(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `pulse` with these arguments on it, to its end.
    ///
    /// # Panics
    /// When it is not built.
    pub fn pulse(&self, arguments: &[&str]) -> Said {
        self.pulse_with(&[], arguments)
    }

    fn pulse_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Said {
        let mut command = Command::new(binary("pulse").unwrap());
        command.args(arguments).arg("--data").arg(self.path());
        command.envs(variables.iter().copied());
        command.output().unwrap().into()
    }

    /// Runs it and returns what it printed.
    ///
    /// # Panics
    /// When it does not end with 0.
    pub fn must(&self, arguments: &[&str]) -> String {
        self.must_with(&[], arguments)
    }

    /// The same with these variables in its environment.
    ///
    /// # Panics
    /// When it does not end with 0.
    pub fn must_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> String {
        let said = self.pulse_with(variables, arguments);
        assert_eq!(said.code, 0, "pulse {arguments:?}: {said:?}");
        said.out
    }

    /// What `pulse status --json` says, whatever its exit code.
    ///
    /// # Panics
    /// When it is no JSON.
    pub fn status(&self) -> Value {
        let said = self.pulse(&["status", "--json"]);
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// The brokers of what runs in it.
    ///
    /// # Panics
    /// When nothing does.
    pub fn kafka(&self) -> KafkaConfig {
        self.access().kafka().unwrap()
    }

    /// The ClickHouse of what runs in it.
    ///
    /// # Panics
    /// When nothing does.
    pub fn clickhouse(&self) -> Server {
        Server::new(&self.access().clickhouse().unwrap(), PATIENCE).unwrap()
    }

    /// The tenant that is streamed for.
    ///
    /// # Panics
    /// When there is none.
    pub fn tenant(&self) -> TenantId {
        let status = self.status();
        status["tenant"]
            .as_str()
            .expect("a tenant")
            .parse()
            .unwrap()
    }

    fn access(&self) -> Access {
        let mut none = Environment::of::<String, String>([]);
        Access::of(DataFolder::find(Some(self.path()), &mut none).unwrap()).unwrap()
    }

    /// The processes on this machine that were started for it: their command lines or environments
    /// name it.
    ///
    /// # Panics
    /// When `/proc` cannot be read.
    pub fn processes(&self) -> BTreeSet<u32> {
        let name = self.path().to_str().unwrap();
        let names_it = |pid: &u32| {
            ["cmdline", "environ"].iter().any(|file| {
                let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&text).contains(name)
            })
        };
        let all = std::fs::read_dir("/proc").unwrap();
        let pids = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        pids.filter(names_it).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Ok(program) = binary("pulse") else { return };
        let mut command = Command::new(program);
        let _ = command.arg("down").arg("--data").arg(self.path()).output();
    }
}
