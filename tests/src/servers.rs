//! pulse-api as a process: where it answers, and how its operator asks it.

use std::path::PathBuf;
use std::process::Output;

use api::access::installation::InstallationToken;
use pulse::stack::{Port, PortWish, binary};

use crate::Installation;
use crate::installation::SECRET;

/// Where a pulse-api answers.
#[derive(Clone, Debug)]
pub struct Api {
    /// Everybody.
    pub address: String,
    /// The operator.
    pub operator: String,
}

impl Installation {
    /// Starts `pulse-api` with a store in the installation's folder, open for registrations, and
    /// waits until it is ready. It reads ClickHouse as one who may read alone.
    ///
    /// # Panics
    /// When it cannot be started or ends.
    pub async fn api(&mut self, environment: &[(&str, &str)]) -> Api {
        let (public, operator) = (free_port(), free_port());
        let api = Api {
            address: public.address(),
            operator: operator.address(),
        };
        self.keep_ports([public, operator]);
        let folder = self.api_folder().to_string_lossy().into_owned();
        let reader = self.stack.clickhouse.reader();
        let (user, password) = (reader.user.clone(), reader.password.clone());
        let mut all = vec![
            ("PULSE_API_LISTEN", api.address.as_str()),
            ("PULSE_OPERATOR_LISTEN", api.operator.as_str()),
            ("PULSE_API_DATA", folder.as_str()),
            ("PULSE_REGISTRATION", "open"),
            ("PULSE_REGISTRATIONS_PER_MINUTE", "10000"),
            ("PULSE_CHANGES_PER_MINUTE", "1000000"),
            ("PULSE_QUERY_TIME_MAX_MS", "120000"),
            ("PULSE_CLICKHOUSE_USER", user.as_str()),
            ("PULSE_CLICKHOUSE_PASSWORD", password.reveal()),
        ];
        all.extend(environment);
        self.role("pulse-api", "0", &all).await;
        api
    }

    /// How `pulse` ends, well or not, with these variables too.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn pulse_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = std::process::Command::new(binary("pulse").unwrap());
        let nothing = self.stack.folder().join("none");
        command.arg("--data").arg(nothing).args(arguments);
        command.envs(self.stack.environment());
        command.env("PULSE_CONTROL_SECRET", SECRET);
        command.envs(environment.iter().copied());
        command.output().unwrap()
    }

    /// The folder of [`Self::api`]'s store.
    pub fn api_folder(&self) -> PathBuf {
        self.stack.folder().join("api")
    }

    /// What the operator's own tool shows at the operator's door.
    ///
    /// # Panics
    /// Never: the token is a header's text.
    pub fn operator_token(&self) -> String {
        let header = InstallationToken::of(&self.control()).header();
        let text = header.to_str().unwrap();
        text.trim_start_matches("Bearer ").to_owned()
    }
}

/// The installation's secret, for whoever looks that nobody tells it.
pub fn secret() -> &'static str {
    SECRET
}

fn free_port() -> Port {
    Port::claim(PortWish::Any).unwrap()
}
