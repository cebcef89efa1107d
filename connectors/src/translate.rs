//! Frames become outputs: a function of the frame, its arrival and what came before, with no
//! clock, socket or task, so the same frames give the same outputs anywhere.
//!
//! A [`Translator`] belongs to one feed and outlives its connections. It guarantees:
//! - the trades of a frame come out oldest first, by time and then id, each id once;
//! - after a subscription a market's trades come out before its first quote, which waits 5 s for
//!   them at most;
//! - a market's latest quote, with which each subscription begins, comes out once;
//! - a number that never came is named by exactly one gap, once no snapshot can bring it any more;
//!   it may come late, and is then published all the same;
//! - while a connection lasts, a gap is named by a frame that comes 5 s after the trade that shows
//!   it, at the latest; a feed that answers with the latest trades is asked for them then, and the
//!   gap is named within 11 s more;
//! - in a quiet market, where a heartbeat alone tells of the trade, it is named after 60 s; a feed
//!   whose heartbeats tell of none (Advanced Trade) shows the hole with the market's next trade;
//! - over a reconnect, the snapshot of the new connection is awaited for 10 s;
//! - a frame that cannot be read changes nothing but the connection's frame numbers; it may have
//!   been one of depth, so books are asked for again.

use std::collections::{BTreeMap, BTreeSet};

use schemas::book::Book;
use schemas::control::Channel;
use schemas::event::{Event, EventType};
use schemas::time::EventTime;

use crate::again::{self, Again};
use crate::exchange::{Content, Depth, Frame, FrameError, Protocol, Quote, Trade};
use crate::mapping::{FeedName, FeedState, MarketName};
use crate::market::{Market, Published, TradeCounts, is_plausible};
use crate::series::{Grace, Seen, Series};
use crate::subscription::{Audience, Wanted};

/// How long a hole in frame numbers is only suspected.
const FRAMES_GRACE: Grace = Grace {
    at_ms: 1_000,
    received_ms: 5_000,
    at_end_ms: 5_000,
};

/// What is to be published, and for whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// For the `events` topics of an audience.
    Event(Audience, Event),
    /// For the `books` topics of an audience.
    Book(Audience, Book),
}

/// What became of frames, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrameCounts {
    /// All of them.
    pub frames: u64,
    /// Those that could not be read.
    pub unreadable: u64,
    /// Contents that are well formed and that nothing here uses.
    pub skipped: u64,
    /// Contents of markets or channels that are not, or no longer, wanted.
    pub unwanted: u64,
    /// Signs of life.
    pub heartbeats: u64,
    /// Quotes of markets that never traded, which have no time.
    pub undated: u64,
    /// Quotes that are the one before them again, time and numbers alike.
    pub unchanged: u64,
    /// What became of trades.
    pub trades: TradeCounts,
}

/// The state of one feed.
pub struct Translator {
    protocol: &'static dyn Protocol,
    feed: FeedName,
    wanted: Wanted,
    markets: BTreeMap<String, Market>,
    unsettled: BTreeSet<String>,
    again: Again,
    numbers: Option<Series>,
    clock: Option<EventTime>,
    connected_at: EventTime,
    last_received_at: EventTime,
    counts: FrameCounts,
}

impl Translator {
    /// A feed of which nothing is known yet.
    pub fn new(protocol: &'static dyn Protocol, feed: FeedName) -> Self {
        Self {
            protocol,
            feed,
            wanted: Wanted::default(),
            markets: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            again: Again::default(),
            numbers: None,
            clock: None,
            connected_at: EventTime::MIN,
            last_received_at: EventTime::MIN,
            counts: FrameCounts::default(),
        }
    }

    /// The feed's words.
    pub fn protocol(&self) -> &'static dyn Protocol {
        self.protocol
    }

    /// The feed's names.
    pub fn feed(&self) -> FeedName {
        self.feed
    }

    /// What became of frames and trades since the start.
    pub fn counts(&self) -> FrameCounts {
        let mut counts = self.counts;
        for market in self.markets.values() {
            counts.trades.new += market.counts.new;
            counts.trades.late += market.counts.late;
            counts.trades.repeated += market.counts.repeated;
        }
        counts
    }

    /// Counts a frame of which there is no text to translate.
    pub fn unreadable(&mut self) {
        self.counts.frames += 1;
        self.counts.unreadable += 1;
    }

    /// What is wanted from now on: markets that are new begin, others are forgotten. Returns what
    /// was wanted before.
    pub fn want(&mut self, wanted: Wanted, at: EventTime, out: &mut Vec<Output>) -> Wanted {
        let before = std::mem::replace(&mut self.wanted, wanted);
        for (product, mut market) in std::mem::take(&mut self.markets) {
            if self.wanted.all_products().contains(product.as_str()) {
                let awaits = self.wanted.has(Channel::Trades, &product)
                    && !before.has(Channel::Trades, &product);
                if awaits {
                    market.subscribed(true, at);
                }
                self.markets.insert(product, market);
            } else {
                self.counts.trades = add(self.counts.trades, market.counts);
                emit(&mut market, out, |market, events| market.finish(at, events));
            }
        }
        for product in self.wanted.all_products() {
            if !self.markets.contains_key(product) {
                let name = MarketName::new(self.feed.exchange, product);
                let awaits = self.wanted.has(Channel::Trades, product);
                self.markets
                    .insert(product.to_owned(), Market::new(name, awaits));
            }
        }
        before
    }

    /// Continues a market where an earlier process stopped.
    pub fn resume(&mut self, product: &str, published: Published) {
        if let Some(market) = self.markets.get_mut(product) {
            market.resume(published);
            self.unsettled.insert(product.to_owned());
        }
    }

    /// Somebody wants a market's quotes who did not: its latest is said again when it comes again.
    pub fn forget_quote(&mut self, product: &str) {
        if let Some(market) = self.markets.get_mut(product) {
            market.forget_quote();
        }
    }

    /// A connection begins: its frames are numbered anew and its snapshots are awaited.
    pub fn connected(&mut self, at: EventTime) {
        self.connected_at = at;
        self.last_received_at = at;
        self.numbers = None;
        self.clock = None;
        self.again.clear();
        for (product, market) in &mut self.markets {
            market.subscribed(self.wanted.has(Channel::Trades, product), at);
        }
    }

    /// Frames to send on the live connection, because frames were lost on it.
    pub fn requests_again(&mut self, at: EventTime) -> Vec<String> {
        let again = self.again.take(&self.wanted, at);
        for product in again.products(Channel::Trades) {
            if let Some(market) = self.markets.get_mut(product) {
                market.subscribed_again(at);
            }
        }
        again::requests(self.protocol, &self.wanted, &again)
    }

    /// The connection ended: what waited for its frames waits no longer, but for the holes, which
    /// the next one may fill.
    pub fn disconnected(&mut self, at: EventTime, out: &mut Vec<Output>) {
        self.declare_numbers(at, out, Series::declare_all);
        for market in self.markets.values_mut() {
            emit(market, out, |market, events| market.release(events));
        }
    }

    /// No frame will come any more: every hole that is left is a gap.
    pub fn finish(&mut self, at: EventTime, out: &mut Vec<Output>) {
        self.disconnected(at, out);
        for market in self.markets.values_mut() {
            emit(market, out, |market, events| market.finish(at, events));
        }
    }

    /// Takes one frame.
    ///
    /// # Errors
    /// A frame that cannot be read; what was due all the same is in `out`.
    pub fn translate(
        &mut self,
        text: &str,
        received_at: EventTime,
        out: &mut Vec<Output>,
    ) -> Result<(), FrameError> {
        self.counts.frames += 1;
        let result = match self.protocol.read(text) {
            Ok(frame) => {
                self.observe(frame, received_at, out);
                Ok(())
            }
            Err(unreadable) => {
                self.counts.unreadable += 1;
                let seen = self.seen(None, received_at);
                self.count_number(unreadable.number, seen);
                self.lost_depth();
                self.settle(seen, out);
                Err(unreadable.error)
            }
        };
        self.last_received_at = received_at;
        result
    }

    fn observe(&mut self, frame: Frame<'_>, received_at: EventTime, out: &mut Vec<Output>) {
        let seen = self.seen(frame.at, received_at);
        self.count_number(frame.number, seen);
        for content in &frame.content {
            self.content(content, frame.at, seen, out);
        }
        self.settle(seen, out);
    }

    /// Moves the exchange's clock on; it never goes back while a connection lasts.
    fn seen(&mut self, at: Option<EventTime>, received_at: EventTime) -> Seen {
        self.clock = self
            .clock
            .max(at.filter(|at| is_plausible(*at, received_at)));
        Seen {
            at: self.clock,
            received_at,
        }
    }

    fn content(
        &mut self,
        content: &Content<'_>,
        at: Option<EventTime>,
        seen: Seen,
        out: &mut Vec<Output>,
    ) {
        match content {
            Content::Trades { snapshot, trades } => self.trades(trades, *snapshot, seen, out),
            Content::Quote(quote) => self.quote(quote, seen, out),
            Content::Depth(depth) => self.depth(depth, seen, out),
            Content::Heartbeat {
                product,
                last_trade_id,
            } => {
                self.counts.heartbeats += 1;
                if let Some(product) = product {
                    self.heartbeat(product, *last_trade_id, at, seen);
                }
            }
            Content::Confirmed => {}
            Content::Refused { message } => {
                let state = self
                    .feed
                    .state(FeedState::Refused, message, seen.received_at);
                out.push(Output::Event(Audience::Feed, state));
            }
            Content::Skipped => self.counts.skipped += 1,
        }
    }

    fn trades(
        &mut self,
        trades: &[Trade<'_>],
        is_snapshot: bool,
        seen: Seen,
        out: &mut Vec<Output>,
    ) {
        let mut by_product: BTreeMap<&str, Vec<&Trade<'_>>> = BTreeMap::new();
        for trade in trades {
            by_product.entry(&trade.product).or_default().push(trade);
        }
        for (product, mut trades) in by_product {
            let is_wanted = self.wanted.has(Channel::Trades, product);
            let Some(market) = self.markets.get_mut(product).filter(|_| is_wanted) else {
                self.counts.unwanted += 1;
                continue;
            };
            let mut renumbered = false;
            emit(market, out, |market, events| {
                renumbered = market.trades(&mut trades, is_snapshot, seen, events);
            });
            if market.is_unsettled() {
                self.unsettled.insert(product.to_owned());
            }
            if renumbered {
                let at = seen.received_at;
                let state = self.feed.state(FeedState::Renumbered, product, at);
                out.push(Output::Event(Audience::Feed, state));
            }
        }
    }

    fn quote(&mut self, quote: &Quote<'_>, seen: Seen, out: &mut Vec<Output>) {
        let is_wanted = self.wanted.has(Channel::Quotes, &quote.product);
        let market = self.markets.get_mut(&*quote.product);
        let Some(market) = market.filter(|_| is_wanted) else {
            self.counts.unwanted += 1;
            return;
        };
        let Some(occurred_at) = quote.occurred_at else {
            self.counts.undated += 1;
            return;
        };
        let mut is_new = true;
        emit(market, out, |market, events| {
            is_new = market.quote(quote, occurred_at, seen, events);
        });
        self.counts.unchanged += u64::from(!is_new);
        if market.is_unsettled() {
            self.unsettled.insert(quote.product.to_string());
        }
    }

    fn depth(&mut self, depth: &Depth<'_>, seen: Seen, out: &mut Vec<Output>) {
        let is_wanted = self.wanted.has(Channel::Depth, &depth.product);
        let market = self.markets.get_mut(&*depth.product);
        let Some(market) = market.filter(|_| is_wanted) else {
            self.counts.unwanted += 1;
            return;
        };
        if let Some(at) = depth.occurred_at {
            market.touch(at, seen.received_at);
        }
        let product = market.name().product.clone();
        for book in market.name().books(depth, seen.received_at) {
            let audience = Audience::Market {
                channel: Channel::Depth,
                product: product.clone(),
            };
            out.push(Output::Book(audience, book));
        }
    }

    fn heartbeat(
        &mut self,
        product: &str,
        last_trade_id: Option<i64>,
        at: Option<EventTime>,
        seen: Seen,
    ) {
        let Some(market) = self.markets.get_mut(product) else {
            return;
        };
        let is_wanted = self.wanted.has(Channel::Trades, product);
        if let Some(trade_id) = last_trade_id.filter(|_| is_wanted) {
            market.expect_up_to(trade_id, seen);
        }
        if let Some(at) = at {
            market.touch(at, seen.received_at);
        }
        if market.is_unsettled() {
            self.unsettled.insert(product.to_owned());
        }
    }

    fn count_number(&mut self, number: Option<i64>, seen: Seen) {
        let Some(number) = number else { return };
        let after = self.last_received_at;
        match &mut self.numbers {
            Some(numbers) => {
                numbers.observe(number, seen, after);
            }
            None => self.numbers = Some(Series::starting(number)),
        }
    }

    fn settle(&mut self, now: Seen, out: &mut Vec<Output>) {
        self.declare_numbers(now.received_at, out, |numbers| {
            numbers.declare(now, FRAMES_GRACE)
        });
        if self.unsettled.is_empty() {
            return;
        }
        let can_ask = self.protocol.brings_trades_again();
        for product in std::mem::take(&mut self.unsettled) {
            let Some(market) = self.markets.get_mut(&product) else {
                continue;
            };
            emit(market, out, |market, events| {
                if market.settle(can_ask, now, events) {
                    self.again.trades(&product);
                }
                if events
                    .iter()
                    .any(|(_, event)| event.event_type == EventType::Gap)
                {
                    self.again.depth(&product);
                }
            });
            if market.is_unsettled() {
                self.unsettled.insert(product);
            }
        }
    }

    fn declare_numbers(
        &mut self,
        received_at: EventTime,
        out: &mut Vec<Output>,
        declare: impl FnOnce(&mut Series) -> Vec<crate::series::Hole>,
    ) {
        let holes = self.numbers.as_mut().map(declare).unwrap_or_default();
        if !holes.is_empty() {
            self.lost_depth();
        }
        for hole in holes {
            let gap = self.feed.gap(&hole, self.connected_at, received_at);
            out.push(Output::Event(Audience::Feed, gap));
        }
    }

    /// A frame was lost, and it may have been a change of any market's depth.
    fn lost_depth(&mut self) {
        for product in self.wanted.products(Channel::Depth) {
            self.again.depth(product);
        }
    }
}

/// Runs `act` on a market and addresses the events that it gives out.
fn emit(
    market: &mut Market,
    out: &mut Vec<Output>,
    act: impl FnOnce(&mut Market, &mut Vec<(Channel, Event)>),
) {
    let mut events = vec![];
    act(market, &mut events);
    for (channel, event) in events {
        let product = market.name().product.clone();
        out.push(Output::Event(Audience::Market { channel, product }, event));
    }
}

fn add(a: TradeCounts, b: TradeCounts) -> TradeCounts {
    TradeCounts {
        new: a.new + b.new,
        late: a.late + b.late,
        repeated: a.repeated + b.repeated,
    }
}

#[cfg(test)]
mod tests;
