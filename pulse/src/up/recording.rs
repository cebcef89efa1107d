//! What is in a file of recorded frames: of which feed they are, and of which products.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use connectors::coinbase::protocol;
use connectors::exchange::{Content, Protocol};
use schemas::control::Exchange;
use serde::Deserialize;

use crate::simulator::recorded_lines;

/// Frames after which a file whose frames nobody can read is given up.
const UNREAD_MAX: u64 = 100;

/// Why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system, or the decompressor, said.
        source: io::Error,
    },
    /// A line is not a recorded frame.
    #[error(
        "{} line {line} is not {{\"at\": <unix seconds>, \"frame\": \"<text>\"}}: {source}",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What JSON's reader said.
        source: serde_json::Error,
    },
    /// No frame names a product.
    #[error("{} holds no frame of a Coinbase feed that names a product", path.display())]
    NoFrames {
        /// The file.
        path: PathBuf,
    },
}

/// What a file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recording {
    /// Of which feed its frames are.
    pub exchange: Exchange,
    /// The products that they name.
    pub products: BTreeSet<String>,
    /// How many frames.
    pub frame_count: u64,
}

#[derive(Deserialize)]
struct Line {
    frame: String,
}

impl Recording {
    /// Reads the whole file, compressed with zstd or not.
    ///
    /// # Errors
    /// When it cannot be read, or is not a recording of a feed that we know.
    pub fn read(path: &Path) -> Result<Self, RecordingError> {
        let io = |source| RecordingError::Io {
            path: path.to_owned(),
            source,
        };
        Self::scan(path, recorded_lines(path).map_err(io)?)
    }

    fn scan(
        path: &Path,
        lines: impl Iterator<Item = io::Result<String>>,
    ) -> Result<Self, RecordingError> {
        let mut feeds =
            [Exchange::CoinbaseExchange, Exchange::CoinbaseAdvanced].map(|exchange| Seen {
                protocol: protocol(exchange),
                products: BTreeSet::new(),
            });
        let mut frame_count = 0;
        for (line, text) in (1..).zip(lines) {
            let text = text.map_err(|source| RecordingError::Io {
                path: path.to_owned(),
                source,
            })?;
            let Line { frame } =
                serde_json::from_str(&text).map_err(|source| RecordingError::Line {
                    path: path.to_owned(),
                    line,
                    source,
                })?;
            frame_count += 1;
            // A feed whose frames have been understood is the one that this file is of.
            let known = feeds.iter().position(|feed| !feed.products.is_empty());
            match known {
                Some(at) => feeds[at].note(&frame),
                None => feeds.iter_mut().for_each(|feed| feed.note(&frame)),
            }
            if known.is_none() && frame_count >= UNREAD_MAX {
                break;
            }
        }
        let of = feeds.into_iter().find(|feed| !feed.products.is_empty());
        let of = of.ok_or_else(|| RecordingError::NoFrames {
            path: path.to_owned(),
        })?;
        Ok(Self {
            exchange: of.protocol.exchange(),
            products: of.products,
            frame_count,
        })
    }
}

struct Seen {
    protocol: &'static dyn Protocol,
    products: BTreeSet<String>,
}

impl Seen {
    fn note(&mut self, frame: &str) {
        // What cannot be read is the connector's to tell.
        let Ok(frame) = self.protocol.read(frame) else {
            return;
        };
        for content in &frame.content {
            match content {
                Content::Trades { trades, .. } => {
                    trades.iter().for_each(|trade| self.product(&trade.product));
                }
                Content::Quote(quote) => self.product(&quote.product),
                Content::Depth(depth) => self.product(&depth.product),
                _ => {}
            }
        }
    }

    fn product(&mut self, name: &str) {
        if !self.products.contains(name) {
            self.products.insert(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(lines: &[&str]) -> Result<Recording, RecordingError> {
        Recording::scan(
            Path::new("a.jsonl"),
            lines.iter().map(|line| Ok((*line).to_owned())),
        )
    }

    const MATCH: &str = r#"{"at": 1.5, "frame": "{\"type\":\"match\",\"trade_id\":7,\"side\":\"buy\",\"size\":\"1\",\"price\":\"2\",\"product_id\":\"BTC-USD\",\"sequence\":1,\"time\":\"2021-04-17T16:43:37.000000Z\"}"}"#;
    const TICKER: &str = r#"{"at": 1.5, "frame": "{\"channel\":\"ticker\",\"timestamp\":\"2026-08-09T21:05:48.2Z\",\"sequence_num\":1,\"events\":[{\"type\":\"update\",\"tickers\":[{\"type\":\"ticker\",\"product_id\":\"ETH-USD\",\"price\":\"2\"}]}]}"}"#;
    const OTHER: &str = r#"{"at": 1.5, "frame": "{\"type\":\"subscriptions\",\"channels\":[]}"}"#;

    #[test]
    fn the_feed_and_its_products_are_found() {
        let exchange = scan(&[OTHER, MATCH]).unwrap();
        assert_eq!(exchange.exchange, Exchange::CoinbaseExchange);
        assert_eq!(exchange.products, BTreeSet::from(["BTC-USD".to_owned()]));
        assert_eq!(exchange.frame_count, 2);
        let advanced = scan(&[TICKER]).unwrap();
        assert_eq!(advanced.exchange, Exchange::CoinbaseAdvanced);
        assert_eq!(advanced.products, BTreeSet::from(["ETH-USD".to_owned()]));
    }

    #[test]
    fn faults_say_where() {
        let fault = |lines: &[&str]| scan(lines).unwrap_err().to_string();
        assert!(fault(&[OTHER]).contains("no frame"), "{}", fault(&[OTHER]));
        assert!(fault(&[MATCH, "{}"]).starts_with("a.jsonl line 2 is not"));
        assert!(fault(&[]).contains("no frame"));
        let error = Recording::read(Path::new("/nowhere.zst"))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("/nowhere.zst cannot be read"), "{error}");
    }

    #[test]
    fn compressed_files_are_recognized_by_their_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, zstd::encode_all(MATCH.as_bytes(), 1).unwrap()).unwrap();
        assert_eq!(Recording::read(&path).unwrap().frame_count, 1);
        std::fs::write(&path, MATCH).unwrap();
        assert_eq!(Recording::read(&path).unwrap().frame_count, 1);
    }
}
