//! The way to servers that speak HTTP, with TLS or without: ClickHouse, a collector of traces.

use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// How long a connection may take to come about.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Why nobody can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authorities' file: {0}")]
pub struct AuthoritiesError(String);

/// Makes connections; `ca` names a PEM file with the authorities that may sign a server, which are
/// the system's own when it is absent.
///
/// # Errors
/// When the authorities cannot be read.
pub fn connector(ca: Option<&Path>) -> Result<HttpsConnector<HttpConnector>, AuthoritiesError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_WAIT));
    http.set_keepalive(Some(Duration::from_secs(60)));
    http.set_nodelay(true);
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring has what the default versions need");
    let config = config
        .with_root_certificates(authorities(ca)?)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http))
}

fn authorities(ca: Option<&Path>) -> Result<RootCertStore, AuthoritiesError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let file =
        std::fs::File::open(path).map_err(|error| AuthoritiesError(error.kind().to_string()))?;
    for certificate in CertificateDer::pem_reader_iter(BufReader::new(file)) {
        let certificate = certificate.map_err(|error| AuthoritiesError(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| AuthoritiesError(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(AuthoritiesError("holds no certificate".into())),
        false => Ok(roots),
    }
}
