//! Recorded frames, and what a naive reading of the file says was traded.
//!
//! The recordings lie outside the project, beside it: `../shared/data`, or where `PULSE_SHARED`
//! points. Nothing here shares code with the connectors: plain JSON, plain digits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runtime::config::{Environment, Key};
use schemas::control::Exchange;
use serde_json::Value;

use crate::trades::Trade;

const SHARED: Key = Key {
    name: "PULSE_SHARED",
    default: None,
    doc: "The folder that holds the recordings, in `data`; `../shared` beside the project.",
};

/// A recording of one of Coinbase's feeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recording {
    /// The Exchange feed on 2021-04-17, half a minute of ten markets.
    Exchange,
    /// The Advanced Trade feed on 2026-08-09, fourteen seconds of two markets.
    Advanced,
}

impl Recording {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Exchange, Self::Advanced];

    /// Where it lies.
    ///
    /// # Panics
    /// When it is not there: these tests cannot run without.
    pub fn path(self) -> PathBuf {
        let name = match self {
            Self::Exchange => "coinbase-exchange-2021-04-17.jsonl.zst",
            Self::Advanced => "coinbase-advanced-2026-08-09.jsonl.zst",
        };
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
        let shared = Environment::of_process()
            .optional::<PathBuf>(&SHARED)
            .flatten();
        let path = shared.unwrap_or(root).join("data").join(name);
        assert!(
            path.is_file(),
            "no recording at {}: this test reads recorded frames that are not part of the project; \
             set {} to the folder that holds them",
            path.display(),
            SHARED.name
        );
        path
    }

    /// The feed whose frames it holds.
    pub fn feed(self) -> Exchange {
        match self {
            Self::Exchange => Exchange::CoinbaseExchange,
            Self::Advanced => Exchange::CoinbaseAdvanced,
        }
    }

    /// The trades in it, those of snapshots and `last_match` too, each id once.
    ///
    /// # Panics
    /// When the file is not as it was recorded.
    pub fn trades(self) -> Vec<Trade> {
        let text = zstd::decode_all(std::fs::File::open(self.path()).unwrap()).unwrap();
        let mut trades = BTreeMap::new();
        for line in text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line: Value = serde_json::from_slice(line).unwrap();
            let frame: Value = serde_json::from_str(line["frame"].as_str().unwrap()).unwrap();
            let mut take = |trade: &Value| {
                let trade = read(trade);
                trades
                    .entry((trade.subject.clone(), trade.id))
                    .or_insert(trade);
            };
            if frame["type"] == "match" || frame["type"] == "last_match" {
                take(&frame);
            }
            if frame["channel"] == "market_trades" {
                let events = frame["events"].as_array().unwrap();
                let all = events
                    .iter()
                    .flat_map(|event| event["trades"].as_array().unwrap());
                all.for_each(take);
            }
        }
        trades.into_values().collect()
    }

    /// The markets that it holds trades of.
    pub fn products(self) -> Vec<String> {
        let mut products: Vec<String> = self
            .trades()
            .into_iter()
            .map(|trade| trade.subject.trim_start_matches("coinbase:").to_owned())
            .collect();
        products.sort();
        products.dedup();
        products
    }
}

fn read(trade: &Value) -> Trade {
    let text = |name: &str| trade[name].as_str().unwrap().to_owned();
    let id = match &trade["trade_id"] {
        Value::String(id) => id.parse().unwrap(),
        id => id.as_i64().unwrap(),
    };
    Trade {
        subject: format!("coinbase:{}", text("product_id")),
        at_us: instant(&text("time")),
        id,
        price: digits(&text("price"), 18),
        size: digits(&text("size"), 18),
    }
}

/// `12.5` with `places` digits behind the point, as one number.
fn digits(text: &str, places: usize) -> i128 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{part:0<places$}").parse().unwrap()
}

/// `2021-04-17T16:43:30.244075Z` in microseconds since 1970.
fn instant(text: &str) -> i64 {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let is_leap = |y: i64| y % 4 == 0 && y % 100 != 0 || y % 400 == 0;
    let mut days: i64 = (1970..year).map(|y| 365 + i64::from(is_leap(y))).sum();
    let lengths = [
        31,
        28 + i64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    days += lengths.iter().take(month as usize - 1).sum::<i64>() + day - 1;
    let seconds = number(11, 13) * 3_600 + number(14, 16) * 60 + number(17, 19);
    let fraction = text[19..].trim_start_matches('.').trim_end_matches('Z');
    (days * 86_400 + seconds) * 1_000_000 + digits(&format!("0.{fraction}"), 6) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_naive_reading_reads_dates_and_digits() {
        assert_eq!(instant("1970-01-01T00:00:00Z"), 0);
        assert_eq!(
            instant("2021-04-17T16:43:30.244075Z"),
            1_618_677_810_244_075
        );
        assert_eq!(instant("2026-08-09T21:05:38.50436Z"), 1_786_309_538_504_360);
        assert_eq!(digits("0.00064389", 18), 643_890_000_000_000);
    }
}
