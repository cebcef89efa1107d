//! What a simulated market traded, against what came of it: trades on the log, and ids that gaps
//! name.

use std::collections::{BTreeMap, BTreeSet};

use pulse::simulator::Truth;
use schemas::event::EventView;

use crate::trades::Trade;

/// A market's subject, and the exchange's number of a trade.
pub type TradeKey = (String, i64);

/// The simulator's own record.
pub fn truth(truth: &Truth) -> BTreeMap<TradeKey, Trade> {
    let trades = truth.trades().into_iter().map(|made| {
        let trade = Trade {
            subject: format!("coinbase:{}", made.product),
            at_us: made.occurred_at.as_us(),
            id: made.trade_id,
            price: made.price.units(),
            size: made.size.units(),
        };
        ((trade.subject.clone(), trade.id), trade)
    });
    trades.collect()
}

/// Trades and gaps as they lie on a topic of events.
#[derive(Default)]
pub struct OnLog {
    /// The trades, each of which is there once.
    pub trades: BTreeMap<TradeKey, Trade>,
    /// The trades that gaps name, each once.
    pub named: BTreeSet<TradeKey>,
    /// How often each quote is there.
    pub quotes: BTreeMap<String, usize>,
}

impl OnLog {
    /// Takes an event's bytes.
    ///
    /// # Panics
    /// When they are no event, or one that was there before.
    pub fn take(&mut self, value: &[u8]) {
        let event = EventView::decode(value).unwrap();
        let subject = event.subject.as_str().to_owned();
        let units = |name| event.metrics.get(name).unwrap().units();
        match event.event_type.as_str() {
            "trade" => {
                let trade = Trade {
                    subject,
                    at_us: event.occurred_at.as_us(),
                    id: event.sequence.unwrap(),
                    price: units("price"),
                    size: units("size"),
                };
                let key = (trade.subject.clone(), trade.id);
                let before = self.trades.insert(key, trade);
                assert_eq!(before, None, "published twice");
            }
            "quote" => {
                let event_id = event.event_id.as_str().to_owned();
                *self.quotes.entry(event_id).or_default() += 1;
            }
            "gap" if event.tags.get("series").is_some_and(|s| s == "trade_id") => {
                let one = 1_000_000_000_000_000_000;
                for id in (units("first") / one) as i64..=(units("last") / one) as i64 {
                    let is_new = self.named.insert((subject.clone(), id));
                    assert!(is_new, "{subject} {id} is named twice");
                }
            }
            _ => {}
        }
    }

    /// Whether each trade of the truth is there or named.
    ///
    /// # Errors
    /// How many are neither.
    pub fn lacks(&self, truth: &BTreeMap<TradeKey, Trade>) -> Result<(), String> {
        let is_seen = |key: &TradeKey| self.trades.contains_key(key) || self.named.contains(key);
        match truth.keys().filter(|key| !is_seen(key)).count() {
            0 => Ok(()),
            count => Err(format!("{count} of {} are neither", truth.len())),
        }
    }

    /// The trades of the truth that no gap names, after checking that exactly these are there.
    ///
    /// # Panics
    /// When one that is there is named, or differs from the truth.
    pub fn check(&self, truth: &BTreeMap<TradeKey, Trade>) -> Vec<Trade> {
        let is_there = |key: &&TradeKey| self.trades.contains_key(*key);
        let both: Vec<_> = self.named.iter().filter(is_there).collect();
        assert!(both.is_empty(), "named, and there: {both:?}");
        let mut expect = truth.clone();
        expect.retain(|key, _| !self.named.contains(key));
        assert!(
            self.trades == expect,
            "what is there differs from the truth"
        );
        expect.into_values().collect()
    }
}
