//! A change of an order book's depth.

use crate::decimal::Decimal;
use crate::time::EventTime;
use crate::wire::avro::Item;
use crate::wire::{DecodeError, Items, Reader, SchemaId, Text, avro, frame, unframe};

/// The quantity that now stands at a price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    /// True for a bid, false for an ask.
    pub bid: bool,
    /// The level's price.
    pub price: Decimal,
    /// What stands there now; 0 removes the level.
    pub quantity: Decimal,
}

/// Levels in one record; a snapshot with more goes on in the updates behind it, so that a record
/// stays far below what a broker takes.
pub const LEVELS_MAX: usize = 5_000;

/// A change to be written. Each field's meaning is in `avro/book.avsc`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the schema documents the fields")]
pub struct Book {
    pub subject: String,
    pub occurred_at: EventTime,
    pub received_at: EventTime,
    pub snapshot: bool,
    pub levels: Vec<Level>,
}

impl Book {
    /// Appends the framed record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame(out, SchemaId::Book);
        avro::put_bytes(out, self.subject.as_bytes());
        avro::put_long(out, self.occurred_at.as_us());
        avro::put_long(out, self.received_at.as_us());
        avro::put_boolean(out, self.snapshot);
        avro::put_items(out, self.levels.iter(), |out, level| {
            avro::put_boolean(out, level.bid);
            avro::put_decimal(out, level.price);
            avro::put_decimal(out, level.quantity);
        });
    }
}

/// A change inside a record.
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "the schema documents the fields")]
pub struct BookView<'a> {
    pub subject: Text<'a>,
    pub occurred_at: EventTime,
    pub received_at: EventTime,
    pub snapshot: bool,
    levels: Items<'a, Level>,
}

impl<'a> BookView<'a> {
    /// Reads a framed record.
    ///
    /// # Errors
    /// Whatever the schema does not allow; never a panic, whatever the bytes.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(unframe(value, SchemaId::Book)?);
        let r = &mut reader;
        let view = Self {
            subject: r.text("subject")?,
            occurred_at: EventTime::from_us(r.long("occurred_at")?),
            received_at: EventTime::from_us(r.long("received_at")?),
            snapshot: r.boolean("snapshot")?,
            levels: r.items("levels")?,
        };
        reader.end()?;
        Ok(view)
    }

    /// The levels that changed.
    pub fn levels(self) -> impl Iterator<Item = Level> {
        self.levels.iter()
    }
}

impl<'a> Item<'a> for Level {
    #[inline]
    fn read<const CHECKED: bool>(
        reader: &mut Reader<'a, CHECKED>,
        _: &'static str,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            bid: reader.boolean("levels.bid")?,
            price: reader.decimal("levels.price")?,
            quantity: reader.decimal("levels.quantity")?,
        })
    }
}
