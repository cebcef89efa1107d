//! A subject's clock: how far its stream has come, and what is late.
//!
//! The watermark is computed, never stored: `seen − bound + max(0, now − at)`. Silence moves it on,
//! so windows close when a market falls silent; but lateness is measured from `seen − bound` alone,
//! so a silence shorter than `silence_max` makes no event late.

use schemas::control::Limits;
use schemas::time::{BrokerTime, EventTime};

/// How far one subject's stream has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// The highest of the lower of (occurred_at, append time).
    pub seen: EventTime,
    /// The append time of the record that set it.
    pub at: BrokerTime,
    /// Events before this are late whatever the clock says: what is known of them has been dropped.
    pub floor: EventTime,
}

impl Clock {
    /// Of a subject that nothing was seen of.
    pub const NEW: Self = Self {
        seen: EventTime::MIN,
        at: BrokerTime::MIN,
        floor: EventTime::MIN,
    };

    /// `seen − bound`: the watermark without silence.
    #[inline]
    pub fn settled(&self, limits: &Limits) -> EventTime {
        self.seen.plus_ms(-limits.bound_ms)
    }

    /// Up to where the stream is complete, by its events and its silence.
    #[inline]
    pub fn watermark(&self, now: BrokerTime, limits: &Limits) -> EventTime {
        let silence_ms = now.as_ms().saturating_sub(self.at.as_ms()).max(0);
        if self.seen == EventTime::MIN {
            return EventTime::MIN;
        }
        self.settled(limits).plus_ms(silence_ms)
    }

    /// What an event's time must reach not to be late.
    #[inline]
    pub fn limit_at(&self, limits: &Limits) -> EventTime {
        self.floor
            .max(self.settled(limits).plus_ms(-limits.allowed_lateness_ms))
    }

    /// Takes an event in order in.
    #[inline]
    pub fn observe(&mut self, occurred_at: EventTime, appended_at: BrokerTime) {
        let seen = occurred_at.min(appended_at.as_event_time());
        if seen > self.seen {
            self.seen = seen;
            self.at = appended_at;
        }
    }

    /// The earliest "now" at which the watermark reaches `instant` by silence alone.
    #[inline]
    pub fn silent_until(&self, instant: EventTime, limits: &Limits) -> BrokerTime {
        let missing_us = instant
            .as_us()
            .saturating_sub(self.settled(limits).as_us())
            .max(0);
        let missing_ms = missing_us / 1_000 + i64::from(missing_us % 1_000 != 0);
        self.at.plus_ms(missing_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            bound_ms: 500,
            allowed_lateness_ms: 120_000,
            ..Limits::default()
        }
    }

    fn clock(events: &[(i64, i64)]) -> Clock {
        let mut clock = Clock::NEW;
        for (occurred_ms, appended_ms) in events {
            clock.observe(
                EventTime::from_ms(*occurred_ms),
                BrokerTime::from_ms(*appended_ms),
            );
        }
        clock
    }

    #[track_caller]
    fn check(events: &[(i64, i64)], now_ms: i64, watermark_ms: i64) {
        let watermark = clock(events).watermark(BrokerTime::from_ms(now_ms), &limits());
        assert_eq!(watermark, EventTime::from_ms(watermark_ms));
    }

    #[test]
    fn silence_moves_the_watermark_and_disorder_does_not_move_it_back() {
        check(&[(10_000, 10_050)], 10_050, 9_500);
        check(&[(10_000, 10_050)], 11_050, 10_500);
        check(&[(10_000, 10_050), (9_000, 10_060)], 10_060, 9_510);
        check(&[(10_000, 10_050)], 9_000, 9_500);
    }

    #[test]
    fn a_date_in_the_future_counts_as_its_append() {
        check(&[(99_000, 10_050)], 10_050, 9_550);
    }

    #[test]
    fn an_old_stream_is_late_by_its_own_clock_alone() {
        let clock = clock(&[(10_000, 9_999_000)]);
        assert_eq!(
            clock.limit_at(&limits()),
            EventTime::from_ms(10_000 - 500 - 120_000)
        );
    }

    #[test]
    fn the_silence_needed_is_exact() {
        let clock = Clock {
            seen: EventTime::from_us(10_000_001),
            at: BrokerTime::from_ms(10_050),
            floor: EventTime::MIN,
        };
        let until = clock.silent_until(EventTime::from_ms(11_000), &limits());
        assert!(clock.watermark(until, &limits()) >= EventTime::from_ms(11_000));
        assert!(clock.watermark(until.plus_ms(-1), &limits()) < EventTime::from_ms(11_000));
    }
}
