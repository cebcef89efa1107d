//! Where ClickHouse is and who we are there. Speaking to it is the sink's and the API's business.

use std::path::PathBuf;

use crate::config::{Environment, Key, Secret, Settings};

const URL: Key = Key {
    name: "PULSE_CLICKHOUSE_URL",
    default: Some("http://127.0.0.1:8123"),
    doc: "ClickHouse's HTTP address, `http://` or `https://`.",
};
const USER: Key = Key {
    name: "PULSE_CLICKHOUSE_USER",
    default: Some("default"),
    doc: "The user there.",
};
const PASSWORD: Key = Key {
    name: "PULSE_CLICKHOUSE_PASSWORD",
    default: None,
    doc: "The user's password, or `PULSE_CLICKHOUSE_PASSWORD_FILE`; none when absent.",
};
const CA: Key = Key {
    name: "PULSE_CLICKHOUSE_CA",
    default: None,
    doc: "A PEM file with the authorities that may sign it, for an address of `https://` alone; the system's own when absent.",
};
const DATABASE: Key = Key {
    name: "PULSE_CLICKHOUSE_DATABASE",
    default: Some("pulse"),
    doc: "The database that holds the tables.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[URL, USER, PASSWORD, CA, DATABASE];

/// Where ClickHouse is and who we are there.
#[derive(Clone, Debug)]
pub struct ClickHouseConfig {
    /// `http://host:port` or `https://host:port`, without a slash at its end.
    pub url: String,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Option<Secret>,
    /// PEM file of the authorities that may sign the server; the system's own when absent.
    pub ca: Option<PathBuf>,
    /// The database that holds the tables: a plain identifier.
    pub database: String,
}

impl Settings for ClickHouseConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let url = read_url(env);
        let user = env.text(&USER);
        let password = env.optional_secret(&PASSWORD);
        let ca = read_ca(env, url.as_deref());
        let database = read_database(env);
        Some(Self {
            url: url?,
            user: user?,
            password: password?,
            ca: ca?,
            database: database?,
        })
    }
}

fn read_url(env: &mut Environment) -> Option<String> {
    let url = env.text(&URL)?;
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    match rest.map(|rest| rest.trim_end_matches('/')) {
        Some(rest) if rest.contains('@') => env.refuse(&URL, "must not hold a user or password"),
        Some("") | None => env.refuse(&URL, "must be http://host:port or https://host:port"),
        Some(_) => Some(url.trim_end_matches('/').to_owned()),
    }
}

/// Without TLS nobody would look at the file.
fn read_ca(env: &mut Environment, url: Option<&str>) -> Option<Option<PathBuf>> {
    if url.is_some_and(|url| url.starts_with("http://")) {
        let reason = "PULSE_CLICKHOUSE_URL begins with http://; make it https://";
        return env.refuse_ignored(&[CA], reason).map(|()| None);
    }
    env.optional_file(&CA)
}

/// The name goes into SQL as it is, so it must be an identifier.
fn read_database(env: &mut Environment) -> Option<String> {
    let name = env.text(&DATABASE)?;
    let is_identifier = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    match is_identifier {
        true => Some(name),
        false => env.refuse(&DATABASE, "must be letters, digits and underscores"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, value: &str, is_accepted: bool) {
        let mut env = Environment::of([(name, value)]);
        let config = ClickHouseConfig::read(&mut env);
        assert_eq!(env.finish(config).is_ok(), is_accepted, "{name}={value}");
    }

    #[test]
    fn addresses_and_names() {
        check(URL.name, "https://clickhouse:8443/", true);
        check(URL.name, "clickhouse:8123", false);
        check(URL.name, "http://", false);
        check(URL.name, "http://me:secret@clickhouse:8123", false);
        check(DATABASE.name, "pulse_2", true);
        check(DATABASE.name, "pulse; DROP", false);
        check(DATABASE.name, "2pulse", false);
    }

    #[test]
    fn an_authority_is_for_https_alone() {
        let check = |url: &str, ca: &str, expect: Option<&str>| {
            let mut env = Environment::of([(URL.name, url), (CA.name, ca)]);
            let config = ClickHouseConfig::read(&mut env);
            let fault = env.finish(config).err();
            let fault = fault.map(|error| error.faults[0].reason.clone());
            assert_eq!(fault.as_deref(), expect, "{url} {ca}");
        };
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let ignored =
            "would be ignored: PULSE_CLICKHOUSE_URL begins with http://; make it https://";
        check("https://clickhouse:8443", here, None);
        check("https://clickhouse:8443", "nowhere", Some("names no file"));
        check("http://clickhouse:8123", here, Some(ignored));
        check("", here, Some(ignored));
        check("http://clickhouse:8123", "", None);
    }
}
