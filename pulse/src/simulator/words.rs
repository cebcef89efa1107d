//! What both feeds' words have in common: numbers and times as the exchange writes them, and the
//! frames that they end in.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemas::control::Exchange;

use super::advanced::AdvancedWords;
use super::exchange::ExchangeWords;
use super::market::{LOT_PLACES, Snapshot, Step, TICK_PLACES};

/// The markets' names, by their places.
pub(super) type Names = Arc<[Arc<str>]>;

/// A frame on its way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OutFrame {
    pub(super) text: String,
    /// The trades in it, by market and id.
    pub(super) trades: Vec<(usize, i64)>,
    /// What a subscription rests on, and signs of life: no fault touches them.
    pub(super) is_sound: bool,
}

impl OutFrame {
    pub(super) fn sound(text: String, trades: Vec<(usize, i64)>) -> Self {
        Self {
            text,
            trades,
            is_sound: true,
        }
    }

    pub(super) fn data(text: String, trades: Vec<(usize, i64)>) -> Self {
        Self {
            text,
            trades,
            is_sound: false,
        }
    }
}

/// A second of the market's time that is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Beat {
    /// Microseconds since 1970.
    pub(super) at_us: i64,
    /// Each market's last trade id and sequence, by its place.
    pub(super) last: Vec<(i64, i64)>,
}

/// What a client asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    /// False when it wants no more of it.
    pub(super) subscribe: bool,
    pub(super) channels: Vec<(Chan, BTreeSet<usize>)>,
    /// Names that are no market of ours.
    pub(super) unknown: Vec<String>,
}

/// A channel, whatever each feed calls it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Chan {
    Trades,
    Quotes,
    Depth,
    Heartbeats,
}

/// The words of one connection.
pub(super) enum Words {
    Exchange(ExchangeWords),
    Advanced(AdvancedWords),
}

impl Words {
    pub(super) fn new(feed: Exchange, names: Names) -> Self {
        match feed {
            Exchange::CoinbaseExchange => Self::Exchange(ExchangeWords::new(names)),
            Exchange::CoinbaseAdvanced => Self::Advanced(AdvancedWords::new(names)),
        }
    }

    /// What a client's frame asks for; `None` for one that is no request.
    pub(super) fn asked(&self, text: &str) -> Option<Asked> {
        match self {
            Self::Exchange(words) => words.asked(text),
            Self::Advanced(words) => words.asked(text),
        }
    }

    /// The answer to a request, with the snapshots that it calls for.
    pub(super) fn answer(
        &mut self,
        asked: &Asked,
        snapshots: &[Snapshot],
        at_us: i64,
    ) -> Vec<OutFrame> {
        match self {
            Self::Exchange(words) => words.answer(asked, snapshots),
            Self::Advanced(words) => words.answer(asked, snapshots, at_us),
        }
    }

    /// What a step is to this client.
    pub(super) fn step(&mut self, step: &Step, out: &mut Vec<OutFrame>) {
        match self {
            Self::Exchange(words) => words.step(step, out),
            Self::Advanced(words) => words.step(step, out),
        }
    }

    /// What a second's end is to this client.
    pub(super) fn beat(&mut self, beat: &Beat, out: &mut Vec<OutFrame>) {
        match self {
            Self::Exchange(words) => words.beat(beat, out),
            Self::Advanced(words) => words.beat(beat, out),
        }
    }
}

/// `6508367` with two places as `65083.67`.
pub(super) fn fixed(value: i64, places: u32) -> String {
    let unit = 10_i64.pow(places);
    let width = places as usize;
    format!("{}.{:0width$}", value / unit, value % unit)
}

pub(super) fn price(ticks: i64) -> String {
    fixed(ticks, TICK_PLACES)
}

pub(super) fn size(lots: i64) -> String {
    fixed(lots, LOT_PLACES)
}

/// `2021-04-17T16:43:37.089723Z`.
pub(super) fn time(at_us: i64) -> String {
    stamp(at_us, "%Y-%m-%dT%H:%M:%S.%6fZ")
}

pub(super) fn stamp(at_us: i64, format: &str) -> String {
    let at = jiff::Timestamp::from_microsecond(at_us).unwrap_or(jiff::Timestamp::MAX);
    at.strftime(format).to_string()
}

/// `27fff20b-af29-4f45-8744-56dd1ef57dc0`.
pub(super) fn order_id(id: u128) -> String {
    let hex = format!("{id:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

/// Texts as a JSON list.
pub(super) fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = texts.map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(","))
}
