//! How a client reaches the installation: by the environment, and where that is silent by what the
//! data folder knows.
//!
//! The environment wins by parts, not by variables: who names brokers of their own must not get
//! another installation's password along with them.

use runtime::clickhouse::ClickHouseConfig;
use runtime::config::{ConfigError, Environment, Settings};
use runtime::control::ControlConfig;
use runtime::kafka::KafkaConfig;

use super::run_file::{Found, RunFile};
use super::{DataFolder, FolderError};

/// The secret that signs control records, in the data folder.
pub const CONTROL_SECRET: &str = "control.secret";
/// The password of ClickHouse's writer, in the data folder.
pub const CLICKHOUSE_SECRET: &str = "clickhouse.secret";
/// The password of ClickHouse's reader, in the data folder.
pub const READER_SECRET: &str = "reader.secret";
/// ClickHouse's writer, where the server is ours.
pub const CLICKHOUSE_USER: &str = "pulse";
/// ClickHouse's reader, where the server is ours.
pub const CLICKHOUSE_READER: &str = "reader";

const BROKERS: &str = "PULSE_KAFKA_BROKERS";
const URL: &str = "PULSE_CLICKHOUSE_URL";
const SECRET: &str = "PULSE_CONTROL_SECRET";
const SECRET_FILE: &str = "PULSE_CONTROL_SECRET_FILE";

/// Why the installation cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The folder cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Neither the environment nor the folder says where it is.
    #[error(
        "nothing runs in {folder}: start it with `pulse up`, name its folder with --data, or set \
         {variable} to reach one that runs elsewhere"
    )]
    Nowhere {
        /// The data folder.
        folder: String,
        /// What could be set.
        variable: &'static str,
    },
}

/// A data folder, what runs in it, and how to reach that.
pub struct Access {
    /// The folder.
    pub folder: DataFolder,
    /// What it says of what runs.
    pub found: Found,
}

impl Access {
    /// Looks into the folder.
    ///
    /// # Errors
    /// When the run file is there and cannot be read.
    pub fn of(folder: DataFolder) -> Result<Self, AccessError> {
        let found = RunFile::find(&folder)?;
        Ok(Self { folder, found })
    }

    /// What runs here, if `pulse up` does.
    pub fn running(&self) -> Option<&RunFile> {
        match &self.found {
            Found::Running(run) => Some(run),
            _ => None,
        }
    }

    /// The settings of the brokers.
    ///
    /// # Errors
    /// When nobody says where they are, or a setting cannot be used.
    pub fn kafka(&self) -> Result<KafkaConfig, AccessError> {
        self.read(BROKERS)
    }

    /// The settings of ClickHouse.
    ///
    /// # Errors
    /// When nobody says where it is, or a setting cannot be used.
    pub fn clickhouse(&self) -> Result<ClickHouseConfig, AccessError> {
        self.read(URL)
    }

    /// What signs control records.
    ///
    /// # Errors
    /// When there is no secret, or it cannot be used.
    pub fn control(&self) -> Result<ControlConfig, AccessError> {
        self.read(SECRET)
    }

    /// The environment, filled up with what the folder knows.
    pub fn environment(&self) -> Environment {
        self.fill(Environment::of_process())
    }

    fn fill(&self, env: Environment) -> Environment {
        let known = known(&self.folder, self.found.run_file(), &env);
        env.or(known)
    }

    fn read<T: Settings>(&self, variable: &'static str) -> Result<T, AccessError> {
        let mut env = self.environment();
        let is_known = env.has(variable) || variable == SECRET && env.has(SECRET_FILE);
        if !is_known {
            let folder = self.folder.path().display().to_string();
            return Err(AccessError::Nowhere { folder, variable });
        }
        let settings = T::read(&mut env);
        Ok(env.finish(settings)?)
    }
}

/// What the folder knows and `env` does not say, as variables for clients and for our processes.
pub fn known(
    folder: &DataFolder,
    run: Option<&RunFile>,
    env: &Environment,
) -> Vec<(&'static str, String)> {
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let mut known = Vec::new();
    if !env.has(BROKERS)
        && let Some(brokers) = run.and_then(|run| run.brokers.clone())
    {
        known.push((BROKERS, brokers));
    }
    if !env.has(URL)
        && let Some((url, run)) = run.and_then(|run| Some((run.clickhouse_url.clone()?, run)))
    {
        known.push((URL, url));
        if run.clickhouse_is_own {
            known.push(("PULSE_CLICKHOUSE_USER", CLICKHOUSE_USER.to_owned()));
            known.push(("PULSE_CLICKHOUSE_PASSWORD_FILE", file(CLICKHOUSE_SECRET)));
        }
    }
    if !env.has(SECRET) && !env.has(SECRET_FILE) && folder.join(CONTROL_SECRET).is_file() {
        known.push((SECRET_FILE, file(CONTROL_SECRET)));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(set: &[(&str, &str)], expect: &[&str]) {
        let temporary = tempfile::tempdir().unwrap();
        let mut none = Environment::of::<String, String>([]);
        let folder = DataFolder::find(Some(temporary.path()), &mut none).unwrap();
        std::fs::write(folder.join(CONTROL_SECRET), "0123456789abcdef").unwrap();
        let mut run = RunFile::begin(0).unwrap();
        run.brokers = Some("127.0.0.1:9092".into());
        run.clickhouse_url = Some("http://127.0.0.1:8123".into());
        run.clickhouse_is_own = true;
        let env = Environment::of(set.iter().copied());
        let names: Vec<_> = known(&folder, Some(&run), &env)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, expect, "{set:?}");
    }

    #[test]
    fn the_environment_wins_by_parts() {
        let user = "PULSE_CLICKHOUSE_USER";
        let password = "PULSE_CLICKHOUSE_PASSWORD_FILE";
        check(&[], &[BROKERS, URL, user, password, SECRET_FILE]);
        check(&[(URL, "https://elsewhere:8443")], &[BROKERS, SECRET_FILE]);
        check(
            &[(BROKERS, "elsewhere:9092")],
            &[URL, user, password, SECRET_FILE],
        );
        check(
            &[(SECRET, "fedcba9876543210")],
            &[BROKERS, URL, user, password],
        );
        check(
            &[(BROKERS, "")],
            &[BROKERS, URL, user, password, SECRET_FILE],
        );
    }

    #[test]
    fn nowhere_says_what_to_do() {
        let temporary = tempfile::tempdir().unwrap();
        let mut none = Environment::of::<String, String>([]);
        let folder = DataFolder::find(Some(temporary.path()), &mut none).unwrap();
        let access = Access::of(folder).unwrap();
        let error = access
            .read::<KafkaConfig>("PULSE_KAFKA_BROKERS_OF_A_TEST")
            .unwrap_err();
        assert!(error.to_string().contains("`pulse up`"), "{error}");
    }
}
