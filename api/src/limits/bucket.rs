//! One bucket: so many at once, so many a second.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};

/// What a bucket holds when it is full, and how fast it fills.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Figure {
    /// How many at once.
    pub(super) burst: NonZeroU32,
    /// How many a second.
    pub(super) per_second: NonZeroU32,
}

impl Figure {
    /// Of figures that are 1 or more; a burst below a second's worth would never let that through.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let at_least_one = |figure: u32| NonZeroU32::new(figure).unwrap_or(NonZeroU32::MIN);
        let per_second = at_least_one(per_second);
        Self {
            burst: at_least_one(burst).max(per_second),
            per_second,
        }
    }

    /// Seven eighths of it.
    pub(super) fn most(self) -> Self {
        let share = |figure: NonZeroU32| figure.get() - figure.get() / 8;
        Self::new(share(self.per_second), share(self.burst))
    }

    /// How long an empty bucket takes to be full.
    pub(super) fn fills_in_s(self) -> u32 {
        self.burst.get().div_ceil(self.per_second.get())
    }
}

/// A bucket.
pub(super) struct Bucket<C: Clock> {
    pub(super) figure: Figure,
    limiter: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
    clock: C,
}

/// What a bucket holds after something was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) figure: Figure,
    pub(super) count: u32,
}

/// Why nothing was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// It will hold enough after this.
    Until(Duration),
    /// It never holds that many.
    Never,
}

impl<C: Clock + Clone> Bucket<C> {
    /// A full one.
    pub(super) fn new(figure: Figure, clock: &C) -> Self {
        let quota = Quota::per_second(figure.per_second).allow_burst(figure.burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Self {
            figure,
            limiter: limiter.with_middleware(),
            clock: clock.clone(),
        }
    }

    /// Takes `count` out, or nothing.
    pub(super) fn take(&self, count: u32) -> Result<Left, Refused> {
        let Some(wanted) = NonZeroU32::new(count) else {
            return Ok(Left {
                figure: self.figure,
                count: self.figure.burst.get(),
            });
        };
        let until = |not_until: NotUntil<C::Instant>| not_until.wait_time_from(self.clock.now());
        match self.limiter.check_n(wanted) {
            Ok(Ok(snapshot)) => Ok(Left {
                figure: self.figure,
                count: snapshot.remaining_burst_capacity(),
            }),
            Ok(Err(not_until)) => Err(Refused::Until(until(not_until))),
            Err(_) => Err(Refused::Never),
        }
    }
    /// Takes as many of `count` as there are; how many.
    pub(super) fn take_some(&self, count: u32) -> u32 {
        let (mut missing, mut part) = (count, count);
        while part > 0 && missing > 0 {
            part = part.min(missing);
            match self.take(part) {
                Ok(_) => missing -= part,
                Err(_) => part /= 2,
            }
        }
        count - missing
    }
}
