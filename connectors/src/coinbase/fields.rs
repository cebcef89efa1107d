//! Fields of a frame, read from the text where it lies: numbers straight into decimals.

use std::borrow::Cow;

use schemas::book::Level;
use schemas::control::is_product;
use schemas::decimal::Decimal;
use schemas::time::EventTime;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchange::{FrameError, Side};
use crate::series::NUMBER_MAX;

/// A value where it lies in the frame, if it is there.
pub(super) type Raw<'a> = Option<&'a RawValue>;

type Read<T> = Result<T, FrameError>;

pub(super) fn json_error(error: &serde_json::Error) -> FrameError {
    FrameError::Json {
        line: error.line(),
        column: error.column(),
    }
}

/// Any value with a shape of its own, for instance a list.
pub(super) fn shaped<'a, T: Deserialize<'a>>(
    field: &'static str,
    expected: &'static str,
    raw: Raw<'a>,
) -> Read<T> {
    let raw = raw.ok_or(FrameError::Missing { field })?;
    serde_json::from_str(raw.get()).map_err(|_| FrameError::Invalid { field, expected })
}

pub(super) fn text<'a>(field: &'static str, raw: Raw<'a>) -> Read<Cow<'a, str>> {
    let raw = raw.ok_or(FrameError::Missing { field })?;
    let quoted = raw.get();
    let expected = "a text";
    match plain(quoted) {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => serde_json::from_str(quoted)
            .map(Cow::Owned)
            .map_err(|_| FrameError::Invalid { field, expected }),
    }
}

/// The text between the quotes when nothing in it is escaped.
fn plain(quoted: &str) -> Option<&str> {
    let text = quoted.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

/// The digits of a number, which the feeds put in quotes or not.
fn digits(raw: &RawValue) -> &str {
    plain(raw.get()).unwrap_or(raw.get())
}

/// The name of a market, such as one can be part of a subject.
pub(super) fn product<'a>(raw: Raw<'a>) -> Read<Cow<'a, str>> {
    let (field, expected) = ("product_id", "the name of a market");
    let name = text(field, raw)?;
    match is_product(&name) {
        true => Ok(name),
        false => Err(FrameError::Invalid { field, expected }),
    }
}

pub(super) fn decimal(field: &'static str, raw: Raw<'_>) -> Read<Decimal> {
    optional_decimal(field, raw)?.ok_or(FrameError::Missing { field })
}

/// A quote's price, which must be there, and those of its other numbers that are.
pub(super) fn numbers<const N: usize>(
    price: Raw<'_>,
    others: [(&'static str, Raw<'_>); N],
) -> Read<Vec<(&'static str, Decimal)>> {
    let mut numbers = vec![("price", decimal("price", price)?)];
    for (name, raw) in others {
        numbers.extend(optional_decimal(name, raw)?.map(|value| (name, value)));
    }
    Ok(numbers)
}

/// A number that may be absent, null or an empty text.
pub(super) fn optional_decimal(field: &'static str, raw: Raw<'_>) -> Read<Option<Decimal>> {
    let expected = "a decimal number of at most 38 digits, 18 of them after the point";
    match raw.map(digits) {
        None | Some("null" | "") => Ok(None),
        Some(digits) => match digits.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(FrameError::Invalid { field, expected }),
        },
    }
}

/// A ratio that the exchange computed in floating point: places beyond the 18th say nothing and
/// are cut.
pub(super) fn optional_ratio(field: &'static str, raw: Raw<'_>) -> Read<Option<Decimal>> {
    let scale = Decimal::SCALE as usize;
    let Some(text) = raw.map(digits) else {
        return Ok(None);
    };
    match text.split_once('.') {
        Some((whole, part)) if part.len() > scale && part.bytes().all(|b| b.is_ascii_digit()) => {
            let expected = "a decimal number";
            let cut = format!("{whole}.{}", &part[..scale]);
            let value = cut.parse();
            value
                .map(Some)
                .map_err(|_| FrameError::Invalid { field, expected })
        }
        _ => optional_decimal(field, raw),
    }
}

/// A quantity, which is never negative.
pub(super) fn quantity(field: &'static str, raw: Raw<'_>) -> Read<Decimal> {
    let expected = "a quantity of 0 or more";
    match decimal(field, raw)? {
        value if value >= Decimal::ZERO => Ok(value),
        _ => Err(FrameError::Invalid { field, expected }),
    }
}

pub(super) fn id(field: &'static str, raw: Raw<'_>) -> Read<i64> {
    optional_id(field, raw)?.ok_or(FrameError::Missing { field })
}

/// A trade's id or a sequence number: whoever counts on from one, or takes their difference, has
/// room for that.
pub(super) fn optional_id(field: &'static str, raw: Raw<'_>) -> Read<Option<i64>> {
    let expected = "a whole number from 0 to 2^62";
    match raw.map(digits) {
        None | Some("null" | "") => Ok(None),
        Some(digits) => match digits.parse() {
            Ok(value) if (0..=NUMBER_MAX).contains(&value) => Ok(Some(value)),
            _ => Err(FrameError::Invalid { field, expected }),
        },
    }
}

pub(super) fn time(field: &'static str, raw: Raw<'_>) -> Read<EventTime> {
    optional_time(field, raw)?.ok_or(FrameError::Missing { field })
}

/// A time that may be absent, null or an empty text; finer than a microsecond is cut.
pub(super) fn optional_time(field: &'static str, raw: Raw<'_>) -> Read<Option<EventTime>> {
    let expected = "a time of the form 2026-08-09T21:05:48.228568Z";
    match raw.map(digits) {
        None | Some("null" | "") => Ok(None),
        Some(text) => match text.parse::<jiff::Timestamp>() {
            Ok(at) => Ok(Some(EventTime::from_us(at.as_microsecond()))),
            Err(_) => Err(FrameError::Invalid { field, expected }),
        },
    }
}

/// The side of a trade as either feed writes it, which is the maker's.
pub(super) fn side(raw: Raw<'_>) -> Read<Side> {
    let (field, expected) = ("side", "buy or sell");
    match text(field, raw)?.as_ref() {
        "buy" | "BUY" => Ok(Side::Buy),
        "sell" | "SELL" => Ok(Side::Sell),
        _ => Err(FrameError::Invalid { field, expected }),
    }
}

/// A level of a book.
pub(super) fn level(bid: bool, price: Raw<'_>, size: Raw<'_>) -> Read<Level> {
    Ok(Level {
        bid,
        price: decimal("price", price)?,
        quantity: quantity("quantity", size)?,
    })
}
