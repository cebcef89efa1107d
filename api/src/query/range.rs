//! Stretches of event time, as clients write them.

use runtime::clock;
use schemas::time::EventTime;
use serde::Serialize;
use utoipa::ToSchema;

use super::given::Given;
use crate::problem::FieldFault;

/// The longest stretch of one question: 92 days, a quarter of a year.
pub const LENGTH_MAX_MS: i64 = 92 * DAY_MS;
/// What a question is about that names no start.
pub const LENGTH_MS: i64 = DAY_MS;

const DAY_MS: i64 = 86_400_000;

/// 1900 and 2200: the store knows no instants before and few behind.
const EARLIEST: EventTime = EventTime::from_ms(-2_208_988_800_000);
const LATEST: EventTime = EventTime::from_ms(7_258_118_400_000);

const UNREADABLE: &str =
    "must be a time: RFC 3339, like 2026-11-22T10:00:00Z, or milliseconds since 1970";

/// A half-open stretch of event time, `[from, to)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First instant inside.
    pub from: EventTime,
    /// First instant behind it.
    pub to: EventTime,
}

/// A stretch as it is told to clients.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct RangeTold {
    /// First instant inside, RFC 3339.
    #[schema(example = "2026-11-21T10:00:00Z")]
    pub from: String,
    /// First instant behind it, RFC 3339.
    #[schema(example = "2026-11-22T10:05:00Z")]
    pub to: String,
}

impl From<Range> for RangeTold {
    fn from(range: Range) -> Self {
        Self {
            from: range.from.to_string(),
            to: range.to.to_string(),
        }
    }
}

/// The ends of a stretch as they were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// Where it begins.
    pub from: Option<EventTime>,
    /// Where it ends.
    pub to: Option<EventTime>,
}

impl Asked {
    /// The stretch that is meant. Without an end it ends where no event can be dated behind:
    /// `future_max_ms` from now; without a start it begins a day before its end, or before now.
    ///
    /// # Errors
    /// When it is empty, or longer than a question may ask about.
    pub fn resolve(self, future_max_ms: i64) -> Result<Range, FieldFault> {
        let now = EventTime::from_ms(clock::now_ms());
        let end = self.to.unwrap_or(now);
        let from = self.from.unwrap_or(end.plus_ms(-LENGTH_MS));
        let latest = now.plus_ms(future_max_ms).min(LATEST);
        let to = self.to.unwrap_or(latest.max(now.plus_ms(1)));
        if from >= to {
            return Err(FieldFault::new("/from", "must lie before the end, `to`"));
        }
        if end.as_ms().saturating_sub(from.as_ms()) > LENGTH_MAX_MS {
            let reason = "must lie at most 92 days before the end, `to`, which is now when absent";
            return Err(FieldFault::new("/from", reason));
        }
        Ok(Range { from, to })
    }
}

/// Reads the ends of a stretch; what cannot be used goes to `faults`.
pub(super) fn asked(given: &Given, faults: &mut Vec<FieldFault>) -> Asked {
    let mut end = |name: &str| {
        let text = given.one(name)?;
        let at = instant(&text.text);
        at.map_err(|reason| faults.push(FieldFault::new(&text.pointer, reason)))
            .ok()
    };
    Asked {
        from: end("from"),
        to: end("to"),
    }
}

/// Reads an instant: RFC 3339, in UTC where it names no zone, or milliseconds since 1970.
///
/// # Errors
/// What would be right.
pub fn instant(text: &str) -> Result<EventTime, &'static str> {
    let at = match text.parse::<i64>() {
        Ok(ms) => EventTime::from_ms(ms),
        Err(_) => EventTime::from_us(written(text).ok_or(UNREADABLE)?.as_microsecond()),
    };
    match (EARLIEST..=LATEST).contains(&at) {
        true => Ok(at),
        false => Err("must lie between 1900 and 2200"),
    }
}

fn written(text: &str) -> Option<jiff::Timestamp> {
    // A plus sign that nobody escaped is a space once the query of a URL is read.
    let text = match text.contains('T') {
        true => text.replace(' ', "+"),
        false => text.to_owned(),
    };
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at);
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    civil
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()
        .map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        let at = instant(text).ok().map(|at| at.to_string());
        assert_eq!(at.as_deref(), expect, "{text}");
    }

    #[test]
    fn instants_are_read_as_people_and_programs_write_them() {
        check("2026-11-22T10:00:00Z", Some("2026-11-22T10:00:00Z"));
        check(
            "2026-11-22T10:00:00.123456+02:00",
            Some("2026-11-22T08:00:00.123456Z"),
        );
        check("2026-11-22T10:00:00 02:00", Some("2026-11-22T08:00:00Z"));
        check("2026-11-22T10:00:00", Some("2026-11-22T10:00:00Z"));
        check("2026-11-22", Some("2026-11-22T00:00:00Z"));
        check("1795341600000", Some("2026-11-22T10:00:00Z"));
        check("-1", Some("1969-12-31T23:59:59.999Z"));
        for bad in [
            "",
            "now",
            "2026",
            "2026-13-01",
            "1e9",
            "99999999999999999",
            "1895-01-01",
        ] {
            check(bad, (bad == "2026").then_some("1970-01-01T00:00:02.026Z"));
        }
    }

    #[test]
    fn a_stretch_is_a_day_unless_said_and_a_quarter_at_most() {
        let at = |text| Some(instant(text).unwrap());
        let resolve = |from, to| Asked { from, to }.resolve(300_000);
        let (from, to) = (at("2026-01-01"), at("2026-01-03"));
        assert_eq!(resolve(None, to).unwrap().from, at("2026-01-02").unwrap());
        assert!(resolve(to, from).is_err() && resolve(to, to).is_err());
        assert!(resolve(from, at("2026-04-03")).is_ok());
        assert!(resolve(from, at("2026-04-04")).is_err());
        let open = resolve(None, None).unwrap();
        assert_eq!(open.to.as_ms() - open.from.as_ms(), LENGTH_MS + 300_000);
    }
}
