//! Events on this machine's disk while the brokers are away.
//!
//! In: records that the brokers did not take. Out: the same records, in their order, to an
//! [`Outlet`] that publishes them; nothing leaves the log before the outlet has settled it.
//!
//! What can never happen: an append is answered before its records are on the disk; a record of one
//! tenant is read as another's, whatever bytes are damaged (see [`entry`]); memory grows with what
//! is stored.
//!
//! **What is on the disk.** A folder holds [segments](segment) of a fixed greatest size, each a row
//! of [entries](entry) with checksums, the [position] up to which everything was settled,
//! and a lock: one process per folder. A request lies whole in one segment, so a crash leaves all
//! of its records or none: what a crash cut off at the log's end is cut back to the last whole
//! request when the log is opened. Damage before that costs the entries that it hits: an entry
//! whose length can be trusted is skipped by it, and else the next one is looked for by its marker.
//! Entries are numbered, so that the count of what was lost is exact.
//!
//! **One thread writes**, and one fsync serves all requests that wait ([`writer`]). After a failed
//! write or fsync the segment is cut back to what an earlier fsync made safe and closed, before
//! anything else is written anywhere; a later fsync of the same file would prove nothing.
//!
//! **One task drains** ([`drain`](DiskLog::drain)): it reads bounded batches, hands them to the
//! outlet until each record is settled, moves the position, and deletes segments behind it. A kill
//! between an acknowledgement and the position repeats some records; their identity makes that
//! harmless.
//!
//! **Order.** While anything is unsettled, new events must go behind it, or a subject's order
//! breaks and older events become late. So a request asks [`admit`](DiskLog::admit) first. Answer
//! and count are under one lock: from the moment an append begins until the outlet has settled its
//! last record, `admit` says [`Admission::Behind`]. Hence of two requests of which the second began
//! after the first was answered, the first one's events are published first: was it stored, it is
//! either settled by now or the second one goes behind it. Requests at the same time have no order.
//!
//! Under steady load the log would never be seen empty, since new requests go behind the last of
//! it. So when little is left, `admit` holds new requests back, for at most
//! [`HANDOVER_MAX`](shelf::HANDOVER_MAX), until the log is empty, and then lets them through.
//!
//! Headers of records are not kept: a trace ends where its event was stored.
//!
//! Read in this order: [`entry`], [`segment`], [`position`], [`shelf`], [`writer`], [`recovery`],
//! [`reader`], [`drain`].

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use runtime::clock;
use runtime::health::Health;
use runtime::telemetry::Metrics;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub mod drain;
pub mod entry;
pub mod figures;
pub mod medium;
pub mod position;
pub mod reader;
pub mod recovery;
pub mod segment;
pub mod settings;
pub mod shelf;
pub mod writer;

pub use drain::{Outcome, Outlet};
pub use entry::{Record, Stored};
pub use figures::METRICS;
pub use recovery::OpenError;
pub use settings::{DiskLogConfig, KEYS};
pub use shelf::{Admission, Behind, Depth};
pub use writer::AppendError;

use figures::Figures;
use position::PositionFile;
use reader::Reader;
use shelf::Shelf;
use writer::{Request, Writer};

/// Requests that may wait for the writer.
const QUEUE_COUNT: usize = 256;
/// Bytes that requests which wait for the writer may take together.
const QUEUE_BYTES: u32 = 32 * 1024 * 1024;

/// The log of one folder. It ends when it is dropped; whatever was appended is safe by then.
pub struct DiskLog {
    config: DiskLogConfig,
    shelf: Arc<Shelf>,
    figures: Figures,
    health: Health,
    queue: Option<mpsc::Sender<Request>>,
    room: Arc<Semaphore>,
    writer: Option<JoinHandle<()>>,
    outlet_side: Arc<Mutex<OutletSide>>,
    /// Held by the task that drains: there is one.
    turn: tokio::sync::Mutex<()>,
}

/// What the draining side owns.
struct OutletSide {
    reader: Reader,
    position: PositionFile,
}

impl DiskLog {
    /// Opens the folder's log, or begins one; says what it found there.
    ///
    /// Blocks while the last segment is read.
    ///
    /// # Errors
    /// When another process has the folder, or it cannot be read or written.
    pub fn open(
        config: &DiskLogConfig,
        metrics: &Metrics,
        health: &Health,
    ) -> Result<Self, OpenError> {
        let found = recovery::open(&config.folder)?;
        let shelf = Arc::new(Shelf::new(config, found.segments, found.position));
        let figures = Figures::register(metrics);
        let writer = Writer::new(
            config.clone(),
            Arc::clone(&shelf),
            figures.clone(),
            Box::new(medium::create),
            found.lock,
            found.next_index,
        );
        let (queue, waiting) = mpsc::channel(QUEUE_COUNT);
        let thread = std::thread::Builder::new()
            .name("disk-log".into())
            .spawn(move || writer.run(waiting))
            .map_err(|error| OpenError::of(&config.folder, error))?;
        health.register(figures::CHECK);
        let log = Self {
            config: config.clone(),
            outlet_side: Arc::new(Mutex::new(OutletSide {
                reader: Reader::new(config.folder.clone(), found.position),
                position: found.position_file,
            })),
            shelf,
            figures,
            health: health.clone(),
            queue: Some(queue),
            room: Arc::new(Semaphore::new(QUEUE_BYTES as usize)),
            writer: Some(thread),
            turn: tokio::sync::Mutex::new(()),
        };
        log.tell();
        Ok(log)
    }

    /// Which way a request goes that begins now; see the module's doc on order.
    ///
    /// Behind: hold the place, append, and answer 202. Through: publish, append what the brokers do
    /// not take, and answer by what became of each.
    ///
    /// Waits at most [`HANDOVER_MAX`](shelf::HANDOVER_MAX), and only while the log's last records
    /// are about to be published.
    pub async fn admit(&self) -> Admission {
        Arc::clone(&self.shelf).admit().await
    }

    /// Stores all of `records` behind everything that is stored, or none of them, and returns once
    /// they are on the disk. Waits for a place in a bounded queue.
    ///
    /// Dropping the future does not call records back that the writer has taken already.
    ///
    /// # Errors
    /// [`AppendError::Full`] where the log's bound or the disk's end is reached. Whatever it is,
    /// none of the records will be published; that is, unless the disk refuses even to be cut, and
    /// the process dies before it does.
    pub async fn append(&self, records: &[Record<'_>]) -> Result<(), AppendError> {
        if records.is_empty() {
            return Ok(());
        }
        let bytes = entry::bytes_of(records);
        let max = self.config.request_bytes_max();
        if bytes > max || records.iter().any(|record| !record.fits()) {
            return Err(AppendError::TooLarge { bytes, max });
        }
        // From here on nobody passes by the log.
        let going = Arc::clone(&self.shelf).going();
        let room = u32::try_from(bytes).map_or(QUEUE_BYTES, |bytes| bytes.min(QUEUE_BYTES));
        let room = Arc::clone(&self.room)
            .acquire_many_owned(room)
            .await
            .expect("the semaphore is never closed");
        let (reply, answer) = oneshot::channel();
        let request = Request {
            bytes: entry::encode(records),
            count: records.len() as u64,
            reply,
            going,
            room,
        };
        let queue = self.queue.as_ref().expect("it is there until the drop");
        if queue.send(request).await.is_err() {
            return Err(AppendError::ended());
        }
        answer.await.unwrap_or_else(|_| Err(AppendError::ended()))
    }

    /// True when every record that was ever begun to be stored is settled.
    pub fn is_empty(&self) -> bool {
        self.shelf.is_empty()
    }

    /// What waits to be published.
    pub fn depth(&self) -> Depth {
        self.shelf.depth()
    }

    /// Shows figures and health as they are now.
    fn tell(&self) {
        let has_room = self.config.has_room(self.shelf.used_bytes());
        self.shelf.look_for_room(has_room);
        let depth = self.shelf.depth();
        self.figures.show(&depth, clock::now_ms());
        self.health
            .set(figures::CHECK, figures::condition(&depth, &self.config));
    }

    fn outlet_side(&self) -> Arc<Mutex<OutletSide>> {
        Arc::clone(&self.outlet_side)
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        // The writer ends once nobody can hand it anything, and takes the folder's lock with it.
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the disk log's writer has panicked");
        }
        self.health.retire(figures::CHECK);
    }
}

/// The value behind a lock, also after a panic elsewhere: everything that is kept behind one here
/// is changed in single steps.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
