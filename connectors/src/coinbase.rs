//! Coinbase's two public feeds. They show the same markets and the same trades, so a trade has one
//! identity whichever feed it came by; their frames have nothing in common.

mod fields;

pub mod advanced;
pub mod exchange;

mod service;

pub use service::{CoinbaseConfig, KEYS, run};

use schemas::control::Exchange;

use crate::exchange::Protocol;

/// The protocol of a feed.
pub fn protocol(exchange: Exchange) -> &'static dyn Protocol {
    match exchange {
        Exchange::CoinbaseExchange => &exchange::ExchangeFeed,
        Exchange::CoinbaseAdvanced => &advanced::AdvancedFeed,
    }
}

#[cfg(test)]
mod tests;
