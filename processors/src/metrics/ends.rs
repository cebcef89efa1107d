//! When the windows of a subject's groups end: the next one is found at once, however many groups
//! there are, so an event costs what it makes due and not what is held.
//!
//! A subject's own group, of which each meter has one at most, is looked at without this.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::subjects::NEVER;

/// A window's end in microseconds of event time, its group and which of its meter's windows it is.
pub type End = (i64, u32, u8);

/// The ends of all windows that a subject's groups hold.
#[derive(Debug, Default)]
pub struct Ends {
    /// Of those that have not fired.
    unfired: BinaryHeap<Reverse<End>>,
    held: BinaryHeap<Reverse<End>>,
    /// The same of sessions, whose ends move: those that have not fired, and all.
    unfired_sessions: BTreeSet<End>,
    held_sessions: BTreeSet<End>,
}

impl Ends {
    /// A window is there.
    pub fn add(&mut self, end: End, has_fired: bool) {
        if !has_fired {
            self.unfired.push(Reverse(end));
        }
        self.held.push(Reverse(end));
    }

    /// A session is there, or ends there from now on.
    pub fn add_session(&mut self, end: End, has_fired: bool) {
        if !has_fired {
            self.unfired_sessions.insert(end);
        }
        self.held_sessions.insert(end);
    }

    /// A session is there no longer, or ends elsewhere from now on.
    pub fn remove_session(&mut self, end: End) {
        self.unfired_sessions.remove(&end);
        self.held_sessions.remove(&end);
    }

    /// The next that fires, if it ends at or before `until_us`: it is for the caller to fire it.
    pub fn take_unfired(&mut self, until_us: i64) -> Option<End> {
        take(&mut self.unfired, until_us)
            .or_else(|| take_session(&mut self.unfired_sessions, until_us))
    }

    /// The oldest, if it ends at or before `until_us`: it is for the caller to let it go.
    pub fn take_held(&mut self, until_us: i64) -> Option<End> {
        take(&mut self.held, until_us).or_else(|| take_session(&mut self.held_sessions, until_us))
    }

    /// One that was taken with the held stays all the same.
    pub fn keep(&mut self, end: End, is_session: bool) {
        match is_session {
            true => drop(self.held_sessions.insert(end)),
            false => self.held.push(Reverse(end)),
        }
    }

    /// Forgets those of groups that are there no longer.
    pub fn retain(&mut self, is_there: impl Fn(u32) -> bool) {
        self.unfired.retain(|Reverse((_, id, _))| is_there(*id));
        self.held.retain(|Reverse((_, id, _))| is_there(*id));
        self.unfired_sessions.retain(|(_, id, _)| is_there(*id));
        self.held_sessions.retain(|(_, id, _)| is_there(*id));
    }

    /// The earliest end of a window that has not fired.
    pub fn next_us(&self) -> i64 {
        earliest(&self.unfired).min(earliest_session(&self.unfired_sessions))
    }

    /// The earliest end of all.
    pub fn oldest_us(&self) -> i64 {
        earliest(&self.held).min(earliest_session(&self.held_sessions))
    }

    /// True when some have fired.
    pub fn holds_fired(&self) -> bool {
        self.held.len() > self.unfired.len()
            || self.held_sessions.len() > self.unfired_sessions.len()
    }

    /// True for none.
    pub fn is_empty(&self) -> bool {
        let windows = self.held.len() + self.unfired.len();
        windows + self.held_sessions.len() + self.unfired_sessions.len() == 0
    }
}

fn take(ends: &mut BinaryHeap<Reverse<End>>, until_us: i64) -> Option<End> {
    let is_due = |Reverse((end_us, ..)): &&Reverse<End>| *end_us <= until_us;
    ends.peek().filter(is_due)?;
    ends.pop().map(|Reverse(end)| end)
}

fn take_session(ends: &mut BTreeSet<End>, until_us: i64) -> Option<End> {
    let first = ends.first().filter(|(end_us, ..)| *end_us <= until_us)?;
    let first = *first;
    ends.remove(&first).then_some(first)
}

fn earliest_session(ends: &BTreeSet<End>) -> i64 {
    ends.first().map_or(NEVER, |(end_us, ..)| *end_us)
}

fn earliest(ends: &BinaryHeap<Reverse<End>>) -> i64 {
    ends.peek().map_or(NEVER, |Reverse((end_us, ..))| *end_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a list that is walked.
    #[test]
    fn what_ends_is_found_in_the_order_of_the_ends() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut ends = Ends::default();
        let mut naive: Vec<(End, bool)> = vec![];
        let mut now_us = 0;
        for round in 0..2_000_u32 {
            let end = (now_us + rng.i64(0..500), round, rng.u8(0..3));
            let has_fired = rng.u8(0..4) == 0;
            ends.add(end, has_fired);
            naive.push((end, has_fired));
            now_us += rng.i64(0..4);
            while let Some(end) = ends.take_unfired(now_us) {
                let unfired = naive.iter().filter(|(_, has_fired)| !has_fired);
                assert_eq!(unfired.map(|(end, _)| *end).min(), Some(end));
                let at = naive.iter().position(|(held, _)| *held == end);
                naive[at.unwrap()].1 = true;
            }
            while let Some(end) = ends.take_held(now_us - 900) {
                assert_eq!(naive.iter().map(|(end, _)| *end).min(), Some(end));
                naive.retain(|(held, _)| *held != end);
            }
            if rng.u8(0..100) == 0 {
                let gone = rng.u32(0..=round);
                ends.retain(|id| id != gone);
                naive.retain(|((_, id, _), _)| *id != gone);
            }
            let earliest = |of: &dyn Fn(bool) -> bool| {
                let ends = naive.iter().filter(|(_, has_fired)| of(*has_fired));
                ends.map(|((end_us, ..), _)| *end_us).min().unwrap_or(NEVER)
            };
            assert_eq!(ends.next_us(), earliest(&|has_fired| !has_fired));
            assert_eq!(ends.oldest_us(), earliest(&|_| true));
            let fired = naive.iter().any(|(_, has_fired)| *has_fired);
            assert_eq!(
                (ends.holds_fired(), ends.is_empty()),
                (fired, naive.is_empty())
            );
        }
    }

    #[test]
    fn what_was_taken_and_has_not_fired_may_stay() {
        let mut ends = Ends::default();
        ends.add((10, 1, 0), false);
        assert_eq!(ends.take_held(i64::MAX), Some((10, 1, 0)));
        assert!(!ends.is_empty(), "it still fires");
        ends.keep((10, 1, 0), false);
        assert_eq!((ends.oldest_us(), ends.holds_fired()), (10, false));
        assert_eq!(ends.take_unfired(10), Some((10, 1, 0)));
        assert!(ends.holds_fired());
    }
}
