//! Which letters are meant.

use std::str::FromStr;

use clap::Args;
use schemas::dead_letter::DeadLetter;

/// Which letters are meant: those for which all of these hold.
#[derive(Args, Clone, Debug, Default)]
pub struct Filter {
    /// A stable word: truncated, wrong_magic, unknown_schema, future, …
    #[arg(long)]
    pub reason: Option<String>,
    /// Where they came from, or the beginning of it: pulse.demo.events, coinbase:feed.
    #[arg(long)]
    pub source: Option<String>,
    /// Written at this time or later: 30s, 10m, 2h, 3d ago, or 2026-08-09T21:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Written before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
}

/// A time on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// So many milliseconds ago.
    Ago(i64),
    /// In ms since the epoch.
    At(i64),
}

/// A text that names no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no time: it would be 30s, 10m, 2h or 3d ago, or 2026-08-09T21:00:00Z")]
pub struct MomentError(String);

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let ago = || {
            let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit_ms = match unit {
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            digits
                .parse::<i64>()
                .ok()
                .filter(|n| *n >= 0)?
                .checked_mul(unit_ms)
                .map(Self::Ago)
        };
        let at = || {
            text.parse::<jiff::Timestamp>()
                .ok()
                .map(|at| Self::At(at.as_millisecond()))
        };
        ago()
            .or_else(at)
            .ok_or_else(|| MomentError(text.to_owned()))
    }
}

impl Moment {
    /// In ms since the epoch.
    pub fn at_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::Ago(ms) => now_ms.saturating_sub(ms),
            Self::At(ms) => ms,
        }
    }
}

impl Filter {
    /// True for a letter that is meant, which was written at `written_at_ms`.
    pub fn takes(&self, letter: &DeadLetter<'_>, written_at_ms: i64, now_ms: i64) -> bool {
        let is_reason = |reason: &String| letter.reason.as_str() == reason;
        let is_source = |source: &String| letter.source.as_str().starts_with(source.as_str());
        let is_after = |since: &Moment| written_at_ms >= since.at_ms(now_ms);
        let is_before = |until: &Moment| written_at_ms < until.at_ms(now_ms);
        self.reason.as_ref().is_none_or(is_reason)
            && self.source.as_ref().is_none_or(is_source)
            && self.since.as_ref().is_none_or(is_after)
            && self.until.as_ref().is_none_or(is_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::time::BrokerTime;
    use schemas::wire::Text;

    fn letter() -> DeadLetter<'static> {
        DeadLetter {
            source: Text::new("pulse.demo.events"),
            partition: Some(1),
            offset: Some(2),
            appended_at: BrokerTime::from_ms(0),
            reason: Text::new("truncated"),
            detail: Text::new(""),
            replay_count: 0,
            key: None,
            value: None,
        }
    }

    #[test]
    fn all_conditions_hold_together() {
        let check = |filter: Filter, expect| {
            assert_eq!(filter.takes(&letter(), 1_000, 61_000), expect, "{filter:?}");
        };
        let text = |text: &str| Some(text.to_owned());
        let none = Filter::default;
        check(none(), true);
        check(
            Filter {
                reason: text("truncated"),
                ..none()
            },
            true,
        );
        check(
            Filter {
                reason: text("future"),
                ..none()
            },
            false,
        );
        check(
            Filter {
                source: text("pulse.demo"),
                ..none()
            },
            true,
        );
        check(
            Filter {
                source: text("coinbase"),
                ..none()
            },
            false,
        );
        check(
            Filter {
                since: Some(Moment::Ago(60_000)),
                ..none()
            },
            true,
        );
        check(
            Filter {
                since: Some(Moment::Ago(59_999)),
                ..none()
            },
            false,
        );
        check(
            Filter {
                until: Some(Moment::At(1_000)),
                ..none()
            },
            false,
        );
        check(
            Filter {
                until: Some(Moment::At(1_001)),
                ..none()
            },
            true,
        );
    }

    #[test]
    fn times_are_ago_or_exact() {
        let check = |text: &str, expect| assert_eq!(text.parse().ok(), expect, "{text}");
        check("30s", Some(Moment::Ago(30_000)));
        check("2h", Some(Moment::Ago(7_200_000)));
        check("3d", Some(Moment::Ago(259_200_000)));
        check("1970-01-01T00:00:01Z", Some(Moment::At(1_000)));
        for text in [
            "",
            "h",
            "-1h",
            "2w",
            "yesterday",
            "9999999999999999999d",
            "é",
        ] {
            check(text, None::<Moment>);
        }
    }
}
