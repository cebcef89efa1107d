//! The API's registry routes on a port of this machine.

use std::net::SocketAddr;

use api::access::Keyring;
use api::server::Bounds;
use api::{registry, routes, server};
use runtime::service::Shutdown;
use tokio::net::TcpListener;

/// The registry, for as long as this lives.
pub struct Registry {
    address: SocketAddr,
    shutdown: Shutdown,
}

impl Registry {
    /// Serves it.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::default();
        let router = routes::router(registry::routes(), &Keyring::default());
        let serving = server::serve(listener, router, Bounds::default(), shutdown.clone());
        tokio::spawn(serving);
        Self { address, shutdown }
    }

    /// What a serializer is told.
    pub fn url(&self) -> String {
        format!("http://{}/registry", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}
