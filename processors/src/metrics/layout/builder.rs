//! Lays a meter's cells out, each of them once however many aggregates need it.

use schemas::meter::{Aggregate, Condition, Function, Meter, Operand};

use super::{COUNT, Cell, GREATEST, HALF_MS_MAX, Instant, LEAST, Need, Number, Reading};

/// Lays cells out one behind the other.
pub(super) struct Builder {
    width_ms: i64,
    pub(super) word_count: u16,
    /// A word whose high half is still free.
    half: Option<u16>,
    /// The cells of all events first.
    pub(super) parts: Vec<Part>,
}

/// The cells of all events, or of those that pass a gate.
pub(super) struct Part {
    pub(super) gate: Option<usize>,
    /// The word that counts its events.
    pub(super) count: u16,
    pub(super) cells: Vec<Cell>,
}

impl Builder {
    /// For windows of that length.
    pub(super) fn new(width_ms: i64) -> Self {
        let all = Part {
            gate: None,
            count: COUNT as u16,
            cells: vec![],
        };
        Self {
            width_ms,
            word_count: 1,
            half: None,
            parts: vec![all],
        }
    }

    /// How an aggregate is read off the cells, which are made where they are missing.
    pub(super) fn reading(
        &mut self,
        meter: &Meter,
        gates: &[&[Condition]],
        aggregate: &Aggregate,
    ) -> Reading {
        if let Some(reading) = without_cells(meter, aggregate) {
            return reading;
        }
        let gate = gates.iter().position(|gate| *gate == aggregate.conditions);
        let part = self.part(gate);
        let of = match aggregate.of {
            Operand::Weight => Number::Weight,
            _ => Number::Value,
        };
        match aggregate.function {
            Function::Count => Reading::Count {
                word: self.parts[part].count,
            },
            Function::First => Reading::Edge {
                word: self.cell(part, Need::First(of)),
                unset: GREATEST,
            },
            Function::Last => Reading::Edge {
                word: self.cell(part, Need::Last(of)),
                unset: LEAST,
            },
            Function::Min => Reading::Edge {
                word: self.cell(part, Need::Min(of)),
                unset: GREATEST,
            },
            Function::Max => Reading::Edge {
                word: self.cell(part, Need::Max(of)),
                unset: LEAST,
            },
            Function::Sum => Reading::Sum {
                word: self.cell(part, Need::Sum(of)),
            },
            Function::Mean => Reading::Mean {
                sum: self.cell(part, Need::Sum(of)),
                present: self.cell(part, Need::Present(of)),
            },
            Function::Vwap => Reading::Vwap {
                product: self.cell(part, Need::Product),
                weight: self.cell(part, Need::Sum(Number::Weight)),
            },
            Function::Stddev => Reading::Stddev {
                sum: self.cell(part, Need::Sum(of)),
                squares: self.cell(part, Need::Squares(of)),
                present: self.cell(part, Need::Present(of)),
            },
            Function::Ratio | Function::Quantile | Function::Distinct => {
                unreachable!("a ratio is of two aggregates, and others are read from a sketch")
            }
        }
    }

    /// The part of a gate, made when there is none yet.
    fn part(&mut self, gate: Option<usize>) -> usize {
        if let Some(known) = self.parts.iter().position(|part| part.gate == gate) {
            return known;
        }
        self.parts.push(Part {
            gate,
            count: self.word_count,
            cells: vec![],
        });
        self.word_count += 1;
        self.parts.len() - 1
    }

    /// The word of the cell that meets the need, made when there is none yet.
    fn cell(&mut self, part: usize, need: Need) -> u16 {
        let known = self.parts[part]
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
        self.parts[part].cells.push(cell);
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

/// How an aggregate is read that has no cells of its own: off two results, or a sketch.
fn without_cells(meter: &Meter, aggregate: &Aggregate) -> Option<Reading> {
    if let Operand::Aggregates(names) = &aggregate.of {
        let place = |name: &String| {
            let found = meter
                .aggregates
                .iter()
                .position(|other| other.name == *name);
            found.expect("a ratio's operands were checked") as u8
        };
        return Some(Reading::Ratio {
            dividend: place(&names[0]),
            divisor: place(&names[1]),
        });
    }
    if aggregate.function.is_sketched() {
        let firsts = meter.sketches();
        let shared = firsts
            .iter()
            .position(|first| first.shares_sketch(aggregate));
        return Some(Reading::Sketch {
            at: shared.expect("a sketch that it is read from") as u8,
            q: aggregate.q,
        });
    }
    None
}
