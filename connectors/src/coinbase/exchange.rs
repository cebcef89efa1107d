//! The Exchange feed: flat frames, told apart by `type`; one market each.
//!
//! Trades have consecutive ids per market and come one a frame, oldest first; a subscription to
//! `matches` answers with the `last_match` of each market. `side` of a match is the *maker's*: a
//! match with the side `sell` met an ask, so the taker bought. (A ticker's `side` is the taker's
//! and is not used: its match says the same.) Depth carries no sequence, so a lost change of depth
//! cannot be seen; a heartbeat names the market's latest trade, so a lost trade can, within a
//! second.

use schemas::control::{Channel, Exchange};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::fields::{
    Raw, decimal, id, json_error, level, numbers, optional_decimal, optional_id, optional_time,
    product, quantity, shaped, side, text, time,
};
use crate::exchange::{Content, Depth, Frame, FrameError, Protocol, Quote, Trade, Unreadable};
use crate::subscription::Wanted;

/// The Exchange feed's words.
pub struct ExchangeFeed;

impl Protocol for ExchangeFeed {
    fn exchange(&self) -> Exchange {
        Exchange::CoinbaseExchange
    }

    fn public_url(&self) -> &'static str {
        "wss://ws-feed.exchange.coinbase.com"
    }

    fn requests(&self, before: &Wanted, after: &Wanted) -> Vec<String> {
        let mut frames = vec![];
        frames.extend(request("unsubscribe", after, before));
        frames.extend(request("subscribe", before, after));
        frames
    }

    /// `last_match` is one trade, and those between leaving and coming back would be lost for it.
    fn brings_trades_again(&self) -> bool {
        false
    }

    fn read<'a>(&self, text: &'a str) -> Result<Frame<'a>, Unreadable> {
        let fields: Fields<'a> = serde_json::from_str(text).map_err(|e| json_error(&e))?;
        Ok(fields.frame()?)
    }
}

/// One frame for all that is in `this` and not in `other`; trades are asked for first, so that they
/// mostly come first.
fn request(verb: &str, other: &Wanted, this: &Wanted) -> Option<String> {
    let part = this.without(other);
    let names = [
        (Channel::Trades, "matches"),
        (Channel::Quotes, "ticker"),
        (Channel::Depth, "level2_batch"),
    ];
    let mut channels = vec![];
    for (channel, name) in names {
        let products: Vec<_> = part.products(channel).collect();
        if !products.is_empty() {
            channels.push(json!({"name": name, "product_ids": products}));
        }
    }
    let others = other.all_products();
    let beats: Vec<_> = this.all_products().difference(&others).copied().collect();
    if !beats.is_empty() {
        channels.push(json!({"name": "heartbeat", "product_ids": beats}));
    }
    (!channels.is_empty()).then(|| json!({"type": verb, "channels": channels}).to_string())
}

/// Every field that a frame of any type may have; the type says which must be there.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    product_id: Raw<'a>,
    #[serde(borrow)]
    time: Raw<'a>,
    #[serde(borrow)]
    trade_id: Raw<'a>,
    #[serde(borrow)]
    sequence: Raw<'a>,
    #[serde(borrow)]
    side: Raw<'a>,
    #[serde(borrow)]
    price: Raw<'a>,
    #[serde(borrow)]
    size: Raw<'a>,
    #[serde(borrow)]
    last_size: Raw<'a>,
    #[serde(borrow)]
    best_bid: Raw<'a>,
    #[serde(borrow)]
    best_bid_size: Raw<'a>,
    #[serde(borrow)]
    best_ask: Raw<'a>,
    #[serde(borrow)]
    best_ask_size: Raw<'a>,
    #[serde(borrow)]
    open_24h: Raw<'a>,
    #[serde(borrow)]
    low_24h: Raw<'a>,
    #[serde(borrow)]
    high_24h: Raw<'a>,
    #[serde(borrow)]
    volume_24h: Raw<'a>,
    #[serde(borrow)]
    volume_30d: Raw<'a>,
    #[serde(borrow)]
    last_trade_id: Raw<'a>,
    #[serde(borrow)]
    changes: Raw<'a>,
    #[serde(borrow)]
    bids: Raw<'a>,
    #[serde(borrow)]
    asks: Raw<'a>,
    #[serde(borrow)]
    message: Raw<'a>,
    #[serde(borrow)]
    reason: Raw<'a>,
}

impl<'a> Fields<'a> {
    fn frame(&self) -> Result<Frame<'a>, FrameError> {
        let kind = text("type", self.kind)?;
        let content = match kind.as_ref() {
            "match" => self.trade(false)?,
            "last_match" => self.trade(true)?,
            "ticker" => Content::Quote(self.quote()?),
            "l2update" => Content::Depth(self.changes()?),
            "snapshot" => Content::Depth(self.book()?),
            "heartbeat" => Content::Heartbeat {
                product: Some(product(self.product_id)?),
                last_trade_id: optional_id("last_trade_id", self.last_trade_id)?,
            },
            "subscriptions" => Content::Confirmed,
            "error" => Content::Refused {
                message: self.refusal(),
            },
            _ => return Ok(skipped()),
        };
        let is_live = matches!(kind.as_ref(), "match" | "l2update" | "heartbeat");
        let at = optional_time("time", self.time)?;
        Ok(Frame {
            at: at.filter(|_| is_live),
            number: None,
            content: vec![content],
        })
    }

    fn trade(&self, snapshot: bool) -> Result<Content<'a>, FrameError> {
        let trade = Trade {
            product: product(self.product_id)?,
            trade_id: id("trade_id", self.trade_id)?,
            occurred_at: time("time", self.time)?,
            price: decimal("price", self.price)?,
            size: quantity("size", self.size)?,
            taker: side(self.side)?.opposite(),
        };
        let trades = vec![trade];
        Ok(Content::Trades { snapshot, trades })
    }

    fn quote(&self) -> Result<Quote<'a>, FrameError> {
        let others = [
            ("best_bid_size", self.best_bid_size),
            ("best_ask_size", self.best_ask_size),
            ("size", self.last_size),
            ("open_24h", self.open_24h),
            ("low_24h", self.low_24h),
            ("high_24h", self.high_24h),
            ("volume_24h", self.volume_24h),
            ("volume_30d", self.volume_30d),
        ];
        Ok(Quote {
            product: product(self.product_id)?,
            occurred_at: optional_time("time", self.time)?,
            sequence: optional_id("sequence", self.sequence)?,
            best_bid: optional_decimal("best_bid", self.best_bid)?,
            best_ask: optional_decimal("best_ask", self.best_ask)?,
            metrics: numbers(self.price, others)?,
        })
    }

    fn changes(&self) -> Result<Depth<'a>, FrameError> {
        let expected = "a list of [side, price, quantity]";
        let changes: Vec<[&RawValue; 3]> = shaped("changes", expected, self.changes)?;
        let levels = changes.into_iter().map(|[side_of, price, size]| {
            let bid = side(Some(side_of))?.as_str() == "buy";
            level(bid, Some(price), Some(size))
        });
        self.depth(false, levels.collect::<Result<_, _>>()?)
    }

    fn book(&self) -> Result<Depth<'a>, FrameError> {
        let expected = "a list of [price, quantity]";
        let bids: Vec<[&RawValue; 2]> = shaped("bids", expected, self.bids)?;
        let asks: Vec<[&RawValue; 2]> = shaped("asks", expected, self.asks)?;
        let bids = bids.into_iter().map(|pair| (true, pair));
        let asks = asks.into_iter().map(|pair| (false, pair));
        let levels = bids
            .chain(asks)
            .map(|(bid, [price, size])| level(bid, Some(price), Some(size)));
        self.depth(true, levels.collect::<Result<_, _>>()?)
    }

    fn depth(
        &self,
        snapshot: bool,
        levels: Vec<schemas::book::Level>,
    ) -> Result<Depth<'a>, FrameError> {
        Ok(Depth {
            product: product(self.product_id)?,
            occurred_at: optional_time("time", self.time)?,
            snapshot,
            levels,
        })
    }

    fn refusal(&self) -> String {
        let words = |raw| text("message", raw).unwrap_or_default();
        let (message, reason) = (words(self.message), words(self.reason));
        match reason.is_empty() {
            true => message.into_owned(),
            false => format!("{message}: {reason}"),
        }
    }
}

fn skipped<'a>() -> Frame<'a> {
    Frame {
        at: None,
        number: None,
        content: vec![Content::Skipped],
    }
}
