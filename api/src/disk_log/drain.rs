//! From the log to the brokers, in order.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use runtime::clock;
use runtime::service::Shutdown;

use super::position::Position;
use super::reader::Batch;
use super::{DiskLog, Stored, locked, medium, segment};

/// How often figures and health are shown while nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// The wait after a round in which nothing was taken; it doubles up to the longest.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_LONGEST: Duration = Duration::from_secs(2);

/// What became of a record that was handed to an outlet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every in-sync replica has it.
    Published,
    /// It will never be taken: its topic is gone, or it is too large for it. It is dropped.
    Gone,
    /// It may be taken later.
    Retry,
}

/// Where the log's records go.
pub trait Outlet: Sync {
    /// Publishes these records in their order; one outcome for each, in the same order.
    ///
    /// Those with [`Outcome::Retry`] are handed over again, after a wait that grows, and nothing
    /// behind this batch is before they are settled. So whoever can never be served must be
    /// [`Outcome::Gone`] at last, or it holds up all others.
    fn publish(&self, records: &[Stored]) -> impl Future<Output = Vec<Outcome>> + Send;
}

impl DiskLog {
    /// Hands what is stored to `outlet`, in order, and goes on so until `shutdown`.
    ///
    /// Memory is bounded by a batch (2,000 records or 1 MiB). One call drains at a time; another
    /// waits until it has ended.
    ///
    /// # Panics
    /// When the outlet does not give each record an outcome.
    pub async fn drain(&self, outlet: &impl Outlet, shutdown: &Shutdown) {
        tokio::select! {
            () = self.drain_for_ever(outlet) => {}
            () = shutdown.requested() => {}
        }
    }

    /// Dropping this at any point repeats at most one batch.
    async fn drain_for_ever(&self, outlet: &impl Outlet) {
        let _turn = self.turn.lock().await;
        locked(&self.outlet_side())
            .reader
            .rewind(self.shelf.position());
        let mut wait = WAIT_FIRST;
        loop {
            let appended = self.shelf.appended.notified();
            let batch = match self.read().await {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::error!(%error, "the disk log could not be read; trying again");
                    self.rest(&mut wait).await;
                    locked(&self.outlet_side())
                        .reader
                        .rewind(self.shelf.position());
                    continue;
                }
            };
            if batch.end == self.shelf.position() {
                self.look_after_failure().await;
                self.tell();
                let _ = tokio::time::timeout(TICK, appended).await;
                continue;
            }
            wait = WAIT_FIRST;
            if let Some(oldest) = batch.records.first() {
                self.shelf.found_oldest(oldest.stored_at_ms);
            }
            self.settle(outlet, batch.records).await;
            self.figures.damaged(batch.lost_count);
            self.advance(batch.end).await;
            self.shelf.hand_over_if_near();
            self.tell();
        }
    }

    /// Hands these records to the outlet until each is settled.
    async fn settle(&self, outlet: &impl Outlet, mut left: Vec<Stored>) {
        let mut wait = WAIT_FIRST;
        while !left.is_empty() {
            let outcomes = outlet.publish(&left).await;
            assert_eq!(outcomes.len(), left.len(), "each record has an outcome");
            let count = |wanted| outcomes.iter().filter(|o| **o == wanted).count() as u64;
            self.figures.drained("published", count(Outcome::Published));
            self.figures.drained("gone", count(Outcome::Gone));
            let mut outcome = outcomes.iter();
            let before = left.len();
            left.retain(|_| outcome.next() == Some(&Outcome::Retry));
            if left.is_empty() {
                return;
            }
            self.shelf.break_handover();
            self.look_after_failure().await;
            self.tell();
            if left.len() < before {
                wait = WAIT_FIRST;
            }
            self.rest(&mut wait).await;
        }
    }

    /// Forgets a failure once the disk takes bytes again: a gateway that is not ready gets no
    /// requests, and would not find out by one.
    async fn look_after_failure(&self) {
        if self.shelf.depth().failure.is_none() {
            return;
        }
        let folder = self.config.folder.clone();
        if blocking(move || medium::probe(&folder)).await.is_ok() {
            self.shelf.forget_failure();
        }
    }

    async fn rest(&self, wait: &mut Duration) {
        // Gateways whose brokers come back are not to come all at once.
        let spread = wait.mul_f64(0.5 + jitter());
        tokio::time::sleep(spread).await;
        *wait = (*wait * 2).min(WAIT_LONGEST);
    }

    async fn read(&self) -> io::Result<Batch> {
        let (side, shelf) = (self.outlet_side(), Arc::clone(&self.shelf));
        blocking(move || locked(&side).reader.next_batch(&shelf)).await
    }

    /// Everything before `position` is settled: notes it, and deletes what is behind.
    async fn advance(&self, position: Position) {
        let (side, shelf) = (self.outlet_side(), Arc::clone(&self.shelf));
        let folder = self.config.folder.clone();
        blocking(move || {
            if let Err(error) = locked(&side).position.write(position) {
                // What was settled since the last position that is safe would be repeated after a
                // crash, which does no harm; not to go on would.
                tracing::warn!(%error, "the disk log's position could not be written");
            }
            for index in shelf.advance(position) {
                let path = folder.join(segment::name(index));
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(file = %path.display(), %error, "a segment was not deleted");
                }
            }
        })
        .await;
    }
}

/// Runs what blocks on a disk where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("nothing in it panics, and the runtime is not shut down around it")
}

/// From 0 to 1, and different in each process.
fn jitter() -> f64 {
    let nanos = clock::now_us()
        .unsigned_abs()
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (nanos >> 40) as f64 / f64::from(1_u32 << 24)
}
