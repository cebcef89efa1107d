//! Arrays and maps: checked once, while the record is read; walked later, without errors.

use std::fmt;
use std::marker::PhantomData;

use super::{Reader, Text};
use crate::decimal::Decimal;
use crate::wire::DecodeError;

impl<'a> Reader<'a> {
    /// A map or array; each item is checked once, here.
    #[inline(always)]
    pub fn items<T: Item<'a>>(&mut self, field: &'static str) -> Result<Items<'a, T>, DecodeError> {
        let start = self.rest;
        let mut count = 0;
        loop {
            let block = self.block(field)?;
            if block == 0 {
                return Ok(Items {
                    bytes: &start[..start.len() - self.rest.len()],
                    count,
                    item: PhantomData,
                });
            }
            // Each item of ours takes a byte at least.
            if block > self.rest.len() as u64 {
                return Err(DecodeError::Truncated { field });
            }
            for _ in 0..block {
                T::read(self, field)?;
            }
            count += block as usize;
        }
    }
}

const CHECKED_BEFORE: &str = "the items were read before";

/// What an array or a map holds; it takes a byte at least.
pub trait Item<'a>: Sized {
    /// Reads one; `field` is the array or map.
    ///
    /// # Errors
    /// Whatever the schema does not allow.
    fn read<const CHECKED: bool>(
        reader: &mut Reader<'a, CHECKED>,
        field: &'static str,
    ) -> Result<Self, DecodeError>;

    /// Passes over one.
    ///
    /// # Errors
    /// As [`Self::read`], but for the value itself, which is not looked at.
    #[inline(always)]
    fn skip<const CHECKED: bool>(
        reader: &mut Reader<'a, CHECKED>,
        field: &'static str,
    ) -> Result<(), DecodeError> {
        Self::read(reader, field).map(drop)
    }
}

impl<'a> Item<'a> for Text<'a> {
    #[inline(always)]
    fn read<const CHECKED: bool>(
        reader: &mut Reader<'a, CHECKED>,
        field: &'static str,
    ) -> Result<Self, DecodeError> {
        reader.text(field)
    }
}

impl<'a> Item<'a> for Decimal {
    #[inline(always)]
    fn read<const CHECKED: bool>(
        reader: &mut Reader<'a, CHECKED>,
        field: &'static str,
    ) -> Result<Self, DecodeError> {
        reader.decimal(field)
    }

    #[inline(always)]
    fn skip<const CHECKED: bool>(
        reader: &mut Reader<'a, CHECKED>,
        field: &'static str,
    ) -> Result<(), DecodeError> {
        reader.bytes(field).map(drop)
    }
}

impl<'a> Item<'a> for &'a [u8] {
    #[inline(always)]
    fn read<const CHECKED: bool>(
        reader: &mut Reader<'a, CHECKED>,
        field: &'static str,
    ) -> Result<Self, DecodeError> {
        reader.bytes(field)
    }
}

/// Null or a value.
impl<'a, T: Item<'a>> Item<'a> for Option<T> {
    #[inline(always)]
    fn read<const CHECKED: bool>(
        reader: &mut Reader<'a, CHECKED>,
        field: &'static str,
    ) -> Result<Self, DecodeError> {
        match reader.is_some(field)? {
            true => T::read(reader, field).map(Some),
            false => Ok(None),
        }
    }
}

/// A map's name and value.
impl<'a, T: Item<'a>> Item<'a> for (Text<'a>, T) {
    #[inline(always)]
    fn read<const CHECKED: bool>(
        reader: &mut Reader<'a, CHECKED>,
        field: &'static str,
    ) -> Result<Self, DecodeError> {
        Ok((reader.text(field)?, T::read(reader, field)?))
    }
}

/// The items of a map or array inside a record: checked, not yet taken apart.
pub struct Items<'a, T> {
    bytes: &'a [u8],
    count: usize,
    item: PhantomData<T>,
}

impl<T> Clone for Items<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Items<'_, T> {}

impl<T> Items<'_, T> {
    /// None at all.
    pub const NONE: Self = Self {
        bytes: &[],
        count: 0,
        item: PhantomData,
    };
}

impl<'a, T: Item<'a>> Items<'a, T> {
    /// How many items.
    #[inline]
    pub const fn len(self) -> usize {
        self.count
    }

    /// True for none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The items in the order of the record.
    #[inline]
    pub fn iter(self) -> Walk<'a, T> {
        Walk {
            reader: Reader { rest: self.bytes },
            left: self.count,
            block: 0,
            item: PhantomData,
        }
    }
}

impl<'a, T: Item<'a>> Items<'a, (Text<'a>, T)> {
    /// The value of a name; the last one where a producer wrote it twice.
    #[inline]
    pub fn get(self, name: &str) -> Option<T> {
        let mut last = None;
        for (found, value) in self.iter() {
            if found == name {
                last = Some(value);
            }
        }
        last
    }

    /// The values of two names in one walk, each as [`Self::get`] gives it; values of other names
    /// are passed over.
    #[inline]
    pub fn get_two(self, names: [&str; 2]) -> [Option<T>; 2]
    where
        T: Copy,
    {
        let mut last = [None; 2];
        let mut walk = self.iter();
        while let Some(reader) = walk.next_item() {
            let found = Text::read(reader, "").expect(CHECKED_BEFORE);
            let is_wanted = names.map(|name| found == name);
            if is_wanted == [false; 2] {
                T::skip(reader, "").expect(CHECKED_BEFORE);
                continue;
            }
            let value = T::read(reader, "").expect(CHECKED_BEFORE);
            for (last, is_wanted) in last.iter_mut().zip(is_wanted) {
                if is_wanted {
                    *last = Some(value);
                }
            }
        }
        last
    }
}

impl<'a, T: Item<'a> + fmt::Debug> fmt::Debug for Items<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A walk over checked items.
pub struct Walk<'a, T> {
    reader: Reader<'a, false>,
    left: usize,
    block: u64,
    item: PhantomData<T>,
}

impl<'a, T> Walk<'a, T> {
    /// The reader, where the next item begins.
    #[inline(always)]
    fn next_item(&mut self) -> Option<&mut Reader<'a, false>> {
        self.left = self.left.checked_sub(1)?;
        if self.block == 0 {
            self.block = self.reader.block("").expect(CHECKED_BEFORE);
        }
        self.block -= 1;
        Some(&mut self.reader)
    }
}

impl<'a, T: Item<'a>> Iterator for Walk<'a, T> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        Some(T::read(self.next_item()?, "").expect(CHECKED_BEFORE))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, T: Item<'a>> ExactSizeIterator for Walk<'a, T> {}
