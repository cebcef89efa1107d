//! Reading from the partitions in turn, around what cannot be read now and over what is gone.

use std::time::{Duration, Instant};

use runtime::clock;
use runtime::fate::Fate;
use runtime::health::Condition;
use runtime::kafka::group::GroupError;
use runtime::kafka::reader::ReadError;
use runtime::kafka::{Failure, Partition};
use runtime::step::Incoming;

use super::Sink;
use super::turns::places;
use crate::clickhouse::figures::Figures;
use crate::clickhouse::lanes::Lane;
use crate::clickhouse::round::Gathering;
use crate::clickhouse::rows::{self, Row};
use crate::clickhouse::trouble::Source;

/// The health check of what left the log unread.
const LOG_CHECK: &str = "log";

/// Records that one tenant's partitions may give before the next tenant has its turn.
const RECORDS_MAX: usize = 4_096;

/// How long the brokers may take to say where a log begins; nothing else is read meanwhile.
const EDGE_WAIT: Duration = Duration::from_secs(1);

/// Why a partition gives nothing now.
#[derive(Debug, thiserror::Error)]
enum LaneError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{partition}: the log's beginning is not known yet: {failure}")]
    Beginning {
        partition: Partition,
        failure: Failure,
    },
    #[error("{partition}: {error}")]
    Seek {
        partition: Partition,
        error: GroupError,
    },
}

impl LaneError {
    fn fate(&self) -> Fate {
        match self {
            Self::Read(error) => error.fate(),
            Self::Beginning { failure, .. } => failure.fate(),
            Self::Seek { error, .. } => error.fate(),
        }
    }
}

impl Sink {
    /// Reads from each tenant's partitions its share of what they have, in turn, until enough is
    /// gathered; a partition that failed is passed over for a while.
    pub(super) fn gather(&mut self) -> anyhow::Result<usize> {
        let now = clock::monotonic();
        let mut read_count = 0;
        let owners: Vec<_> = self.lanes.iter().map(|lane| &lane.origin.tenant).collect();
        for stretch in self.turns.round(&owners) {
            let start = stretch.0.start;
            let mut left = RECORDS_MAX;
            for at in places(stretch) {
                if left == 0 || self.gathering.is_full(&self.pace) {
                    break;
                }
                let count = self.try_lane(at, left, now)?;
                left -= count.min(left);
                read_count += count;
            }
            if self.gathering.is_full(&self.pace) {
                self.turns.had(&self.lanes[start].origin.tenant);
                break;
            }
        }
        if read_count > 0 {
            self.gathering.touch(clock::monotonic());
        }
        Ok(read_count)
    }

    /// Reads what a partition has, and notes why it gives nothing.
    fn try_lane(&mut self, at: usize, count_max: usize, now: Instant) -> anyhow::Result<usize> {
        let partition = &self.lanes[at].partition;
        if self.troubles.holds_back_partition(partition, now) {
            return Ok(0);
        }
        match self.read_lane(at, count_max) {
            Ok(count) => return Ok(count),
            // This is said once, and nothing more comes before it is heeded.
            Err(LaneError::Read(ReadError::OutOfRange { position, .. })) => {
                self.lanes[at].hole = Some(position);
            }
            Err(error) if error.fate() == Fate::Halt => return Err(error.into()),
            Err(error) => {
                let source = Source::Partition(self.lanes[at].partition.clone());
                self.troubles.failed(source, &error, clock::monotonic());
            }
        }
        Ok(0)
    }

    fn read_lane(&mut self, at: usize, count_max: usize) -> Result<usize, LaneError> {
        if let Some(position) = self.lanes[at].hole {
            self.skip_hole(at, position)?;
        }
        let lane = &self.lanes[at];
        let batch = self.consumer.next(&lane.partition, count_max)?;
        for record in batch.records() {
            let record = Incoming::of(record, &lane.origin_key);
            put(lane, &record, &mut self.gathering, &self.figures);
        }
        Ok(batch.count())
    }

    /// The log no longer holds what comes next: its retention took it, or it went with a topic that
    /// was made anew. There is nobody to ask for it, so it is said as loudly as can be, and what is
    /// there is read.
    fn skip_hole(&mut self, at: usize, position: i64) -> Result<(), LaneError> {
        let lane = &mut self.lanes[at];
        let partition = &lane.partition;
        let asked = std::slice::from_ref(partition);
        let answers = self.consumer.beginnings(asked, EDGE_WAIT);
        let answer = answers.and_then(|answers| {
            let answer = answers.into_iter().next();
            answer.expect("who asks for one partition has one answer")
        });
        let start = answer.map_err(|failure| LaneError::Beginning {
            partition: partition.clone(),
            failure,
        })?;
        let seek = self.consumer.seek_out_of_range(partition, start);
        seek.map_err(|error| LaneError::Seek {
            partition: partition.clone(),
            error,
        })?;
        lane.hole = None;
        // Also where it begins before what was read, and what was read is not committed.
        self.progress.forget(partition);
        let missing = u64::try_from(start - position).unwrap_or(0);
        self.figures.skipped.inc_by(missing);
        let reason = match missing {
            0 => format!("{partition}: offset {position} is beyond the log: read from {start} on"),
            _ => format!("{partition}: offsets {position} to {start} left the log unread"),
        };
        tracing::error!(%partition, position, start, "position is outside the log: {reason}");
        self.service
            .health
            .set(LOG_CHECK, Condition::Warning(reason));
        Ok(())
    }
}

#[inline]
fn put(lane: &Lane, record: &Incoming<'_>, gathering: &mut Gathering, figures: &Figures) {
    match rows::read(&lane.origin, record, &lane.rules) {
        Ok(row) => {
            if let Row::Unreadable(error) = &row {
                note_unreadable(lane, record, error, figures);
            }
            let block = gathering.block(row.table());
            row.write(&lane.origin, record, block);
            block.end_row();
        }
        Err(_) => {
            figures.refused.inc();
        }
    }
}

#[cold]
fn note_unreadable(
    lane: &Lane,
    record: &Incoming<'_>,
    error: &rows::Unreadable,
    figures: &Figures,
) {
    figures.unreadable.inc();
    let (partition, offset) = (&lane.partition, record.offset);
    tracing::error!(%partition, offset, %error, "record cannot be read, and is a dead letter");
}
