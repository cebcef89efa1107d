//! How every client of ours reaches the brokers.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::{Environment, Key, Secret, Settings};

const BROKERS: Key = Key {
    name: "PULSE_KAFKA_BROKERS",
    default: Some("127.0.0.1:9092"),
    doc: "Brokers to begin with, `host:port`, separated by commas.",
};
const PROTOCOL: Key = Key {
    name: "PULSE_KAFKA_SECURITY_PROTOCOL",
    default: Some("PLAINTEXT"),
    doc: "`PLAINTEXT`, `SSL` or `SASL_SSL`.",
};
const MECHANISM: Key = Key {
    name: "PULSE_KAFKA_SASL_MECHANISM",
    default: Some("SCRAM-SHA-512"),
    doc: "`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; for `SASL_SSL` alone.",
};
const USERNAME: Key = Key {
    name: "PULSE_KAFKA_USERNAME",
    default: None,
    doc: "The user; required with `SASL_SSL`, and refused without.",
};
const PASSWORD: Key = Key {
    name: "PULSE_KAFKA_PASSWORD",
    default: None,
    doc: "The user's password, or `PULSE_KAFKA_PASSWORD_FILE`; required with `SASL_SSL`, and refused without.",
};
const CA: Key = Key {
    name: "PULSE_KAFKA_CA",
    default: None,
    doc: "A PEM file with the authorities that may sign a broker; the system's own when absent.",
};
const CERTIFICATE: Key = Key {
    name: "PULSE_KAFKA_CERTIFICATE",
    default: None,
    doc: "A PEM file with this client's certificate, for brokers that ask for one.",
};
const PRIVATE_KEY: Key = Key {
    name: "PULSE_KAFKA_KEY",
    default: None,
    doc: "A PEM file with the private key of that certificate.",
};
const KEY_PASSWORD: Key = Key {
    name: "PULSE_KAFKA_KEY_PASSWORD",
    default: None,
    doc: "The private key's password, or `PULSE_KAFKA_KEY_PASSWORD_FILE`.",
};
const REPLICATION: Key = Key {
    name: "PULSE_KAFKA_REPLICATION_FACTOR",
    default: Some("1"),
    doc: "Replicas of each topic that is created.",
};
const MIN_IN_SYNC: Key = Key {
    name: "PULSE_KAFKA_MIN_IN_SYNC_REPLICAS",
    default: Some("1"),
    doc: "Replicas that must have a record before it counts as written; 2 or more in production.",
};
const PARTITIONS: Key = Key {
    name: "PULSE_KAFKA_PARTITIONS",
    default: Some("4"),
    doc: "Partitions of a tenant's larger topics; never changed after a topic is created.",
};
const DEBUG: Key = Key {
    name: "PULSE_KAFKA_DEBUG",
    default: None,
    doc: "librdkafka's debug contexts, `broker,cgrp,eos` for instance; seen with `PULSE_LOG=kafka=debug`.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[
    BROKERS,
    PROTOCOL,
    MECHANISM,
    USERNAME,
    PASSWORD,
    CA,
    CERTIFICATE,
    PRIVATE_KEY,
    KEY_PASSWORD,
    REPLICATION,
    MIN_IN_SYNC,
    PARTITIONS,
    DEBUG,
];

/// Where the brokers are, who we are there, and how topics are made.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// How the connection is protected.
    pub security: Security,
    /// Replicas of each topic that is created.
    pub replication_factor: i32,
    /// Replicas that must have a record before it counts as written.
    pub min_in_sync_replicas: i32,
    /// Partitions of a tenant's larger topics.
    pub partition_count: i32,
    /// librdkafka's debug contexts, for who looks into a client's doings.
    pub debug: Option<String>,
}

/// How a connection is protected.
#[derive(Clone, Debug)]
pub enum Security {
    /// Not at all: for a loopback or a network that is protected otherwise.
    Plaintext,
    /// TLS; the client may show a certificate.
    Tls(Tls),
    /// TLS, and a user with a password inside it.
    SaslTls(Tls, Sasl),
}

/// Whom a TLS client trusts and what it shows.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM file of the authorities that may sign a broker; the system's own when absent.
    pub ca: Option<PathBuf>,
    /// PEM files of the client's certificate and private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The private key's password.
    pub key_password: Option<Secret>,
}

/// A user and how the password is proven.
#[derive(Clone, Debug)]
pub struct Sasl {
    /// How the password is proven.
    pub mechanism: Mechanism,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// A SASL mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// The password itself, inside TLS.
    Plain,
    /// A challenge with SHA-256.
    ScramSha256,
    /// A challenge with SHA-512.
    ScramSha512,
}

impl Mechanism {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl FromStr for Mechanism {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        [Self::Plain, Self::ScramSha256, Self::ScramSha512]
            .into_iter()
            .find(|mechanism| mechanism.as_str().eq_ignore_ascii_case(text))
            .ok_or(Unknown("PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Plaintext,
    Tls,
    SaslTls,
}

impl FromStr for Protocol {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        match text.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Ok(Self::Plaintext),
            "SSL" => Ok(Self::Tls),
            "SASL_SSL" => Ok(Self::SaslTls),
            _ => Err(Unknown("PLAINTEXT, SSL or SASL_SSL")),
        }
    }
}

/// A word that is none of the known ones.
#[derive(Debug)]
pub struct Unknown(&'static str);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be {}", self.0)
    }
}

impl Settings for KafkaConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let brokers = env.text(&BROKERS);
        let security = read_security(env);
        let replication_factor = env.number(&REPLICATION, 1..=15);
        let min_in_sync_replicas = env.number(&MIN_IN_SYNC, 1..=15);
        let partition_count = env.number(&PARTITIONS, 1..=1_024);
        let debug = env.optional(&DEBUG);
        if replication_factor
            .zip(min_in_sync_replicas)
            .is_some_and(|(all, min)| min > all)
        {
            return env.refuse(&MIN_IN_SYNC, "is more than the replication factor");
        }
        Some(Self {
            brokers: brokers?,
            security: security?,
            replication_factor: replication_factor?,
            min_in_sync_replicas: min_in_sync_replicas?,
            partition_count: partition_count?,
            debug: debug?,
        })
    }
}

/// What only a connection with TLS uses.
const OF_TLS: [Key; 4] = [CA, CERTIFICATE, PRIVATE_KEY, KEY_PASSWORD];
/// What only a connection uses on which a user logs in.
const OF_SASL: [Key; 3] = [MECHANISM, USERNAME, PASSWORD];

fn read_security(env: &mut Environment) -> Option<Security> {
    match env.parse(&PROTOCOL)? {
        Protocol::Plaintext => {
            let reason = "PULSE_KAFKA_SECURITY_PROTOCOL is PLAINTEXT; set it to SSL or SASL_SSL";
            let tls = env.refuse_ignored(&OF_TLS, reason);
            let reason = "PULSE_KAFKA_SECURITY_PROTOCOL is PLAINTEXT; set it to SASL_SSL";
            let sasl = env.refuse_ignored(&OF_SASL, reason);
            tls.and(sasl).map(|()| Security::Plaintext)
        }
        Protocol::Tls => {
            let reason = "PULSE_KAFKA_SECURITY_PROTOCOL is SSL; set it to SASL_SSL";
            let (sasl, tls) = (env.refuse_ignored(&OF_SASL, reason), read_tls(env));
            sasl.and(tls).map(Security::Tls)
        }
        Protocol::SaslTls => {
            let (tls, sasl) = (read_tls(env), read_sasl(env));
            Some(Security::SaslTls(tls?, sasl?))
        }
    }
}

fn read_tls(env: &mut Environment) -> Option<Tls> {
    let ca = env.optional_file(&CA);
    let certificate = env.optional_file(&CERTIFICATE);
    let key = env.optional_file(&PRIVATE_KEY);
    let key_password = match env.has(PRIVATE_KEY.name) {
        true => env.optional_secret(&KEY_PASSWORD),
        false => {
            let reason = "PULSE_KAFKA_KEY names no private key";
            let refused = env.refuse_ignored(&[KEY_PASSWORD], reason);
            refused.map(|()| None)
        }
    };
    let identity = match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return env.refuse(&PRIVATE_KEY, "must be set with the certificate"),
        (None, Some(_)) => return env.refuse(&CERTIFICATE, "must be set with the private key"),
    };
    Some(Tls {
        ca: ca?,
        identity,
        key_password: key_password?,
    })
}

fn read_sasl(env: &mut Environment) -> Option<Sasl> {
    let mechanism = env.parse(&MECHANISM);
    let username = env.text(&USERNAME);
    let password = env.secret(&PASSWORD);
    Some(Sasl {
        mechanism: mechanism?,
        username: username?,
        password: password?,
    })
}

impl KafkaConfig {
    /// Settings for brokers without protection and one replica: a local stack and tests.
    pub fn plaintext(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            security: Security::Plaintext,
            replication_factor: 1,
            min_in_sync_replicas: 1,
            partition_count: 4,
            debug: None,
        }
    }

    /// True when every broker to begin with is on this machine.
    pub fn is_loopback(&self) -> bool {
        let is_local = |address: &str| {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            host == "localhost" || host == "[::1]" || host.starts_with("127.")
        };
        self.brokers.split(',').map(str::trim).all(is_local)
    }

    /// What all kinds of clients have in common.
    ///
    /// Reconnects are quick, since a broker that comes back should be noticed within a second; its
    /// absence is reported by [`super::probe`] and by each call, not by a flood of log lines.
    pub(super) fn client(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", client_id)
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.connection.setup.timeout.ms", "10000")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("allow.auto.create.topics", "false")
            // How long a topic may be unknown before that is an answer: it may just have been made.
            .set("topic.metadata.propagation.max.ms", "5000")
            .set("log.connection.close", "false")
            // When all brokers are away, librdkafka would begin anew with the first addresses and
            // drop the brokers that it knew. Questions to a coordinator then waited for minutes,
            // by all signs because its cache of coordinators goes on naming the dropped ones.
            .set("metadata.recovery.strategy", "none")
            .set_log_level(RDKafkaLogLevel::Info);
        if let Some(contexts) = &self.debug {
            config
                .set("debug", contexts)
                .set_log_level(RDKafkaLogLevel::Debug);
        }
        self.protect(&mut config);
        config
    }

    fn protect(&self, config: &mut ClientConfig) {
        match &self.security {
            Security::Plaintext => {
                config.set("security.protocol", "plaintext");
            }
            Security::Tls(tls) => {
                config.set("security.protocol", "ssl");
                tls.apply(config);
            }
            Security::SaslTls(tls, sasl) => {
                config
                    .set("security.protocol", "sasl_ssl")
                    .set("sasl.mechanism", sasl.mechanism.as_str())
                    .set("sasl.username", &sasl.username)
                    .set("sasl.password", sasl.password.reveal());
                tls.apply(config);
            }
        }
    }
}

impl Tls {
    fn apply(&self, config: &mut ClientConfig) {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        if let Some(ca) = &self.ca {
            config.set("ssl.ca.location", path(ca));
        }
        if let Some((certificate, key)) = &self.identity {
            config.set("ssl.certificate.location", path(certificate));
            config.set("ssl.key.location", path(key));
        }
        if let Some(password) = &self.key_password {
            config.set("ssl.key.password", password.reveal());
        }
    }
}

#[cfg(test)]
mod tests;
