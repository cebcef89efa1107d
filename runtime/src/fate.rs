//! The one question that every error answers, and how long to wait before trying again.

use std::time::Duration;

/// What becomes of the thing that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// This record can never succeed: it goes to the dead letters, and the rest flows on.
    Reject,
    /// It may succeed later: wait, with a bound, and try the same again.
    Retry,
    /// Nothing here can be trusted any more: abort, exit, and let a restart begin from the log.
    Halt,
}

/// Growing waits between attempts, each drawn from the upper half of its step.
///
/// The jitter keeps a thousand clients of one broken server from coming back in step.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    attempt_count: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// Waits that begin at `first` and double up to `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self::seeded(first, max, fastrand::u64(..))
    }

    /// The same with a chosen seed, for simulations.
    pub fn seeded(first: Duration, max: Duration, seed: u64) -> Self {
        Self {
            first,
            max,
            attempt_count: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// How often [`Self::next_wait`] was asked since the last success.
    pub fn attempt_count(&self) -> u32 {
        self.attempt_count
    }

    /// The wait before the next attempt: between a half and the whole of this step's bound.
    pub fn next_wait(&mut self) -> Duration {
        let doublings = self.attempt_count.min(31);
        self.attempt_count = self.attempt_count.saturating_add(1);
        let step = self.first.saturating_mul(1 << doublings).min(self.max);
        step.mul_f64(0.5 + 0.5 * self.random.f64())
    }

    /// Begins again at the first wait: something succeeded.
    pub fn reset(&mut self) {
        self.attempt_count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_never_pass_it() {
        let (first, max) = (Duration::from_millis(100), Duration::from_secs(5));
        for seed in 0..200 {
            let mut backoff = Backoff::seeded(first, max, seed);
            for attempt in 0..40u32 {
                let step = first.saturating_mul(1 << attempt.min(31)).min(max);
                let wait = backoff.next_wait();
                assert!(
                    wait >= step / 2 && wait <= step,
                    "seed {seed} attempt {attempt}: {wait:?}"
                );
            }
            backoff.reset();
            assert!(backoff.next_wait() <= first, "seed {seed}");
        }
    }
}
