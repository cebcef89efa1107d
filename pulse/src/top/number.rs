//! Decimals in columns: exact where there is room, short where there is not.

use schemas::decimal::Decimal;

use crate::cli::text::grouped;

/// Digits behind the point that are shown at most.
const PLACES_MAX: usize = 10;

/// How many digits behind the point a number has.
pub fn places(value: Decimal) -> usize {
    let text = value.to_string();
    text.split_once('.')
        .map_or(0, |(_, part)| part.len().min(PLACES_MAX))
}

/// `65,083.60`: with so many digits behind the point, further ones cut off.
pub fn exact(value: Decimal, places: usize) -> String {
    let text = value.to_string();
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.as_str()),
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: String = part
        .chars()
        .chain(std::iter::repeat('0'))
        .take(places)
        .collect();
    match places {
        0 => format!("{sign}{}", grouped(whole)),
        _ => format!("{sign}{}.{part}", grouped(whole)),
    }
}

/// The exact number where it fits, the short one otherwise.
pub fn fitting(value: Decimal, places: usize, width: usize) -> String {
    let exact = exact(value, places);
    if exact.len() <= width {
        exact
    } else {
        short(value)
    }
}

/// `0.00213`, `12.3`, `1,234` → `1.23k`, `4.56M`: three digits that matter.
pub fn short(value: Decimal) -> String {
    let number = value.to_f64();
    let (scaled, unit) = match number.abs() {
        size if size >= 999_500_000_000.0 => (number / 1e12, "T"),
        size if size >= 999_500_000.0 => (number / 1e9, "B"),
        size if size >= 999_500.0 => (number / 1e6, "M"),
        size if size >= 999.5 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        0.0 => 0,
        // Three behind the zeros.
        size => (2 - size.log10().floor() as i32).clamp(0, 8) as usize,
    };
    format!("{scaled:.digits$}{unit}")
}

/// `+1.23 %`
pub fn percent(value: f64) -> String {
    match value.is_finite() {
        true if value.abs() < 1_000.0 => format!("{value:+.2}%"),
        true => format!("{value:+.0}%"),
        false => "-".to_owned(),
    }
}

/// Where a value stands between two others, from 0 to 1; `None` where they do not make a range.
pub fn position(value: Decimal, low: Decimal, high: Decimal) -> Option<f64> {
    let (value, low, high) = (value.to_f64(), low.to_f64(), high.to_f64());
    (high > low).then(|| ((value - low) / (high - low)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn exact_numbers_keep_their_places() {
        let check = |text, places, expect: &str| {
            assert_eq!(exact(decimal(text), places), expect, "{text}");
        };
        check("65083.6", 2, "65,083.60");
        check("-1234567.125", 2, "-1,234,567.12");
        check("0.00002", 5, "0.00002");
        check("1e19", 0, "10,000,000,000,000,000,000");
        assert_eq!(places(decimal("65083.67")), 2);
        assert_eq!(places(decimal("7")), 0);
        assert_eq!(fitting(decimal("65083.67"), 2, 9), "65,083.67");
        assert_eq!(fitting(decimal("65083.67"), 2, 8), "65.1k");
    }

    #[test]
    fn short_numbers_have_three_digits() {
        let check = |text, expect: &str| assert_eq!(short(decimal(text)), expect, "{text}");
        check("0", "0");
        check("0.00213456", "0.00213");
        check("0.5", "0.500");
        check("9.999", "10.0");
        check("12.345", "12.3");
        check("999.4", "999");
        check("999.6", "1.00k");
        check("1234", "1.23k");
        check("4560000", "4.56M");
        check("-4560000000", "-4.56B");
        check("99999999999999999999", "100000000T");
    }

    #[test]
    fn positions_stay_inside() {
        let at = |value, low, high| position(decimal(value), decimal(low), decimal(high));
        assert_eq!(at("5", "0", "10"), Some(0.5));
        assert_eq!(at("-5", "0", "10"), Some(0.0));
        assert_eq!(at("50", "0", "10"), Some(1.0));
        assert_eq!(at("5", "5", "5"), None);
        assert_eq!(percent(1.234), "+1.23%");
        assert_eq!(percent(-0.001), "-0.00%");
        assert_eq!(percent(f64::NAN), "-");
    }
}
