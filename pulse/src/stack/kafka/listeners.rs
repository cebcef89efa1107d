//! SSL and SASL_SSL: a certificate authority of the broker's own, made when it starts.

use std::path::{Path, PathBuf};

use super::KafkaError;
use crate::stack::authority::{Authority, Signed};
use crate::stack::random_hex;

/// The user that SASL knows.
const USER: &str = "pulse";
/// The challenges that SASL offers besides PLAIN.
const SCRAM: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

/// The secured listeners of a running broker.
#[derive(Debug)]
pub struct Secured<'a> {
    /// `host:port` that speaks SSL and wants a client's certificate.
    pub ssl: String,
    /// `host:port` that speaks SASL_SSL, with PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
    pub sasl_ssl: String,
    /// What a client needs to get in.
    pub certificates: &'a Certificates,
}

/// What the broker proves itself with, and what its clients do.
#[derive(Debug)]
pub struct Certificates {
    /// The authority's certificate, PEM: signs the broker's and the client's.
    pub authority: PathBuf,
    /// A client's certificate and key.
    pub client: Signed,
    /// The user that SASL knows.
    pub user: &'static str,
    /// That user's password.
    pub password: String,
    /// The broker's key and certificate in one file, as Kafka wants them.
    server_keystore: PathBuf,
}

impl Certificates {
    /// Makes all of them in `<folder>/tls`, anew at each start.
    pub(super) async fn make(folder: &Path) -> Result<Self, KafkaError> {
        let folder = folder.join("tls");
        let authority = Authority::make(&folder).await?;
        let (server, client) = (
            authority.server("server").await?,
            authority.client("client").await?,
        );
        let server_keystore = folder.join("server-keystore.pem");
        let read = |path: &Path| std::fs::read_to_string(path).map_err(super::fault(path));
        let both = format!("{}{}", read(&server.key)?, read(&server.certificate)?);
        std::fs::write(&server_keystore, both).map_err(super::fault(&server_keystore))?;
        Ok(Self {
            authority: authority.certificate(),
            client,
            user: USER,
            password: random_hex().map_err(super::fault(&folder))?,
            server_keystore,
        })
    }

    /// Arguments of the formatting tool that make SCRAM know the user from the first moment.
    pub(super) fn scram_user(&self) -> impl Iterator<Item = String> {
        SCRAM.into_iter().flat_map(|mechanism| {
            let credential = format!("{mechanism}=[name={USER},password={}]", self.password);
            ["--add-scram".to_owned(), credential]
        })
    }

    /// The broker's settings for both listeners.
    pub(super) fn properties(&self) -> Vec<(&'static str, String)> {
        let modules = "org.apache.kafka.common.security";
        let plain = format!(
            "{modules}.plain.PlainLoginModule required user_{USER}=\"{}\";",
            self.password
        );
        let scram = format!("{modules}.scram.ScramLoginModule required;");
        vec![
            ("ssl.keystore.type", "PEM".to_owned()),
            (
                "ssl.keystore.location",
                self.server_keystore.to_string_lossy().into_owned(),
            ),
            ("ssl.truststore.type", "PEM".to_owned()),
            (
                "ssl.truststore.location",
                self.authority.to_string_lossy().into_owned(),
            ),
            ("listener.name.ssl.ssl.client.auth", "required".to_owned()),
            (
                "sasl.enabled.mechanisms",
                format!("PLAIN,{}", SCRAM.join(",")),
            ),
            ("listener.name.sasl_ssl.plain.sasl.jaas.config", plain),
            (
                "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config",
                scram.clone(),
            ),
            (
                "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config",
                scram,
            ),
        ]
    }
}
