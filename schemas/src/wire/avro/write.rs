//! Writing.

use crate::decimal::Decimal;

/// Appends a zig-zag varint.
#[inline]
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    if rest < 0x80 {
        return out.push(rest as u8);
    }
    if rest < 1 << 56 {
        let digits = scatter(rest);
        let last = 7 - digits.leading_zeros() / 8;
        let more = 0x8080_8080_8080_8080 & ((1 << (8 * last)) - 1);
        out.extend_from_slice(&(digits | more).to_le_bytes());
        out.truncate(out.len() - (7 - last as usize));
        return;
    }
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Eight digits of 7 bits, moved apart into a byte each: by fours, by pairs, one by one.
#[inline]
const fn scatter(value: u64) -> u64 {
    let fours = (value & 0x0fff_ffff) | ((value << 4) & 0x0fff_ffff_0000_0000);
    let pairs = (fours & 0x0000_3fff_0000_3fff) | ((fours << 2) & 0x3fff_0000_3fff_0000);
    (pairs & 0x007f_007f_007f_007f) | ((pairs << 1) & 0x7f00_7f00_7f00_7f00)
}

/// Appends bytes behind their length.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match widened(bytes) {
        Some(wide) => {
            out.push((bytes.len() * 2) as u8);
            put_front(out, wide.to_le_bytes(), bytes.len());
        }
        None => {
            put_long(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends the first `length` of 16 bytes: a store of fixed size is much cheaper than a copy.
#[inline(always)]
fn put_front(out: &mut Vec<u8>, wide: [u8; 16], length: usize) {
    out.extend_from_slice(&wide);
    out.truncate(out.len() - (16 - length));
}

/// At most 16 bytes in a register, the first one lowest: their front and their back, which may
/// overlap.
#[inline(always)]
fn widened(bytes: &[u8]) -> Option<u128> {
    let bits = 8 * bytes.len();
    if bits > 128 {
        return None;
    }
    if let (Some(front), Some(back)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (front, back) = (u64::from_le_bytes(*front), u64::from_le_bytes(*back));
        let back = if bits == 64 { 0 } else { back >> (128 - bits) };
        return Some(u128::from(front) | u128::from(back) << 64);
    }
    if let (Some(front), Some(back)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (front, back) = (u32::from_le_bytes(*front), u32::from_le_bytes(*back));
        return Some((u64::from(front) | u64::from(back) << (bits - 32)).into());
    }
    let each = bytes.iter().rev();
    Some(
        each.fold(0, |wide: u32, byte| wide << 8 | u32::from(*byte))
            .into(),
    )
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
    // Bits that only repeat the sign; the sign itself needs one.
    let spare = (units ^ (units >> 127)).leading_zeros() as usize;
    let length = (128 - spare) / 8 + 1;
    out.push((length * 2) as u8);
    put_front(out, (units << (128 - 8 * length)).to_be_bytes(), length);
}

/// Appends a nullable string.
#[inline]
pub fn put_optional_text(out: &mut Vec<u8>, value: Option<&str>) {
    put_optional_bytes(out, value.map(str::as_bytes));
}

/// Appends nullable bytes.
#[inline]
pub fn put_optional_bytes(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.push(0),
        Some(bytes) => {
            out.push(2);
            put_bytes(out, bytes);
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
