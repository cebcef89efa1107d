//! The Advanced Trade feed's words, as its server says them: numbered frames, trades in batches of
//! 250 ms with the newest first.

use std::collections::{BTreeMap, BTreeSet};

use connectors::exchange::Side;
use serde::Deserialize;

use super::exchange::places;
use super::market::{Made, Snapshot, Step, Tick};
use super::words::{Asked, Beat, Chan, Names, OutFrame, fixed, list, price, size, stamp, time};

/// How long the exchange collects trades before it sends them.
const BATCH_US: i64 = 250_000;

/// One connection's words.
pub(super) struct AdvancedWords {
    names: Names,
    subscribed: BTreeMap<Chan, BTreeSet<usize>>,
    /// Trades that wait for their batch to be full, by market, oldest first.
    batch: BTreeMap<usize, Vec<Made>>,
    batch_until_us: i64,
    next_number: i64,
    beat_count: i64,
}

/// `{"type": "subscribe", "product_ids": [...], "channel": "ticker"}`.
#[derive(Deserialize)]
struct Request {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    product_ids: Vec<String>,
    channel: String,
}

impl AdvancedWords {
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            subscribed: BTreeMap::new(),
            batch: BTreeMap::new(),
            batch_until_us: i64::MAX,
            next_number: 0,
            beat_count: 41_690,
        }
    }

    pub(super) fn asked(&self, text: &str) -> Option<Asked> {
        let request: Request = serde_json::from_str(text).ok()?;
        let mut unknown = vec![];
        let markets = places(&self.names, &request.product_ids, &mut unknown);
        let chan = match request.channel.as_str() {
            "market_trades" => Chan::Trades,
            "ticker" => Chan::Quotes,
            "level2" => Chan::Depth,
            "heartbeats" => Chan::Heartbeats,
            other => {
                unknown.push(other.to_owned());
                Chan::Heartbeats
            }
        };
        Some(Asked {
            subscribe: match request.kind.as_str() {
                "subscribe" => true,
                "unsubscribe" => false,
                _ => return None,
            },
            channels: vec![(chan, markets)],
            unknown,
        })
    }

    pub(super) fn answer(
        &mut self,
        asked: &Asked,
        snapshots: &[Snapshot],
        at_us: i64,
    ) -> Vec<OutFrame> {
        if let Some(unknown) = asked.unknown.first() {
            let text = format!(
                r#"{{"type":"error","message":"{} is not valid"}}"#,
                unknown.escape_default()
            );
            return vec![OutFrame::sound(text, vec![])];
        }
        let mut out = vec![];
        for (chan, markets) in &asked.channels {
            if asked.subscribe {
                for snapshot in snapshots.iter().filter(|s| markets.contains(&s.market)) {
                    self.opening(*chan, snapshot, at_us, &mut out);
                }
            }
            let subscribed = self.subscribed.entry(*chan).or_default();
            match asked.subscribe {
                true => subscribed.extend(markets),
                false => subscribed.retain(|market| !markets.contains(market)),
            }
        }
        let event = self.subscriptions();
        let text = self.frame("subscriptions", at_us, &event);
        out.push(OutFrame::sound(text, vec![]));
        out
    }

    fn opening(&mut self, chan: Chan, snapshot: &Snapshot, at_us: i64, out: &mut Vec<OutFrame>) {
        let name = self.names[snapshot.market].clone();
        let frame = match chan {
            Chan::Trades => {
                // What still waits in a batch would come twice: it is in the snapshot.
                self.batch.remove(&snapshot.market);
                let event = trades("snapshot", &name, &snapshot.recent);
                let ids = snapshot
                    .recent
                    .iter()
                    .map(|m| (snapshot.market, m.trade_id));
                OutFrame::sound(self.frame("market_trades", at_us, &event), ids.collect())
            }
            Chan::Quotes => {
                let event = ticker("snapshot", &name, &snapshot.tick);
                OutFrame::sound(self.frame("ticker", at_us, &event), vec![])
            }
            Chan::Depth => {
                let bids = snapshot.bids.iter().map(|(p, q)| (true, *p, *q));
                let asks = snapshot.asks.iter().map(|(p, q)| (false, *p, *q));
                let event = depth("snapshot", &name, bids.chain(asks), at_us);
                OutFrame::sound(self.frame("l2_data", at_us, &event), vec![])
            }
            Chan::Heartbeats => return,
        };
        out.push(frame);
    }

    pub(super) fn step(&mut self, step: &Step, out: &mut Vec<OutFrame>) {
        self.send_batch(step.at_us, out);
        let name = self.names[step.market].clone();
        if !step.made.is_empty() && self.has(Chan::Trades, step.market) {
            if self.batch.is_empty() {
                self.batch_until_us = step.at_us + BATCH_US;
            }
            let batch = self.batch.entry(step.market).or_default();
            batch.extend_from_slice(&step.made);
        }
        if !step.changes.is_empty() && self.has(Chan::Depth, step.market) {
            let changes = step.changes.iter().map(|c| (c.bid, c.price, c.quantity));
            let event = depth("update", &name, changes, step.at_us);
            let text = self.frame("l2_data", step.at_us, &event);
            out.push(OutFrame::data(text, vec![]));
        }
        let has_news = step.top_changed || !step.made.is_empty();
        if has_news && self.has(Chan::Quotes, step.market) {
            let event = ticker("update", &name, &step.tick);
            let text = self.frame("ticker", step.at_us, &event);
            out.push(OutFrame::data(text, vec![]));
        }
    }

    pub(super) fn beat(&mut self, beat: &Beat, out: &mut Vec<OutFrame>) {
        self.send_batch(beat.at_us, out);
        self.beat_count += 1;
        if !self.subscribed.contains_key(&Chan::Heartbeats) {
            return;
        }
        let count = self.beat_count;
        let current = stamp(beat.at_us, "%Y-%m-%d %H:%M:%S.%9f +0000 UTC");
        let event = format!(
            r#"{{"current_time":"{current} m=+{count}.260485341","heartbeat_counter":{count}}}"#
        );
        let text = self.frame("heartbeats", beat.at_us, &event);
        out.push(OutFrame::sound(text, vec![]));
    }

    fn send_batch(&mut self, now_us: i64, out: &mut Vec<OutFrame>) {
        if now_us < self.batch_until_us {
            return;
        }
        let at_us = std::mem::replace(&mut self.batch_until_us, i64::MAX);
        for (market, made) in std::mem::take(&mut self.batch) {
            let event = trades("update", &self.names[market], &made);
            let ids = made.iter().map(|m| (market, m.trade_id)).collect();
            let text = self.frame("market_trades", at_us, &event);
            out.push(OutFrame::data(text, ids));
        }
    }

    fn frame(&mut self, channel: &str, at_us: i64, event: &str) -> String {
        let number = self.next_number;
        self.next_number += 1;
        let timestamp = stamp(at_us, "%Y-%m-%dT%H:%M:%S.%9fZ");
        format!(
            r#"{{"channel":"{channel}","timestamp":"{timestamp}","sequence_num":{number},"events":[{event}]}}"#
        )
    }

    fn has(&self, chan: Chan, market: usize) -> bool {
        let markets = self.subscribed.get(&chan);
        markets.is_some_and(|markets| markets.contains(&market))
    }

    fn subscriptions(&self) -> String {
        let channels = self.subscribed.iter().map(|(chan, markets)| {
            let products = list(markets.iter().map(|market| &*self.names[*market]));
            match chan {
                Chan::Trades => format!(r#""market_trades":{products}"#),
                Chan::Quotes => format!(r#""ticker":{products}"#),
                Chan::Depth => format!(r#""level2":{products}"#),
                Chan::Heartbeats => r#""heartbeats":["heartbeats"]"#.to_owned(),
            }
        });
        let channels = channels.collect::<Vec<_>>().join(",");
        format!(r#"{{"subscriptions":{{{channels}}}}}"#)
    }
}

/// Trades, newest first; their side is the maker's.
fn trades(kind: &str, name: &str, made: &[Made]) -> String {
    let trade = |made: &Made| {
        let side = match made.taker.opposite() {
            Side::Buy => "BUY",
            Side::Sell => "SELL",
        };
        format!(
            r#"{{"product_id":"{name}","trade_id":"{}","price":"{}","size":"{}","time":"{}","side":"{side}"}}"#,
            made.trade_id,
            price(made.price),
            size(made.size),
            time(made.at_us)
        )
    };
    let trades = made.iter().rev().map(trade).collect::<Vec<_>>().join(",");
    format!(r#"{{"type":"{kind}","trades":[{trades}]}}"#)
}

fn ticker(kind: &str, name: &str, tick: &Tick) -> String {
    let change = i128::from(tick.last.price - tick.open_24h) * 100 * 10_i128.pow(12);
    let percent = i64::try_from(change / i128::from(tick.open_24h)).unwrap_or(0);
    let sign = if percent < 0 { "-" } else { "" };
    format!(
        r#"{{"type":"{kind}","tickers":[{{"type":"ticker","product_id":"{name}","price":"{}","volume_24_h":"{}","low_24_h":"{}","high_24_h":"{}","low_52_w":"{}","high_52_w":"{}","price_percent_chg_24_h":"{sign}{}","best_bid":"{}","best_ask":"{}","best_bid_quantity":"{}","best_ask_quantity":"{}"}}]}}"#,
        price(tick.last.price),
        size(tick.volume_24h),
        price(tick.low_24h),
        price(tick.high_24h),
        price(tick.low_52w),
        price(tick.high_52w),
        fixed(percent.abs(), 12),
        price(tick.bid.0),
        price(tick.ask.0),
        size(tick.bid.1),
        size(tick.ask.1)
    )
}

fn depth(
    kind: &str,
    name: &str,
    levels: impl Iterator<Item = (bool, i64, i64)>,
    at_us: i64,
) -> String {
    let at = time(at_us);
    let update = |(bid, level, quantity): (bool, i64, i64)| {
        let side = if bid { "bid" } else { "offer" };
        format!(
            r#"{{"side":"{side}","event_time":"{at}","price_level":"{}","new_quantity":"{}"}}"#,
            price(level),
            size(quantity)
        )
    };
    let updates = levels.map(update).collect::<Vec<_>>().join(",");
    format!(r#"{{"type":"{kind}","product_id":"{name}","updates":[{updates}]}}"#)
}
