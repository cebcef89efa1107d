//! One market as far as it has been seen.

use schemas::decimal::Decimal;
use schemas::event::{EventType, EventView};
use schemas::time::EventTime;

use super::number;

/// A market's numbers, each the latest by the exchange's time.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Market {
    /// The last price.
    pub price: Option<Decimal>,
    /// Where the last change of the price went.
    pub direction: Direction,
    /// Digits behind the point that its prices have.
    pub places: usize,
    /// The day's figures.
    pub day: Day,
    /// The best price that somebody pays.
    pub best_bid: Option<Decimal>,
    /// The best price that somebody asks.
    pub best_ask: Option<Decimal>,
    /// When the log last took something of it, by the broker's clock, in ms.
    pub seen_at_ms: i64,
    priced_at: Option<EventTime>,
    quoted_at: Option<EventTime>,
}

/// Where a price went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// It is the first.
    #[default]
    Unknown,
    /// Up.
    Up,
    /// Down.
    Down,
}

/// The last 24 hours.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Day {
    /// The price 24 hours ago.
    pub open: Option<Decimal>,
    /// The lowest price.
    pub low: Option<Decimal>,
    /// The highest price.
    pub high: Option<Decimal>,
    /// How much was traded.
    pub volume: Option<Decimal>,
    /// The change in percent, where the exchange says it itself.
    pub change_percent: Option<Decimal>,
}

impl Market {
    /// Takes a trade or a quote in. What is older than what it holds changes nothing but when the
    /// market was seen.
    pub fn observe(&mut self, event_type: EventType, event: &EventView<'_>, seen_at_ms: i64) {
        self.seen_at_ms = self.seen_at_ms.max(seen_at_ms);
        if event_type == EventType::Quote && self.quoted_at.is_none_or(|at| at <= event.occurred_at)
        {
            self.quoted_at = Some(event.occurred_at);
            self.quote(event);
        }
        if let Some(price) = event.metrics.get("price") {
            self.price(price, event.occurred_at);
        }
    }

    fn quote(&mut self, event: &EventView<'_>) {
        let metric = |name| event.metrics.get(name);
        self.best_bid = metric("best_bid");
        self.best_ask = metric("best_ask");
        for price in [self.best_bid, self.best_ask].into_iter().flatten() {
            self.places = self.places.max(number::places(price));
        }
        let day = &mut self.day;
        let update = |held: &mut Option<Decimal>, name| *held = metric(name).or(*held);
        update(&mut day.open, "open_24h");
        update(&mut day.low, "low_24h");
        update(&mut day.high, "high_24h");
        update(&mut day.volume, "volume_24h");
        update(&mut day.change_percent, "price_change_24h_percent");
    }

    fn price(&mut self, price: Decimal, occurred_at: EventTime) {
        self.places = self.places.max(number::places(price));
        // A price of the day, whether it is still the last one or not.
        self.day.low = self.day.low.map(|low| low.min(price));
        self.day.high = self.day.high.map(|high| high.max(price));
        if self.priced_at.is_some_and(|at| at > occurred_at) {
            return;
        }
        self.priced_at = Some(occurred_at);
        match self.price {
            Some(before) if price > before => self.direction = Direction::Up,
            Some(before) if price < before => self.direction = Direction::Down,
            _ => {}
        }
        self.price = Some(price);
    }

    /// Takes what the candles say of the day, where its quotes say nothing.
    pub fn recall(&mut self, day: &Day) {
        let held = &mut self.day;
        held.open = held.open.or(day.open);
        held.low = held.low.or(day.low);
        held.high = held.high.or(day.high);
        held.volume = held.volume.or(day.volume);
    }

    /// True while its quotes say nothing of the day.
    pub fn lacks_day(&self) -> bool {
        self.day.high.is_none() || self.day.low.is_none()
    }

    /// When its last price or quote was made, by the exchange's clock.
    pub fn occurred_at(&self) -> Option<EventTime> {
        self.priced_at.max(self.quoted_at)
    }

    /// The change over the day, in percent.
    pub fn change(&self) -> Option<f64> {
        let by_open = || {
            let (price, open) = (self.price?.to_f64(), self.day.open?.to_f64());
            (open != 0.0).then(|| (price - open) / open * 100.0)
        };
        by_open().or_else(|| self.day.change_percent.map(Decimal::to_f64))
    }

    /// What lies between the best bid and the best ask.
    pub fn spread(&self) -> Option<Decimal> {
        self.best_ask?.checked_sub(self.best_bid?)
    }

    /// Where the price stands in the day's range, from 0 to 1.
    pub fn position(&self) -> Option<f64> {
        number::position(self.price?, self.day.low?, self.day.high?)
    }
}
