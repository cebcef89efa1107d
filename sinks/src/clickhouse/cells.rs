//! A row as a series of cells: said once for each table, written down in two ways.
//!
//! The sink writes columns ([`super::native`]); reconciliation writes rows as a query answers them
//! ([`super::row_binary`]), so that both sides of the comparison have the same bytes.

use schemas::decimal::Decimal;
use schemas::wire::Text;

/// Takes the cells of a row, one call for each column, in the columns' order.
pub trait Cells {
    /// A cell of [`super::table::Kind::Text`].
    fn text(&mut self, value: &[u8]);

    /// A cell of [`super::table::Kind::Fixed`], the lowest byte first.
    fn fixed<const N: usize>(&mut self, value: [u8; N]);

    /// A cell of [`super::table::Kind::NullableText`].
    fn nullable_text(&mut self, value: Option<&[u8]>);

    /// A cell of [`super::table::Kind::NullableFixed`].
    fn nullable_fixed<const N: usize>(&mut self, value: Option<[u8; N]>);

    /// A cell of [`super::table::Kind::TextMap`]; each name once.
    #[inline]
    fn text_map<'a>(&mut self, count: usize, items: impl Iterator<Item = (Text<'a>, Text<'a>)>) {
        self.bytes_map(count, items.map(|(name, text)| (name, text.as_bytes())));
    }

    /// The same of any bytes.
    fn bytes_map<'a>(&mut self, count: usize, items: impl Iterator<Item = (Text<'a>, &'a [u8])>);

    /// A cell of [`super::table::Kind::DecimalMap`]; each name once.
    fn decimal_map<'a>(&mut self, count: usize, items: impl Iterator<Item = (Text<'a>, Decimal)>);

    /// A cell of [`super::table::Kind::NullableDecimalMap`]; each name once.
    fn nullable_decimal_map<'a>(
        &mut self,
        count: usize,
        items: impl Iterator<Item = (Text<'a>, Option<Decimal>)>,
    );
}

/// Appends a number in 7-bit groups, the lowest first: the length of a text, or a count.
#[inline]
pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    let mut rest = length;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends bytes behind their length.
#[inline]
pub(super) fn put_text(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// The items of a map with each name once, the last value of a name, in the order of the names
/// where the record's own order is another.
///
/// Producers of ours write names in order and once, which costs one look; nothing is allocated.
pub(super) enum Distinct<'a, T> {
    /// The record is as it should be.
    AsWritten,
    /// A copy, put right.
    Sorted(Vec<(Text<'a>, T)>),
}

impl<'a, T> Distinct<'a, T> {
    pub(super) fn of<I: Iterator<Item = (Text<'a>, T)>>(items: impl Fn() -> I) -> Self {
        let mut last: Option<Text<'a>> = None;
        for (name, _) in items() {
            if last.is_some_and(|last| last >= name) {
                return Self::Sorted(sorted(items()));
            }
            last = Some(name);
        }
        Self::AsWritten
    }
}

#[cold]
fn sorted<'a, T>(items: impl Iterator<Item = (Text<'a>, T)>) -> Vec<(Text<'a>, T)> {
    let mut items: Vec<_> = items.collect();
    // Stable, and then from the back, so that the last value of a name stands first.
    items.reverse();
    items.sort_by_key(|(name, _)| *name);
    items.dedup_by(|later, kept| later.0 == kept.0);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(items: &[(&'static str, i32)], expect: &[(&str, i32)]) {
        let texts = || items.iter().map(|(name, value)| (Text::new(name), *value));
        let got: Vec<_> = match Distinct::of(texts) {
            Distinct::AsWritten => texts().collect(),
            Distinct::Sorted(items) => items,
        };
        let got: Vec<_> = got
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn the_last_value_of_a_name_counts() {
        check(&[], &[]);
        check(&[("a", 1), ("b", 2)], &[("a", 1), ("b", 2)]);
        check(&[("b", 1), ("a", 2)], &[("a", 2), ("b", 1)]);
        check(&[("a", 1), ("a", 2)], &[("a", 2)]);
        check(
            &[("b", 1), ("a", 2), ("b", 3), ("a", 4), ("c", 5)],
            &[("a", 4), ("b", 3), ("c", 5)],
        );
    }

    #[test]
    fn lengths_take_seven_bits_a_byte() {
        for (length, expect) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (16_384, &[0x80, 0x80, 1]),
        ] {
            let mut out = vec![];
            put_length(&mut out, length);
            assert_eq!(out, expect);
        }
    }
}
