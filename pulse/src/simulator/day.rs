//! The figures of the last 24 hours, kept in slices of five minutes.

use std::collections::VecDeque;

use fastrand::Rng;

use super::market::{Made, lots};

const SLICE_US: i64 = 5 * 60 * 1_000_000;
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// Open, low, high and volume of some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Figures {
    pub(super) open: i64,
    pub(super) low: i64,
    pub(super) high: i64,
    pub(super) volume: i64,
}

impl Figures {
    fn of(price: i64, volume: i64) -> Self {
        Self {
            open: price,
            low: price,
            high: price,
            volume,
        }
    }

    fn then(self, later: Self) -> Self {
        Self {
            open: self.open,
            low: self.low.min(later.low),
            high: self.high.max(later.high),
            volume: self.volume + later.volume,
        }
    }
}

/// A market's last day.
pub(super) struct Day {
    /// Slices that are over, by their start, with the sum of them all.
    slices: VecDeque<(i64, Figures)>,
    older: Option<Figures>,
    /// The slice that is not over.
    current: (i64, Figures),
    last: i64,
    month_volume: i64,
    year: (i64, i64),
}

impl Day {
    /// A day in which the price came to `price` by `now_us`.
    pub(super) fn with_history(price: i64, now_us: i64, random: &mut Rng) -> Self {
        let start = slice(now_us);
        let mut slices = VecDeque::new();
        for back in (1..DAY_US / SLICE_US).rev() {
            let away = random.i64(-price / 100..=price / 100);
            let volume = lots(random) * 10;
            slices.push_back((start - back * SLICE_US, Figures::of(price + away, volume)));
        }
        let mut day = Self {
            slices,
            older: None,
            current: (start, Figures::of(price, 0)),
            last: price,
            month_volume: 0,
            year: (price / 2, price * 2),
        };
        day.add_up();
        day.month_volume = day.figures().volume * 30;
        day
    }

    /// Takes a trade.
    pub(super) fn trade(&mut self, made: &Made) {
        self.advance(made.at_us);
        let figures = &mut self.current.1;
        *figures = figures.then(Figures::of(made.price, made.size));
        self.last = made.price;
        self.month_volume += made.size;
        self.year = (self.year.0.min(made.price), self.year.1.max(made.price));
    }

    /// Lets go of what is older than a day.
    pub(super) fn advance(&mut self, now_us: i64) {
        let start = slice(now_us);
        if start <= self.current.0 {
            return;
        }
        self.slices.push_back(self.current);
        self.current = (start, Figures::of(self.last, 0));
        while self
            .slices
            .front()
            .is_some_and(|(at, _)| *at <= start - DAY_US)
        {
            self.slices.pop_front();
        }
        self.add_up();
    }

    /// The last 24 hours.
    pub(super) fn figures(&self) -> Figures {
        match self.older {
            Some(older) => older.then(self.current.1),
            None => self.current.1,
        }
    }

    /// The volume of the last 30 days, of which only the traded part is remembered.
    pub(super) fn month_volume(&self) -> i64 {
        self.month_volume
    }

    /// The lowest and the highest price of the year.
    pub(super) fn year(&self) -> (i64, i64) {
        self.year
    }

    fn add_up(&mut self) {
        let figures = self.slices.iter().map(|(_, figures)| *figures);
        self.older = figures.reduce(Figures::then);
    }
}

fn slice(at_us: i64) -> i64 {
    at_us - at_us.rem_euclid(SLICE_US)
}
