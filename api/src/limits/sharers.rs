//! How many keys, or subjects, of a tenant were in use lately.

use std::sync::atomic::{AtomicU64, Ordering};

/// For how long whoever was in use counts.
const WINDOW_S: u64 = 60;

/// Who was in use, told apart by a slot of 0 to 255: two that share one count as one.
#[derive(Default)]
pub(super) struct Sharers {
    /// The window that `now` is of.
    window: AtomicU64,
    /// Slots in use in this window, and in the one before it.
    now: [AtomicU64; 4],
    before: [AtomicU64; 4],
}

impl Sharers {
    /// Notes that a slot is in use and tells how many are, in this window or the one before. What
    /// threads note in the moment in which a window ends may be lost, and comes with the next use.
    pub(super) fn used(&self, slot: usize, now_s: u64) -> u32 {
        let window = now_s / WINDOW_S + 1;
        let held = self.window.load(Ordering::Acquire);
        if window > held
            && self
                .window
                .compare_exchange(held, window, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            for (before, now) in self.before.iter().zip(&self.now) {
                let last = now.swap(0, Ordering::Relaxed);
                // After a whole window of silence nobody was there before this one.
                before.store(if window == held + 1 { last } else { 0 }, Ordering::Relaxed);
            }
        }
        let (word, bit) = (slot / 64 % 4, 1 << (slot % 64));
        if self.now[word].load(Ordering::Relaxed) & bit == 0 {
            self.now[word].fetch_or(bit, Ordering::Relaxed);
        }
        let in_either = |(now, before): (&AtomicU64, &AtomicU64)| {
            (now.load(Ordering::Relaxed) | before.load(Ordering::Relaxed)).count_ones()
        };
        self.now.iter().zip(&self.before).map(in_either).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_in_use_counts_in_this_window_and_the_next() {
        let sharers = Sharers::default();
        assert_eq!(sharers.used(3, 0), 1);
        assert_eq!(sharers.used(3, 59), 1);
        assert_eq!(sharers.used(255, 59), 2);
        assert_eq!(sharers.used(3, 60), 2, "255 was in use a second ago");
        assert_eq!(sharers.used(3, 120), 1, "and is not any more");
        assert_eq!(sharers.used(7, 600), 1, "after long silence nobody is");
    }
}
