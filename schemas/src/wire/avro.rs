//! Avro's binary form: a reader that borrows, and functions that append.
//!
//! The reader checks everything once; what it hands out can then be walked without errors.

use super::DecodeError;
use crate::decimal::Decimal;

/// A text inside a record: bytes that are known to be UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// A text of ours.
    pub const fn new(text: &'a str) -> Self {
        Self(text.as_bytes())
    }

    /// The text. It walks the bytes: compare [`Self::as_bytes`] where that is enough.
    pub fn as_str(self) -> &'a str {
        std::str::from_utf8(self.0).expect("a Text is made of checked UTF-8")
    }

    /// The bytes.
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Bytes in it.
    #[inline]
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// True when nothing is in it.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl std::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Reads a body from front to back.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the start of a body.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Ends the reading; an error when bytes are left.
    #[inline]
    pub const fn end(self) -> Result<(), DecodeError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { count }),
        }
    }

    /// A zig-zag varint.
    #[inline]
    pub fn long(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let Some(&first) = self.bytes.get(self.at) else {
            return Err(DecodeError::Truncated { field });
        };
        self.at += 1;
        if first < 0x80 {
            return Ok(unzigzag(u64::from(first)));
        }
        self.long_rest(u64::from(first & 0x7f), field)
    }

    #[inline]
    fn long_rest(&mut self, mut value: u64, field: &'static str) -> Result<i64, DecodeError> {
        let mut shift = 7;
        loop {
            let Some(&byte) = self.bytes.get(self.at) else {
                return Err(DecodeError::Truncated { field });
            };
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(DecodeError::Invalid {
                    field,
                    reason: "a number has at most 64 bits",
                });
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(unzigzag(value));
            }
            shift += 7;
        }
    }

    /// A number that fits 32 bits.
    #[inline]
    pub fn int(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        i32::try_from(self.long(field)?).map_err(|_| DecodeError::Invalid {
            field,
            reason: "an int has at most 32 bits",
        })
    }

    /// A byte that is 0 or 1.
    #[inline]
    pub fn boolean(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.bytes.get(self.at) {
            None => Err(DecodeError::Truncated { field }),
            Some(&byte @ (0 | 1)) => {
                self.at += 1;
                Ok(byte == 1)
            }
            Some(_) => Err(DecodeError::Invalid {
                field,
                reason: "a boolean is 0 or 1",
            }),
        }
    }

    /// Bytes behind their length.
    #[inline]
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.long(field)?;
        let Ok(length) = usize::try_from(length) else {
            return Err(DecodeError::Invalid {
                field,
                reason: "a length is not negative",
            });
        };
        match self.bytes[self.at..].get(..length) {
            Some(bytes) => {
                self.at += length;
                Ok(bytes)
            }
            None => Err(DecodeError::Truncated { field }),
        }
    }

    /// A string, checked to be UTF-8.
    #[inline]
    pub fn text(&mut self, field: &'static str) -> Result<Text<'a>, DecodeError> {
        let bytes = self.bytes(field)?;
        if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() {
            Ok(Text(bytes))
        } else {
            Err(DecodeError::Invalid {
                field,
                reason: "a string is UTF-8",
            })
        }
    }

    /// A decimal(38, 18): big-endian two's complement, 1 to 16 bytes.
    #[inline]
    pub fn decimal(&mut self, field: &'static str) -> Result<Decimal, DecodeError> {
        let bytes = self.bytes(field)?;
        let length = bytes.len();
        if length == 0 || length > 16 {
            return Err(DecodeError::Invalid {
                field,
                reason: "a decimal has 1 to 16 bytes",
            });
        }
        let fill = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
        let mut wide = [fill; 16];
        wide[16 - length..].copy_from_slice(bytes);
        Decimal::from_units(i128::from_be_bytes(wide)).ok_or(DecodeError::Invalid {
            field,
            reason: "a decimal has at most 38 digits",
        })
    }

    /// The branch of a union with null first: true when a value follows.
    #[inline]
    pub fn is_some(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.long(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid {
                field,
                reason: "a union's branch is 0 or 1",
            }),
        }
    }

    /// A nullable string.
    #[inline]
    pub fn optional_text(&mut self, field: &'static str) -> Result<Option<Text<'a>>, DecodeError> {
        if self.is_some(field)? {
            self.text(field).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A nullable number.
    #[inline]
    pub fn optional_long(&mut self, field: &'static str) -> Result<Option<i64>, DecodeError> {
        if self.is_some(field)? {
            self.long(field).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A map or array whose items `skip` reads; each item is checked once, here.
    #[inline]
    pub fn items(
        &mut self,
        field: &'static str,
        mut skip: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<Map<'a>, DecodeError> {
        let start = self.at;
        let mut count: usize = 0;
        loop {
            let block = self.block(field)?;
            if block == 0 {
                return Ok(Map {
                    bytes: &self.bytes[start..self.at],
                    count,
                });
            }
            // Each item takes a byte at least, so a huge count ends at the end of the body.
            for _ in 0..block {
                skip(self)?;
                count += 1;
            }
        }
    }

    /// The number of items in the next block; 0 ends the list.
    #[inline]
    fn block(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let count = self.long(field)?;
        if count < 0 {
            self.long(field)?;
        }
        Ok(count.unsigned_abs())
    }
}

/// The items of a map or array inside a record, checked, not yet taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Map<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Map<'a> {
    /// Nothing in it.
    pub const EMPTY: Self = Self {
        bytes: &[0],
        count: 0,
    };

    /// How many items.
    pub const fn len(self) -> usize {
        self.count
    }

    /// True for none.
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// Walks the items with the same reads that checked them.
    pub fn walk<T>(
        self,
        mut read: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> impl Iterator<Item = T> {
        let mut reader = Reader::new(self.bytes);
        let mut left = 0;
        std::iter::from_fn(move || {
            if left == 0 {
                left = reader.block("map").expect("the blocks were read before");
                if left == 0 {
                    // Stay at the end however often the caller asks.
                    reader = Reader::new(&[0]);
                    return None;
                }
            }
            left -= 1;
            Some(read(&mut reader).expect("the items were read before"))
        })
    }
}

#[inline]
const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// Appends a zig-zag varint.
#[inline]
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends bytes behind their length.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// Appends a boolean.
#[inline]
pub fn put_boolean(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// Appends a decimal in as few bytes as hold it.
#[inline]
pub fn put_decimal(out: &mut Vec<u8>, value: Decimal) {
    let units = value.units();
    let wide = units.to_be_bytes();
    // Bits that only repeat the sign; the sign itself needs one.
    let spare = (units ^ (units >> 127)).leading_zeros() as usize;
    let length = (128 - spare) / 8 + 1;
    put_bytes(out, &wide[16 - length..]);
}

/// Appends a nullable string.
#[inline]
pub fn put_optional_text(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        None => out.push(0),
        Some(text) => {
            out.push(2);
            put_bytes(out, text.as_bytes());
        }
    }
}

/// Appends a nullable number.
#[inline]
pub fn put_optional_long(out: &mut Vec<u8>, value: Option<i64>) {
    match value {
        None => out.push(0),
        Some(number) => {
            out.push(2);
            put_long(out, number);
        }
    }
}

/// Appends a map or array as one block.
#[inline]
pub fn put_items<T>(
    out: &mut Vec<u8>,
    items: impl ExactSizeIterator<Item = T>,
    mut put: impl FnMut(&mut Vec<u8>, T),
) {
    if items.len() > 0 {
        put_long(out, items.len() as i64);
        for item in items {
            put(out, item);
        }
    }
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_huge_count_of_nothing_ends() {
        // A block of 2^62 items in a body that ends: an error, not a loop.
        let mut body = vec![];
        put_long(&mut body, 1 << 62);
        let mut reader = Reader::new(&body);
        let items = reader.items("tags", |r| r.text("tags").map(|_| ()));
        assert_eq!(items.err(), Some(DecodeError::Truncated { field: "tags" }));
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]);
        assert!(matches!(reader.long("n"), Err(DecodeError::Invalid { .. })));
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        assert_eq!(reader.long("n"), Ok(i64::MIN));
    }

    #[test]
    fn decimals_take_as_few_bytes_as_hold_them() {
        let check = |units: i128, expect: &[u8]| {
            let mut out = vec![];
            put_decimal(&mut out, Decimal::from_units(units).unwrap());
            assert_eq!(out[1..], *expect, "{units}");
        };
        check(0, &[0]);
        check(127, &[0x7f]);
        check(128, &[0, 0x80]);
        check(-1, &[0xff]);
        check(-128, &[0x80]);
        check(-129, &[0xff, 0x7f]);
    }

    proptest! {
        #[test]
        fn longs_read_back(value in any::<i64>()) {
            let mut out = vec![];
            put_long(&mut out, value);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.long("n"), Ok(value));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            while reader.text("t").is_ok() && reader.decimal("d").is_ok() {}
        }
    }
}
