//! Rounds: what was read is cut into rounds, and a position is committed when its round and all
//! before it are in ClickHouse.
//!
//! A round holds the rows of all tables that were read since the last one, and how far each
//! partition had been read at the cut. So the rule needs no more than the rounds' order: whatever
//! lies before a committed position was in this round's rows, or in an earlier one's.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use runtime::kafka::Partition;

use super::native::Block;
use super::table::Table;

/// How long the first row after a silence waits for company.
const LINGER: Duration = Duration::from_millis(20);

/// Rows that are read and not yet sent.
#[derive(Debug)]
pub struct Gathering {
    blocks: [Block; Table::ALL.len()],
    began_at: Option<Instant>,
}

/// What one cut sends: never an empty block.
#[derive(Debug)]
pub struct Round {
    /// Counts the rounds of this process.
    pub number: u64,
    /// The rows, one block a table.
    pub blocks: Vec<Block>,
}

/// When rows are sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long rows gather at most, while rows keep coming.
    pub interval: Duration,
    /// How many rows gather at most.
    pub row_count_max: usize,
    /// How many bytes of rows gather at most.
    pub bytes_max: usize,
}

impl Default for Gathering {
    fn default() -> Self {
        Self {
            blocks: Table::ALL.map(Block::new),
            began_at: None,
        }
    }
}

impl Gathering {
    /// Where a row of this table is written.
    #[inline]
    pub fn block(&mut self, table: Table) -> &mut Block {
        &mut self.blocks[table as usize]
    }

    /// Notes that rows were written at `now`.
    pub fn touch(&mut self, now: Instant) {
        if !self.is_empty() {
            self.began_at.get_or_insert(now);
        }
    }

    /// True when no row is there.
    pub fn is_empty(&self) -> bool {
        self.blocks.iter().all(Block::is_empty)
    }

    /// Rows of all tables.
    pub fn row_count(&self) -> usize {
        self.blocks.iter().map(Block::row_count).sum()
    }

    /// True when no more may be gathered.
    pub fn is_full(&self, pace: &Pace) -> bool {
        let bytes = self.blocks.iter().map(Block::byte_count).sum::<usize>();
        bytes >= pace.bytes_max
            || self
                .blocks
                .iter()
                .any(|b| b.row_count() >= pace.row_count_max)
    }

    /// When the rows are to be sent, given when the last ones were; `None` while there are none.
    ///
    /// While rows keep coming that is once an interval. After a silence the first rows do not wait
    /// for one.
    pub fn due_at(&self, cut_at: Instant, pace: &Pace) -> Option<Instant> {
        self.began_at
            .map(|began_at| (began_at + LINGER).max(cut_at + pace.interval))
    }

    /// Takes the rows out, and goes on with the memory of `spare` blocks.
    pub fn cut(&mut self, spare: &mut Vec<Block>) -> Vec<Block> {
        self.began_at = None;
        let mut cut = Vec::new();
        for block in &mut self.blocks {
            if block.is_empty() {
                continue;
            }
            let table = block.table();
            let fresh = match spare.iter().position(|block| block.table() == table) {
                Some(at) => spare.swap_remove(at),
                None => Block::new(table),
            };
            cut.push(std::mem::replace(block, fresh));
        }
        cut
    }
}

/// Rounds on their way, oldest first, and what they make true.
#[derive(Debug, Default)]
pub struct Progress {
    under_way: VecDeque<UnderWay>,
    next_number: u64,
    /// How far each partition was read at the last cut.
    cut: BTreeMap<Partition, i64>,
    /// What may be committed and is not known to be.
    due: BTreeMap<Partition, i64>,
}

#[derive(Debug)]
struct UnderWay {
    number: u64,
    is_inserted: bool,
    positions: BTreeMap<Partition, i64>,
}

impl Progress {
    /// How many rounds are on their way.
    pub fn under_way_count(&self) -> usize {
        self.under_way.len()
    }

    /// True when this position is further than at the last cut.
    pub fn is_news(&self, partition: &Partition, position: i64) -> bool {
        self.cut.get(partition).is_none_or(|cut| position > *cut)
    }

    /// Begins a round that ends at these positions, and says its number.
    pub fn begin(&mut self, positions: BTreeMap<Partition, i64>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.cut.extend(
            positions
                .iter()
                .map(|(partition, at)| (partition.clone(), *at)),
        );
        self.under_way.push_back(UnderWay {
            number,
            is_inserted: false,
            positions,
        });
        number
    }

    /// A round's rows are in ClickHouse. What may be committed are the positions of the oldest
    /// rounds, as far as they are all inserted.
    pub fn inserted(&mut self, number: u64) {
        let found = self
            .under_way
            .iter_mut()
            .find(|round| round.number == number);
        found
            .expect("a round is inserted once, and after it began")
            .is_inserted = true;
        while self
            .under_way
            .front()
            .is_some_and(|round| round.is_inserted)
        {
            if let Some(round) = self.under_way.pop_front() {
                self.due.extend(round.positions);
            }
        }
    }

    /// What may be committed now.
    pub fn due(&self) -> &BTreeMap<Partition, i64> {
        &self.due
    }

    /// What was due is committed.
    pub fn committed(&mut self) {
        self.due.clear();
    }

    /// The partition is ours, committed up to `position`; 0 where nothing ever was.
    pub fn assigned(&mut self, partition: &Partition, position: i64) {
        self.forget(partition);
        self.cut.insert(partition.clone(), position);
    }

    /// The partition is no longer ours: its rows may still be inserted, which changes nothing, but
    /// its positions are its new owner's to commit.
    pub fn forget(&mut self, partition: &Partition) {
        self.cut.remove(partition);
        self.due.remove(partition);
        for round in &mut self.under_way {
            round.positions.remove(partition);
        }
    }
}

#[cfg(test)]
mod tests;
