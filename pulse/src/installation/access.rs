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
/// How brokers elsewhere are reached and how many copies they keep: not to be asked of our own.
const KAFKA_ACCESS: [&str; 12] = [
    "PULSE_KAFKA_REPLICATION_FACTOR",
    "PULSE_KAFKA_MIN_IN_SYNC_REPLICAS",
    "PULSE_KAFKA_SECURITY_PROTOCOL",
    "PULSE_KAFKA_SASL_MECHANISM",
    "PULSE_KAFKA_USERNAME",
    "PULSE_KAFKA_PASSWORD",
    "PULSE_KAFKA_PASSWORD_FILE",
    "PULSE_KAFKA_CA",
    "PULSE_KAFKA_CERTIFICATE",
    "PULSE_KAFKA_KEY",
    "PULSE_KAFKA_KEY_PASSWORD",
    "PULSE_KAFKA_KEY_PASSWORD_FILE",
];
/// The same of ClickHouse.
const CLICKHOUSE_ACCESS: [&str; 2] = ["PULSE_CLICKHOUSE_PASSWORD", "PULSE_CLICKHOUSE_CA"];
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

    /// The same for who asks where the exchange is and nothing else: what the connector is told of
    /// Kafka beside that may be wrong, or not known yet.
    pub fn exchange_environment(&self) -> Environment {
        for_exchange(self.environment())
    }

    fn fill(&self, env: Environment) -> Environment {
        let known = known(&self.folder, self.found.run_file(), &env);
        env.with(known)
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

fn for_exchange(env: Environment) -> Environment {
    env.with(KAFKA_ACCESS.map(|name| (name, "")))
        .with([(SECRET, "not asked for here"), (SECRET_FILE, "")])
}

/// What the folder knows and `env` does not say, as variables for clients and for our processes.
/// They hold whatever the environment says beside them: how a server of the user's is reached is
/// empty where the server is ours.
pub fn known(
    folder: &DataFolder,
    run: Option<&RunFile>,
    env: &Environment,
) -> Vec<(&'static str, String)> {
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let mut known = Vec::new();
    if !env.has(BROKERS)
        && let Some((brokers, run)) = run.and_then(|run| Some((run.brokers.clone()?, run)))
    {
        known.push((BROKERS, brokers));
        if run.kafka_is_own {
            known.extend(KAFKA_ACCESS.map(|name| (name, String::new())));
        }
    }
    if !env.has(URL)
        && let Some((url, run)) = run.and_then(|run| Some((run.clickhouse_url.clone()?, run)))
    {
        known.push((URL, url));
        if run.clickhouse_is_own {
            known.push(("PULSE_CLICKHOUSE_USER", CLICKHOUSE_USER.to_owned()));
            known.push(("PULSE_CLICKHOUSE_PASSWORD_FILE", file(CLICKHOUSE_SECRET)));
            known.extend(CLICKHOUSE_ACCESS.map(|name| (name, String::new())));
        }
    }
    if !env.has(SECRET) && !env.has(SECRET_FILE) && folder.join(CONTROL_SECRET).is_file() {
        known.push((SECRET_FILE, file(CONTROL_SECRET)));
    }
    known
}

#[cfg(test)]
mod tests {
    use connectors::coinbase::CoinbaseConfig;

    use super::*;

    /// An installation whose servers are both our own.
    fn own(temporary: &tempfile::TempDir) -> Access {
        let mut none = Environment::of::<String, String>([]);
        let folder = DataFolder::find(Some(temporary.path()), &mut none).unwrap();
        std::fs::write(folder.join(CONTROL_SECRET), "9f2c41d07be83a56").unwrap();
        std::fs::write(folder.join(CLICKHOUSE_SECRET), "of our own").unwrap();
        let mut run = RunFile::begin(0).unwrap();
        run.brokers = Some("127.0.0.1:9092".into());
        run.kafka_is_own = true;
        run.clickhouse_url = Some("http://127.0.0.1:8123".into());
        run.clickhouse_is_own = true;
        let found = Found::Running(run);
        Access { folder, found }
    }

    fn check(set: &[(&str, &str)], expect: &[&str]) {
        let temporary = tempfile::tempdir().unwrap();
        let access = own(&temporary);
        let env = Environment::of(set.iter().copied());
        let known = known(&access.folder, access.running(), &env);
        let said = known.iter().filter(|(_, value)| !value.is_empty());
        let names: Vec<_> = said.map(|(name, _)| *name).collect();
        assert_eq!(names, expect, "{set:?}");
    }

    #[test]
    fn how_a_server_elsewhere_is_reached_is_not_asked_of_our_own() {
        let temporary = tempfile::tempdir().unwrap();
        let access = own(&temporary);
        let elsewhere = KAFKA_ACCESS
            .into_iter()
            .chain(CLICKHOUSE_ACCESS)
            .chain(["PULSE_CLICKHOUSE_USER"]);
        let mut env = access.fill(Environment::of(elsewhere.map(|name| (name, "elsewhere"))));
        let kafka = KafkaConfig::read(&mut env);
        let clickhouse = ClickHouseConfig::read(&mut env);
        let (_, clickhouse) = env.finish(kafka.zip(clickhouse)).unwrap();
        assert_eq!(clickhouse.user, CLICKHOUSE_USER);
        assert_eq!(clickhouse.password.unwrap().reveal(), "of our own");

        let brokers = (BROKERS, "elsewhere:9092");
        let env = access.fill(Environment::of([brokers, ("PULSE_KAFKA_CA", "kept")]));
        assert!(env.has("PULSE_KAFKA_CA"));
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
    fn where_the_exchange_is_can_be_asked_whatever_is_said_of_kafka() {
        let elsewhere = KAFKA_ACCESS.map(|name| (name, "elsewhere"));
        let env = Environment::of(elsewhere);
        assert!(CoinbaseConfig::read(&mut for_exchange(env)).is_some());
    }

    #[test]
    fn where_the_exchange_is_can_be_asked_whatever_is_known_of_the_secret() {
        let temporary = tempfile::tempdir().unwrap();
        let access = own(&temporary);
        let given = [
            None,
            Some((SECRET, "short")),
            Some((SECRET_FILE, "/nowhere")),
        ];
        for given in given {
            let env = access.fill(Environment::of(given));
            let config = CoinbaseConfig::read(&mut for_exchange(env));
            assert!(config.is_some(), "{given:?}");
        }
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
