//! A relay that speaks TLS to clients and passes on what they say without it.
//!
//! The engine that tests run from a library opens no port for https; behind this it is what it is
//! behind any proxy.

use std::path::PathBuf;
use std::sync::Arc;

use pulse::stack::authority::Authority;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A relay. Dropping it ends it.
pub struct Relay {
    url: String,
    authority: Authority,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens for whoever trusts its authority, made in `folder`, and connects them to `target`,
    /// `host:port`.
    ///
    /// # Panics
    /// When there is no certificate or no port.
    pub async fn start(folder: PathBuf, target: String) -> Self {
        let authority = Authority::make(folder).await.unwrap();
        let signed = authority.server("relay").await.unwrap();
        let certificate = CertificateDer::from_pem_file(signed.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(signed.key).unwrap();
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(acceptor.clone(), client, target.clone()));
            }
        });
        Self {
            url,
            authority,
            task,
        }
    }

    /// `https://host:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of the authority that signed its own, PEM.
    pub fn ca(&self) -> PathBuf {
        self.authority.certificate()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until either side ends; a client that does not trust us ends before it has said anything.
async fn pass_on(acceptor: TlsAcceptor, client: TcpStream, target: String) {
    let (Ok(mut client), Ok(mut server)) = (
        acceptor.accept(client).await,
        TcpStream::connect(target).await,
    ) else {
        return;
    };
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
