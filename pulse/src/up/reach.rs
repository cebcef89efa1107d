//! Whether the exchange can be reached from here: the same handshake that a connector makes.

use connectors::coinbase::CoinbaseConfig;
use connectors::websocket::{Ended, Socket};

/// Connects to the Exchange feed, within the time that a connector gives it, and hangs up.
///
/// # Errors
/// Why there is no connection.
pub async fn coinbase(config: &CoinbaseConfig) -> Result<(), Ended> {
    // Refused only when a provider was chosen already; then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Socket::open(&config.exchange_url, &[]).await.map(drop)
}
