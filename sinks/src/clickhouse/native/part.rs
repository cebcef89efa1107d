//! A part of a block: rows from one to another, which are written as a block of their own.
//!
//! Cells have no fixed length, so where a row begins in each column is found by walking there from
//! the part's beginning. Only a block that is cut is walked at all.

use std::ops::Range;

use runtime::kafka::Partition;

use super::{Block, Buffer};
use crate::clickhouse::row_binary::{Walk, text_of};
use crate::clickhouse::table::{Kind, POSITION_COLUMN_COUNT};

/// Rows of a block, one after the other.
#[derive(Debug)]
pub struct Part {
    from: Mark,
    to: Mark,
}

/// A place between two rows.
#[derive(Clone, Debug)]
struct Mark {
    row: usize,
    /// By column.
    places: Vec<Place>,
}

/// How long the parts of a column's buffer are up to a row.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Place {
    nulls: usize,
    ends: usize,
    names: usize,
    values: usize,
}

impl Part {
    /// Which of the block's rows, counted from 0.
    pub fn rows(&self) -> Range<usize> {
        self.from.row..self.to.row
    }

    /// How many rows.
    pub fn row_count(&self) -> usize {
        self.rows().len()
    }

    /// Where each column's cells begin and end.
    pub(super) fn bounds(&self) -> impl Iterator<Item = Range<Place>> {
        let (from, to) = (self.from.places.iter(), self.to.places.iter());
        from.zip(to).map(|(from, to)| *from..*to)
    }
}

impl Block {
    /// All its rows.
    pub fn whole(&self) -> Part {
        Part {
            from: Mark {
                row: 0,
                places: vec![Place::default(); self.columns.len()],
            },
            to: Mark {
                row: self.row_count,
                places: self.columns.iter().map(Buffer::end).collect(),
            },
        }
    }

    /// The first and the second half of a part, each of one row at least.
    ///
    /// # Panics
    /// When the part has but one row.
    pub fn halves(&self, part: Part) -> [Part; 2] {
        let row_count = part.row_count();
        assert!(row_count > 1, "a row is not cut");
        let middle = self.mark_after(&part.from, row_count / 2);
        let first = Part {
            from: part.from,
            to: middle.clone(),
        };
        let second = Part {
            from: middle,
            to: part.to,
        };
        [first, second]
    }

    /// Where in the log the first row of a part comes from.
    ///
    /// # Panics
    /// When the part has no rows.
    pub fn origin(&self, part: &Part) -> (Partition, i64) {
        let next = self.mark_after(&part.from, 1);
        let at = self.columns.len() - POSITION_COLUMN_COUNT;
        let cell = |at: usize| {
            &self.columns[at].values[part.from.places[at].values..next.places[at].values]
        };
        let number = cell(at + 1).try_into().expect("a partition has 4 bytes");
        let offset = cell(at + 2).try_into().expect("an offset has 8 bytes");
        let topic = String::from_utf8_lossy(text_of(cell(at)));
        let partition = Partition::new(&topic, i32::from_le_bytes(number));
        (partition, i64::from_le_bytes(offset))
    }

    fn mark_after(&self, mark: &Mark, row_count: usize) -> Mark {
        let columns = self.columns().iter().zip(&self.columns);
        let places = columns.zip(&mark.places);
        Mark {
            row: mark.row + row_count,
            places: places
                .map(|((column, buffer), place)| buffer.after(*place, column.kind, row_count))
                .collect(),
        }
    }
}

impl Buffer {
    /// Hands on the cells within these bounds.
    pub(super) fn write(&self, bounds: Range<Place>, put: &mut impl FnMut(&[u8])) {
        let Range { start, end } = bounds;
        let ends = &self.ends[start.ends..end.ends];
        match self.item_count_at(start) {
            0 => put(ends),
            // Each block counts its own items.
            before => put(&ends_less(ends, before)),
        }
        put(&self.names[start.names..end.names]);
        put(&self.nulls[start.nulls..end.nulls]);
        put(&self.values[start.values..end.values]);
    }

    fn end(&self) -> Place {
        Place {
            nulls: self.nulls.len(),
            ends: self.ends.len(),
            names: self.names.len(),
            values: self.values.len(),
        }
    }

    /// The place so many rows further on.
    fn after(&self, place: Place, kind: Kind, row_count: usize) -> Place {
        let mut next = place;
        match kind {
            Kind::Text => next.values = after_texts(&self.values, place.values, row_count),
            Kind::Fixed(size) => next.values += size * row_count,
            Kind::NullableText => {
                next.nulls += row_count;
                next.values = after_texts(&self.values, place.values, row_count);
            }
            Kind::NullableFixed(size) => {
                next.nulls += row_count;
                next.values += size * row_count;
            }
            Kind::TextMap | Kind::DecimalMap | Kind::NullableDecimalMap => {
                next.ends += size_of::<u64>() * row_count;
                let items = self.item_count_at(next) - self.item_count_at(place);
                let item_count = usize::try_from(items).expect("the items are in memory");
                next.names = after_texts(&self.names, place.names, item_count);
                match kind {
                    Kind::TextMap => {
                        next.values = after_texts(&self.values, place.values, item_count);
                    }
                    _ => next.values += size_of::<i128>() * item_count,
                }
                if kind == Kind::NullableDecimalMap {
                    next.nulls += item_count;
                }
            }
        }
        next
    }

    /// How many items of maps there are up to a place.
    fn item_count_at(&self, place: Place) -> u64 {
        self.ends[..place.ends]
            .last_chunk()
            .map_or(0, |end| u64::from_le_bytes(*end))
    }
}

/// The ends of a part's rows, counted from its own beginning.
fn ends_less(ends: &[u8], before: u64) -> Vec<u8> {
    let (ends, _) = ends.as_chunks();
    ends.iter()
        .flat_map(|end| (u64::from_le_bytes(*end) - before).to_le_bytes())
        .collect()
}

/// Where so many texts that begin at `at` end.
fn after_texts(bytes: &[u8], at: usize, count: usize) -> usize {
    let mut walk = Walk::new(&bytes[at..]);
    for _ in 0..count {
        walk.text().expect("a block holds whole texts");
    }
    at + walk.position()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::decimal::Decimal;
    use schemas::wire::Text;

    use super::*;
    use crate::clickhouse::cells::Cells;
    use crate::clickhouse::table::Table;

    const NAMES: [&str; 3] = ["a", "a longer name", "ü"];
    const OFFSET_FIRST: i64 = 1 << 40;

    /// A row whose cells are as long as its number makes them.
    fn put_row(block: &mut Block, number: usize) {
        let text = "x".repeat(number * 37 % 300);
        let size = number % (NAMES.len() + 1);
        let names = || NAMES[..size].iter().map(|name| Text::new(name));
        for column in block.table().columns() {
            let is_there = !(number + column.name.len()).is_multiple_of(3);
            match column.kind {
                Kind::Text if column.name == "_topic" => block.text(b"pulse.demo.events"),
                Kind::Text => block.text(text.as_bytes()),
                Kind::Fixed(1) => block.fixed([number as u8]),
                Kind::Fixed(4) => block.fixed((number as i32).to_le_bytes()),
                Kind::Fixed(_) => block.fixed((OFFSET_FIRST + number as i64).to_le_bytes()),
                Kind::NullableText => block.nullable_text(is_there.then_some(text.as_bytes())),
                Kind::NullableFixed(4) => block.nullable_fixed(is_there.then_some([7; 4])),
                Kind::NullableFixed(_) => block.nullable_fixed(is_there.then_some([7; 8])),
                Kind::TextMap => block.text_map(size, names().map(|name| (name, name))),
                Kind::DecimalMap => {
                    block.decimal_map(size, names().map(|name| (name, Decimal::ONE)));
                }
                Kind::NullableDecimalMap => {
                    let value = is_there.then_some(Decimal::ONE);
                    block.nullable_decimal_map(size, names().map(|name| (name, value)));
                }
            }
        }
        block.end_row();
    }

    fn block(table: Table, rows: Range<usize>) -> Block {
        let mut block = Block::new(table);
        rows.for_each(|number| put_row(&mut block, number));
        block
    }

    fn bytes(block: &Block, part: &Part) -> Vec<u8> {
        let mut out = vec![];
        block.write(part, |bytes| out.extend_from_slice(bytes));
        out
    }

    proptest! {
        /// Any part, however it was cut, is the block of its rows.
        #[test]
        fn a_part_is_a_block_of_its_rows(
            table in prop::sample::select(&Table::ALL),
            row_count in 1usize..60,
            turns in prop::collection::vec(any::<bool>(), 6),
        ) {
            let whole = block(table, 0..row_count);
            let mut part = whole.whole();
            for takes_second in turns {
                let rows = part.rows();
                let alone = block(table, rows.clone());
                prop_assert!(bytes(&whole, &part) == bytes(&alone, &alone.whole()), "{rows:?}");
                let (partition, offset) = whole.origin(&part);
                let topic = "pulse.demo.events";
                prop_assert_eq!(partition.to_string(), format!("{topic}[{}]", rows.start));
                prop_assert_eq!(offset, OFFSET_FIRST + rows.start as i64);
                if rows.len() == 1 {
                    break;
                }
                let [first, second] = whole.halves(part);
                prop_assert_eq!(first.rows().start, rows.start);
                prop_assert_eq!(first.rows().end, second.rows().start);
                prop_assert_eq!(second.rows().end, rows.end);
                prop_assert!(first.row_count() > 0 && second.row_count() > 0);
                part = if takes_second { second } else { first };
            }
        }
    }

    #[test]
    #[should_panic(expected = "a row is not cut")]
    fn one_row_has_no_halves() {
        let one = block(Table::Events, 0..1);
        let part = one.whole();
        let _ = one.halves(part);
    }
}
