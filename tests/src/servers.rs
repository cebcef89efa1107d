//! pulse-api as a process: where it answers, and how its operator asks it.

use api::access::installation::InstallationToken;
use pulse::stack::{Port, PortWish};

use crate::Installation;

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
        let folder = self.stack.folder().join("api");
        let folder = folder.to_string_lossy().into_owned();
        let reader = self.stack.clickhouse.reader();
        let (user, password) = (reader.user.clone(), reader.password.clone());
        let mut all = vec![
            ("PULSE_API_LISTEN", api.address.as_str()),
            ("PULSE_OPERATOR_LISTEN", api.operator.as_str()),
            ("PULSE_API_DATA", folder.as_str()),
            ("PULSE_REGISTRATION", "open"),
            ("PULSE_REGISTRATIONS_PER_MINUTE", "10000"),
            ("PULSE_CLICKHOUSE_USER", user.as_str()),
            ("PULSE_CLICKHOUSE_PASSWORD", password.reveal()),
        ];
        all.extend(environment);
        self.role("pulse-api", "0", &all).await;
        api
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

fn free_port() -> Port {
    Port::claim(PortWish::Any).unwrap()
}
