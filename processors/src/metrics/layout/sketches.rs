//! The sketches that lie beside a window's words.

use schemas::meter::{Condition, Field, Function, Meter, Operand};
use schemas::sketch::{Distinct, Quantiles, Sketch};

use super::{Layout, Number, Sample};

/// What a sketch takes in of each event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Number(Number),
    /// The text at that place of [`texts`].
    Text(usize),
}

/// A sketch, which lies beside a window's words.
#[derive(Clone, Copy, Debug)]
pub(super) struct SketchCell {
    of: Source,
    /// The gate's bit; `None` for a sketch of all events.
    gate: Option<u32>,
}

/// The texts that a meter's aggregates are distinct of, each once.
pub fn texts(meter: &Meter) -> Vec<&Field> {
    let mut texts = vec![];
    for aggregate in &meter.aggregates {
        if let (Function::Distinct, Operand::Field(field)) = (aggregate.function, &aggregate.of)
            && !texts.contains(&field)
        {
            texts.push(field);
        }
    }
    texts
}

/// One for each sketch of the meter, in their order.
pub(super) fn cells(meter: &Meter, gates: &[&[Condition]]) -> Box<[SketchCell]> {
    let texts = texts(meter);
    let firsts = meter.sketches();
    let cells = firsts.iter().map(|aggregate| {
        let gate = gates.iter().position(|gate| *gate == aggregate.conditions);
        let of = match &aggregate.of {
            Operand::Weight => Source::Number(Number::Weight),
            Operand::Field(field) => {
                let at = texts.iter().position(|text| *text == field);
                Source::Text(at.expect("its text is one of the meter's"))
            }
            _ => Source::Number(Number::Value),
        };
        SketchCell {
            of,
            gate: gate.map(|gate| 1 << gate),
        }
    });
    cells.collect()
}

impl Layout {
    /// True when windows have sketches beside their words.
    #[inline]
    pub fn is_sketched(&self) -> bool {
        !self.sketches.is_empty()
    }

    /// The sketches of a window without events.
    pub fn empty_sketches(&self) -> Box<[Sketch]> {
        let empty = |cell: &SketchCell| match cell.of {
            Source::Number(_) => Sketch::Quantiles(Quantiles::default()),
            Source::Text(_) => Sketch::Distinct(Distinct::default()),
        };
        self.sketches.iter().map(empty).collect()
    }

    /// Takes one event into a window's sketches; `hashes` are those of the meter's [`texts`].
    pub fn fold_sketches(&self, sketches: &mut [Sketch], sample: &Sample, hashes: &[Option<u64>]) {
        for (cell, sketch) in self.sketches.iter().zip(sketches) {
            if cell.gate.is_some_and(|bit| sample.passes & bit == 0) {
                continue;
            }
            match (cell.of, sketch) {
                (Source::Number(number), Sketch::Quantiles(quantiles)) => {
                    let value = match number {
                        Number::Value => sample.value,
                        Number::Weight => sample.weight,
                    };
                    value.into_iter().for_each(|value| quantiles.add(value));
                }
                (Source::Text(at), Sketch::Distinct(distinct)) => {
                    hashes[at].into_iter().for_each(|hash| distinct.add(hash));
                }
                (cell, sketch) => debug_assert!(false, "{cell:?} is no {sketch:?}"),
            }
        }
    }
}
