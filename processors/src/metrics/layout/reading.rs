//! How results are read off a window's cells.

use ethnum::I256;
use schemas::decimal::Decimal;
use schemas::sketch::Sketch;
use schemas::total::{Total, deviation, ratio};

use super::cells::get;
use super::{Layout, UNPAIRED_HIGH, UNPAIRED_LOW};

/// How one result is read off the cells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    Count {
        word: u16,
    },
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
    /// Of the window's sketch at that place: a quantile, or how many there are.
    Sketch {
        at: u8,
        q: Option<Decimal>,
    },
    /// Of two other results, by their places.
    Ratio {
        dividend: u8,
        divisor: u8,
    },
}

impl Layout {
    /// The window's results, in the order of the meter's aggregates, and whether one of them is
    /// out of a decimal's range. `carry` gives what a sum carried beyond its 128 bits.
    pub fn results(
        &self,
        (words, sketches): (&[u64], &[Sketch]),
        carry: impl Fn(u16) -> i128,
        results: &mut Vec<Option<Decimal>>,
    ) -> bool {
        results.clear();
        let mut overflow = false;
        let mut has_ratios = false;
        for reading in &self.readings {
            has_ratios |= matches!(reading, Reading::Ratio { .. });
            let (result, exists) = reading.of_cells((words, sketches), &carry);
            overflow |= exists && result.is_none();
            results.push(result.filter(|_| exists));
        }
        if has_ratios {
            overflow |= self.ratios(results);
        }
        overflow
    }

    /// Puts the ratios among the other results, and says whether one of them is out of range.
    fn ratios(&self, results: &mut [Option<Decimal>]) -> bool {
        let mut overflow = false;
        for (at, reading) in self.readings.iter().enumerate() {
            let Reading::Ratio { dividend, divisor } = *reading else {
                continue;
            };
            let of = [dividend, divisor].map(|place| results[usize::from(place)]);
            let [Some(dividend), Some(divisor)] = of else {
                continue;
            };
            results[at] = ratio(dividend, divisor);
            overflow |= results[at].is_none() && divisor != Decimal::ZERO;
        }
        overflow
    }
}

impl Reading {
    /// The result, and whether there is one: it may exist and be out of a decimal's range. There is
    /// none yet of a ratio.
    fn of_cells(
        &self,
        (words, sketches): (&[u64], &[Sketch]),
        carry: &impl Fn(u16) -> i128,
    ) -> (Option<Decimal>, bool) {
        let total = |word| Total::from_parts(get(words, word), carry(word));
        match *self {
            Self::Count { word } => {
                let count = i64::try_from(words[usize::from(word)]);
                (count.ok().map(Decimal::from_int), true)
            }
            Self::Edge { word, unset } => {
                let units = get(words, word);
                (Decimal::from_units(units), units != unset)
            }
            Self::Sum { word } => (total(word).to_decimal(), true),
            Self::Mean { sum, present } => {
                let count = words[usize::from(present)];
                (total(sum).mean(count), count > 0)
            }
            Self::Vwap { product, weight } => {
                let unpaired = I256::from(carry(product | UNPAIRED_HIGH)) << 64_u32;
                let unpaired = unpaired + I256::from(carry(product | UNPAIRED_LOW));
                let weight = Total::from_units(total(weight).units() - unpaired);
                (total(product).weighted_mean(weight), weight > Total::ZERO)
            }
            Self::Stddev {
                sum,
                squares,
                present,
            } => {
                let count = words[usize::from(present)];
                (deviation(total(sum), total(squares), count), count > 0)
            }
            Self::Sketch { at, q } => match &sketches[usize::from(at)] {
                Sketch::Quantiles(quantiles) => {
                    let value = quantiles.quantile(q.unwrap_or_default());
                    (value, value.is_some())
                }
                Sketch::Distinct(distinct) => {
                    let count = i64::try_from(distinct.count());
                    (count.ok().map(Decimal::from_int), true)
                }
            },
            Self::Ratio { .. } => (None, false),
        }
    }
}
