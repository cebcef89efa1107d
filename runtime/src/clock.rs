//! The one place that reads a clock.
//!
//! Wall time is for people, for frames that carry none and for the clock of a source; whatever a
//! step computes uses the broker's append time instead (see [`crate::step`]). Waiting is measured
//! on the monotonic clock, which no operator and no NTP moves.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch, by this machine's clock.
pub fn now_ms() -> i64 {
    saturate(since_epoch().as_millis())
}

/// Microseconds since the epoch, by this machine's clock.
pub fn now_us() -> i64 {
    saturate(since_epoch().as_micros())
}

/// A point on the monotonic clock.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// A moment by which something must have happened.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline that is `span` from now.
    pub fn after(span: Duration) -> Self {
        Self(Instant::now() + span)
    }

    /// What is left; zero once it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// True once nothing is left.
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }
}

#[allow(clippy::disallowed_methods)] // This is the place that the ban points to.
fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
}

fn saturate(value: u128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_units_tell_the_same_time() {
        let (before, between, after) = (now_ms(), now_us(), now_ms());
        assert!(before * 1_000 <= between && between < (after + 1) * 1_000);
        assert!(
            before > 1_700_000_000_000,
            "this machine's clock is before 2023"
        );
    }

    #[test]
    fn a_deadline_passes() {
        assert!(!Deadline::after(Duration::from_secs(60)).has_passed());
        assert!(Deadline::after(Duration::ZERO).has_passed());
    }
}
