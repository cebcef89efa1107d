//! Reading: fast ways for what is common, one general way for the rest.
//!
//! The fast ways answer `None` for whatever they are not made for, wrong bytes included; the
//! general way then reads the same place again and alone decides what is an error.

use super::Text;
use crate::decimal::Decimal;
use crate::wire::DecodeError;

/// Reads a body from front to back.
///
/// One that is not `CHECKED` walks bytes that were checked before, and so looks at no text twice.
#[derive(Clone, Copy)]
pub struct Reader<'a, const CHECKED: bool = true> {
    pub(super) rest: &'a [u8],
}

/// What a general way read, and what is left behind it.
type Read<'a, T> = Result<(T, &'a [u8]), DecodeError>;

impl<'a> Reader<'a> {
    /// At the start of a body.
    #[inline]
    pub const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Ends the reading; an error when bytes are left.
    #[inline]
    pub const fn end(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { count }),
        }
    }
}

impl<'a, const CHECKED: bool> Reader<'a, CHECKED> {
    /// A zig-zag varint.
    #[inline(always)]
    pub fn long(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        if let Some(word) = self.rest.first_chunk() {
            let word = u64::from_le_bytes(*word);
            let ends = !word & 0x8080_8080_8080_8080;
            if ends == 1 << 63 {
                // An instant: eight bytes until the year 3111.
                self.rest = &self.rest[8..];
                return Ok(unzigzag(gather(word)));
            }
            if ends != 0 {
                let length = ends.trailing_zeros() as usize / 8 + 1;
                self.rest = &self.rest[length..];
                return Ok(unzigzag(gather(word & (ends ^ (ends - 1)))));
            }
        }
        self.settle(any_long(self.rest, field))
    }

    /// Takes what a general way read, and goes to where it ended.
    #[inline(always)]
    fn settle<T>(&mut self, read: Read<'a, T>) -> Result<T, DecodeError> {
        let (value, rest) = read?;
        self.rest = rest;
        Ok(value)
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
        let value = match self.rest.first() {
            None => return Err(DecodeError::Truncated { field }),
            Some(0) => false,
            Some(1) => true,
            Some(_) => {
                return Err(DecodeError::Invalid {
                    field,
                    reason: "a boolean is 0 or 1",
                });
            }
        };
        self.rest = &self.rest[1..];
        Ok(value)
    }

    /// The symbol of an enum with `count` of them.
    #[inline(always)]
    pub fn symbol(&mut self, count: usize, field: &'static str) -> Result<usize, DecodeError> {
        match self.small(field)? {
            symbol @ 0.. if (symbol as u64) < count as u64 => Ok(symbol as usize),
            _ => Err(DecodeError::Invalid {
                field,
                reason: "an enum's symbol is one of the schema's",
            }),
        }
    }

    /// A varint that mostly takes one byte.
    #[inline(always)]
    fn small(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(unzigzag(u64::from(byte)))
            }
            _ => self.settle(any_long(self.rest, field)),
        }
    }

    /// Bytes behind their length.
    #[inline(always)]
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        match short_bytes(self.rest) {
            Some((bytes, all)) => {
                self.rest = &all[bytes.len()..];
                Ok(bytes)
            }
            None => self.settle(any_bytes(self.rest, field)),
        }
    }

    /// A string, checked to be UTF-8.
    #[inline(always)]
    pub fn text(&mut self, field: &'static str) -> Result<Text<'a>, DecodeError> {
        if !CHECKED {
            return self.bytes(field).map(Text::known);
        }
        match short_ascii(self.rest) {
            Some((text, rest)) => {
                self.rest = rest;
                Ok(text)
            }
            None => self.settle(any_text(self.rest, field)),
        }
    }

    /// A decimal(38, 18): big-endian two's complement, 1 to 16 bytes.
    #[inline(always)]
    pub fn decimal(&mut self, field: &'static str) -> Result<Decimal, DecodeError> {
        let bytes = self.bytes(field)?;
        let read = match bytes.len() {
            // 15 bytes hold no 39 digits.
            1..16 => Some(Decimal::known(number(bytes))),
            16 => Decimal::from_units(number(bytes)),
            _ => None,
        };
        read.ok_or(DecodeError::Invalid {
            field,
            reason: "a decimal has 1 to 16 bytes and at most 38 digits",
        })
    }

    /// The branch of a union with null first: true when a value follows.
    #[inline(always)]
    pub fn is_some(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.rest {
            [0, rest @ ..] => {
                self.rest = rest;
                Ok(false)
            }
            [2, rest @ ..] => {
                self.rest = rest;
                Ok(true)
            }
            _ => self.settle(any_branch(self.rest, field)),
        }
    }

    /// A nullable string.
    #[inline(always)]
    pub fn optional_text(&mut self, field: &'static str) -> Result<Option<Text<'a>>, DecodeError> {
        match self.is_some(field)? {
            true => self.text(field).map(Some),
            false => Ok(None),
        }
    }

    /// Nullable strings that follow one another, and mostly are null.
    #[inline(always)]
    pub fn optional_texts<const N: usize>(
        &mut self,
        fields: [&'static str; N],
    ) -> Result<[Option<Text<'a>>; N], DecodeError> {
        if let Some((heads, rest)) = self.rest.split_first_chunk()
            && *heads == [0; N]
        {
            self.rest = rest;
            return Ok([None; N]);
        }
        let mut texts = [None; N];
        for (text, field) in texts.iter_mut().zip(fields) {
            *text = self.optional_text(field)?;
        }
        Ok(texts)
    }

    /// A nullable number.
    #[inline(always)]
    pub fn optional_long(&mut self, field: &'static str) -> Result<Option<i64>, DecodeError> {
        match self.is_some(field)? {
            true => self.long(field).map(Some),
            false => Ok(None),
        }
    }

    /// Nullable bytes.
    #[inline]
    pub fn optional_bytes(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.is_some(field)? {
            true => self.bytes(field).map(Some),
            false => Ok(None),
        }
    }

    /// The number of items in the next block; 0 ends the list.
    #[inline(always)]
    pub(super) fn block(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        match self.rest {
            [count, rest @ ..] if count & 0x81 == 0 => {
                self.rest = rest;
                Ok(u64::from(count >> 1))
            }
            _ => self.settle(any_block(self.rest, field)),
        }
    }
}

/// At most 63 bytes, whose length takes one; also all that follows the length.
#[inline(always)]
fn short_bytes(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&head, all) = rest.split_first()?;
    // The high bit would mean a longer varint, the low one a negative length.
    if head & 0x81 != 0 {
        return None;
    }
    Some((all.get(..usize::from(head >> 1))?, all))
}

#[inline(never)]
fn any_long<'a>(mut rest: &'a [u8], field: &'static str) -> Read<'a, i64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let Some((&byte, behind)) = rest.split_first() else {
            return Err(DecodeError::Truncated { field });
        };
        rest = behind;
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((unzigzag(value), rest));
        }
    }
    Err(DecodeError::Invalid {
        field,
        reason: "a number has at most 64 bits",
    })
}

#[inline(never)]
fn any_bytes<'a>(rest: &'a [u8], field: &'static str) -> Read<'a, &'a [u8]> {
    let (length, rest) = any_long(rest, field)?;
    if length < 0 {
        return Err(DecodeError::Invalid {
            field,
            reason: "a length is not negative",
        });
    }
    usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or(DecodeError::Truncated { field })
}

/// A text of at most 16 bytes with neighbours behind it, as most are: one load, one mask.
#[inline(always)]
fn short_ascii(rest: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let (wide, _) = rest.split_first_chunk::<17>()?;
    // An odd head would be a negative length; it becomes too large.
    let length = usize::from(wide[0].rotate_right(1));
    let high_bits = HIGH_BITS.get(length)?;
    let [_, wide @ ..] = *wide;
    if u128::from_le_bytes(wide) & high_bits != 0 {
        return None;
    }
    let (bytes, rest) = rest[1..].split_at_checked(length)?;
    Some((Text::known(bytes), rest))
}

#[inline(never)]
fn any_text<'a>(rest: &'a [u8], field: &'static str) -> Read<'a, Text<'a>> {
    let (bytes, rest) = match short_bytes(rest) {
        Some((bytes, all)) => (bytes, &all[bytes.len()..]),
        None => any_bytes(rest, field)?,
    };
    if is_ascii(bytes) {
        return Ok((Text::known(bytes), rest));
    }
    match Text::from_utf8(bytes) {
        Some(text) => Ok((text, rest)),
        None => Err(DecodeError::Invalid {
            field,
            reason: "a string is UTF-8",
        }),
    }
}

/// Like the standard library's, but for short texts faster: by chunks that may overlap.
#[inline(always)]
fn is_ascii(bytes: &[u8]) -> bool {
    let all = if let Some(last) = bytes.last_chunk() {
        let (chunks, _) = bytes.as_chunks::<16>();
        let each = chunks.iter().map(|chunk| u128::from_le_bytes(*chunk));
        each.fold(u128::from_le_bytes(*last), |all, chunk| all | chunk)
    } else if let (Some(front), Some(back)) = (bytes.first_chunk(), bytes.last_chunk()) {
        u128::from(u64::from_le_bytes(*front) | u64::from_le_bytes(*back))
    } else if let (Some(front), Some(back)) = (bytes.first_chunk(), bytes.last_chunk()) {
        u128::from(u32::from_le_bytes(*front) | u32::from_le_bytes(*back))
    } else {
        u128::from(bytes.iter().fold(0, |all, byte| all | byte))
    };
    all & HIGH_BITS[16] == 0
}

#[inline(never)]
fn any_branch<'a>(rest: &'a [u8], field: &'static str) -> Read<'a, bool> {
    match any_long(rest, field)? {
        (0, rest) => Ok((false, rest)),
        (1, rest) => Ok((true, rest)),
        _ => Err(DecodeError::Invalid {
            field,
            reason: "a union's branch is 0 or 1",
        }),
    }
}

#[inline(never)]
fn any_block<'a>(rest: &'a [u8], field: &'static str) -> Read<'a, u64> {
    let (count, rest) = any_long(rest, field)?;
    if count >= 0 {
        return Ok((count.unsigned_abs(), rest));
    }
    // The block's length in bytes, for readers that skip it.
    let (_, rest) = any_long(rest, field)?;
    Ok((count.unsigned_abs(), rest))
}

/// A big-endian number of 1 to 16 bytes: its front and its back, which may overlap.
#[inline(always)]
fn number(bytes: &[u8]) -> i128 {
    let bits = 8 * bytes.len();
    if let (Some(front), Some(back)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (front, back) = (i64::from_be_bytes(*front), u64::from_be_bytes(*back));
        return i128::from(front) << (bits - 64) | i128::from(back);
    }
    if let (Some(front), Some(back)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (front, back) = (i32::from_be_bytes(*front), u32::from_be_bytes(*back));
        return i128::from(i64::from(front) << (bits - 32) | i64::from(back));
    }
    let value = bytes
        .iter()
        .fold(0, |value, byte| value << 8 | i64::from(*byte));
    i128::from(value << (64 - bits) >> (64 - bits))
}

/// High bits of the first bytes of 16, by how many.
const HIGH_BITS: [u128; 17] = {
    let mut masks = [0; 17];
    let mut length = 1;
    while length <= 16 {
        masks[length] = (masks[length - 1] << 8) | 0x80;
        length += 1;
    }
    masks
};

/// Eight digits of 7 bits, a byte each, moved together: by pairs, by fours, all.
#[inline]
const fn gather(word: u64) -> u64 {
    let digits = word & 0x7f7f_7f7f_7f7f_7f7f;
    let pairs = (digits & 0x007f_007f_007f_007f) | ((digits & 0x7f00_7f00_7f00_7f00) >> 1);
    let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    (fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4)
}

#[inline]
const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}
