//! When an event happened, in the ways in which clients say it.
//!
//! | what | example |
//! |---|---|
//! | RFC 3339 | `2026-08-09T12:30:00.123456Z`, `2026-08-09 12:30:00+02:00` |
//! | the same without a zone, then UTC | `2026-08-09T12:30:00` |
//! | seconds since 1970, with or without a fraction | `1786278600`, `1786278600.123` |
//! | milliseconds since 1970 | `1786278600123` |
//!
//! What is finer than a microsecond is cut off, towards the past.

use schemas::decimal::Decimal;
use schemas::time::EventTime;

/// Why a text is no timestamp.
pub(super) const UNREADABLE: &str = "is no instant: RFC 3339 as 2026-08-09T12:30:00Z, or seconds \
                                     or milliseconds since 1970, would be right";

/// Numbers from here on are milliseconds, smaller ones are seconds: the year 5138 in seconds, and
/// March 1973 in milliseconds.
const MILLISECONDS_FROM: i128 = 100_000_000_000;

/// The instant that a text names; a number may stand in quotes too.
#[inline]
pub(super) fn from_text(text: &str) -> Option<EventTime> {
    match text.as_bytes() {
        [_, _, _, _, b'-', ..] => rfc3339(text.as_bytes()),
        [b'0'..=b'9', ..] | [b'-', b'0'..=b'9', ..] => from_number(text),
        _ => None,
    }
}

/// The instant that a number names, by its text, so that no digit is lost.
pub(super) fn from_number(text: &str) -> Option<EventTime> {
    if let Some(number) = whole_number(text.as_bytes()) {
        let us_each = match i128::from(number) {
            MILLISECONDS_FROM.. => 1_000,
            _ => 1_000_000,
        };
        return Some(EventTime::from_us(number * us_each));
    }
    let units = super::number::read(text).ok()?.units();
    let one = Decimal::ONE.units();
    let us = if (units / one).abs() >= MILLISECONDS_FROM {
        units.div_euclid(one / 1_000)
    } else {
        units.div_euclid(one / 1_000_000)
    };
    i64::try_from(us).ok().map(EventTime::from_us)
}

/// A whole number of so few digits that it fits 64 bits as microseconds.
#[inline]
fn whole_number(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 13 {
        return None;
    }
    text.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + i64::from(digit - b'0'))
    })
}

fn rfc3339(text: &[u8]) -> Option<EventTime> {
    let (head, rest) = text.split_first_chunk::<19>()?;
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        mo0,
        mo1,
        b'-',
        d0,
        d1,
        b'T' | b't' | b' ',
        h0,
        h1,
        b':',
        mi0,
        mi1,
        b':',
        s0,
        s1,
    ] = *head
    else {
        return None;
    };
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    let (month, day) = (two(mo0, mo1)?, two(d0, d1)?);
    let (hour, minute, second) = (two(h0, h1)?, two(mi0, mi1)?, two(s0, s1)?);
    // A leap second is the first instant of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_us, zone) = fraction(rest)?;
    let offset_seconds = offset(zone)?;
    let seconds = days(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(EventTime::from_us(
        (seconds - offset_seconds) * 1_000_000 + fraction_us,
    ))
}

/// Two digits.
fn two(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

/// Microseconds, and what stands behind them.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', digits @ ..] = text else {
        return Some((0, text));
    };
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let padded = digits[..length].iter().chain([b'0'; 6].iter()).take(6);
    let us = padded.fold(0, |us, digit| us * 10 + i64::from(digit - b'0'));
    Some((us, &digits[length..]))
}

/// How far a zone is ahead of UTC, in seconds.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match *zone {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h0, h1] => (sign, two(h0, h1)?, 0),
        [sign, h0, h1, m0, m1] | [sign, h0, h1, b':', m0, m1] => (sign, two(h0, h1)?, two(m0, m1)?),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    match sign {
        b'+' => Some(hours * 3_600 + minutes * 60),
        b'-' => Some(-(hours * 3_600 + minutes * 60)),
        _ => None,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; `None` when there is no such date.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    const BEFORE: [i64; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = *BEFORE.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    let after = *BEFORE.get(usize::try_from(month).ok()?)?;
    let leap_day = i64::from(is_leap);
    let length = after - before + if month == 2 { leap_day } else { 0 };
    if day < 1 || day > length {
        return None;
    }
    // Whole years before this one, from a year 0 that is one itself.
    let years = year - 1;
    let to_year = years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    let to_month = before + if month > 2 { leap_day } else { 0 };
    Some(to_year + to_month + day - 1 - 719_162)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, us: impl Into<Option<i64>>) {
        assert_eq!(from_text(text).map(EventTime::as_us), us.into(), "{text}");
    }

    #[test]
    fn texts_with_and_without_a_zone() {
        let at = 1_786_278_600_000_000;
        check("2026-08-09T12:30:00Z", at);
        check("2026-08-09t12:30:00z", at);
        check("2026-08-09 12:30:00", at);
        check("2026-08-09T12:30:00", at);
        check("2026-08-09T14:30:00+02:00", at);
        check("2026-08-09T14:30:00+0200", at);
        check("2026-08-09T14:30:00+02", at);
        check("2026-08-09T07:00:00-05:30", at);
        check("2026-08-09T12:30:00.1Z", at + 100_000);
        check("2026-08-09T12:30:00.123456", at + 123_456);
        check("2026-08-09T12:30:00.1234569Z", at + 123_456);
        check("2026-08-09T12:29:60Z", at);
        check("1970-01-01T00:00:00Z", 0);
        check("1969-12-31T23:59:59.999999Z", -1);
    }

    #[test]
    fn numbers_are_seconds_or_milliseconds_by_their_size() {
        check("1786278600", 1_786_278_600_000_000);
        check("1786278600.1234567", 1_786_278_600_123_456);
        check("1786278600123", 1_786_278_600_123_000);
        check("1786278600123.5", 1_786_278_600_123_500);
        check("1.7862786e9", 1_786_278_600_000_000);
        check("-1", -1_000_000);
        check("-0.0000001", -1);
        check("99999999999", 99_999_999_999_000_000);
        check("100000000000", 100_000_000_000_000);
    }

    #[test]
    fn what_is_no_instant_is_none() {
        for text in [
            "",
            "yesterday",
            "2026-08-09",
            "2026-08-09T12:30",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-08-09T24:00:00Z",
            "2026-08-09T12:60:00Z",
            "2026-08-09T12:30:61Z",
            "2026-08-09T12:30:00.Z",
            "2026-08-09T12:30:00+24:00",
            "2026-08-09T12:30:00 UTC",
            "2026-08-09T12:30:00+2",
            "+1786278600",
            "0x10",
            "1e400",
            "99999999999999999999",
            " 1786278600",
            "2026-08-0912:30:00Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn every_day_is_the_one_that_jiff_says() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        // From the year 0 to the year 9999.
        for _ in 0..20_000 {
            let us = random.i64(-62_167_219_200_000_000..253_402_207_200_000_000);
            let at = jiff::Timestamp::from_microsecond(us).unwrap();
            check(&at.to_string(), us);
        }
    }
}
