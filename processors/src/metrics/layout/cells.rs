//! Numbers in words: how a cell is read, written and added to.

use schemas::decimal::Decimal;

use super::{Carry, GREATEST, Instant, LEAST, Number, Sample, UNPAIRED_HIGH, UNPAIRED_LOW, Units};

#[inline]
pub(super) fn operand(sample: &Sample, of: Number) -> Option<i128> {
    match of {
        Number::Value => sample.value.map(Decimal::units),
        Number::Weight => sample.weight.map(Decimal::units),
    }
}

#[inline]
pub(super) fn get(words: &[u64], word: u16) -> i128 {
    let word = usize::from(word);
    (u128::from(words[word]) | u128::from(words[word + 1]) << 64) as i128
}

#[inline]
pub(super) fn put(words: &mut [u64], word: u16, value: i128) {
    let word = usize::from(word);
    words[word] = value as u128 as u64;
    words[word + 1] = (value as u128 >> 64) as u64;
}

/// The sequence of an edge lies behind its value.
#[inline]
pub(super) fn sequence(words: &[u64], word: u16) -> i64 {
    words[usize::from(word) + 2] as i64
}

#[inline]
pub(super) fn add(words: &mut [u64], word: u16, units: Units, carries: &mut Vec<Carry>) {
    let (sum, wrapped) = get(words, word).overflowing_add(units.low);
    put(words, word, sum);
    // A sum that wraps past the top comes out 2¹²⁸ too low; past the bottom, too high.
    let carry = units.carry
        + if wrapped {
            if units.low < 0 { -1 } else { 1 }
        } else {
            0
        };
    if carry != 0 {
        carries.push((word, carry));
    }
}

/// Keeps the weight of an event without a value apart.
#[cold]
pub(super) fn set_aside(product: u16, weight: Option<Decimal>, carries: &mut Vec<Carry>) {
    let Some(weight) = weight else { return };
    let units = weight.units();
    carries.push((product | UNPAIRED_LOW, units & i128::from(u64::MAX)));
    carries.push((product | UNPAIRED_HIGH, units >> 64));
}

/// Instant, sequence and value: what orders the edges of a window, so that any order of events
/// gives the same.
pub(super) type Edge = (u64, i64, i128);

#[inline]
pub(super) fn edge(words: &[u64], word: u16, at: Instant) -> Edge {
    (
        get_instant(words, at),
        sequence(words, word),
        get(words, word),
    )
}

#[inline]
pub(super) fn first(words: &mut [u64], word: u16, at: Instant, new: Edge) {
    if get(words, word) == GREATEST || new < edge(words, word, at) {
        put_edge(words, word, at, new);
    }
}

#[inline]
pub(super) fn last(words: &mut [u64], word: u16, at: Instant, new: Edge) {
    if get(words, word) == LEAST || new > edge(words, word, at) {
        put_edge(words, word, at, new);
    }
}

#[inline]
pub(super) fn put_edge(words: &mut [u64], word: u16, at: Instant, (since, sequence, value): Edge) {
    put(words, word, value);
    words[usize::from(word) + 2] = sequence as u64;
    put_instant(words, at, since);
}

#[inline]
pub(super) fn get_instant(words: &[u64], at: Instant) -> u64 {
    match at {
        Instant::Full { word } => words[usize::from(word)],
        Instant::Half { word, high: false } => words[usize::from(word)] & 0xffff_ffff,
        Instant::Half { word, high: true } => words[usize::from(word)] >> 32,
    }
}

#[inline]
pub(super) fn put_instant(words: &mut [u64], at: Instant, since: u64) {
    match at {
        Instant::Full { word } => words[usize::from(word)] = since,
        Instant::Half { word, high: false } => {
            let word = &mut words[usize::from(word)];
            *word = *word & !0xffff_ffff | since & 0xffff_ffff;
        }
        Instant::Half { word, high: true } => {
            let word = &mut words[usize::from(word)];
            *word = *word & 0xffff_ffff | since << 32;
        }
    }
}
