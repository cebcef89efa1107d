//! A meter's aggregates, compiled into cells of a window's memory.
//!
//! A window is a run of 64-bit words. What several aggregates need is kept once: `mean` and `sum`
//! of one operand share a sum. Sums wrap at 128 bits and hand their carry out, so that they are
//! exact in 256 bits while nearly every window pays for 128.

mod builder;
mod cells;
mod reading;
mod sketches;

use ethnum::I256;
use schemas::decimal::Decimal;
use schemas::meter::{Condition, Meter};

use super::panes::Kind;
use builder::Builder;
use cells::*;
use reading::Reading;
use sketches::SketchCell;
pub use sketches::texts;

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
    /// Which of the meter's [`gates`] let the event through: a bit for each, the first one lowest.
    pub passes: u32,
}

/// Which of the meter's numbers a cell is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Number {
    /// The value.
    Value,
    /// The weight.
    Weight,
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
    First(Number),
    Last(Number),
    Min(Number),
    Max(Number),
    Sum(Number),
    Squares(Number),
    Present(Number),
    Product,
}

#[derive(Clone, Copy, Debug)]
enum Cell {
    First { of: Number, word: u16, at: Instant },
    Last { of: Number, word: u16, at: Instant },
    Min { of: Number, word: u16 },
    Max { of: Number, word: u16 },
    Sum { of: Number, word: u16 },
    Squares { of: Number, word: u16 },
    Present { of: Number, word: u16 },
    Product { word: u16 },
}

/// The cells of a meter's windows of one length, and how its results are read off them.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Of all events of the window.
    cells: Box<[Cell]>,
    /// Of those alone that pass a gate.
    gated: Box<[Gated]>,
    sketches: Box<[SketchCell]>,
    readings: Box<[Reading]>,
    word_count: usize,
}

/// The cells of events that pass a gate.
#[derive(Clone, Debug)]
struct Gated {
    /// The gate's bit.
    bit: u32,
    /// The word that counts them.
    count: u16,
    cells: Box<[Cell]>,
}

/// The conditions that a meter's aggregates have, each set of them once.
pub fn gates(meter: &Meter) -> Vec<&[Condition]> {
    let mut gates: Vec<&[Condition]> = vec![];
    for aggregate in &meter.aggregates {
        let conditions = aggregate.conditions.as_slice();
        if !conditions.is_empty() && !gates.contains(&conditions) {
            gates.push(conditions);
        }
    }
    gates
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
        let gates = gates(meter);
        let mut builder = Builder::new(width_ms);
        let read = |aggregate| builder.reading(meter, &gates, aggregate);
        let readings = meter.aggregates.iter().map(read).collect();
        let mut parts = builder.parts.into_iter().map(|part| {
            let gate = part.gate.map_or(0, |gate| 1 << gate);
            (gate, part.count, part.cells.into_boxed_slice())
        });
        let (_, _, cells) = parts.next().expect("the cells of all events come first");
        Self {
            cells,
            gated: parts
                .map(|(bit, count, cells)| Gated { bit, count, cells })
                .collect(),
            sketches: sketches::cells(meter, &gates),
            readings,
            word_count: usize::from(builder.word_count),
        }
    }

    /// The kind of memory that its windows lie in.
    pub fn kind(&self) -> Kind {
        (self.word_count, self.is_sketched())
    }

    /// Words that a window takes.
    pub fn word_count(&self) -> usize {
        self.word_count
    }

    /// The cells, in the order in which they were laid out.
    fn all_cells(&self) -> impl Iterator<Item = &Cell> {
        let gated = self.gated.iter().flat_map(|gated| &gated.cells);
        self.cells.iter().chain(gated)
    }

    /// True when some cell adds up value × weight.
    pub fn needs_product(&self) -> bool {
        self.all_cells()
            .any(|cell| matches!(cell, Cell::Product { .. }))
    }

    /// True when some cell adds up the number's squares.
    pub fn needs_squares(&self, number: Number) -> bool {
        self.all_cells()
            .any(|cell| matches!(cell, Cell::Squares { of, .. } if *of == number))
    }

    /// Makes the words those of a window without events.
    pub fn clear(&self, words: &mut [u64]) {
        words.fill(0);
        for cell in self.all_cells() {
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
        fold_cells(&self.cells, words, start_us, sample, carries);
        for gated in &self.gated {
            if sample.passes & gated.bit != 0 {
                words[usize::from(gated.count)] += 1;
                fold_cells(&gated.cells, words, start_us, sample, carries);
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
        let (own, of) = (&self.cells, &from.layout.cells);
        merge_cells((own, of), words, start_us, from, carries);
        for (own, of) in self.gated.iter().zip(&from.layout.gated) {
            words[usize::from(own.count)] += from.words[usize::from(of.count)];
            merge_cells((&own.cells, &of.cells), words, start_us, from, carries);
        }
        carries.extend(from.carries.iter().map(|(of, carry)| {
            let marks = of & (UNPAIRED_LOW | UNPAIRED_HIGH);
            let of = of & !marks;
            let mut cells = self.all_cells().zip(from.layout.all_cells());
            let cell = cells.find(|(_, cell)| cell.word() == of);
            let (cell, _) = cell.expect("a carry is of a cell");
            (cell.word() | marks, *carry)
        }));
    }

    /// True for the place of a carry that [`Self::fold`] may hand out.
    pub fn has_carry(&self, word: u16) -> bool {
        let word = word & !(UNPAIRED_LOW | UNPAIRED_HIGH);
        self.all_cells().any(|cell| cell.word() == word)
    }

    /// Events in a window.
    #[inline]
    pub fn event_count(words: &[u64]) -> u64 {
        words[COUNT]
    }
}

/// Folds one event into cells of a window that starts at `start_us`.
#[inline]
fn fold_cells(
    cells: &[Cell],
    words: &mut [u64],
    start_us: i64,
    sample: &Sample,
    carries: &mut Vec<Carry>,
) {
    for cell in cells {
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
                    Number::Value => sample.value_squared,
                    Number::Weight => sample.weight_squared,
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

/// Folds a piece's cells into those of a window that starts at `start_us`.
fn merge_cells(
    (own, of): (&[Cell], &[Cell]),
    words: &mut [u64],
    start_us: i64,
    from: &Piece<'_>,
    carries: &mut Vec<Carry>,
) {
    let shift = (from.start_us - start_us) as u64;
    // The same aggregates give the same cells in the same order, at other places at most.
    for cells in own.iter().zip(of) {
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
