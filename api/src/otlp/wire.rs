//! Where in a protobuf request the resources, scopes and items are, without reading them.
//!
//! A request for traces and one for logs have the same shape and the same numbers: 1 is a list of
//! resources with what is theirs, in which 1 is the resource and 2 a list of scopes with what is
//! theirs, in which 1 is the scope and 2 the list of items. Only one item is read at a time, so
//! memory is bounded by it, and not by how many empty ones a body can hold.

use super::{Items, Limits, Place, Unreadable};

/// One field of a message.
struct Field<'a> {
    number: u64,
    /// The bytes of a text, a list's entry or a message; `None` for numbers.
    bytes: Option<&'a [u8]>,
}

/// Hands each item of a request to `items`, with the resource and the scope that it is of.
pub(super) fn walk<'a>(body: &'a [u8], items: &mut impl Items<'a>) -> Result<(), Unreadable> {
    each(body, 1, |of_resource| {
        let resource = last(of_resource, 1)?;
        each(of_resource, 2, |of_scope| {
            let scope = last(of_scope, 1)?;
            each(of_scope, 2, |item| {
                items.take(Place {
                    resource: bounded(resource),
                    scope: bounded(scope),
                    item,
                });
                Ok(())
            })
        })
    })
}

/// A resource or scope that is too large to be read says nothing.
fn bounded(bytes: &[u8]) -> &[u8] {
    match bytes.len() <= Limits::ITEM_BYTES {
        true => bytes,
        false => &[],
    }
}

/// The last message under this number; empty when there is none.
fn last(message: &[u8], number: u64) -> Result<&[u8], Unreadable> {
    let mut found: &[u8] = &[];
    each(message, number, |bytes| {
        found = bytes;
        Ok(())
    })?;
    Ok(found)
}

/// Each message under this number, in order.
fn each<'a>(
    mut message: &'a [u8],
    number: u64,
    mut take: impl FnMut(&'a [u8]) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    while !message.is_empty() {
        let field = field(&mut message).ok_or(Unreadable)?;
        if field.number == number {
            take(field.bytes.ok_or(Unreadable)?)?;
        }
    }
    Ok(())
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let tag = varint(rest)?;
    let number = tag >> 3;
    let bytes = match tag & 7 {
        0 => {
            varint(rest)?;
            None
        }
        1 => {
            split(rest, 8)?;
            None
        }
        2 => {
            let length = varint(rest)?;
            Some(split(rest, length)?)
        }
        5 => {
            split(rest, 4)?;
            None
        }
        // Groups went out of use before OTLP was there.
        _ => return None,
    };
    (number > 0).then_some(Field { number, bytes })
}

fn split<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
