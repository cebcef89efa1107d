//! What is to be streamed, as it is asked for on the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemas::control::{Channel, Exchange, Feed};
use schemas::ids::TenantId;

use crate::simulator::Speed;

/// The markets of a demonstration.
pub const DEMO_PRODUCTS: [&str; 2] = ["BTC-USD", "ETH-USD"];

/// Where events are to come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FeedChoice {
    /// Coinbase itself; the simulator where it cannot be reached.
    Live,
    /// The built-in simulator of an exchange.
    Sim,
    /// Recorded frames, served by the simulator.
    Replay(PathBuf),
}

/// Where a tenant's market data comes from; a tenant holds that of one alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The exchange.
    Live,
    /// The simulator's own market.
    Sim,
    /// A recording.
    Replay,
}

/// A feed that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedChoiceError {
    /// Another word.
    #[error("{0} is no feed: it would be live, sim or replay:FILE")]
    Unknown(String),
    /// `replay:` with nothing behind it.
    #[error("replay: needs a file behind it, for instance replay:recorded.jsonl.zst")]
    NoFile,
}

impl FromStr for FeedChoice {
    type Err = FeedChoiceError;

    fn from_str(text: &str) -> Result<Self, FeedChoiceError> {
        match text.split_once(':') {
            None if text == "live" => Ok(Self::Live),
            None if text == "sim" => Ok(Self::Sim),
            None if text == "replay" => Err(FeedChoiceError::NoFile),
            Some(("replay", "")) => Err(FeedChoiceError::NoFile),
            Some(("replay", file)) => Ok(Self::Replay(file.into())),
            _ => Err(FeedChoiceError::Unknown(text.into())),
        }
    }
}

impl fmt::Display for FeedChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("live"),
            Self::Sim => f.write_str("sim"),
            Self::Replay(file) => write!(f, "replay:{}", file.display()),
        }
    }
}

/// A speed as it is given on a command line.
pub fn speed_text(speed: Speed) -> String {
    match speed {
        Speed::Times(times) => times.to_string(),
        Speed::Max => "max".to_owned(),
    }
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Live, Self::Sim, Self::Replay];

    /// The id of the feed that `pulse up` makes; it also tells what a tenant holds.
    pub const fn feed_id(self) -> &'static str {
        match self {
            Self::Live => "coinbase",
            Self::Sim => "simulator",
            Self::Replay => "replay",
        }
    }

    /// The word in the run file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sim => "sim",
            Self::Replay => "replay",
        }
    }

    /// The same in a sentence.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Live => "live data of the exchange",
            Self::Sim => "the simulator's market",
            Self::Replay => "a recording",
        }
    }
}

/// A feed of everything that these products have.
pub fn feed<P: Into<String>>(exchange: Exchange, products: impl IntoIterator<Item = P>) -> Feed {
    Feed {
        exchange,
        products: products.into_iter().map(Into::into).collect(),
        channels: vec![Channel::Quotes, Channel::Trades, Channel::Depth],
        enabled: true,
    }
}

/// A tenant's id made of a file's name: its letters and digits, hyphens for all else.
///
/// `recorded/coinbase 2021.jsonl.zst` gives `coinbase-2021`.
pub fn tenant_of_file(name: &str) -> TenantId {
    let stem = name
        .split('.')
        .find(|part| !part.is_empty())
        .unwrap_or_default();
    let mut slug = String::new();
    for c in stem.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => slug.push(c),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    // Room for `-999`.
    slug.truncate(28);
    let slug = slug.trim_end_matches('-');
    // A reserved name, or a name without any letter of ours.
    slug.parse().unwrap_or_else(|_| {
        "replay"
            .parse()
            .expect("`replay` is made of letters and is not reserved")
    })
}

/// The same with a number behind it: the second is `name-2`.
pub fn numbered(base: &TenantId, number: u32) -> TenantId {
    let text = match number {
        0 | 1 => base.to_string(),
        _ => {
            let suffix = format!("-{number}");
            let room = 32 - suffix.len();
            let base = base.as_str();
            format!(
                "{}{suffix}",
                base[..base.len().min(room)].trim_end_matches('-')
            )
        }
    };
    text.parse()
        .expect("a slug with a number behind it is a slug, and no reserved name has one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_back_and_others_are_refused_with_what_would_be_right() {
        for text in ["live", "sim", "replay:a.jsonl.zst", "replay:c:/x"] {
            assert_eq!(text.parse::<FeedChoice>().unwrap().to_string(), text);
        }
        let refuse = |text: &str| text.parse::<FeedChoice>().unwrap_err().to_string();
        assert!(refuse("binance").contains("live, sim or replay:FILE"));
        assert!(refuse("sim:x").contains("is no feed"));
        assert!(refuse("replay:").contains("needs a file"));
        assert!(refuse("replay").contains("needs a file"));
    }

    #[test]
    fn speeds_read_back() {
        for text in ["1", "10", "0.5", "max"] {
            assert_eq!(speed_text(text.parse().unwrap()), text);
        }
    }

    #[test]
    fn tenants_of_files_are_valid_and_recognizable() {
        let check = |name: &str, expect: &str| {
            assert_eq!(tenant_of_file(name).as_str(), expect, "{name}");
        };
        check(
            "coinbase-exchange-2021-04-17.jsonl.zst",
            "coinbase-exchange-2021-04-17",
        );
        check(
            "coinbase-advanced-2026-08-09.jsonl.zst",
            "coinbase-advanced-2026-08-09",
        );
        check("My  Recording_1.jsonl", "my-recording-1");
        check("-.jsonl", "replay");
        check("", "replay");
        check(".hidden.zst", "hidden");
        check("日本.zst", "replay");
        check("control.zst", "replay");
        check(&"a".repeat(100), &"a".repeat(28));
    }

    #[test]
    fn numbers_fit_behind_the_longest_name() {
        let long: TenantId = "a".repeat(32).parse().unwrap();
        assert_eq!(numbered(&long, 1), long);
        assert_eq!(
            numbered(&long, 12).as_str(),
            format!("{}-12", "a".repeat(29))
        );
        assert_eq!(numbered(&"demo".parse().unwrap(), 2).as_str(), "demo-2");
    }
}
