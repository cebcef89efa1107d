//! The Exchange feed's words, as its server says them.

use std::collections::{BTreeMap, BTreeSet};

use connectors::exchange::Side;
use serde::Deserialize;

use super::market::{Change, Made, Snapshot, Step, Tick};
use super::words::{Asked, Beat, Chan, Names, OutFrame, list, order_id, price, size, time};

/// One connection's words.
pub(super) struct ExchangeWords {
    names: Names,
    subscribed: BTreeMap<Chan, BTreeSet<usize>>,
}

/// `{"type": "subscribe", "product_ids": [...], "channels": ["ticker", {"name": …}]}`.
#[derive(Deserialize)]
struct Request {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    product_ids: Vec<String>,
    #[serde(default)]
    channels: Vec<Channel>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Channel {
    Name(String),
    Products {
        name: String,
        #[serde(default)]
        product_ids: Vec<String>,
    },
}

impl ExchangeWords {
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            subscribed: BTreeMap::new(),
        }
    }

    pub(super) fn asked(&self, text: &str) -> Option<Asked> {
        let request: Request = serde_json::from_str(text).ok()?;
        let mut asked = Asked {
            subscribe: match request.kind.as_str() {
                "subscribe" => true,
                "unsubscribe" => false,
                _ => return None,
            },
            channels: vec![],
            unknown: vec![],
        };
        for channel in &request.channels {
            let (name, own) = match channel {
                Channel::Name(name) => (name, &request.product_ids),
                Channel::Products { name, product_ids } if product_ids.is_empty() => {
                    (name, &request.product_ids)
                }
                Channel::Products { name, product_ids } => (name, product_ids),
            };
            match chan(name) {
                Some(chan) => {
                    let markets = places(&self.names, own, &mut asked.unknown);
                    asked.channels.push((chan, markets));
                }
                None => asked.unknown.push(name.clone()),
            }
        }
        Some(asked)
    }

    pub(super) fn answer(&mut self, asked: &Asked, snapshots: &[Snapshot]) -> Vec<OutFrame> {
        if let Some(unknown) = asked.unknown.first() {
            let text = format!(
                r#"{{"type":"error","message":"Failed to subscribe","reason":"{} is not valid"}}"#,
                unknown.escape_default()
            );
            return vec![OutFrame::sound(text, vec![])];
        }
        for (chan, markets) in &asked.channels {
            let subscribed = self.subscribed.entry(*chan).or_default();
            match asked.subscribe {
                true => subscribed.extend(markets),
                false => subscribed.retain(|market| !markets.contains(market)),
            }
        }
        let mut out = vec![OutFrame::sound(self.subscriptions(), vec![])];
        if asked.subscribe {
            for snapshot in snapshots {
                self.opening(asked, snapshot, &mut out);
            }
        }
        out
    }

    /// Depth, ticker, last match: in this order, as the exchange does.
    fn opening(&self, asked: &Asked, snapshot: &Snapshot, out: &mut Vec<OutFrame>) {
        let market = snapshot.market;
        let name = &self.names[market];
        let asks = |chan| {
            let mut channels = asked.channels.iter();
            channels.any(|(c, markets)| *c == chan && markets.contains(&market))
        };
        if asks(Chan::Depth) {
            let side = |levels: &[(i64, i64)]| {
                let level = |(p, q): &(i64, i64)| format!(r#"["{}","{}"]"#, price(*p), size(*q));
                levels.iter().map(level).collect::<Vec<_>>().join(",")
            };
            let head = format!(r#""type":"snapshot","product_id":"{name}""#);
            let text = format!(
                r#"{{{head},"asks":[{}],"bids":[{}],"time":"{}"}}"#,
                side(&snapshot.asks),
                side(&snapshot.bids),
                time(snapshot.tick.last.at_us)
            );
            out.push(OutFrame::sound(text, vec![]));
        }
        if asks(Chan::Quotes) {
            out.push(OutFrame::sound(ticker(name, &snapshot.tick), vec![]));
        }
        if asks(Chan::Trades) {
            let last = &snapshot.tick.last;
            let trades = vec![(market, last.trade_id)];
            out.push(OutFrame::sound(matched("last_match", name, last), trades));
        }
    }

    pub(super) fn step(&self, step: &Step, out: &mut Vec<OutFrame>) {
        let name = &self.names[step.market];
        if self.has(Chan::Trades, step.market) {
            for made in &step.made {
                let trades = vec![(step.market, made.trade_id)];
                out.push(OutFrame::data(matched("match", name, made), trades));
            }
        }
        if self.has(Chan::Depth, step.market) && !step.changes.is_empty() {
            let changes: Vec<_> = step.changes.iter().map(change).collect();
            let text = format!(
                r#"{{"type":"l2update","product_id":"{name}","changes":[{}],"time":"{}"}}"#,
                changes.join(","),
                time(step.at_us)
            );
            out.push(OutFrame::data(text, vec![]));
        }
        if self.has(Chan::Quotes, step.market) && !step.made.is_empty() {
            out.push(OutFrame::data(ticker(name, &step.tick), vec![]));
        }
    }

    pub(super) fn beat(&self, beat: &Beat, out: &mut Vec<OutFrame>) {
        for (market, (trade_id, sequence)) in beat.last.iter().enumerate() {
            if self.has(Chan::Heartbeats, market) {
                let (name, at) = (&self.names[market], time(beat.at_us));
                let text = format!(
                    r#"{{"type":"heartbeat","last_trade_id":{trade_id},"product_id":"{name}","sequence":{sequence},"time":"{at}"}}"#
                );
                out.push(OutFrame::sound(text, vec![]));
            }
        }
    }

    fn has(&self, chan: Chan, market: usize) -> bool {
        let markets = self.subscribed.get(&chan);
        markets.is_some_and(|markets| markets.contains(&market))
    }

    fn subscriptions(&self) -> String {
        let channels = self
            .subscribed
            .iter()
            .filter(|(_, markets)| !markets.is_empty());
        let channels = channels.map(|(chan, markets)| {
            let name = match chan {
                Chan::Trades => "matches",
                Chan::Quotes => "ticker",
                Chan::Depth => "level2_batch",
                Chan::Heartbeats => "heartbeat",
            };
            let products = list(markets.iter().map(|market| &*self.names[*market]));
            format!(r#"{{"name":"{name}","product_ids":{products},"account_ids":null}}"#)
        });
        let channels = channels.collect::<Vec<_>>().join(",");
        format!(r#"{{"type":"subscriptions","channels":[{channels}]}}"#)
    }
}

fn chan(name: &str) -> Option<Chan> {
    match name {
        "matches" => Some(Chan::Trades),
        "ticker" => Some(Chan::Quotes),
        "level2" | "level2_batch" | "level2_50" => Some(Chan::Depth),
        "heartbeat" => Some(Chan::Heartbeats),
        _ => None,
    }
}

/// The places of names; those that are not there go to `unknown`.
pub(super) fn places(
    names: &Names,
    wanted: &[String],
    unknown: &mut Vec<String>,
) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for name in wanted {
        match names.iter().position(|known| **known == **name) {
            Some(place) => drop(found.insert(place)),
            None => unknown.push(name.clone()),
        }
    }
    found
}

fn change(change: &Change) -> String {
    let side = if change.bid { "buy" } else { "sell" };
    let (price, size) = (price(change.price), size(change.quantity));
    format!(r#"["{side}","{price}","{size}"]"#)
}

/// A match; its side is the maker's.
fn matched(kind: &str, name: &str, made: &Made) -> String {
    format!(
        r#"{{"type":"{kind}","trade_id":{},"maker_order_id":"{}","taker_order_id":"{}","side":"{}","size":"{}","price":"{}","product_id":"{name}","sequence":{},"time":"{}"}}"#,
        made.trade_id,
        order_id(made.orders[0]),
        order_id(made.orders[1]),
        made.taker.opposite().as_str(),
        size(made.size),
        price(made.price),
        made.sequence,
        time(made.at_us)
    )
}

/// A ticker; its side is the taker's.
fn ticker(name: &str, tick: &Tick) -> String {
    let last = &tick.last;
    let side = match last.taker {
        Side::Buy => "buy",
        Side::Sell => "sell",
    };
    format!(
        r#"{{"type":"ticker","sequence":{},"product_id":"{name}","price":"{}","open_24h":"{}","volume_24h":"{}","low_24h":"{}","high_24h":"{}","volume_30d":"{}","best_bid":"{}","best_bid_size":"{}","best_ask":"{}","best_ask_size":"{}","side":"{side}","time":"{}","trade_id":{},"last_size":"{}"}}"#,
        last.sequence,
        price(last.price),
        price(tick.open_24h),
        size(tick.volume_24h),
        price(tick.low_24h),
        price(tick.high_24h),
        size(tick.volume_30d),
        price(tick.bid.0),
        size(tick.bid.1),
        price(tick.ask.0),
        size(tick.ask.1),
        time(last.at_us),
        last.trade_id,
        size(last.size)
    )
}
