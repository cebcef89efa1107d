//! Reading from the partitions in turn, around what cannot be read now and over what is gone.

use std::time::Duration;

use runtime::clock;
use runtime::fate::Fate;
use runtime::health::Condition;
use runtime::kafka::group::GroupError;
use runtime::kafka::reader::ReadError;
use runtime::kafka::{Failure, Partition};
use runtime::step::Incoming;
use schemas::time::BrokerTime;

use super::Sink;
use crate::clickhouse::figures::Figures;
use crate::clickhouse::lanes::Lane;
use crate::clickhouse::round::Gathering;
use crate::clickhouse::rows::{self, Row};
use crate::clickhouse::trouble::Source;

/// The health check of what left the log unread.
const LOG_CHECK: &str = "log";

/// Records that one partition may give in a row.
const RECORDS_MAX: usize = 2_048;

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
    /// Reads from each partition what it has, in turn, until enough is gathered; one that failed
    /// is passed over for a while.
    pub(super) fn gather(&mut self) -> anyhow::Result<usize> {
        let now = clock::monotonic();
        let mut read_count = 0;
        for _ in 0..self.lanes.len() {
            if self.gathering.is_full(&self.pace) {
                break;
            }
            self.turn = (self.turn + 1) % self.lanes.len();
            let partition = &self.lanes[self.turn].partition;
            if self.troubles.holds_back_partition(partition, now) {
                continue;
            }
            match self.read_lane() {
                Ok(count) => read_count += count,
                // This is said once, and nothing more comes before it is heeded.
                Err(LaneError::Read(ReadError::OutOfRange { position, .. })) => {
                    self.lanes[self.turn].hole = Some(position);
                }
                Err(error) if error.fate() == Fate::Halt => return Err(error.into()),
                Err(error) => {
                    let source = Source::Partition(self.lanes[self.turn].partition.clone());
                    self.troubles.failed(source, &error, clock::monotonic());
                }
            }
        }
        if read_count > 0 {
            self.gathering.touch(clock::monotonic());
        }
        Ok(read_count)
    }

    /// Reads what the partition whose turn it is has.
    fn read_lane(&mut self) -> Result<usize, LaneError> {
        if let Some(position) = self.lanes[self.turn].hole {
            self.skip_hole(position)?;
        }
        let lane = &self.lanes[self.turn];
        let batch = self.consumer.next(&lane.partition, RECORDS_MAX)?;
        for record in batch.records() {
            let record = Incoming {
                offset: record.offset(),
                appended_at: BrokerTime::from_ms(record.appended_at_ms()),
                key: record.key(),
                value: record.value(),
            };
            put(lane, &record, &mut self.gathering, &self.figures);
        }
        Ok(batch.count())
    }

    /// The log no longer holds what comes next: its retention took it, or it went with a topic that
    /// was made anew. There is nobody to ask for it, so it is said as loudly as can be, and what is
    /// there is read.
    fn skip_hole(&mut self, position: i64) -> Result<(), LaneError> {
        let lane = &mut self.lanes[self.turn];
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
    match rows::read(&lane.origin, record, &lane.dates) {
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
