//! What is committed beside an input position: which batch it was, the clock reached, and *S*.

use std::fmt;
use std::str::FromStr;

use schemas::ids::Offset;
use schemas::time::BrokerTime;

/// Names a batch; no two batches share one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BatchId(pub u64);

/// Committed with each input position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommitMetadata {
    /// The batch that moved the position here.
    pub batch: BatchId,
    /// How far the partition's clock had come.
    pub clock: BrokerTime,
    /// *S*: the position at which the flushed state is true. The first commit flushes.
    pub state_at: Offset,
}

/// What committed metadata says of a batch whose commit nobody saw end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It was committed.
    Committed,
    /// It was not, and nothing else was: send the same bytes again.
    NotCommitted,
    /// Somebody else committed: what is here of the partition is void.
    Lost,
}

impl Verdict {
    /// Compares what is committed with the batch and the one before it.
    pub fn of(committed: Option<BatchId>, batch: BatchId, before: Option<BatchId>) -> Self {
        if committed == Some(batch) {
            Self::Committed
        } else if committed == before {
            Self::NotCommitted
        } else {
            Self::Lost
        }
    }
}

impl fmt::Display for CommitMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "1 {:016x} {} {}",
            self.batch.0,
            self.clock.as_ms(),
            self.state_at
        )
    }
}

/// Metadata that this program did not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("committed metadata is not of this program: another consumer commits in this group")]
pub struct ForeignMetadata;

impl FromStr for CommitMetadata {
    type Err = ForeignMetadata;

    fn from_str(text: &str) -> Result<Self, ForeignMetadata> {
        let parts: Vec<&str> = text.split(' ').collect();
        let ["1", batch, clock, state_at] = parts[..] else {
            return Err(ForeignMetadata);
        };
        let number = |text: &str| text.parse::<i64>().map_err(|_| ForeignMetadata);
        Ok(Self {
            batch: BatchId(u64::from_str_radix(batch, 16).map_err(|_| ForeignMetadata)?),
            clock: BrokerTime::from_ms(number(clock)?),
            state_at: number(state_at)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_reads_back() {
        for state_at in [0, 7, i64::MAX] {
            let metadata = CommitMetadata {
                batch: BatchId(0x0123_4567_89ab_cdef),
                clock: BrokerTime::from_ms(1_786_309_548_228),
                state_at,
            };
            assert_eq!(metadata.to_string().parse(), Ok(metadata));
        }
        for foreign in ["", "2 0 0 0", "1 x 0 0", "1 0 0", "1 0 0 0 0", "{}"] {
            assert_eq!(
                foreign.parse::<CommitMetadata>(),
                Err(ForeignMetadata),
                "{foreign}"
            );
        }
    }

    #[test]
    fn a_batch_was_committed_or_not_or_is_not_ours() {
        let (a, b, c) = (BatchId(1), BatchId(2), BatchId(3));
        assert_eq!(Verdict::of(Some(b), b, Some(a)), Verdict::Committed);
        assert_eq!(Verdict::of(Some(a), b, Some(a)), Verdict::NotCommitted);
        assert_eq!(Verdict::of(None, b, None), Verdict::NotCommitted);
        assert_eq!(Verdict::of(Some(c), b, Some(a)), Verdict::Lost);
        assert_eq!(Verdict::of(None, b, Some(a)), Verdict::Lost);
    }
}
