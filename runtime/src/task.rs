//! The shell around steps: reads, commits and restores, exactly once.
//!
//! # The argument
//!
//! One transaction per commit holds all that the process's partitions put out since the last one:
//! records, state changes and input positions ([`Sealed`]). So a reader of committed records sees a
//! record's outputs if and only if its position has passed.
//!
//! State is never rolled back and input is never observed twice: what a commit should hold is kept
//! until it is known to be committed, and after an abort the same bytes are sent again. Meanwhile
//! the next records are observed; what they put out waits for the next commit, and there is one
//! commit at a time, so the log never holds a batch without the one before it. After a commit whose
//! end nobody saw, the committed metadata is read once the producer has been made anew: the batch's
//! own id means that it was committed, the id before it that it was not, and anything else that
//! another process has committed meanwhile ([`Verdict`]): what is here of the partition is dropped,
//! and it is restored from the log for as long as the group gives it to us.
//!
//! State is flushed on a clock of its own, with the position *S* at which it is true. A restore
//! reads the state as of *S*, observes the records from *S* to the committed position again with
//! their outputs thrown away, and advances to the committed clock. That is exact because a
//! [`Step`](crate::step::Step) sees records and the clock alone, and because a tick does only
//! earlier what the next record would have done: when a record turns up that is older than the last
//! tick, the shell flushes before it hands the record in, so that no replay crosses the two.
//!
//! Everything here is one loop on one thread over a [`Log`]; [`KafkaLog`] is the real one, whose
//! transactions are sent by a second thread, and the simulation in `processors` has another that
//! crashes, aborts and forgets by seed.

mod committer;
mod definitions;
mod kafka_log;
mod log;
mod metadata;
mod partition;
mod report;
mod restore;
mod worker;

pub use definitions::DefinitionSource;
pub use kafka_log::{KafkaLog, KafkaLogSettings};
pub use log::{Committed, Log, LogError, Outcome, Ownership, SEEK, Sealed, TOGETHER};
pub use metadata::{BatchId, CommitMetadata, Verdict};
pub use report::{PartitionReport, Report};
pub use worker::{Turn, Worker, WorkerSettings};
