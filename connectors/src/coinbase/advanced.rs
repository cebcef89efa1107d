//! The Advanced Trade feed: an envelope with `channel`, `timestamp` and `sequence_num` around a
//! list of events.
//!
//! `sequence_num` counts a connection's frames from 0, over all channels, so every lost frame
//! shows, heartbeats' counters included. Trades come in batches of 250 ms, newest first, and a
//! subscription answers with the last hundred or so. `side` of a trade is the *maker's*, as in
//! the Exchange feed: a trade at the best ask has the side `SELL`, and its taker bought.
//! A ticker has no identity and no time of its own: its frame's timestamp stands for both.

use std::borrow::Cow;

use schemas::control::{Channel, Exchange};
use schemas::time::EventTime;
use serde::Deserialize;
use serde_json::json;

use super::fields::{
    Raw, decimal, id, json_error, level, numbers, optional_decimal, optional_id, optional_ratio,
    optional_time, product, quantity, shaped, side, text, time,
};
use crate::exchange::{Content, Depth, Frame, FrameError, Protocol, Quote, Trade, Unreadable};
use crate::subscription::Wanted;

/// The Advanced Trade feed's words.
pub struct AdvancedFeed;

impl Protocol for AdvancedFeed {
    fn exchange(&self) -> Exchange {
        Exchange::CoinbaseAdvanced
    }

    fn public_url(&self) -> &'static str {
        "wss://advanced-trade-ws.coinbase.com"
    }

    /// One frame per channel, as the exchange demands; trades before quotes. Heartbeats belong to
    /// the connection, whatever else it carries.
    fn requests(&self, before: &Wanted, after: &Wanted) -> Vec<String> {
        let mut frames = request("unsubscribe", &before.without(after));
        frames.extend(request("subscribe", &after.without(before)));
        if before.is_empty() && !after.is_empty() {
            frames.push(json!({"type": "subscribe", "channel": "heartbeats"}).to_string());
        }
        frames
    }

    /// The last hundred or so.
    fn brings_trades_again(&self) -> bool {
        true
    }

    fn read<'a>(&self, text: &'a str) -> Result<Frame<'a>, Unreadable> {
        let envelope: Envelope<'a> = serde_json::from_str(text).map_err(|e| json_error(&e))?;
        let number = optional_id("sequence_num", envelope.sequence_num)?;
        envelope
            .frame(number)
            .map_err(|error| Unreadable { number, error })
    }
}

fn request(verb: &str, wanted: &Wanted) -> Vec<String> {
    let names = [
        (Channel::Trades, "market_trades"),
        (Channel::Quotes, "ticker"),
        (Channel::Depth, "level2"),
    ];
    let mut frames = vec![];
    for (channel, name) in names {
        let products: Vec<_> = wanted.products(channel).collect();
        if !products.is_empty() {
            let frame = json!({"type": verb, "product_ids": products, "channel": name});
            frames.push(frame.to_string());
        }
    }
    frames
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    channel: Raw<'a>,
    #[serde(borrow)]
    timestamp: Raw<'a>,
    #[serde(borrow)]
    sequence_num: Raw<'a>,
    #[serde(borrow)]
    events: Raw<'a>,
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    message: Raw<'a>,
}

impl<'a> Envelope<'a> {
    fn frame(&self, number: Option<i64>) -> Result<Frame<'a>, FrameError> {
        let at = optional_time("timestamp", self.timestamp)?;
        let content = match self.channel() {
            Ok(channel) => self.content(&channel)?,
            Err(_) if self.is_refusal() => vec![Content::Refused {
                message: text("message", self.message)?.into_owned(),
            }],
            Err(error) => return Err(error),
        };
        Ok(Frame {
            at,
            number,
            content,
        })
    }

    fn channel(&self) -> Result<Cow<'a, str>, FrameError> {
        text("channel", self.channel)
    }

    fn is_refusal(&self) -> bool {
        text("type", self.kind).is_ok_and(|kind| kind == "error")
    }

    fn content(&self, channel: &str) -> Result<Vec<Content<'a>>, FrameError> {
        match channel {
            "market_trades" => self.each("a list of trades' events", TradesEvent::content),
            "ticker" | "ticker_batch" => self.quotes(),
            "l2_data" => self.depths(),
            "heartbeats" => Ok(vec![Content::Heartbeat {
                product: None,
                last_trade_id: None,
            }]),
            "subscriptions" => Ok(vec![Content::Confirmed]),
            _ => Ok(vec![Content::Skipped]),
        }
    }

    fn each<T: Deserialize<'a>>(
        &self,
        expected: &'static str,
        content: impl Fn(T) -> Result<Content<'a>, FrameError>,
    ) -> Result<Vec<Content<'a>>, FrameError> {
        let events: Vec<T> = shaped("events", expected, self.events)?;
        events.into_iter().map(content).collect()
    }

    fn quotes(&self) -> Result<Vec<Content<'a>>, FrameError> {
        let at = time("timestamp", self.timestamp)?;
        let expected = "a list of tickers' events";
        let events: Vec<TickersEvent<'a>> = shaped("events", expected, self.events)?;
        let tickers = events.iter().flat_map(|event| &event.tickers);
        tickers.map(|ticker| ticker.content(at)).collect()
    }

    fn depths(&self) -> Result<Vec<Content<'a>>, FrameError> {
        let at = time("timestamp", self.timestamp)?;
        self.each("a list of depth's events", |event: DepthEvent<'a>| {
            event.content(at)
        })
    }
}

#[derive(Deserialize)]
struct TradesEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    trades: Vec<TradeFields<'a>>,
}

impl<'a> TradesEvent<'a> {
    fn content(self) -> Result<Content<'a>, FrameError> {
        let snapshot = is_snapshot(self.kind)?;
        let trades = self.trades.iter().map(TradeFields::trade);
        let trades = trades.collect::<Result<_, _>>()?;
        Ok(Content::Trades { snapshot, trades })
    }
}

fn is_snapshot(kind: Raw<'_>) -> Result<bool, FrameError> {
    let (field, expected) = ("events.type", "snapshot or update");
    match text(field, kind)?.as_ref() {
        "snapshot" => Ok(true),
        "update" => Ok(false),
        _ => Err(FrameError::Invalid { field, expected }),
    }
}

#[derive(Deserialize)]
struct TradeFields<'a> {
    #[serde(borrow)]
    product_id: Raw<'a>,
    #[serde(borrow)]
    trade_id: Raw<'a>,
    #[serde(borrow)]
    price: Raw<'a>,
    #[serde(borrow)]
    size: Raw<'a>,
    #[serde(borrow)]
    time: Raw<'a>,
    #[serde(borrow)]
    side: Raw<'a>,
}

impl<'a> TradeFields<'a> {
    fn trade(&self) -> Result<Trade<'a>, FrameError> {
        Ok(Trade {
            product: product(self.product_id)?,
            trade_id: id("trade_id", self.trade_id)?,
            occurred_at: time("time", self.time)?,
            price: decimal("price", self.price)?,
            size: quantity("size", self.size)?,
            taker: side(self.side)?.opposite(),
        })
    }
}

#[derive(Deserialize)]
struct TickersEvent<'a> {
    #[serde(borrow)]
    tickers: Vec<TickerFields<'a>>,
}

#[derive(Deserialize)]
struct TickerFields<'a> {
    #[serde(borrow)]
    product_id: Raw<'a>,
    #[serde(borrow)]
    price: Raw<'a>,
    #[serde(borrow)]
    volume_24_h: Raw<'a>,
    #[serde(borrow)]
    low_24_h: Raw<'a>,
    #[serde(borrow)]
    high_24_h: Raw<'a>,
    #[serde(borrow)]
    low_52_w: Raw<'a>,
    #[serde(borrow)]
    high_52_w: Raw<'a>,
    #[serde(borrow)]
    price_percent_chg_24_h: Raw<'a>,
    #[serde(borrow)]
    best_bid: Raw<'a>,
    #[serde(borrow)]
    best_bid_quantity: Raw<'a>,
    #[serde(borrow)]
    best_ask: Raw<'a>,
    #[serde(borrow)]
    best_ask_quantity: Raw<'a>,
}

impl<'a> TickerFields<'a> {
    fn content(&self, at: EventTime) -> Result<Content<'a>, FrameError> {
        let others = [
            ("best_bid_size", self.best_bid_quantity),
            ("best_ask_size", self.best_ask_quantity),
            ("low_24h", self.low_24_h),
            ("high_24h", self.high_24_h),
            ("volume_24h", self.volume_24_h),
            ("low_52w", self.low_52_w),
            ("high_52w", self.high_52_w),
        ];
        let mut metrics = numbers(self.price, others)?;
        let name = "price_change_24h_percent";
        let change = optional_ratio("price_percent_chg_24_h", self.price_percent_chg_24_h)?;
        metrics.extend(change.map(|value| (name, value)));
        Ok(Content::Quote(Quote {
            product: product(self.product_id)?,
            occurred_at: Some(at),
            sequence: None,
            best_bid: optional_decimal("best_bid", self.best_bid)?,
            best_ask: optional_decimal("best_ask", self.best_ask)?,
            metrics,
        }))
    }
}

#[derive(Deserialize)]
struct DepthEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    product_id: Raw<'a>,
    #[serde(borrow)]
    updates: Vec<DepthFields<'a>>,
}

#[derive(Deserialize)]
struct DepthFields<'a> {
    #[serde(borrow)]
    side: Raw<'a>,
    #[serde(borrow)]
    price_level: Raw<'a>,
    #[serde(borrow)]
    new_quantity: Raw<'a>,
}

impl<'a> DepthEvent<'a> {
    fn content(self, at: EventTime) -> Result<Content<'a>, FrameError> {
        let levels = self.updates.iter().map(|update| {
            let (field, expected) = ("updates.side", "bid or offer");
            let bid = match text(field, update.side)?.as_ref() {
                "bid" => true,
                "offer" | "ask" => false,
                _ => return Err(FrameError::Invalid { field, expected }),
            };
            level(bid, update.price_level, update.new_quantity)
        });
        Ok(Content::Depth(Depth {
            product: product(self.product_id)?,
            occurred_at: Some(at),
            snapshot: is_snapshot(self.kind)?,
            levels: levels.collect::<Result<_, _>>()?,
        }))
    }
}
