//! Sending a round: each block's bytes are made once, and sent until ClickHouse has them.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use runtime::clock;
use runtime::fate::{Backoff, Fate};
use runtime::health::{Condition, Health};
use runtime::kafka::Alarm;
use runtime::service::Shutdown;
use runtime::telemetry::TARGET;

use super::failure::ServerError;
use super::figures::Figures;
use super::lz4::Compressor;
use super::native::Block;
use super::round::Round;
use super::server::{Insert, Server};

/// The health check of this part.
pub(super) const CHECK: &str = "inserts";

/// Waits between attempts.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What became of a round.
#[derive(Debug)]
pub(super) struct Ended {
    /// Which round.
    pub(super) number: u64,
    /// The emptied blocks, for reuse.
    pub(super) spare: Vec<Block>,
    /// Whether all its rows are in ClickHouse.
    pub(super) outcome: Result<(), InsertError>,
}

/// Why a round was given up; its rows are in the log, and a successor inserts them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// Waiting will not help.
    #[error("insert into {table}: {error}")]
    Refused {
        /// Which table.
        table: &'static str,
        /// What the server said.
        error: ServerError,
    },
    /// The process was told to stop while ClickHouse was away.
    #[error("stopped while clickhouse did not take rows")]
    Stopped,
}

/// What sending needs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) server: Server,
    /// Distinguishes this process's tokens from those of all others, before and beside it.
    pub(super) run: u64,
    pub(super) figures: Figures,
    pub(super) health: Health,
    pub(super) shutdown: Shutdown,
    pub(super) ended: SyncSender<Ended>,
    pub(super) alarm: Alarm,
}

impl Sender {
    /// Sends a round, and tells the reading thread.
    pub(super) async fn send(self, round: Round) {
        let number = round.number;
        let mut spare = Vec::with_capacity(round.blocks.len());
        let mut outcome = Ok(());
        for block in round.blocks {
            let row_count = block.row_count() as u64;
            let (insert, block) = self.prepare(number, block).await;
            spare.push(block);
            outcome = self.insert(&insert, row_count).await;
            if outcome.is_err() {
                break;
            }
        }
        // The channel has room for all rounds that may be on their way; a reader that is gone
        // needs no answer.
        let _ = self.ended.send(Ended {
            number,
            spare,
            outcome,
        });
        self.alarm.ring();
    }

    /// Compresses a block's bytes, on a thread where that may take its time.
    async fn prepare(&self, number: u64, mut block: Block) -> (Insert, Block) {
        let table = block.table();
        let token = format!("{:016x}-{number}-{}", self.run, table.name());
        let compressed = tokio::task::spawn_blocking(move || {
            let mut compressor = Compressor::default();
            block.write(|bytes| compressor.put(bytes));
            block.clear();
            (compressor.finish(), block)
        });
        let (frames, block) = compressed.await.expect("compressing does not panic");
        (
            Insert {
                table,
                token,
                frames,
            },
            block,
        )
    }

    #[tracing::instrument(
        target = TARGET,
        level = "debug",
        skip_all,
        fields(table = insert.table.name(), row_count = row_count)
    )]
    async fn insert(&self, insert: &Insert, row_count: u64) -> Result<(), InsertError> {
        let (table, began_at) = (insert.table, clock::monotonic());
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_MAX);
        loop {
            let Err(error) = self.server.insert(insert).await else {
                break;
            };
            self.figures.failures.get_or_create(&table.into()).inc();
            self.health
                .set(CHECK, Condition::NotReady(error.to_string()));
            if error.fate() == Fate::Halt {
                return Err(InsertError::Refused {
                    table: table.name(),
                    error,
                });
            }
            let wait = backoff.next_wait();
            tracing::warn!(
                table = table.name(),
                rows = row_count,
                attempt = backoff.attempt_count(),
                wait_ms = wait.as_millis(),
                %error,
                "insert failed and will be repeated"
            );
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shutdown.requested() => return Err(InsertError::Stopped),
            }
        }
        self.health.set(CHECK, Condition::Ready);
        self.figures
            .rows
            .get_or_create(&table.into())
            .inc_by(row_count);
        self.figures.inserts.get_or_create(&table.into()).inc();
        self.figures
            .seconds
            .observe(began_at.elapsed().as_secs_f64());
        Ok(())
    }
}
