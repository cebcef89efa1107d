//! Which numbers of a consecutive series came, and which are missing.
//!
//! Numbers may come late and out of order, so a hole is suspected first and declared after a grace;
//! a declared hole names numbers that had not come by then, and none that had.
//!
//! Law: whatever the order of arrivals, a number is [`Arrival::New`] or [`Arrival::Filled`] at most
//! once between two restarts of the numbering, and the holes are exactly the numbers between the
//! lowest and the highest that never came. What lies too far below the lowest is no number of the
//! series, and is not remembered.

use std::collections::{BTreeMap, VecDeque};

use schemas::time::EventTime;

/// The highest number that an exchange may give: beyond it, to count on would overflow.
pub const NUMBER_MAX: i64 = 1 << 62;

/// Holes remembered per series; beyond it the oldest is forgotten, so a number in it that still
/// comes counts as known.
pub const HOLES_MAX: usize = 1_024;

/// How far below the lowest number another may lie and still belong to the series.
const BACK_MAX: i64 = 100_000;

/// When something was seen, on both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The exchange's clock: the highest time of a frame so far, where frames have one.
    pub at: Option<EventTime>,
    /// When it arrived here.
    pub received_at: EventTime,
}

/// Numbers that are missing, both ends included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hole {
    /// The first missing number.
    pub first: i64,
    /// The last missing number.
    pub last: i64,
    /// The time of the last frame before the hole.
    pub after: EventTime,
    suspected: Seen,
    declared: bool,
}

/// What a number's arrival means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It carries the series on.
    New,
    /// It was missing.
    Filled {
        /// True when its hole had been declared: it was late.
        declared: bool,
    },
    /// It came before.
    Known,
    /// It lies too far below the lowest to belong to the series, which forgets it: when it comes
    /// again, it is this again.
    TooFarBack,
}

/// How long a hole is only suspected.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    /// By the exchange's time, so that a market served faster than time behaves alike.
    pub at_ms: i64,
    /// By ours, for frames without a time and for an exchange whose clock stands.
    pub received_ms: i64,
    /// By either, for what nothing has come behind yet: a snapshot may still bring it.
    pub at_end_ms: i64,
}

impl Grace {
    fn is_over(&self, hole: &Hole, now: Seen, came_last: i64) -> bool {
        let (at_ms, received_ms) = match hole.last < came_last {
            true => (self.at_ms, self.received_ms),
            false => (self.at_end_ms, self.at_end_ms),
        };
        let at = hole.suspected.at.zip(now.at);
        at.is_some_and(|(then, now)| now >= then.plus_ms(at_ms))
            || now.received_at >= hole.suspected.received_at.plus_ms(received_ms)
    }
}

/// A consecutive series, from the first number that was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Series {
    first: i64,
    last: i64,
    /// The highest that came itself.
    came_last: i64,
    holes: VecDeque<Hole>,
    suspected_count: usize,
}

impl Series {
    /// A series of which `number` was seen.
    pub fn starting(number: i64) -> Self {
        Self {
            first: number,
            last: number,
            came_last: number,
            holes: VecDeque::new(),
            suspected_count: 0,
        }
    }

    /// The series of numbers that came earlier, by their times, and of the holes in them that were
    /// declared then; `None` without numbers.
    pub fn restored(
        numbers: &BTreeMap<i64, EventTime>,
        declared: &[(i64, i64)],
        received_at: EventTime,
    ) -> Option<Self> {
        let mut numbers = numbers.iter();
        let (first, mut after) = numbers.next()?;
        let mut series = Self::starting(*first);
        let seen = Seen {
            at: None,
            received_at,
        };
        for (number, at) in numbers {
            series.observe(*number, seen, *after);
            after = at;
        }
        for hole in &mut series.holes {
            let covers = |(first, last): &(i64, i64)| *first <= hole.first && hole.last <= *last;
            hole.declared = declared.iter().any(covers);
            series.suspected_count -= usize::from(hole.declared);
        }
        Some(series)
    }

    /// The lowest number that came.
    pub fn first(&self) -> i64 {
        self.first
    }

    /// The highest number so far, come or missing.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// True when `number` came before.
    pub fn knows(&self, number: i64) -> bool {
        (self.first..=self.last).contains(&number) && self.hole_with(number).is_none()
    }

    /// True while a hole waits for its grace to end.
    pub fn is_unsettled(&self) -> bool {
        self.suspected_count > 0
    }

    /// Takes a number; a hole that it shows lies behind the frame of `after`.
    pub fn observe(&mut self, number: i64, seen: Seen, after: EventTime) -> Arrival {
        self.came_last = self.came_last.max(number);
        if number > self.last {
            if number.saturating_sub(self.last) > 1 {
                self.suspect(self.last + 1, number - 1, seen, after);
            }
            self.last = number;
            return Arrival::New;
        }
        if number < self.first {
            return self.reach_back(number, seen, after);
        }
        match self.hole_with(number) {
            Some(at) => self.fill(at, number),
            None => Arrival::Known,
        }
    }

    /// Takes word of the highest number, though it did not come itself.
    pub fn expect_up_to(&mut self, number: i64, seen: Seen, after: EventTime) {
        if number > self.last {
            self.suspect(self.last + 1, number, seen, after);
            self.last = number;
        }
    }

    /// True when a hole was suspected for longer than `grace`.
    pub fn is_due(&self, now: Seen, grace: Grace) -> bool {
        let mut open = self.holes.iter().filter(|hole| !hole.declared);
        self.suspected_count > 0 && open.any(|hole| grace.is_over(hole, now, self.came_last))
    }

    /// The holes that are missing for good by now: those suspected for longer than `grace`.
    pub fn declare(&mut self, now: Seen, grace: Grace) -> Vec<Hole> {
        let came_last = self.came_last;
        self.declare_where(|hole| grace.is_over(hole, now, came_last))
    }

    /// The holes that are missing for good because nothing can fill them any more.
    pub fn declare_all(&mut self) -> Vec<Hole> {
        self.declare_where(|_| true)
    }

    fn declare_where(&mut self, is_due: impl Fn(&Hole) -> bool) -> Vec<Hole> {
        if self.suspected_count == 0 {
            return vec![];
        }
        let mut declared = vec![];
        for hole in self.holes.iter_mut().filter(|h| !h.declared) {
            if is_due(hole) {
                hole.declared = true;
                self.suspected_count -= 1;
                declared.push(hole.clone());
            }
        }
        declared
    }

    fn suspect(&mut self, first: i64, last: i64, suspected: Seen, after: EventTime) {
        self.forget_holes_beyond(HOLES_MAX - 1);
        self.holes.push_back(Hole {
            first,
            last,
            after,
            suspected,
            declared: false,
        });
        self.suspected_count += 1;
    }

    /// A number below the first: the series began earlier than we saw.
    fn reach_back(&mut self, number: i64, suspected: Seen, after: EventTime) -> Arrival {
        let distance = self.first.saturating_sub(number);
        if distance > BACK_MAX {
            return Arrival::TooFarBack;
        }
        if distance > 1 {
            self.forget_holes_beyond(HOLES_MAX - 1);
            self.holes.push_front(Hole {
                first: number + 1,
                last: self.first - 1,
                after,
                suspected,
                declared: false,
            });
            self.suspected_count += 1;
        }
        self.first = number;
        Arrival::New
    }

    /// Forgets the holes that were suspected first, until `count` are left. The order of the
    /// numbers is not that of time: a hole below all others may be the newest.
    fn forget_holes_beyond(&mut self, count: usize) {
        while self.holes.len() > count {
            let holes = self.holes.iter().enumerate();
            let oldest = holes.min_by_key(|(_, hole)| hole.suspected.received_at);
            let oldest = oldest.map_or(0, |(at, _)| at);
            let oldest = self.holes.remove(oldest);
            self.suspected_count -= usize::from(oldest.is_some_and(|hole| !hole.declared));
        }
    }

    fn hole_with(&self, number: i64) -> Option<usize> {
        let at = self.holes.partition_point(|hole| hole.last < number);
        let hole = self.holes.get(at)?;
        (hole.first <= number).then_some(at)
    }

    /// Takes `number` out of the hole at `at`, which shrinks, splits or goes.
    fn fill(&mut self, at: usize, number: i64) -> Arrival {
        let hole = &mut self.holes[at];
        let declared = hole.declared;
        let rest = Hole {
            first: number + 1,
            ..hole.clone()
        };
        hole.last = number - 1;
        let (left, right) = (hole.first <= hole.last, rest.first <= rest.last);
        match (left, right) {
            (true, true) => {
                self.holes.insert(at + 1, rest);
                self.suspected_count += usize::from(!declared);
                self.forget_holes_beyond(HOLES_MAX);
            }
            (false, true) => self.holes[at] = rest,
            (true, false) => {}
            (false, false) => {
                self.holes.remove(at);
                self.suspected_count -= usize::from(!declared);
            }
        }
        Arrival::Filled { declared }
    }
}

#[cfg(test)]
mod tests;
