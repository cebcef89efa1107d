//! Rows as `RowBinary` has them: what a query answers, and what we expect it to answer.

use schemas::decimal::Decimal;
use schemas::wire::Text;

use super::cells::{Cells, put_length, put_text};
use super::table::{Column, Kind};

/// One row's cells, one behind the other.
#[derive(Debug, Default)]
pub struct RowBytes(Vec<u8>);

impl RowBytes {
    /// The row's bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Forgets the row and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn put_null(&mut self, is_null: bool) {
        self.0.push(u8::from(is_null));
    }
}

impl Cells for RowBytes {
    fn text(&mut self, value: &[u8]) {
        put_text(&mut self.0, value);
    }

    fn fixed<const N: usize>(&mut self, value: [u8; N]) {
        self.0.extend_from_slice(&value);
    }

    fn nullable_text(&mut self, value: Option<&[u8]>) {
        self.put_null(value.is_none());
        if let Some(value) = value {
            self.text(value);
        }
    }

    fn nullable_fixed<const N: usize>(&mut self, value: Option<[u8; N]>) {
        self.put_null(value.is_none());
        if let Some(value) = value {
            self.fixed(value);
        }
    }

    fn bytes_map<'a>(&mut self, count: usize, items: impl Iterator<Item = (Text<'a>, &'a [u8])>) {
        put_length(&mut self.0, count);
        for (name, value) in items {
            self.text(name.as_bytes());
            self.text(value);
        }
    }

    fn decimal_map<'a>(&mut self, count: usize, items: impl Iterator<Item = (Text<'a>, Decimal)>) {
        put_length(&mut self.0, count);
        for (name, value) in items {
            self.text(name.as_bytes());
            self.fixed(value.units().to_le_bytes());
        }
    }

    fn nullable_decimal_map<'a>(
        &mut self,
        count: usize,
        items: impl Iterator<Item = (Text<'a>, Option<Decimal>)>,
    ) {
        put_length(&mut self.0, count);
        for (name, value) in items {
            self.text(name.as_bytes());
            self.nullable_fixed(value.map(|value| value.units().to_le_bytes()));
        }
    }
}

/// Finds where cells begin and end in a query's answer.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// At the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How far the walk came.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes of the next row's cells, one range a column, into `cells`; `None` when the row is
    /// not all there, and then the walk stands where it stood.
    pub fn row(&mut self, columns: &[Column], cells: &mut Vec<&'a [u8]>) -> Option<&'a [u8]> {
        let start = self.at;
        cells.clear();
        for column in columns {
            let from = self.at;
            if self.cell(column.kind).is_none() {
                self.at = start;
                return None;
            }
            cells.push(&self.bytes[from..self.at]);
        }
        Some(&self.bytes[start..self.at])
    }

    fn cell(&mut self, kind: Kind) -> Option<()> {
        match kind {
            Kind::Text => self.text(),
            Kind::Fixed(size) => self.skip(size),
            Kind::NullableText if self.is_null()? => Some(()),
            Kind::NullableText => self.text(),
            Kind::NullableFixed(_) if self.is_null()? => Some(()),
            Kind::NullableFixed(size) => self.skip(size),
            Kind::TextMap => self.map(Self::text),
            Kind::DecimalMap => self.map(|walk| walk.skip(size_of::<i128>())),
            Kind::NullableDecimalMap => self.map(|walk| match walk.is_null()? {
                true => Some(()),
                false => walk.skip(size_of::<i128>()),
            }),
        }
    }

    fn map(&mut self, mut value: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        for _ in 0..self.length()? {
            self.text()?;
            value(self)?;
        }
        Some(())
    }

    /// Goes over one text; `None` when it is not all there.
    pub(super) fn text(&mut self) -> Option<()> {
        let length = self.length()?;
        self.skip(length)
    }

    fn is_null(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte != 0)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        let end = self
            .at
            .checked_add(count)
            .filter(|end| *end <= self.bytes.len())?;
        self.at = end;
        Some(())
    }

    fn length(&mut self) -> Option<usize> {
        let mut value = 0usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

/// The content of a text cell.
pub fn text_of(cell: &[u8]) -> &[u8] {
    let length_size = cell
        .iter()
        .position(|byte| *byte < 0x80)
        .map_or(cell.len(), |at| at + 1);
    &cell[length_size..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 6] = [
        Column {
            name: "a",
            sent_as: "",
            kind: Kind::Text,
        },
        Column {
            name: "b",
            sent_as: "",
            kind: Kind::NullableFixed(8),
        },
        Column {
            name: "c",
            sent_as: "",
            kind: Kind::NullableText,
        },
        Column {
            name: "d",
            sent_as: "",
            kind: Kind::TextMap,
        },
        Column {
            name: "e",
            sent_as: "",
            kind: Kind::DecimalMap,
        },
        Column {
            name: "f",
            sent_as: "",
            kind: Kind::NullableDecimalMap,
        },
    ];

    fn row(number: i64) -> RowBytes {
        let mut row = RowBytes::default();
        let name = |name: &'static str| Text::new(name);
        row.text(
            "x".repeat(usize::try_from(number * 100).unwrap())
                .as_bytes(),
        );
        row.nullable_fixed((number % 2 == 0).then_some(number.to_le_bytes()));
        row.nullable_text((number % 3 == 0).then_some(b"text"));
        row.text_map(1, [(name("n"), name("v"))].into_iter());
        row.decimal_map(1, [(name("n"), Decimal::ONE)].into_iter());
        let values = [
            (name("m"), None),
            (name("n"), Some(Decimal::from_int(number))),
        ];
        row.nullable_decimal_map(2, values.into_iter());
        row
    }

    #[test]
    fn a_walk_finds_the_rows_that_were_written() {
        let rows: Vec<_> = (0..7).map(row).collect();
        let bytes = rows
            .iter()
            .flat_map(|r| r.as_slice().to_vec())
            .collect::<Vec<_>>();
        let (mut walk, mut cells) = (Walk::new(&bytes), vec![]);
        for row in &rows {
            assert_eq!(walk.row(&COLUMNS, &mut cells), Some(row.as_slice()));
            assert_eq!(cells.concat(), row.as_slice());
        }
        assert_eq!(walk.row(&COLUMNS, &mut cells), None);
        assert_eq!(walk.position(), bytes.len());
    }

    #[test]
    fn a_row_that_is_cut_anywhere_is_not_there_yet() {
        let row = row(6);
        let bytes = row.as_slice();
        for end in 0..bytes.len() {
            let mut walk = Walk::new(&bytes[..end]);
            assert_eq!(walk.row(&COLUMNS, &mut vec![]), None, "cut at {end}");
            assert_eq!(walk.position(), 0);
        }
    }

    #[test]
    fn a_text_is_what_stands_behind_its_length() {
        for length in [0, 1, 127, 128, 20_000] {
            let mut cell = vec![];
            put_text(&mut cell, &vec![b'x'; length]);
            assert_eq!(text_of(&cell).len(), length);
        }
    }
}
