//! One market's stream: its trades in order, its holes, and the quotes that wait for its trades.

use schemas::control::Channel;
use schemas::event::Event;
use schemas::time::EventTime;

use crate::exchange::{Quote, Trade};
use crate::mapping::MarketName;
use crate::series::{Arrival, Grace, Hole, Seen, Series};

/// How long a hole in trade ids is only suspected: 1 s by the exchange's clock or 5 s by ours once
/// a later trade has come, since frames are seldom further out of order.
///
/// A quiet market is given a minute, by either clock. There a heartbeat alone says that a trade was
/// made, and nothing has come behind it: its frame may be on its way still, or the connection is
/// about to end and the next one's snapshot brings it. The gap is named a minute later at worst;
/// a gap that was named too early would be wrong for good.
const TRADES_GRACE: Grace = Grace {
    at_ms: 1_000,
    received_ms: 5_000,
    at_end_ms: 60_000,
};

/// How long a snapshot of trades is waited for, by our clock: the exchange's may have run far ahead
/// in frames that are still on their way.
const SNAPSHOT_WAIT_MS: i64 = 10_000;

/// How long quotes wait for the first trades after a subscription, on either clock.
const HOLD_MS: i64 = 5_000;

/// How far ahead of our clock an exchange's may be.
const FUTURE_MAX_MS: i64 = 5 * 60_000;

/// Quotes that wait at most; beyond it they wait no longer.
const HELD_MAX: usize = 1_000;

/// How far below all trades that came another may lie and still be one that was overtaken, though
/// it is dated later than all of them: the trades of a few frames at most.
pub(crate) const OVERTAKEN_MAX: i64 = 100;

/// What became of a market's trades.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TradeCounts {
    /// Published for the first time.
    pub new: u64,
    /// Of these, after a gap had named them.
    pub late: u64,
    /// Sent again by the exchange, and not published again.
    pub repeated: u64,
}

/// What an earlier process had published of a market.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Published {
    /// Its trades, when there are any.
    pub trades: Option<PublishedTrades>,
    /// The identity of the latest quote of all who want quotes, when they have the same.
    pub last_quote_id: Option<String>,
}

/// Trades that were published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublishedTrades {
    /// Their ids.
    pub series: Series,
    /// The latest of their times.
    pub last_at: EventTime,
}

/// A market's state. It outlives connections: what an exchange sends again is recognised, and what
/// it never sent is a hole.
#[derive(Debug)]
pub struct Market {
    name: MarketName,
    series: Option<Series>,
    /// The latest time of any frame, the latest of any trade, and the first as it stood when the
    /// connection began: the last frame before a hole over a reconnect.
    last_at: EventTime,
    last_trade_at: EventTime,
    resumed_at: EventTime,
    awaits_trades: bool,
    /// When the subscription began whose snapshot of trades has not come: until it has, no hole is
    /// declared, because it may bring what is missing.
    awaits_snapshot: Option<EventTime>,
    /// The identity of the latest quote. A subscription to the Exchange feed begins with it, so it
    /// comes again when nothing happened since; the Advanced feed dates it anew.
    last_quote_id: String,
    held: Vec<Event>,
    held_since: Option<Seen>,
    /// What became of its trades since the start.
    pub counts: TradeCounts,
}

impl Market {
    /// A market that was just subscribed to; with `awaits_trades` its quotes wait for its trades.
    pub fn new(name: MarketName, awaits_trades: bool) -> Self {
        Self {
            name,
            series: None,
            last_at: EventTime::MIN,
            last_trade_at: EventTime::MIN,
            resumed_at: EventTime::MIN,
            awaits_trades,
            awaits_snapshot: None,
            last_quote_id: String::new(),
            held: vec![],
            held_since: None,
            counts: TradeCounts::default(),
        }
    }

    /// Its names.
    pub fn name(&self) -> &MarketName {
        &self.name
    }

    /// Continues where an earlier process stopped.
    pub fn resume(&mut self, published: Published) {
        if let Some(trades) = published.trades {
            self.series = Some(trades.series);
            self.last_trade_at = trades.last_at;
            self.last_at = trades.last_at;
            self.resumed_at = trades.last_at;
        }
        if let Some(quote_id) = published.last_quote_id {
            self.last_quote_id = quote_id;
        }
    }

    /// Says the latest quote again when it comes again.
    pub fn forget_quote(&mut self) {
        self.last_quote_id.clear();
    }

    /// True while something waits for time to pass.
    pub fn is_unsettled(&self) -> bool {
        !self.held.is_empty() || self.series.as_ref().is_some_and(Series::is_unsettled)
    }

    /// A subscription begins: its trades come first.
    pub fn subscribed(&mut self, awaits_trades: bool, received_at: EventTime) {
        self.awaits_trades = awaits_trades;
        self.awaits_snapshot = awaits_trades.then_some(received_at);
        self.resumed_at = self.last_at;
    }

    /// Its trades were subscribed to again, for the sake of the snapshot; quotes go on.
    pub fn subscribed_again(&mut self, received_at: EventTime) {
        self.awaits_snapshot = Some(received_at);
    }

    /// Notes that a frame of this market was seen, whatever it said.
    pub fn touch(&mut self, at: EventTime, received_at: EventTime) {
        if is_plausible(at, received_at) {
            self.last_at = self.last_at.max(at);
        }
    }

    /// Takes the trades of one frame, in any order, and gives out those that are new, oldest first;
    /// `is_snapshot` says that they were made before the subscription.
    ///
    /// Returns true when the exchange began to number its trades anew.
    pub fn trades(
        &mut self,
        trades: &mut [&Trade<'_>],
        is_snapshot: bool,
        seen: Seen,
        out: &mut Vec<(Channel, Event)>,
    ) -> bool {
        trades.sort_unstable_by_key(|trade| (trade.occurred_at, trade.trade_id));
        let is_first = std::mem::take(&mut self.awaits_trades);
        let after = if is_first {
            self.resumed_at
        } else {
            self.last_at
        };
        let mut new = vec![];
        let mut renumbered = false;
        for trade in trades {
            renumbered |= self.begin_anew(trade, seen);
            match self.arrival(trade, seen, after) {
                Arrival::Known => self.counts.repeated += 1,
                // One that is too far back is an old trade. Nothing remembers that it came, so it
                // may come out again, as the same event.
                Arrival::New | Arrival::TooFarBack => {
                    new.push(self.name.trade(trade, seen.received_at));
                }
                Arrival::Filled { declared } => {
                    self.counts.late += u64::from(declared);
                    new.push(self.name.trade(trade, seen.received_at));
                }
            }
            if is_plausible(trade.occurred_at, seen.received_at) {
                self.last_trade_at = self.last_trade_at.max(trade.occurred_at);
                self.last_at = self.last_at.max(trade.occurred_at);
            }
        }
        self.counts.new += new.len() as u64;
        if is_snapshot && self.awaits_snapshot.take().is_some() {
            // No later one reaches further back, so nothing can fill a hole that this one left.
            let holes = self.series.as_mut().map(Series::declare_all);
            self.publish_gaps(holes.unwrap_or_default(), seen.received_at, out);
        }
        out.extend(new.into_iter().map(|event| (Channel::Trades, event)));
        if is_first {
            self.release(out);
        }
        renumbered
    }

    fn arrival(&mut self, trade: &Trade<'_>, seen: Seen, after: EventTime) -> Arrival {
        match &mut self.series {
            Some(series) => {
                // A hole before the first frame we know of can be dated by nothing better.
                let after = match after {
                    EventTime::MIN => trade.occurred_at,
                    after => after,
                };
                series.observe(trade.trade_id, seen, after)
            }
            None => {
                self.series = Some(Series::starting(trade.trade_id));
                Arrival::New
            }
        }
    }

    /// Ids grow with time. A trade that is later than all others and has an id that one of them
    /// has, or one far below all of theirs, shows that the exchange numbers anew.
    fn begin_anew(&mut self, trade: &Trade<'_>, seen: Seen) -> bool {
        let is_of_another_numbering = |series: &Series| {
            let below = series.first().saturating_sub(trade.trade_id);
            series.knows(trade.trade_id) || below > OVERTAKEN_MAX
        };
        let is_later = trade.occurred_at > self.last_trade_at;
        let anew = is_later
            && is_plausible(trade.occurred_at, seen.received_at)
            && self.series.as_ref().is_some_and(is_of_another_numbering);
        if anew {
            self.series = None;
        }
        anew
    }

    /// Takes the exchange's word of its latest trade.
    pub fn expect_up_to(&mut self, trade_id: i64, seen: Seen) {
        let after = self.last_at;
        // Before the first trades of a subscription it says nothing about what will come.
        if !self.awaits_trades
            && let Some(series) = &mut self.series
        {
            series.expect_up_to(trade_id, seen, after);
        }
    }

    /// Takes a quote: out at once, or held until the subscription's first trades.
    ///
    /// Returns false for the one before it again, time and numbers alike, which is not published
    /// again.
    pub fn quote(
        &mut self,
        quote: &Quote<'_>,
        occurred_at: EventTime,
        seen: Seen,
        out: &mut Vec<(Channel, Event)>,
    ) -> bool {
        let event = self.name.quote(quote, occurred_at, seen.received_at);
        self.touch(occurred_at, seen.received_at);
        if event.event_id == self.last_quote_id {
            return false;
        }
        self.last_quote_id.clone_from(&event.event_id);
        if !self.awaits_trades {
            out.push((Channel::Quotes, event));
            return true;
        }
        self.held.push(event);
        self.held_since.get_or_insert(seen);
        if self.held.len() >= HELD_MAX {
            self.release(out);
        }
        true
    }

    /// Gives out what has waited long enough.
    ///
    /// With `can_ask`, a snapshot may bring what is missing: then nothing is declared, and the
    /// answer is true when one should be asked for.
    pub fn settle(&mut self, can_ask: bool, now: Seen, out: &mut Vec<(Channel, Event)>) -> bool {
        let is_due = |series: &Series| series.is_due(now, TRADES_GRACE);
        let is_due = self.series.as_ref().is_some_and(is_due);
        let is_awaited = |since: EventTime| now.received_at < since.plus_ms(SNAPSHOT_WAIT_MS);
        let should_ask = match self.awaits_snapshot {
            Some(since) if is_awaited(since) => false,
            None if can_ask => is_due,
            _ => {
                self.awaits_snapshot = None;
                self.declare(now, out);
                false
            }
        };
        if let Some(since) = &mut self.held_since {
            since.at = since.at.or(now.at);
            if has_passed(*since, now) {
                self.release(out);
            }
        }
        should_ask
    }

    fn declare(&mut self, now: Seen, out: &mut Vec<(Channel, Event)>) {
        let series = self.series.as_mut();
        let holes = series.map(|series| series.declare(now, TRADES_GRACE));
        self.publish_gaps(holes.unwrap_or_default(), now.received_at, out);
    }

    /// Gives out the quotes that still wait: the connection ended.
    pub fn release(&mut self, out: &mut Vec<(Channel, Event)>) {
        self.held_since = None;
        let held = self.held.drain(..);
        out.extend(held.map(|event| (Channel::Quotes, event)));
    }

    /// Gives out all that waits, because nothing will come any more.
    pub fn finish(&mut self, received_at: EventTime, out: &mut Vec<(Channel, Event)>) {
        let holes = self.series.as_mut().map(Series::declare_all);
        self.publish_gaps(holes.unwrap_or_default(), received_at, out);
        self.release(out);
    }

    fn publish_gaps(
        &self,
        holes: Vec<Hole>,
        received_at: EventTime,
        out: &mut Vec<(Channel, Event)>,
    ) {
        for hole in holes {
            out.push((Channel::Trades, self.name.gap(&hole, received_at)));
        }
    }
}

/// A time that may move a clock; one far in the future is a mistake, and would stand there for
/// good.
pub(crate) fn is_plausible(at: EventTime, received_at: EventTime) -> bool {
    at <= received_at.plus_ms(FUTURE_MAX_MS)
}

fn has_passed(since: Seen, now: Seen) -> bool {
    let by_exchange = since.at.zip(now.at);
    by_exchange.is_some_and(|(since, now)| now >= since.plus_ms(HOLD_MS))
        || now.received_at >= since.received_at.plus_ms(HOLD_MS)
}
