//! How much of its month a tenant has used, as pulse-api counts it and every gateway reads it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A calendar month, UTC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Month {
    /// Months since the year 0.
    number: i32,
}

/// What a tenant has used of a month.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Of which month.
    pub month: Month,
    /// Its events, each identity once, in the month in which the log took it first.
    pub events: u64,
    /// The log's clock up to which events are in that number, in milliseconds since 1970.
    pub counted_to_ms: i64,
}

/// A text that is no month.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a month is a year and a number of two digits, like 2026-11")]
pub struct MonthError;

impl Month {
    /// The month that holds an instant.
    pub fn holding(ms: i64) -> Self {
        let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        Self::of(i32::from(date.year()), i32::from(date.month()))
    }

    fn of(year: i32, month: i32) -> Self {
        Self {
            number: year * 12 + month - 1,
        }
    }

    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            number: self.number + 1,
        }
    }

    /// Its first instant, in milliseconds since 1970.
    pub fn start_ms(self) -> i64 {
        // Days since 1970-01-01 of a first of a month, by the civil calendar: years begin in March,
        // so that the day that comes and goes is a year's last.
        let (year, month) = (self.year(), self.month());
        let year = i64::from(if month <= 2 { year - 1 } else { year });
        let (era, from_march) = (year.div_euclid(400), i64::from((month + 9) % 12));
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * from_march + 2) / 5;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        (era * 146_097 + day_of_era - 719_468) * 86_400_000
    }

    /// First instant behind it, in milliseconds since 1970.
    pub fn end_ms(self) -> i64 {
        self.next().start_ms()
    }

    fn year(self) -> i32 {
        self.number.div_euclid(12)
    }

    fn month(self) -> i32 {
        self.number.rem_euclid(12) + 1
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year(), self.month())
    }
}

impl FromStr for Month {
    type Err = MonthError;

    fn from_str(text: &str) -> Result<Self, MonthError> {
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (year, month) = text.split_once('-').ok_or(MonthError)?;
        if year.len() != 4 || month.len() != 2 || !is_digits(year) || !is_digits(month) {
            return Err(MonthError);
        }
        let number = |text: &str| text.parse::<i32>().map_err(|_| MonthError);
        let (year, month) = (number(year)?, number(month)?);
        match (1..=12).contains(&month) {
            true => Ok(Self::of(year, month)),
            false => Err(MonthError),
        }
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Month {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Usage {
    /// What is wrong with it, each fault with the field's name.
    pub fn faults(&self) -> Vec<String> {
        let span = self.month.start_ms()..=self.month.end_ms();
        match span.contains(&self.counted_to_ms) {
            true => vec![],
            false => vec!["counted_to_ms is none of the month's instants".into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ms: i64, text: &str, start_ms: i64) {
        let month = Month::holding(ms);
        assert_eq!(month.to_string(), text);
        assert_eq!(text.parse(), Ok(month));
        assert_eq!(month.start_ms(), start_ms);
        assert_eq!(Month::holding(start_ms - 1).next(), month);
    }

    #[test]
    fn a_month_begins_where_the_one_before_it_ends() {
        check(0, "1970-01", 0);
        check(-1, "1969-12", -2_678_400_000);
        check(951_782_400_000, "2000-02", 949_363_200_000);
        check(1_795_000_000_000, "2026-11", 1_793_491_200_000);
        let mut month = Month::holding(-2_208_988_800_000);
        for _ in 0..3_600 {
            let end = month.end_ms();
            assert_eq!(Month::holding(end - 1), month);
            month = month.next();
            assert_eq!(Month::holding(end), month);
        }
    }

    #[test]
    fn other_texts_are_no_month() {
        for text in [
            "", "2026", "2026-13", "2026-00", "26-11", "2026-1", "2026-+1", "+026-11",
        ] {
            assert_eq!(text.parse::<Month>(), Err(MonthError), "{text}");
        }
    }

    #[test]
    fn a_usage_is_of_its_month() {
        let usage = |counted_to_ms| Usage {
            month: Month::holding(1_795_000_000_000),
            events: 7,
            counted_to_ms,
        };
        assert_eq!(usage(1_793_491_200_000).faults(), [""; 0]);
        assert_eq!(usage(1_793_491_199_999).faults().len(), 1);
        let text = r#"{"month":"2026-11","events":7,"counted_to_ms":1793491200000}"#;
        let read: Usage = serde_json::from_str(text).unwrap();
        assert_eq!(read, usage(1_793_491_200_000));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
