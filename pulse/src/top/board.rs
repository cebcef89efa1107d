//! All that is shown, as a value: what to draw, and nothing of how.

use std::collections::{BTreeMap, VecDeque};

use schemas::decimal::Decimal;
use schemas::event::{EventType, EventView};
use schemas::time::EventTime;

use super::market::{Day, Market};
use crate::status::report::Pipeline;

/// Updates that are kept.
pub const UPDATES_MAX: usize = 15;
/// Markets that are kept: more than anybody can read.
const MARKETS_MAX: usize = 1_000;
/// What has not changed for so long is old.
pub const OLD_MS: i64 = 5_000;

/// All that is shown.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Board {
    /// Whose data it is.
    pub tenant: String,
    /// Where the data comes from, in words.
    pub source: String,
    markets: BTreeMap<String, Market>,
    updates: VecDeque<Update>,
    /// How the pipeline is doing.
    pub figures: Figures,
    /// Why the log cannot be read at present.
    pub trouble: Option<String>,
}

/// The pipeline's figures, and when they were true.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Figures {
    /// What it counts.
    pub pipeline: Pipeline,
    /// The sum of all groups' lags.
    pub lag: Option<i64>,
    /// When they were taken, by this machine's clock, in ms; 0 for never.
    pub at_ms: i64,
    /// When the metrics process last told what it counts; 0 for never.
    pub counts_at_ms: i64,
    /// Why they could not be taken since.
    pub trouble: Option<String>,
}

impl Figures {
    /// Takes newer ones. Counts that they lack stay as they were, and age.
    pub fn replace(&mut self, newer: Self) {
        let before = std::mem::replace(self, newer);
        if self.counts_at_ms == 0 {
            self.counts_at_ms = before.counts_at_ms;
            self.pipeline = Pipeline {
                events_per_second: self.pipeline.events_per_second,
                ..before.pipeline
            };
        }
    }
}

/// One line of what has just happened.
#[derive(Clone, PartialEq, Debug)]
pub struct Update {
    /// When, by the exchange's clock.
    pub occurred_at: EventTime,
    /// The market on its exchange, or the feed itself.
    pub subject: String,
    /// Digits behind the point that the market's prices have.
    pub places: usize,
    /// What.
    pub what: What,
}

/// What has happened.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// Somebody bought or sold.
    Trade {
        /// At which price.
        price: Decimal,
        /// How much.
        size: Option<Decimal>,
        /// What the taker did: `buy` or `sell`.
        side: String,
    },
    /// The best prices changed.
    Quote {
        /// What somebody pays.
        bid: Option<Decimal>,
        /// What somebody asks.
        ask: Option<Decimal>,
    },
    /// A hole, or something that the connector says of itself.
    Note(String),
}

impl Board {
    /// A board on which nothing has happened yet.
    pub fn new(tenant: &str, source: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            source: source.to_owned(),
            ..Self::default()
        }
    }

    /// Takes an event in; gives the update that it is, unless it is of no interest here or is shown
    /// already.
    pub fn observe(&mut self, event: &EventView<'_>, seen_at_ms: i64) -> Option<Update> {
        let event_type = EventType::from_bytes(event.event_type.as_bytes())?;
        let subject = event.subject.as_str();
        let what = match event_type {
            EventType::Trade => What::Trade {
                price: event.metrics.get("price")?,
                size: event.metrics.get("size"),
                side: event
                    .tags
                    .get("side")
                    .map_or("", |side| side.as_str())
                    .to_owned(),
            },
            EventType::Quote => What::Quote {
                bid: event.metrics.get("best_bid"),
                ask: event.metrics.get("best_ask"),
            },
            EventType::Gap | EventType::SystemEvent => {
                What::Note(event.title.map_or("", |title| title.as_str()).to_owned())
            }
            _ => return None,
        };
        let places = match what {
            What::Note(_) => 0,
            _ => self
                .market(subject)?
                .observed(event_type, event, seen_at_ms),
        };
        let subject = subject.to_owned();
        let update = Update {
            occurred_at: event.occurred_at,
            subject,
            places,
            what,
        };
        self.insert(update.clone()).then_some(update)
    }

    fn market(&mut self, subject: &str) -> Option<&mut Market> {
        if !self.markets.contains_key(subject) && self.markets.len() >= MARKETS_MAX {
            return None;
        }
        Some(self.markets.entry(subject.to_owned()).or_default())
    }

    /// Keeps the latest, in the order in which they happened; false for one that is there already.
    fn insert(&mut self, update: Update) -> bool {
        let at = self
            .updates
            .partition_point(|held| held.occurred_at <= update.occurred_at);
        let same_time = self.updates.range(..at).rev();
        let mut same_time = same_time.take_while(|held| held.occurred_at == update.occurred_at);
        if same_time.any(|held| *held == update) {
            return false;
        }
        self.updates.insert(at, update);
        if self.updates.len() > UPDATES_MAX {
            self.updates.pop_front();
        }
        true
    }

    /// The markets by name.
    pub fn markets(&self) -> impl ExactSizeIterator<Item = (&str, &Market)> {
        self.markets
            .iter()
            .map(|(subject, market)| (subject.as_str(), market))
    }

    /// The updates, the latest first.
    pub fn updates(&self) -> impl ExactSizeIterator<Item = &Update> {
        self.updates.iter().rev()
    }

    /// Takes what the candles say of a market's day, where its quotes say nothing.
    pub fn recall(&mut self, subject: &str, day: &Day) {
        if let Some(market) = self.markets.get_mut(subject) {
            market.recall(day);
        }
    }

    /// When the log last took something that is shown.
    pub fn seen_at_ms(&self) -> Option<i64> {
        self.markets.values().map(|market| market.seen_at_ms).max()
    }
}

impl Market {
    /// The same as [`Market::observe`], and then the digits that its prices have.
    fn observed(&mut self, event_type: EventType, event: &EventView<'_>, seen_at_ms: i64) -> usize {
        self.observe(event_type, event, seen_at_ms);
        self.places
    }
}

#[cfg(test)]
pub(crate) mod tests;
