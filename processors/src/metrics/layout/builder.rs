//! Lays a meter's cells out, each of them once however many aggregates need it.

use schemas::meter::{Function, Operand};

use super::{Cell, GREATEST, HALF_MS_MAX, Instant, LEAST, Need, Reading};

/// Lays cells out one behind the other.
pub(super) struct Builder {
    width_ms: i64,
    pub(super) word_count: u16,
    /// A word whose high half is still free.
    half: Option<u16>,
    pub(super) cells: Vec<Cell>,
}

impl Builder {
    /// For windows of that length.
    pub(super) fn new(width_ms: i64) -> Self {
        Self {
            width_ms,
            word_count: 1,
            half: None,
            cells: vec![],
        }
    }

    /// How an aggregate is read off the cells, which are made where they are missing.
    pub(super) fn reading(&mut self, function: Function, of: Operand) -> Reading {
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
