//! The metrics step, with a note of each call among its outputs.
//!
//! The notes travel in the same transactions as the outputs, on a stream that the step does not
//! use. So what is committed tells exactly which calls it came from, whichever workers made them,
//! and a record that was observed twice or never shows at once.

use processors::metrics::{Definitions, MetricsStep};
use runtime::step::{Counts, Holdings, Incoming, Output, Place, StateError, Step};
use schemas::ids::Stream;
use schemas::time::BrokerTime;
use serde::{Deserialize, Serialize};

/// Where the notes go.
pub(crate) const NOTES: Stream = Stream::Books;

/// A call. What the step put out stands before its note.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Note {
    /// A partition began.
    Began(Definitions),
    /// A record was observed when the clock stood there.
    Observed { offset: i64, now_ms: i64 },
    /// The clock moved on, and something came out.
    Advanced { now_ms: i64 },
    /// Definitions came into force when the clock stood there. Ticks before may have moved it and
    /// put nothing out, so it says so itself.
    Redefined {
        definitions: Definitions,
        now_ms: i64,
    },
}

/// The step that is under test.
pub(crate) struct Traced {
    step: MetricsStep,
    partition: i32,
    now_ms: i64,
    /// Nothing was done with it yet.
    is_new: bool,
    /// What it began with; the shell throws the outputs of a beginning away.
    began: Option<Definitions>,
}

impl Traced {
    fn note(&mut self, note: &Note, out: &mut Output) {
        let json = serde_json::to_vec(note).unwrap();
        let partition = Some(self.partition);
        out.put(
            NOTES,
            partition,
            |_| {},
            |value| value.extend_from_slice(&json),
        );
    }

    fn note_beginning(&mut self, out: &mut Output) {
        if let Some(definitions) = self.began.take() {
            self.note(&Note::Began(definitions), out);
        }
    }
}

impl Step for Traced {
    type Definitions = Definitions;
    type Read<'a> = <MetricsStep as Step>::Read<'a>;
    const READS: Stream = MetricsStep::READS;
    const STATE: Stream = MetricsStep::STATE;

    fn new(place: &Place, partition_count: i32) -> Self {
        Self {
            step: MetricsStep::new(place, partition_count),
            partition: place.partition,
            now_ms: i64::MIN,
            is_new: true,
            began: None,
        }
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        self.is_new = false;
        self.step.restore(key, value)
    }

    fn finish_restore(&mut self, definitions: &Definitions) -> Result<(), StateError> {
        self.is_new = false;
        self.step.finish_restore(definitions)
    }

    fn read<'a>(&self, records: &[Incoming<'a>], reads: &mut Vec<Self::Read<'a>>) {
        self.step.read(records, reads);
    }

    fn observe(&mut self, record: &Incoming<'_>, read: &Self::Read<'_>, out: &mut Output) {
        self.note_beginning(out);
        self.step.observe(record, read, out);
        let note = Note::Observed {
            offset: record.offset,
            now_ms: self.now_ms,
        };
        self.note(&note, out);
    }

    fn advance(&mut self, now: BrokerTime, out: &mut Output) {
        let before = out.len();
        self.step.advance(now, out);
        self.now_ms = self.now_ms.max(now.as_ms());
        if out.len() > before {
            self.note_beginning(out);
            self.note(
                &Note::Advanced {
                    now_ms: self.now_ms,
                },
                out,
            );
        }
    }

    fn redefine(&mut self, definitions: &Definitions, out: &mut Output) {
        if self.is_new {
            self.is_new = false;
            self.began = Some(definitions.clone());
            return self.step.redefine(definitions, out);
        }
        self.note_beginning(out);
        self.step.redefine(definitions, out);
        let note = Note::Redefined {
            definitions: definitions.clone(),
            now_ms: self.now_ms,
        };
        self.note(&note, out);
    }

    fn due_at(&self) -> Option<BrokerTime> {
        self.step.due_at()
    }

    fn tells_at(&self) -> Option<BrokerTime> {
        self.step.tells_at()
    }

    fn drain_changes(&mut self, changes: &mut Output) {
        self.step.drain_changes(changes);
    }

    fn change_count(&self) -> usize {
        self.step.change_count()
    }

    fn counts(&self) -> Counts {
        self.step.counts()
    }

    fn holdings(&self) -> Holdings {
        self.step.holdings()
    }
}
