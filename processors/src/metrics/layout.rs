//! A meter's aggregates, compiled into cells of a window's memory.
//!
//! A window is a run of 64-bit words. What several aggregates need is kept once: `mean` and `sum`
//! of one operand share a sum. Sums wrap at 128 bits and hand their carry out, so that they are
//! exact in 256 bits while nearly every window pays for 128.

mod cells;

use ethnum::I256;
use schemas::decimal::Decimal;
use schemas::meter::{Function, Meter, Operand};
use schemas::total::{Total, deviation};

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

/// Weights of events that have no value: part of the weights' sum, and not of a weighted mean.
/// They are rare, so they take no words: they are kept as carries of the product under these marks,
/// in two halves, so that no number of events overflows one.
const UNPAIRED_LOW: u16 = 1 << 14;
const UNPAIRED_HIGH: u16 = 1 << 15;

impl Layout {
    /// Compiles the meter's aggregates for windows of `width_ms` and their panes.
    pub fn new(meter: &Meter, width_ms: i64) -> Self {
        let mut builder = Builder {
            width_ms,
            word_count: 1,
            half: None,
            cells: vec![],
        };
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

    /// Folds the pane `from`, which starts at `from_us`, into a window that starts at `start_us`.
    ///
    /// Law: folding events into panes and merging those equals folding the events.
    pub fn merge(
        &self,
        words: &mut [u64],
        start_us: i64,
        from: &[u64],
        from_us: i64,
        carries: &mut Vec<Carry>,
    ) {
        words[COUNT] += from[COUNT];
        let shift = (from_us - start_us) as u64;
        for cell in &self.cells {
            match *cell {
                Cell::First { word, at, .. } => {
                    let value = get(from, word);
                    if value != GREATEST {
                        let since = get_instant(from, at) + shift;
                        first(words, word, at, (since, sequence(from, word), value));
                    }
                }
                Cell::Last { word, at, .. } => {
                    let value = get(from, word);
                    if value != LEAST {
                        let since = get_instant(from, at) + shift;
                        last(words, word, at, (since, sequence(from, word), value));
                    }
                }
                Cell::Min { word, .. } => put(words, word, get(words, word).min(get(from, word))),
                Cell::Max { word, .. } => put(words, word, get(words, word).max(get(from, word))),
                Cell::Sum { word, .. } | Cell::Squares { word, .. } | Cell::Product { word } => {
                    add(
                        words,
                        word,
                        Units {
                            low: get(from, word),
                            carry: 0,
                        },
                        carries,
                    );
                }
                Cell::Present { word, .. } => words[usize::from(word)] += from[usize::from(word)],
            }
        }
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

/// Lays cells out one behind the other.
struct Builder {
    width_ms: i64,
    word_count: u16,
    /// A word whose high half is still free.
    half: Option<u16>,
    cells: Vec<Cell>,
}

impl Builder {
    fn reading(&mut self, function: Function, of: Operand) -> Reading {
        match function {
            Function::Count => Reading::Count,
            Function::First => Reading::Edge {
                word: self.cell(Need::First(of)),
                unset: GREATEST,
            },
            Function::Last => Reading::Edge {
                word: self.cell(Need::Last(of)),
                unset: LEAST,
            },
            Function::Min => Reading::Edge {
                word: self.cell(Need::Min(of)),
                unset: GREATEST,
            },
            Function::Max => Reading::Edge {
                word: self.cell(Need::Max(of)),
                unset: LEAST,
            },
            Function::Sum => Reading::Sum {
                word: self.cell(Need::Sum(of)),
            },
            Function::Mean => Reading::Mean {
                sum: self.cell(Need::Sum(of)),
                present: self.cell(Need::Present(of)),
            },
            Function::Vwap => Reading::Vwap {
                product: self.cell(Need::Product),
                weight: self.cell(Need::Sum(Operand::Weight)),
            },
            Function::Stddev => Reading::Stddev {
                sum: self.cell(Need::Sum(of)),
                squares: self.cell(Need::Squares(of)),
                present: self.cell(Need::Present(of)),
            },
        }
    }

    /// The word of the cell that meets the need, made when there is none yet.
    fn cell(&mut self, need: Need) -> u16 {
        let known = self
            .cells
            .iter()
            .find_map(|cell| (cell.need() == need).then(|| cell.word()));
        if let Some(word) = known {
            return word;
        }
        let word = self.word_count;
        let (cell, words) = match need {
            Need::First(of) => (
                Cell::First {
                    of,
                    word,
                    at: self.instant(word + 3),
                },
                3,
            ),
            Need::Last(of) => (
                Cell::Last {
                    of,
                    word,
                    at: self.instant(word + 3),
                },
                3,
            ),
            Need::Min(of) => (Cell::Min { of, word }, 2),
            Need::Max(of) => (Cell::Max { of, word }, 2),
            Need::Sum(of) => (Cell::Sum { of, word }, 2),
            Need::Squares(of) => (Cell::Squares { of, word }, 2),
            Need::Present(of) => (Cell::Present { of, word }, 1),
            Need::Product => (Cell::Product { word }, 2),
        };
        self.word_count += words;
        self.cells.push(cell);
        word
    }

    /// Room for an instant: in the free half of a word, or in a new one at `next`.
    fn instant(&mut self, next: u16) -> Instant {
        if self.width_ms > HALF_MS_MAX {
            self.word_count += 1;
            return Instant::Full { word: next };
        }
        match self.half.take() {
            Some(word) => Instant::Half { word, high: true },
            None => {
                self.word_count += 1;
                self.half = Some(next);
                Instant::Half {
                    word: next,
                    high: false,
                }
            }
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
