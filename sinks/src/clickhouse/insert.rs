//! Sending a round: each insert's bytes are made once, and sent until ClickHouse has them.
//!
//! A block that is refused again and again for what it is, too much for the server's memory for
//! instance, must not hold up all that comes after it: it is cut in halves, and each half is an
//! insert with a token of its own, down to a single row. A row that is refused alone is neither
//! dropped nor a dead letter, since an event has at most a mebibyte and a server that does not take
//! that is in trouble as a whole: it is sent until it is in, and `/health/ready` names it.
//!
//! The round is inserted when all its parts are. Which rows went together, and how often, makes no
//! difference: a row's identity is its key.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use runtime::clock;
use runtime::fate::{Backoff, Fate};
use runtime::kafka::Alarm;
use runtime::service::Shutdown;
use runtime::telemetry::TARGET;

use super::check::InsertCheck;
use super::failure::ServerError;
use super::figures::Figures;
use super::lz4::Compressor;
use super::native::{Block, Part};
use super::round::Round;
use super::server::{Insert, Server};

/// Waits between attempts.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How often a whole block is refused for what it is before it is cut: memory may be short for a
/// moment. A part of it is cut at once.
const REFUSALS_MAX: u32 = 3;

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
    pub(super) check: InsertCheck,
    pub(super) shutdown: Shutdown,
    pub(super) ended: SyncSender<Ended>,
    pub(super) alarm: Alarm,
}

/// Rows on their way.
struct Outgoing {
    round: u64,
    block: Block,
    part: Part,
}

/// What became of rows that were sent as one insert.
enum Verdict {
    Inserted,
    Refused(ServerError),
}

impl Sender {
    /// Sends a round, and tells the reading thread.
    pub(super) async fn send(self, round: Round) {
        let number = round.number;
        let mut spare = Vec::with_capacity(round.blocks.len());
        let mut outcome = Ok(());
        for mut block in round.blocks {
            (block, outcome) = self.send_block(number, block).await;
            block.clear();
            spare.push(block);
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

    /// Sends a block, as one insert where that is taken; gives it back.
    ///
    /// It is kept for as long as it may have to be cut, and the bytes of an insert go before those
    /// of its halves are made, so a cut takes no more memory than the first attempt.
    async fn send_block(&self, round: u64, mut block: Block) -> (Block, Result<(), InsertError>) {
        let table = block.table();
        let mut is_cut = false;
        // The first rows last. Behind a row that was hard to place the parts double, so that the
        // rest goes in few inserts once the server is well again.
        let mut parts = vec![block.whole()];
        while let Some(part) = parts.pop() {
            let refusals_max = if is_cut { 1 } else { REFUSALS_MAX };
            let outgoing = Outgoing { round, block, part };
            let (outgoing, verdict) = self.send_part(outgoing, refusals_max).await;
            let part = outgoing.part;
            block = outgoing.block;
            let error = match verdict {
                Ok(Verdict::Inserted) => continue,
                Ok(Verdict::Refused(error)) => error,
                Err(error) => return (block, Err(error)),
            };
            if !is_cut {
                let (table, rows) = (table.name(), part.row_count());
                tracing::warn!(table, rows, %error, "rows are refused as one insert: go in parts");
            }
            is_cut = true;
            self.figures.halved.get_or_create(&table.into()).inc();
            let halves;
            (block, halves) = aside(move || {
                let halves = block.halves(part);
                (block, halves)
            })
            .await;
            parts.extend(halves.into_iter().rev());
        }
        if !is_cut {
            self.check.inserted_whole(round, table);
        }
        (block, Ok(()))
    }

    /// Sends some of a block's rows, as one insert.
    async fn send_part(
        &self,
        outgoing: Outgoing,
        refusals_max: u32,
    ) -> (Outgoing, Result<Verdict, InsertError>) {
        let (outgoing, frames) = aside(move || {
            let mut compressor = Compressor::default();
            let Outgoing { block, part, .. } = &outgoing;
            block.write(part, |bytes| compressor.put(bytes));
            (outgoing, compressor.finish())
        })
        .await;
        let insert = Insert {
            table: outgoing.block.table(),
            token: self.token(&outgoing),
            frames,
        };
        let verdict = self.insert(&insert, &outgoing, refusals_max).await;
        (outgoing, verdict)
    }

    /// The same for the same rows of the same round, and for no others.
    fn token(&self, outgoing: &Outgoing) -> String {
        let (run, round) = (self.run, outgoing.round);
        let (table, rows) = (outgoing.block.table().name(), outgoing.part.rows());
        format!("{run:016x}-{round}-{table}-{}-{}", rows.start, rows.end)
    }

    #[tracing::instrument(
        target = TARGET,
        level = "debug",
        skip_all,
        fields(table = insert.table.name(), row_count = outgoing.part.row_count())
    )]
    async fn insert(
        &self,
        insert: &Insert,
        outgoing: &Outgoing,
        refusals_max: u32,
    ) -> Result<Verdict, InsertError> {
        let (table, began_at) = (insert.table, clock::monotonic());
        let row_count = outgoing.part.row_count();
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_MAX);
        let mut refusal_count = 0;
        loop {
            let Err(error) = self.server.insert(insert).await else {
                break;
            };
            self.figures.failures.get_or_create(&table.into()).inc();
            self.tell(outgoing, &error);
            if error.fate() == Fate::Halt {
                return Err(InsertError::Refused {
                    table: table.name(),
                    error,
                });
            }
            if error.is_about_rows() && row_count > 1 {
                refusal_count += 1;
                if refusal_count == refusals_max {
                    return Ok(Verdict::Refused(error));
                }
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
        self.check.inserted_part(outgoing.round, table);
        self.figures
            .rows
            .get_or_create(&table.into())
            .inc_by(row_count as u64);
        self.figures.inserts.get_or_create(&table.into()).inc();
        self.figures
            .seconds
            .observe(began_at.elapsed().as_secs_f64());
        Ok(Verdict::Inserted)
    }

    /// Says in `/health/ready` what was refused: one row by its place in the log.
    fn tell(&self, outgoing: &Outgoing, error: &ServerError) {
        let Outgoing { round, block, part } = outgoing;
        let (table, name) = (block.table(), block.table().name());
        match (error.is_about_rows(), part.row_count()) {
            (false, _) => {
                let reason = format!("insert into {name}: {error}");
                self.check.refused(*round, table, reason);
            }
            (true, 1) => {
                let (partition, offset) = block.origin(part);
                let reason = format!("insert into {name}: {partition} at {offset} alone: {error}");
                self.check.refused(*round, table, reason);
            }
            (true, count) => {
                let reason = format!("insert into {name}: {count} rows as one: {error}");
                self.check.too_many(*round, table, reason);
            }
        }
    }
}

/// Does what may take its time on a thread for that.
async fn aside<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(act).await;
    done.expect("neither writing a block nor cutting it panics")
}
