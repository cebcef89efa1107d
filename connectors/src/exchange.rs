//! What every exchange is to the rest of this crate: a [`Protocol`], and the [`Frame`]s it reads.
//!
//! A protocol knows words: how to ask for channels and what a frame says. It keeps no state and
//! decides nothing; what a frame means after the frames before it is [`crate::translate`]'s.

use std::borrow::Cow;

use schemas::book::Level;
use schemas::control::Exchange;
use schemas::decimal::Decimal;
use schemas::time::EventTime;

use crate::subscription::Wanted;

/// The largest frame that is taken; a real depth snapshot has 5 MB.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The words that one feed of an exchange speaks.
pub trait Protocol: Send + Sync + 'static {
    /// The feed, by its name on `pulse.control`.
    fn exchange(&self) -> Exchange;

    /// The feed's public address.
    fn public_url(&self) -> &'static str;

    /// Frames that lead from what a connection was asked for to what is wanted now; a new one was
    /// asked for nothing. Heartbeats are always part of it.
    fn requests(&self, before: &Wanted, after: &Wanted) -> Vec<String>;

    /// True when a subscription to trades answers with the latest of them in a row, so that
    /// subscribing again brings what was lost a moment ago.
    fn brings_trades_again(&self) -> bool;

    /// What a frame says. Total: whatever the text, an answer and never a panic.
    ///
    /// # Errors
    /// A frame that cannot be read, with what could still be made out.
    fn read<'a>(&self, text: &'a str) -> Result<Frame<'a>, Unreadable>;
}

/// A frame, read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frame<'a> {
    /// When the exchange sent it, where it says so. A snapshot's or ticker's time that may be that
    /// of a trade long ago is none: what waits by the exchange's clock would wait no longer.
    pub at: Option<EventTime>,
    /// Its number on this connection, where the exchange counts: consecutive from the first.
    pub number: Option<i64>,
    /// What it says, in its own order.
    pub content: Vec<Content<'a>>,
}

/// One thing that a frame says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// Trades in any order, perhaps of several markets.
    Trades {
        /// True for what was traded before the subscription.
        snapshot: bool,
        /// The trades.
        trades: Vec<Trade<'a>>,
    },
    /// A market's prices now.
    Quote(Quote<'a>),
    /// A change of a market's depth.
    Depth(Depth<'a>),
    /// A sign of life.
    Heartbeat {
        /// The market that it speaks for, where it speaks for one.
        product: Option<Cow<'a, str>>,
        /// The latest trade of that market, sent or not.
        last_trade_id: Option<i64>,
    },
    /// The exchange lists what it now sends.
    Confirmed,
    /// The exchange says no.
    Refused {
        /// In its own words.
        message: String,
    },
    /// Well formed, and nothing that we use.
    Skipped,
}

/// A trade.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trade<'a> {
    /// The exchange's name of the market.
    pub product: Cow<'a, str>,
    /// Consecutive within the market.
    pub trade_id: i64,
    /// The exchange's time.
    pub occurred_at: EventTime,
    /// What one unit cost.
    pub price: Decimal,
    /// How many units.
    pub size: Decimal,
    /// What the taker did: the side that crossed the spread and so moved the market.
    pub taker: Side,
}

/// Which way somebody traded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Bought.
    Buy,
    /// Sold.
    Sell,
}

impl Side {
    /// The word in a trade's tags.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }

    /// Who stood on the other side of the same trade.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

/// A market's prices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quote<'a> {
    /// The exchange's name of the market.
    pub product: Cow<'a, str>,
    /// The exchange's time; `None` for a market that never traded, which has no time of its own.
    pub occurred_at: Option<EventTime>,
    /// The exchange's own order of quotes, where it gives one that outlives the connection.
    pub sequence: Option<i64>,
    /// The best price that somebody pays.
    pub best_bid: Option<Decimal>,
    /// The best price that somebody asks.
    pub best_ask: Option<Decimal>,
    /// All the other numbers, by the name that they have in an event.
    pub metrics: Vec<(&'static str, Decimal)>,
}

/// A change of depth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Depth<'a> {
    /// The exchange's name of the market.
    pub product: Cow<'a, str>,
    /// The exchange's time, where it gives one.
    pub occurred_at: Option<EventTime>,
    /// True when the levels replace the whole book.
    pub snapshot: bool,
    /// The levels.
    pub levels: Vec<Level>,
}

/// A frame that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unreadable {
    /// Its number on the connection, where that much could be read.
    pub number: Option<i64>,
    /// What is wrong with it.
    pub error: FrameError,
}

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Not JSON, or not an object, or a field twice.
    #[error("not a JSON object: line {line}, column {column}")]
    Json {
        /// Where the reader gave up.
        line: usize,
        /// Where in that line.
        column: usize,
    },
    /// A field that such a frame must have.
    #[error("{field} is missing")]
    Missing {
        /// Which field.
        field: &'static str,
    },
    /// A field that cannot be read.
    #[error("{field} is not {expected}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What it would be.
        expected: &'static str,
    },
    /// Longer than [`FRAME_BYTES_MAX`]; the connection ends with it.
    #[error("frame of {bytes} bytes, and at most {FRAME_BYTES_MAX} are taken")]
    TooLarge {
        /// As announced by its header.
        bytes: usize,
    },
    /// A binary frame, which no feed here sends.
    #[error("a binary frame, and only text is spoken here")]
    NotText,
}

impl FrameError {
    /// A stable word for counters and dead letters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Json { .. } => "not_json",
            Self::Missing { .. } => "missing_field",
            Self::Invalid { .. } => "invalid_field",
            Self::TooLarge { .. } => "too_large",
            Self::NotText => "not_text",
        }
    }
}

impl From<FrameError> for Unreadable {
    fn from(error: FrameError) -> Self {
        Self {
            number: None,
            error,
        }
    }
}
