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

impl<'a, T: Item<'a>> Iterator for Walk<'a, T> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        if self.block == 0 {
            self.block = self.reader.block("").expect("the blocks were read before");
        }
        self.block -= 1;
        Some(T::read(&mut self.reader, "").expect("the items were read before"))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, T: Item<'a>> ExactSizeIterator for Walk<'a, T> {}
