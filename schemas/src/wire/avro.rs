//! Avro's binary form: a reader that borrows, and functions that append.
//!
//! | type | bytes |
//! |---|---|
//! | int, long, enum, a union's branch | a zig-zag varint, at most 10 bytes |
//! | boolean | one byte, 0 or 1 |
//! | string, bytes | the length as a long, then that many bytes; strings are UTF-8 |
//! | decimal | bytes: the units, big-endian two's complement; we write as few as hold them |
//! | union | the branch, then its value; null, where there is one, is branch 0 |
//! | array, map | blocks of a count and that many items, ended by a count of 0 |
//! | record | its fields, one behind the other, without names |
//!
//! A block may have a negative count; then its length in bytes follows, which we do not need.
//! We write one block with a positive count; we read whatever the specification allows.
//!
//! The reader allocates nothing, and no claimed length or count makes it do more work than the
//! bytes that are really there.

mod text;

mod items;
mod read;

mod write;

pub use items::{Item, Items, Walk};
pub use read::Reader;
pub use text::Text;
pub use write::{
    put_boolean, put_bytes, put_decimal, put_items, put_long, put_optional_bytes,
    put_optional_long, put_optional_text,
};

#[cfg(test)]
mod tests;
