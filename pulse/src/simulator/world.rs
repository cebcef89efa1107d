//! All markets together: what happens next, in the order of the market's time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::market::{Made, Market, Pace, Snapshot, Step};
use super::words::Beat;

const SECOND_US: i64 = 1_000_000;

/// What a world is made of.
#[derive(Clone, Debug)]
pub(super) struct WorldPlan {
    pub(super) seed: u64,
    pub(super) products: Vec<String>,
    pub(super) pace: Pace,
    pub(super) start_us: i64,
    /// When the markets close, if they do.
    pub(super) end_us: Option<i64>,
}

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Happening {
    /// In one market.
    Step(Step),
    /// A second of the market's time is over.
    Beat(Beat),
    /// Every market has closed. Beats go on.
    End,
}

/// The markets.
pub(super) struct World {
    markets: Vec<Market>,
    /// When each market's next step is due, earliest first.
    due: BinaryHeap<Reverse<(i64, usize)>>,
    now_us: i64,
    next_beat_us: i64,
    end_us: i64,
    /// How many markets have closed.
    closed_count: usize,
    has_ended: bool,
}

impl World {
    /// The markets at their start, and the trades that they opened with.
    pub(super) fn new(plan: &WorldPlan) -> (Self, Vec<(usize, Made)>) {
        let mut markets = vec![];
        let mut openings = vec![];
        for (place, name) in plan.products.iter().enumerate() {
            let (market, opening) = Market::new((place, name), plan.seed, plan.pace, plan.start_us);
            markets.push(market);
            openings.push((place, opening));
        }
        let due = markets.iter().enumerate();
        let world = Self {
            due: due.map(|(at, m)| Reverse((m.next_at_us, at))).collect(),
            markets,
            now_us: plan.start_us,
            next_beat_us: (plan.start_us / SECOND_US + 1) * SECOND_US,
            end_us: plan.end_us.unwrap_or(i64::MAX),
            closed_count: 0,
            has_ended: false,
        };
        (world, openings)
    }

    /// The market's time of what happened last.
    pub(super) fn now_us(&self) -> i64 {
        self.now_us
    }

    /// When the next thing happens.
    pub(super) fn next_at_us(&self) -> i64 {
        if self.has_ended {
            return self.next_beat_us;
        }
        let step_us = self.due.peek().map_or(i64::MAX, |Reverse((at, _))| *at);
        step_us.min(self.next_beat_us).min(self.end_us)
    }

    /// True once what happens next is that the markets close.
    pub(super) fn is_closing(&self) -> bool {
        self.next_at_us() >= self.end_us
    }

    /// Closes the markets with what happens next.
    pub(super) fn close(&mut self) {
        self.end_us = self.end_us.min(self.now_us);
    }

    /// Lets the next thing happen.
    pub(super) fn next(&mut self) -> Happening {
        let at_us = self.next_at_us().max(self.now_us);
        self.now_us = at_us;
        if at_us >= self.end_us && !self.has_ended {
            return self.closing(at_us);
        }
        if at_us >= self.next_beat_us {
            return self.beat(at_us);
        }
        let Some(Reverse((_, place))) = self.due.pop() else {
            return self.beat(at_us);
        };
        let market = &mut self.markets[place];
        let step = market.step();
        self.due.push(Reverse((market.next_at_us, place)));
        Happening::Step(step)
    }

    /// Each market makes a last trade, a second ends, and that was it.
    fn closing(&mut self, at_us: i64) -> Happening {
        let place = self.closed_count;
        self.closed_count += 1;
        if place < self.markets.len() {
            return Happening::Step(self.markets[place].close(at_us));
        }
        if place == self.markets.len() {
            self.next_beat_us = at_us + SECOND_US;
            return self.beat(at_us + SECOND_US);
        }
        self.has_ended = true;
        Happening::End
    }

    fn beat(&mut self, at_us: i64) -> Happening {
        self.next_beat_us += SECOND_US;
        let last = self.markets.iter();
        Happening::Beat(Beat {
            at_us,
            last: last.map(|m| (m.last_trade_id(), m.sequence())).collect(),
        })
    }

    /// What a new subscriber is shown of these markets.
    pub(super) fn snapshots(&self, places: impl IntoIterator<Item = usize>) -> Vec<Snapshot> {
        let places = places.into_iter();
        places.map(|place| self.markets[place].snapshot()).collect()
    }
}
