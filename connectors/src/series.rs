//! Which numbers of a consecutive series came, and which are missing.
//!
//! Numbers may come late and out of order, so a hole is suspected first and declared after a grace;
//! a declared hole names numbers that had not come by then, and none that had.
//!
//! Law: whatever the order of arrivals, a number is [`Arrival::New`] or [`Arrival::Filled`] at most
//! once between two restarts of the numbering, and the holes are exactly the numbers between the
//! lowest and the highest that never came.

use std::collections::{BTreeMap, VecDeque};

use schemas::time::EventTime;

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
            self.reach_back(number, seen, after);
            return Arrival::New;
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
        self.holes.push_back(Hole {
            first,
            last,
            after,
            suspected,
            declared: false,
        });
        self.suspected_count += 1;
        self.bound();
    }

    /// A number below the first: the series began earlier than we saw.
    fn reach_back(&mut self, number: i64, suspected: Seen, after: EventTime) {
        if self.first - number > BACK_MAX {
            return;
        }
        if self.first - number > 1 {
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
        self.bound();
    }

    fn bound(&mut self) {
        if self.holes.len() > HOLES_MAX
            && let Some(oldest) = self.holes.pop_front()
        {
            self.suspected_count -= usize::from(!oldest.declared);
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
                self.bound();
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
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const START: EventTime = EventTime::from_us(0);

    fn seen(at_ms: i64) -> Seen {
        Seen {
            at: Some(EventTime::from_ms(at_ms)),
            received_at: EventTime::from_ms(at_ms),
        }
    }

    const GRACE: Grace = Grace {
        at_ms: 1_000,
        received_ms: 5_000,
        at_end_ms: 60_000,
    };

    /// Feeds the numbers one millisecond apart and compares the holes that are then left.
    #[track_caller]
    fn check(numbers: &[i64], holes: &[(i64, i64)]) {
        let mut series = Series::starting(numbers[0]);
        for (at_ms, number) in numbers.iter().enumerate().skip(1) {
            series.observe(*number, seen(at_ms as i64), START);
        }
        let declared: Vec<_> = series.declare_all();
        let declared: Vec<_> = declared.iter().map(|h| (h.first, h.last)).collect();
        assert_eq!(declared, holes, "{numbers:?}");
        assert!(!series.is_unsettled());
    }

    #[test]
    fn holes_are_what_never_came() {
        check(&[1, 2, 3], &[]);
        check(&[1, 3], &[(2, 2)]);
        check(&[1, 3, 2], &[]);
        check(&[1, 10], &[(2, 9)]);
        check(&[1, 10, 5], &[(2, 4), (6, 9)]);
        check(&[1, 10, 2], &[(3, 9)]);
        check(&[1, 10, 9], &[(2, 8)]);
        check(&[5, 4, 3], &[]);
        check(&[5, 2], &[(3, 4)]);
        check(&[5, 2, 3, 4], &[]);
        check(&[5, 5, 5], &[]);
    }

    #[test]
    fn a_number_is_new_once() {
        let mut series = Series::starting(5);
        assert_eq!(series.observe(5, seen(0), START), Arrival::Known);
        assert_eq!(series.observe(7, seen(0), START), Arrival::New);
        let filled = Arrival::Filled { declared: false };
        assert_eq!(series.observe(6, seen(0), START), filled);
        assert_eq!(series.observe(6, seen(0), START), Arrival::Known);
        assert!(series.knows(6) && !series.knows(8) && !series.knows(4));
    }

    #[test]
    fn holes_are_suspected_for_a_grace_on_either_clock() {
        let mut series = Series::starting(1);
        series.observe(3, seen(100), EventTime::from_ms(42));
        assert_eq!(series.declare(seen(1_099), GRACE), []);
        let declared = series.declare(seen(1_100), GRACE);
        assert_eq!(declared.len(), 1);
        assert_eq!(declared[0].after, EventTime::from_ms(42));
        assert_eq!(series.declare(seen(9_999), GRACE), []);
        let late = Arrival::Filled { declared: true };
        assert_eq!(series.observe(2, seen(2_000), START), late);

        series.observe(5, seen(2_000), START);
        let silent = |received_ms| Seen {
            at: None,
            received_at: EventTime::from_ms(received_ms),
        };
        assert_eq!(series.declare(silent(6_999), GRACE), []);
        assert_eq!(series.declare(silent(7_000), GRACE).len(), 1);
    }

    #[test]
    fn a_hole_at_the_end_waits_longer_since_a_snapshot_may_still_bring_it() {
        let mut series = Series::starting(1);
        series.expect_up_to(3, seen(0), START);
        assert!(!series.is_due(seen(59_999), GRACE));
        assert_eq!(series.declare(seen(59_999), GRACE), []);
        series.observe(4, seen(59_999), START);
        assert!(series.is_due(seen(59_999), GRACE));
        let declared = series.declare(seen(59_999), GRACE);
        assert_eq!((declared[0].first, declared[0].last), (2, 3));
        assert!(!series.is_due(seen(99_999), GRACE));

        let mut silent = Series::starting(1);
        silent.expect_up_to(3, seen(0), START);
        assert_eq!(silent.declare(seen(60_000), GRACE).len(), 1);
    }

    #[test]
    fn word_of_a_higher_number_is_a_hole_until_it_comes() {
        let mut series = Series::starting(1);
        series.expect_up_to(3, seen(0), START);
        assert!(series.is_unsettled());
        assert_eq!(
            series.observe(3, seen(1), START),
            Arrival::Filled { declared: false }
        );
        let holes = series.declare_all();
        assert_eq!((holes[0].first, holes[0].last), (2, 2));
        series.expect_up_to(3, seen(0), START);
        assert!(!series.is_unsettled());
    }

    #[test]
    fn an_earlier_series_goes_on_with_its_holes() {
        let numbers = [1, 2, 5, 9].map(|n| (n, EventTime::from_ms(n * 10)));
        let numbers = BTreeMap::from(numbers);
        assert_eq!(Series::restored(&BTreeMap::new(), &[], START), None);
        let mut series = Series::restored(&numbers, &[(3, 4)], START).unwrap();
        let late = Arrival::Filled { declared: true };
        assert_eq!(series.observe(3, seen(0), START), late);
        let holes = series.declare_all();
        let holes: Vec<_> = holes.iter().map(|h| (h.first, h.last, h.after)).collect();
        assert_eq!(holes, [(6, 8, EventTime::from_ms(50))]);
        assert_eq!(series.last(), 9);
    }

    #[test]
    fn holes_are_bounded() {
        let mut series = Series::starting(0);
        for number in 1..=(HOLES_MAX as i64 + 10) {
            series.observe(number * 2, seen(0), START);
        }
        assert_eq!(series.declare_all().len(), HOLES_MAX);
        assert_eq!(series.observe(1, seen(0), START), Arrival::Known);
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_overflow() {
        let mut series = Series::starting(0);
        assert_eq!(series.observe(i64::MAX, seen(0), START), Arrival::New);
        assert_eq!(series.observe(i64::MAX, seen(0), START), Arrival::Known);
        let holes = series.declare_all();
        assert_eq!((holes[0].first, holes[0].last), (1, i64::MAX - 1));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(numbers in prop::collection::vec(0_i64..60, 1..120)) {
            let mut series = Series::starting(numbers[0]);
            let mut set = BTreeSet::from([numbers[0]]);
            for number in &numbers[1..] {
                let arrival = series.observe(*number, seen(0), START);
                prop_assert_eq!(arrival != Arrival::Known, set.insert(*number));
            }
            let (low, high) = (*set.first().unwrap(), *set.last().unwrap());
            let missing: Vec<i64> = (low..=high).filter(|n| !set.contains(n)).collect();
            let declared = series.declare_all();
            let named: Vec<i64> = declared.iter().flat_map(|h| h.first..=h.last).collect();
            prop_assert_eq!(named, missing);
        }
    }
}
