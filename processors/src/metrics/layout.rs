//! A meter's aggregates, compiled into cells of a window's memory.
//!
//! A window is a run of 64-bit words. What several aggregates need is kept once: `mean` and `sum`
//! of one operand share a sum. Sums wrap at 128 bits and hand their carry out, so that they are
//! exact in 256 bits while nearly every window pays for 128.

mod builder;
mod cells;

use ethnum::I256;
use schemas::decimal::Decimal;
use schemas::meter::{Meter, Operand};
use schemas::total::{Total, deviation};

use builder::Builder;
use cells::*;

/// What one event brings to the windows of one meter.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Microseconds since 1970.
    pub time_us: i64,
    /// Orders events of one instant; the least for none.
    pub sequence: i64,
    /// The meter's value, in units of 10⁻¹⁸.
    pub value: Option<Decimal>,
    /// The meter's weight, in units of 10⁻¹⁸.
    pub weight: Option<Decimal>,
    /// Value × weight, rounded once, where a cell needs it.
    pub product: Option<Units>,
    /// Value², rounded once, where a cell needs it.
    pub value_squared: Option<Units>,
    /// Weight², rounded once, where a cell needs it.
    pub weight_squared: Option<Units>,
}

/// A number of units that may need more than 128 bits: `low + carry · 2¹²⁸`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Units {
    low: i128,
    carry: i128,
}

impl Units {
    /// Splits a number.
    pub fn new(units: I256) -> Self {
        let low = units.as_i128();
        let carry: I256 = (units - I256::from(low)) >> 128_u32;
        Self {
            low,
            carry: carry.as_i128(),
        }
    }

    /// The rounded product of two decimals.
    #[inline]
    pub fn product(a: Decimal, b: Decimal) -> Self {
        match a.product_narrow(b) {
            Some(low) => Self { low, carry: 0 },
            None => Self::new(a.product(b)),
        }
    }
}

/// Where a window's first or last instant is kept: microseconds from the window's start.
#[derive(Clone, Copy, Debug)]
enum Instant {
    /// Half a word: for windows of up to 71 minutes.
    Half { word: u16, high: bool },
    /// A word.
    Full { word: u16 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Need {
    First(Operand),
    Last(Operand),
    Min(Operand),
    Max(Operand),
    Sum(Operand),
    Squares(Operand),
    Present(Operand),
    Product,
}

#[derive(Clone, Copy, Debug)]
enum Cell {
    First { of: Operand, word: u16, at: Instant },
    Last { of: Operand, word: u16, at: Instant },
    Min { of: Operand, word: u16 },
    Max { of: Operand, word: u16 },
    Sum { of: Operand, word: u16 },
    Squares { of: Operand, word: u16 },
    Present { of: Operand, word: u16 },
    Product { word: u16 },
}

/// How one result is read off the cells.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Count,
    Edge {
        word: u16,
        unset: i128,
    },
    Sum {
        word: u16,
    },
    Mean {
        sum: u16,
        present: u16,
    },
    Vwap {
        product: u16,
        weight: u16,
    },
    Stddev {
        sum: u16,
        squares: u16,
        present: u16,
    },
}

/// The cells of a meter's windows of one length, and how its results are read off them.
#[derive(Clone, Debug)]
pub struct Layout {
    cells: Box<[Cell]>,
    readings: Box<[Reading]>,
    word_count: usize,
}

/// Word 0 counts the window's events.
const COUNT: usize = 0;
const LEAST: i128 = i128::MIN;
const GREATEST: i128 = i128::MAX;
/// Windows up to this length keep their instants in half words.
const HALF_MS_MAX: i64 = 4_294_000;

/// A carry out of a sum's 128 bits: the word where the sum begins, and what to add to its carry.
pub type Carry = (u16, i128);

/// A pane, or a shorter window, that is folded into another.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Of the same aggregates; its windows may be of another length.
    pub layout: &'a Layout,
    /// Its cells.
    pub words: &'a [u64],
    /// What its sums carried.
    pub carries: &'a [Carry],
    /// Its first instant, in microseconds.
    pub start_us: i64,
}

/// Weights of events that have no value: part of the weights' sum, and not of a weighted mean.
/// They are rare, so they take no words: they are kept as carries of the product under these marks,
/// in two halves, so that no number of events overflows one.
const UNPAIRED_LOW: u16 = 1 << 14;
const UNPAIRED_HIGH: u16 = 1 << 15;

impl Layout {
    /// Compiles the meter's aggregates for windows of `width_ms` and their panes.
    pub fn new(meter: &Meter, width_ms: i64) -> Self {
        let mut builder = Builder::new(width_ms);
        let readings = meter
            .aggregates
            .iter()
            .map(|a| builder.reading(a.function, a.of))
            .collect();
        Self {
            cells: builder.cells.into_boxed_slice(),
            readings,
            word_count: usize::from(builder.word_count),
        }
    }

    /// Words that a window takes.
    pub fn word_count(&self) -> usize {
        self.word_count
    }

    /// True when some cell adds up value × weight.
    pub fn needs_product(&self) -> bool {
        self.cells
            .iter()
            .any(|cell| matches!(cell, Cell::Product { .. }))
    }

    /// True when some cell adds up the operand's squares.
    pub fn needs_squares(&self, operand: Operand) -> bool {
        self.cells
            .iter()
            .any(|cell| matches!(cell, Cell::Squares { of, .. } if *of == operand))
    }

    /// Makes the words those of a window without events.
    pub fn clear(&self, words: &mut [u64]) {
        words.fill(0);
        for cell in &self.cells {
            match *cell {
                Cell::First { word, at, .. } => {
                    put(words, word, GREATEST);
                    put_instant(words, at, u64::MAX);
                }
                Cell::Last { word, .. } => put(words, word, LEAST),
                Cell::Min { word, .. } => put(words, word, GREATEST),
                Cell::Max { word, .. } => put(words, word, LEAST),
                _ => {}
            }
        }
    }

    /// Folds one event into a window that starts at `start_us`.
    #[inline]
    pub fn fold(
        &self,
        words: &mut [u64],
        start_us: i64,
        sample: &Sample,
        carries: &mut Vec<Carry>,
    ) {
        words[COUNT] += 1;
        for cell in &self.cells {
            match *cell {
                Cell::First { of, word, at } => {
                    if let Some(value) = operand(sample, of) {
                        let since = (sample.time_us - start_us) as u64;
                        first(words, word, at, (since, sample.sequence, value));
                    }
                }
                Cell::Last { of, word, at } => {
                    if let Some(value) = operand(sample, of) {
                        let since = (sample.time_us - start_us) as u64;
                        last(words, word, at, (since, sample.sequence, value));
                    }
                }
                Cell::Min { of, word } => {
                    if let Some(value) = operand(sample, of).filter(|v| *v < get(words, word)) {
                        put(words, word, value);
                    }
                }
                Cell::Max { of, word } => {
                    if let Some(value) = operand(sample, of).filter(|v| *v > get(words, word)) {
                        put(words, word, value);
                    }
                }
                Cell::Sum { of, word } => {
                    if let Some(low) = operand(sample, of) {
                        add(words, word, Units { low, carry: 0 }, carries);
                    }
                }
                Cell::Squares { of, word } => {
                    let squared = match of {
                        Operand::Value => sample.value_squared,
                        Operand::Weight => sample.weight_squared,
                    };
                    if let Some(units) = squared {
                        add(words, word, units, carries);
                    }
                }
                Cell::Present { of, word } => {
                    words[usize::from(word)] += u64::from(operand(sample, of).is_some());
                }
                Cell::Product { word } => match sample.product {
                    Some(units) => add(words, word, units, carries),
                    None => set_aside(word, sample.weight, carries),
                },
            }
        }
    }

    /// Folds a pane, or a shorter window, into a window that starts at `start_us`.
    ///
    /// Law: folding events into panes and merging those equals folding the events.
    pub fn merge(
        &self,
        words: &mut [u64],
        start_us: i64,
        from: &Piece<'_>,
        carries: &mut Vec<Carry>,
    ) {
        words[COUNT] += from.words[COUNT];
        let shift = (from.start_us - start_us) as u64;
        // The same aggregates give the same cells in the same order, at other places at most.
        for cells in self.cells.iter().zip(&from.layout.cells) {
            match cells {
                (
                    &Cell::First { word, at, .. },
                    &Cell::First {
                        word: of, at: then, ..
                    },
                ) => {
                    let (since, sequence, value) = edge(from.words, of, then);
                    if value != GREATEST {
                        first(words, word, at, (since + shift, sequence, value));
                    }
                }
                (
                    &Cell::Last { word, at, .. },
                    &Cell::Last {
                        word: of, at: then, ..
                    },
                ) => {
                    let (since, sequence, value) = edge(from.words, of, then);
                    if value != LEAST {
                        last(words, word, at, (since + shift, sequence, value));
                    }
                }
                (&Cell::Min { word, .. }, &Cell::Min { word: of, .. }) => {
                    put(words, word, get(words, word).min(get(from.words, of)));
                }
                (&Cell::Max { word, .. }, &Cell::Max { word: of, .. }) => {
                    put(words, word, get(words, word).max(get(from.words, of)));
                }
                (&Cell::Sum { word, .. }, &Cell::Sum { word: of, .. })
                | (&Cell::Squares { word, .. }, &Cell::Squares { word: of, .. })
                | (&Cell::Product { word }, &Cell::Product { word: of }) => {
                    let low = get(from.words, of);
                    add(words, word, Units { low, carry: 0 }, carries);
                }
                (&Cell::Present { word, .. }, &Cell::Present { word: of, .. }) => {
                    words[usize::from(word)] += from.words[usize::from(of)];
                }
                _ => debug_assert!(false, "other aggregates: {cells:?}"),
            }
        }
        carries.extend(from.carries.iter().map(|(of, carry)| {
            let marks = of & (UNPAIRED_LOW | UNPAIRED_HIGH);
            let of = of & !marks;
            let at = from.layout.cells.iter().position(|cell| cell.word() == of);
            let cell = &self.cells[at.expect("a carry is of a cell")];
            (cell.word() | marks, *carry)
        }));
    }

    /// The window's results, in the order of the meter's aggregates, and whether one of them is
    /// out of a decimal's range. `carry` gives what a sum carried beyond its 128 bits.
    pub fn results(
        &self,
        words: &[u64],
        carry: impl Fn(u16) -> i128,
        results: &mut Vec<Option<Decimal>>,
    ) -> bool {
        results.clear();
        let mut overflow = false;
        let total = |word| Total::from_parts(get(words, word), carry(word));
        for reading in &self.readings {
            let (result, exists) = match *reading {
                Reading::Count => (
                    i64::try_from(words[COUNT]).ok().map(Decimal::from_int),
                    true,
                ),
                Reading::Edge { word, unset } => {
                    let units = get(words, word);
                    (Decimal::from_units(units), units != unset)
                }
                Reading::Sum { word } => (total(word).to_decimal(), true),
                Reading::Mean { sum, present } => {
                    let count = words[usize::from(present)];
                    (total(sum).mean(count), count > 0)
                }
                Reading::Vwap { product, weight } => {
                    let unpaired = I256::from(carry(product | UNPAIRED_HIGH)) << 64_u32;
                    let unpaired = unpaired + I256::from(carry(product | UNPAIRED_LOW));
                    let weight = Total::from_units(total(weight).units() - unpaired);
                    (total(product).weighted_mean(weight), weight > Total::ZERO)
                }
                Reading::Stddev {
                    sum,
                    squares,
                    present,
                } => {
                    let count = words[usize::from(present)];
                    (deviation(total(sum), total(squares), count), count > 0)
                }
            };
            overflow |= exists && result.is_none();
            results.push(result.filter(|_| exists));
        }
        overflow
    }

    /// Events in a window.
    #[inline]
    pub fn event_count(words: &[u64]) -> u64 {
        words[COUNT]
    }
}

impl Cell {
    fn need(&self) -> Need {
        match *self {
            Self::First { of, .. } => Need::First(of),
            Self::Last { of, .. } => Need::Last(of),
            Self::Min { of, .. } => Need::Min(of),
            Self::Max { of, .. } => Need::Max(of),
            Self::Sum { of, .. } => Need::Sum(of),
            Self::Squares { of, .. } => Need::Squares(of),
            Self::Present { of, .. } => Need::Present(of),
            Self::Product { .. } => Need::Product,
        }
    }

    fn word(&self) -> u16 {
        match *self {
            Self::First { word, .. }
            | Self::Last { word, .. }
            | Self::Min { word, .. }
            | Self::Max { word, .. }
            | Self::Sum { word, .. }
            | Self::Squares { word, .. }
            | Self::Present { word, .. }
            | Self::Product { word } => word,
        }
    }
}

#[cfg(test)]
mod tests;
