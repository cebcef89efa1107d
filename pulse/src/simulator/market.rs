//! One market: a book, the trades that take from it, and the day's figures that follow from both.
//!
//! Pure and seeded: the same seed gives the same market on any machine. Everything is counted in
//! whole ticks and lots, so nothing rounds. What holds at every instant:
//! - the best bid is below the best ask, and neither side is empty;
//! - a trade happens at the best opposite price and takes its size from that level;
//! - the ticker shows the last trade, the top of the book, and the figures of the trades so far.

use std::collections::{BTreeMap, VecDeque};

use connectors::exchange::Side;
use fastrand::Rng;

use super::day::Day;

/// Digits after a price's point.
pub(super) const TICK_PLACES: u32 = 2;
/// Digits after a quantity's point.
pub(super) const LOT_PLACES: u32 = 8;

/// Levels on each side: what a market begins with, and what it never passes.
const LEVELS_START: i64 = 100;
const LEVELS_MAX: usize = 400;
const LEVELS_MIN: usize = 20;

/// Trades that a new subscriber of the Advanced feed is shown.
const RECENT_COUNT: usize = 100;

/// Below this nobody sells: prices stay above zero.
const FLOOR_TICKS: i64 = 500;

/// A trade that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Made {
    pub(super) trade_id: i64,
    pub(super) sequence: i64,
    /// Microseconds since 1970.
    pub(super) at_us: i64,
    pub(super) price: i64,
    pub(super) size: i64,
    pub(super) taker: Side,
    /// Stands for the ids of both orders.
    pub(super) orders: [u128; 2],
}

/// What now stands at a price; 0 for nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Change {
    pub(super) bid: bool,
    pub(super) price: i64,
    pub(super) quantity: i64,
}

/// What a ticker says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tick {
    pub(super) last: Made,
    pub(super) bid: (i64, i64),
    pub(super) ask: (i64, i64),
    pub(super) open_24h: i64,
    pub(super) low_24h: i64,
    pub(super) high_24h: i64,
    pub(super) volume_24h: i64,
    pub(super) volume_30d: i64,
    pub(super) low_52w: i64,
    pub(super) high_52w: i64,
}

/// One thing that happened in a market.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// Which market, by its place.
    pub(super) market: usize,
    /// Microseconds since 1970.
    pub(super) at_us: i64,
    /// Trades, in their order; none for a change of the book alone.
    pub(super) made: Vec<Made>,
    /// What changed in the book.
    pub(super) changes: Vec<Change>,
    /// The ticker after it.
    pub(super) tick: Tick,
    /// True when the top of the book is another than before.
    pub(super) top_changed: bool,
    /// True for the trade that the market closes with.
    pub(super) is_last: bool,
}

/// A market as a new subscriber is shown it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Snapshot {
    /// Which market, by its place.
    pub(super) market: usize,
    /// Best first.
    pub(super) bids: Vec<(i64, i64)>,
    /// Best first.
    pub(super) asks: Vec<(i64, i64)>,
    /// Oldest first.
    pub(super) recent: Vec<Made>,
    /// The ticker now.
    pub(super) tick: Tick,
}

/// How often things happen, in steps per million seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) trades: u64,
    pub(super) changes: u64,
}

impl Pace {
    pub(super) fn per_second(trades: f64, changes: f64) -> Self {
        let rate = |per_second: f64| (per_second.clamp(0.0, 1e6) * 1e6) as u64;
        Self {
            trades: rate(trades),
            changes: rate(changes),
        }
    }
}

/// A market.
pub(super) struct Market {
    place: usize,
    random: Rng,
    pace: Pace,
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    recent: VecDeque<Made>,
    last: Made,
    next_trade_id: i64,
    sequence: i64,
    day: Day,
    /// When its next step is due, in microseconds since 1970.
    pub(super) next_at_us: i64,
}

impl Market {
    /// A market that opens with one trade at `start_us`.
    pub(super) fn new(
        (place, name): (usize, &str),
        seed: u64,
        pace: Pace,
        start_us: i64,
    ) -> (Self, Made) {
        let mut random = Rng::with_seed(seed ^ fold(name));
        let price = first_price(name, &mut random);
        let day = Day::with_history(price, start_us, &mut random);
        // Ids go on where time does, so that a market begun later has higher ones.
        let first_id = (start_us / 1_000_000 - 1_500_000_000).max(1) * 100;
        let opening = Made {
            trade_id: first_id,
            sequence: first_id * 10,
            at_us: start_us,
            price,
            size: lots(&mut random),
            taker: Side::Buy,
            orders: [random.u128(..), random.u128(..)],
        };
        let mut market = Self {
            place,
            random,
            pace,
            bids: BTreeMap::new(),
            asks: BTreeMap::new(),
            recent: VecDeque::from([opening.clone()]),
            last: opening.clone(),
            next_trade_id: first_id + 1,
            sequence: first_id * 10,
            day,
            next_at_us: start_us,
        };
        market.day.trade(&opening);
        for distance in 1..=LEVELS_START {
            let (bid, ask) = (lots(&mut market.random), lots(&mut market.random));
            market.bids.insert(price - distance, bid);
            market.asks.insert(price + distance, ask);
        }
        market.schedule(start_us);
        (market, opening)
    }

    /// The latest trade's id.
    pub(super) fn last_trade_id(&self) -> i64 {
        self.last.trade_id
    }

    /// The latest sequence.
    pub(super) fn sequence(&self) -> i64 {
        self.sequence
    }

    /// Does what is due, and schedules what comes next.
    pub(super) fn step(&mut self) -> Step {
        let at_us = self.next_at_us;
        let all = (self.pace.trades + self.pace.changes).max(1);
        let step = match self.random.u64(..all) < self.pace.trades {
            true => self.trade(at_us),
            false => self.change(at_us),
        };
        self.schedule(at_us);
        step
    }

    /// One more trade, at `at_us`: with it the market closes.
    pub(super) fn close(&mut self, at_us: i64) -> Step {
        self.next_at_us = i64::MAX;
        let mut step = self.trade(at_us);
        step.is_last = true;
        step
    }

    /// What a new subscriber is shown.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            market: self.place,
            bids: self.bids.iter().rev().map(|(p, q)| (*p, *q)).collect(),
            asks: self.asks.iter().map(|(p, q)| (*p, *q)).collect(),
            recent: self.recent.iter().cloned().collect(),
            tick: self.tick(),
        }
    }

    fn schedule(&mut self, at_us: i64) {
        let all = self.pace.trades + self.pace.changes;
        if all == 0 {
            self.next_at_us = i64::MAX;
            return;
        }
        let mean_us = (1_000_000_000_000 / all).max(1);
        let wait = self.random.u64(1..=2 * mean_us);
        self.next_at_us = at_us.saturating_add_unsigned(wait);
    }

    /// A taker takes from the best levels of the other side, at most three of them.
    fn trade(&mut self, at_us: i64) -> Step {
        let top = self.top();
        let sells = self.random.bool() && top.0.0 > FLOOR_TICKS;
        let taker = if sells { Side::Sell } else { Side::Buy };
        let mut left = lots(&mut self.random);
        let mut made = vec![];
        let mut changes = vec![];
        while left > 0 && made.len() < 3 {
            let (price, standing) = if sells { self.top().0 } else { self.top().1 };
            let size = left.min(standing);
            left -= size;
            changes.push(self.set(sells, price, standing - size));
            made.push(self.make(at_us, price, size, taker));
        }
        self.refill(&mut changes);
        self.finish(at_us, made, changes, top)
    }

    fn make(&mut self, at_us: i64, price: i64, size: i64, taker: Side) -> Made {
        self.sequence += 1 + i64::from(self.random.u8(..4));
        let made = Made {
            trade_id: self.next_trade_id,
            sequence: self.sequence,
            at_us,
            price,
            size,
            taker,
            orders: [self.random.u128(..), self.random.u128(..)],
        };
        self.next_trade_id += 1;
        self.day.trade(&made);
        self.last = made.clone();
        self.recent.push_back(made.clone());
        if self.recent.len() > RECENT_COUNT {
            self.recent.pop_front();
        }
        made
    }

    /// Somebody places, changes or takes back an order.
    fn change(&mut self, at_us: i64) -> Step {
        let top = self.top();
        self.day.advance(at_us);
        self.sequence += 1;
        let bid = self.random.bool();
        let spread = top.1.0 - top.0.0;
        let mut changes = vec![];
        let quantity = lots(&mut self.random);
        let inside = 1 + self.random.i64(0..spread.clamp(1, 5));
        match self.random.u8(..8) {
            // Closer to the other side, where there is room: so the price follows the trades.
            0..=2 if spread > inside => {
                let price = if bid {
                    top.0.0 + inside
                } else {
                    top.1.0 - inside
                };
                changes.push(self.set(bid, price, quantity));
            }
            3 if self.side(bid).len() > LEVELS_MIN => {
                let price = self.some_price(bid);
                changes.push(self.set(bid, price, 0));
            }
            _ => {
                let price = self.some_price(bid);
                changes.push(self.set(bid, price, quantity));
            }
        }
        self.refill(&mut changes);
        self.finish(at_us, vec![], changes, top)
    }

    /// A price among the best twenty levels of a side.
    fn some_price(&mut self, bid: bool) -> i64 {
        let nth = self.random.usize(..20);
        let prices: &mut dyn Iterator<Item = &i64> = match bid {
            true => &mut self.bids.keys().rev(),
            false => &mut self.asks.keys(),
        };
        *prices.take(nth + 1).last().expect("no side is ever empty")
    }

    fn side(&mut self, bid: bool) -> &mut BTreeMap<i64, i64> {
        if bid { &mut self.bids } else { &mut self.asks }
    }

    fn set(&mut self, bid: bool, price: i64, quantity: i64) -> Change {
        match quantity {
            0 => self.side(bid).remove(&price),
            _ => self.side(bid).insert(price, quantity),
        };
        Change {
            bid,
            price,
            quantity,
        }
    }

    /// Keeps each side's number of levels within its bounds, at its far end.
    fn refill(&mut self, changes: &mut Vec<Change>) {
        for bid in [true, false] {
            while self.side(bid).len() < LEVELS_MIN {
                let far = self.far_price(bid);
                let price = if bid { far - 1 } else { far + 1 };
                let quantity = lots(&mut self.random);
                changes.push(self.set(bid, price, quantity));
            }
            if self.side(bid).len() > LEVELS_MAX {
                let far = self.far_price(bid);
                changes.push(self.set(bid, far, 0));
            }
        }
    }

    fn far_price(&self, bid: bool) -> i64 {
        let far = match bid {
            true => self.bids.first_key_value(),
            false => self.asks.last_key_value(),
        };
        far.map_or(self.last.price, |(price, _)| *price)
    }

    /// The best bid and the best ask, each with its quantity.
    fn top(&self) -> ((i64, i64), (i64, i64)) {
        let best = "no side is ever empty";
        let bid = self.bids.last_key_value().expect(best);
        let ask = self.asks.first_key_value().expect(best);
        ((*bid.0, *bid.1), (*ask.0, *ask.1))
    }

    fn finish(
        &mut self,
        at_us: i64,
        made: Vec<Made>,
        changes: Vec<Change>,
        top: ((i64, i64), (i64, i64)),
    ) -> Step {
        Step {
            market: self.place,
            at_us,
            made,
            changes,
            tick: self.tick(),
            top_changed: self.top() != top,
            is_last: false,
        }
    }

    fn tick(&self) -> Tick {
        let (bid, ask) = self.top();
        let day = self.day.figures();
        Tick {
            last: self.last.clone(),
            bid,
            ask,
            open_24h: day.open,
            low_24h: day.low,
            high_24h: day.high,
            volume_24h: day.volume,
            volume_30d: self.day.month_volume(),
            low_52w: self.day.year().0,
            high_52w: self.day.year().1,
        }
    }
}

/// A quantity: many small ones, few large ones.
pub(super) fn lots(random: &mut Rng) -> i64 {
    let scale = 10_i64.pow(u32::from(random.u8(2..8)));
    random.i64(1..=9 * scale)
}

/// A plausible price for well-known markets, any for the others.
fn first_price(name: &str, random: &mut Rng) -> i64 {
    let around = match name.split('-').next().unwrap_or_default() {
        "BTC" => 6_500_000,
        "ETH" => 190_000,
        "SOL" => 15_000,
        _ => random.i64(1_000..100_000),
    };
    (around + random.i64(-around / 50..=around / 50)).max(2 * FLOOR_TICKS)
}

/// The bytes of a name as a number, so that each market has a course of its own.
fn fold(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
