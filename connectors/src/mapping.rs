//! Facts of a market as events: the one place that names their ids, tags and metrics.
//!
//! An event's identity is a function of what the exchange said, so a frame that comes twice, by
//! another connection, another process or the other feed, is the same event again.
//!
//! | fact | `event_id` | `occurred_at` | `sequence` | tags | metrics |
//! |---|---|---|---|---|---|
//! | trade | `coinbase:BTC-USD:trade:<trade id>` | the trade's time | trade id | product_id,
//! exchange, side | price, size |
//! | quote | `coinbase:BTC-USD:quote:<time, µs>-<digest of its numbers>` | the exchange's time |
//! the exchange's sequence, where it has one | product_id, exchange | price, best_bid, best_ask, …
//! |
//! | gap | `coinbase:BTC-USD:gap:<first>-<last>` | the last frame before the hole | | product_id,
//! exchange, series | first, last, missing_count |
//!
//! `side` is what the taker did.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;

use schemas::book::{Book, LEVELS_MAX};
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::time::EventTime;
use siphasher::sip::SipHasher13;

use crate::exchange::{Depth, Quote, Trade};
use crate::series::Hole;

/// A market on its exchange: the names that its events have in common.
#[derive(Clone, Debug)]
pub struct MarketName {
    /// The first part of the subject, and the source of all events.
    pub exchange: &'static str,
    /// The exchange's own name of the market.
    pub product: Arc<str>,
    /// `coinbase:BTC-USD`.
    pub subject: Arc<str>,
}

impl MarketName {
    /// The names of a product.
    pub fn new(exchange: &'static str, product: &str) -> Self {
        Self {
            exchange,
            product: product.into(),
            subject: format!("{exchange}:{product}").into(),
        }
    }

    /// A trade of this market.
    pub fn trade(&self, trade: &Trade<'_>, received_at: EventTime) -> Event {
        let mut event = self.event(EventType::Trade, trade.occurred_at, received_at);
        event.event_id = format!("{}:trade:{}", self.subject, trade.trade_id);
        event.sequence = Some(trade.trade_id);
        tag(&mut event, "side", trade.taker.as_str());
        metric(&mut event, "price", trade.price);
        metric(&mut event, "size", trade.size);
        event
    }

    /// A quote of this market, dated `occurred_at`.
    pub fn quote(
        &self,
        quote: &Quote<'_>,
        occurred_at: EventTime,
        received_at: EventTime,
    ) -> Event {
        let mut event = self.event(EventType::Quote, occurred_at, received_at);
        event.sequence = quote.sequence;
        for (name, value) in &quote.metrics {
            metric(&mut event, name, *value);
        }
        let sides = [("best_bid", quote.best_bid), ("best_ask", quote.best_ask)];
        let mut members = vec![];
        for (name, value) in sides {
            if let Some(value) = value {
                metric(&mut event, name, value);
                members.push(format!("\"{name}\":\"{value}\""));
            }
        }
        event.payload = Some(format!("{{{}}}", members.join(",")));
        let digest = digest(&event);
        let at = occurred_at.as_us();
        event.event_id = format!("{}:quote:{at}-{digest:016x}", self.subject);
        event
    }

    /// A hole in this market's trades.
    pub fn gap(&self, hole: &Hole, received_at: EventTime) -> Event {
        let mut event = self.event(EventType::Gap, hole.after, received_at);
        event.event_id = format!("{}:gap:{}-{}", self.subject, hole.first, hole.last);
        name_hole(&mut event, hole, "trade_id");
        event.title = Some(format!(
            "{}: trades {} to {} are missing",
            self.product, hole.first, hole.last
        ));
        event
    }

    /// A change of depth, in records of at most [`LEVELS_MAX`] levels.
    pub fn books(&self, depth: &Depth<'_>, received_at: EventTime) -> Vec<Book> {
        let book = |snapshot, levels: &[_]| Book {
            subject: self.subject.to_string(),
            occurred_at: depth.occurred_at.unwrap_or(received_at),
            received_at,
            snapshot,
            levels: levels.to_vec(),
        };
        if depth.levels.is_empty() && depth.snapshot {
            return vec![book(true, &[])];
        }
        let parts = depth.levels.chunks(LEVELS_MAX).enumerate();
        parts
            .map(|(at, levels)| book(depth.snapshot && at == 0, levels))
            .collect()
    }

    fn event(
        &self,
        event_type: EventType,
        occurred_at: EventTime,
        received_at: EventTime,
    ) -> Event {
        let mut event = blank(self.exchange, event_type, occurred_at, received_at);
        event.subject = self.subject.to_string();
        tag(&mut event, "product_id", &self.product);
        event
    }
}

/// What a connection tells of itself, by the name that its events have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedState {
    /// Connected and subscribed.
    Connected,
    /// Nothing came for too long.
    Silent,
    /// The connection ended.
    Disconnected,
    /// What is wanted changed, or a lost connection is being made anew.
    Resubscribing,
    /// The exchange said no.
    Refused,
    /// Trade ids began anew.
    Renumbered,
}

impl FeedState {
    /// The word in the event's name and tags.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Silent => "silent",
            Self::Disconnected => "disconnected",
            Self::Resubscribing => "resubscribing",
            Self::Refused => "refused",
            Self::Renumbered => "renumbered",
        }
    }

    fn severity(self) -> Severity {
        match self {
            Self::Connected | Self::Resubscribing => Severity::Info,
            Self::Silent | Self::Disconnected | Self::Renumbered => Severity::Warning,
            Self::Refused => Severity::Error,
        }
    }
}

/// A feed, by the names that its own events have.
#[derive(Clone, Copy, Debug)]
pub struct FeedName {
    /// The first part of the subject, and the source of all events.
    pub exchange: &'static str,
    /// Which of the exchange's feeds.
    pub feed: &'static str,
}

impl FeedName {
    /// `coinbase:feed`.
    pub fn subject(self) -> String {
        format!("{}:feed", self.exchange)
    }

    /// A change of the connection's state, dated by our clock.
    pub fn state(self, state: FeedState, detail: &str, at: EventTime) -> Event {
        let mut event = self.event(EventType::SystemEvent, at, at);
        let word = state.as_str();
        event.event_id = format!("{}:feed:{}:{word}:{}", self.exchange, self.feed, at.as_us());
        event.name = Some(format!("feed_{word}"));
        event.severity = state.severity();
        event.title = Some(format!("{} {}: {word}", self.exchange, self.feed));
        tag(&mut event, "state", word);
        if !detail.is_empty() {
            tag(&mut event, "detail", detail);
        }
        event
    }

    /// Frames of a connection that never came.
    pub fn gap(self, hole: &Hole, connected_at: EventTime, received_at: EventTime) -> Event {
        let mut event = self.event(EventType::Gap, hole.after, received_at);
        event.event_id = format!(
            "{}:feed:{}:gap:{}:{}-{}",
            self.exchange,
            self.feed,
            connected_at.as_us(),
            hole.first,
            hole.last
        );
        name_hole(&mut event, hole, "sequence_num");
        event.title = Some(format!(
            "{} {}: frames {} to {} are missing",
            self.exchange, self.feed, hole.first, hole.last
        ));
        event
    }

    fn event(self, event_type: EventType, occurred_at: EventTime, received_at: EventTime) -> Event {
        let mut event = blank(self.exchange, event_type, occurred_at, received_at);
        event.subject = self.subject();
        tag(&mut event, "feed", self.feed);
        event
    }
}

fn name_hole(event: &mut Event, hole: &Hole, series: &str) {
    event.severity = Severity::Warning;
    tag(event, "series", series);
    metric(event, "first", Decimal::from_int(hole.first));
    metric(event, "last", Decimal::from_int(hole.last));
    let missing_count = (hole.last - hole.first).saturating_add(1);
    metric(event, "missing_count", Decimal::from_int(missing_count));
}

fn blank(
    exchange: &str,
    event_type: EventType,
    occurred_at: EventTime,
    received_at: EventTime,
) -> Event {
    Event {
        event_id: String::new(),
        event_type,
        name: None,
        occurred_at,
        received_at,
        severity: Severity::Info,
        source: Source {
            service: exchange.to_owned(),
            ..Source::default()
        },
        subject: String::new(),
        sequence: None,
        title: None,
        trace_id: None,
        user_id: None,
        tags: BTreeMap::from([("exchange".to_owned(), exchange.to_owned())]),
        metrics: BTreeMap::new(),
        payload: None,
    }
}

fn tag(event: &mut Event, name: &str, value: &str) {
    event.tags.insert(name.to_owned(), value.to_owned());
}

fn metric(event: &mut Event, name: &str, value: Decimal) {
    event.metrics.insert(name.to_owned(), value);
}

/// A digest of a quote's numbers; the hash and its key never change, since ids hang on them.
fn digest(event: &Event) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write_i64(event.sequence.unwrap_or(-1));
    for (name, value) in &event.metrics {
        hasher.write(name.as_bytes());
        hasher.write_i128(value.units());
    }
    hasher.finish()
}
