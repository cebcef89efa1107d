//! Instants and spans. Event time is what producers say; broker time is when the log took a record.

use std::fmt;

/// When something happened, by whoever saw it: microseconds since 1970, UTC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EventTime(i64);

/// When the broker appended a record: milliseconds since 1970, UTC. The one "now" of a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BrokerTime(i64);

/// The length of a window, positive, at millisecond resolution.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Width(i64);

/// A half-open stretch of event time, `[start, end)`.
///
/// Two spans of one width, aligned, either are the same or share no instant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Span {
    start: EventTime,
    width: Width,
}

impl EventTime {
    /// Before every event that can be told.
    pub const MIN: Self = Self(i64::MIN);

    /// From microseconds since 1970.
    pub const fn from_us(us: i64) -> Self {
        Self(us)
    }

    /// From milliseconds since 1970; held at the ends of the range.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// Microseconds since 1970.
    pub const fn as_us(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, rounded towards the past.
    pub const fn as_ms(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// This instant moved by `ms`, held at the ends of the range.
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000)))
    }

    /// The start of the aligned span of `width` that holds this instant; also before 1970.
    ///
    /// Held at the start of the range where the true start lies before it.
    pub const fn floor(self, width: Width) -> Self {
        let us = width.as_us();
        Self(self.0.saturating_sub(self.0.rem_euclid(us)))
    }
}

impl BrokerTime {
    /// Before every append.
    pub const MIN: Self = Self(i64::MIN);

    /// From milliseconds since 1970.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// The same instant on the scale of events.
    pub const fn as_event_time(self) -> EventTime {
        EventTime::from_ms(self.0)
    }

    /// This instant moved by `ms`, held at the ends of the range.
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl Width {
    /// From milliseconds; `None` unless positive and at most 366 days.
    pub const fn from_ms(ms: i64) -> Option<Self> {
        if ms > 0 && ms <= 366 * 86_400_000 {
            Some(Self(ms))
        } else {
            None
        }
    }

    /// Milliseconds.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// Microseconds.
    pub const fn as_us(self) -> i64 {
        self.0 * 1_000
    }
}

impl Span {
    /// The span of `width` that holds `at`; spans are aligned to the epoch, also before it.
    pub const fn holding(at: EventTime, width: Width) -> Self {
        Self {
            start: at.floor(width),
            width,
        }
    }

    /// The span that begins at `start`.
    pub const fn starting(start: EventTime, width: Width) -> Self {
        Self { start, width }
    }

    /// First instant inside.
    pub const fn start(self) -> EventTime {
        self.start
    }

    /// First instant that is no longer inside.
    pub const fn end(self) -> EventTime {
        self.start.plus_ms(self.width.0)
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(at_us: i64, width_ms: i64, start_us: i64) {
        let span = Span::holding(EventTime::from_us(at_us), Width::from_ms(width_ms).unwrap());
        assert_eq!(span.start().as_us(), start_us);
        assert!(span.start() <= EventTime::from_us(at_us));
        assert!(EventTime::from_us(at_us) < span.end());
    }

    #[test]
    fn starts_are_inside_and_ends_are_not() {
        check(0, 1_000, 0);
        check(999_999, 1_000, 0);
        check(1_000_000, 1_000, 1_000_000);
        check(-1, 1_000, -1_000_000);
        check(1_786_309_548_228_568, 60_000, 1_786_309_500_000_000);
    }

    #[test]
    fn the_ends_of_time_do_not_wrap() {
        let day = Width::from_ms(86_400_000).unwrap();
        assert_eq!(EventTime::from_us(i64::MIN).floor(day), EventTime::MIN);
        assert_eq!(
            EventTime::from_us(i64::MAX).plus_ms(1),
            EventTime::from_us(i64::MAX)
        );
        assert_eq!(EventTime::from_ms(i64::MAX), EventTime::from_us(i64::MAX));
        assert!(Width::from_ms(0).is_none() && Width::from_ms(-1).is_none());
    }
}
