//! The one thread that writes: many requests, one fsync.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use runtime::clock;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::entry::{self, Place};
use super::figures::Figures;
use super::medium::{Create, Medium, sync_folder};
use super::segment::{self, Head};
use super::settings::DiskLogConfig;
use super::shelf::{Going, Segment, Shelf};

/// Bytes that one fsync may serve: who came first is not to wait for all others.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// How long a group may wait for company: less than most disks take for an fsync.
const COMPANY_MAX: Duration = Duration::from_millis(1);

/// Why none of a request's records is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The log's bound, or the disk's end, is reached.
    #[error("the disk log is full")]
    Full,
    /// More than the log takes at once, or one record that is.
    #[error("{bytes} bytes are more than the disk log takes at once, {max}")]
    TooLarge {
        /// What the request would take.
        bytes: u64,
        /// What it may take.
        max: u64,
    },
    /// The disk has a fault.
    #[error("the disk log cannot be written: {0}")]
    Failed(String),
}

impl AppendError {
    /// The writer is gone.
    pub(super) fn ended() -> Self {
        Self::Failed("its writer has ended".into())
    }

    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A request that waits for the disk.
pub(super) struct Request {
    /// Its entries, to be sealed.
    pub(super) bytes: Vec<u8>,
    /// How many they are.
    pub(super) count: u64,
    pub(super) reply: oneshot::Sender<Result<(), AppendError>>,
    pub(super) going: Going,
    pub(super) room: OwnedSemaphorePermit,
}

impl Request {
    fn answer(self, result: Result<(), AppendError>) {
        // What is stored is on the shelf by now, so nobody passes by in between.
        drop((self.going, self.room));
        // Who left does not want to know.
        let _ = self.reply.send(result);
    }
}

/// What writes, and the segment that it writes to.
pub(super) struct Writer {
    config: DiskLogConfig,
    shelf: Arc<Shelf>,
    figures: Figures,
    create: Create,
    /// The folder is this process's for as long as somebody may write.
    _lock: File,
    next_index: u64,
    open: Option<Open>,
    /// Written since the last fsync, in their order.
    unsafe_yet: Vec<Request>,
    /// What of the disk may still be taken, as of the group's start.
    free_bytes: u64,
}

/// The segment that is written to.
struct Open {
    head: Head,
    medium: Box<dyn Medium>,
    /// As far as an fsync made it safe.
    safe: Mark,
    /// As far as it is written.
    written: Mark,
    /// A write or an fsync failed: nothing comes into it any more, and it must be cut.
    has_failed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    bytes: u64,
    next_number: u64,
}

impl Writer {
    pub(super) fn new(
        config: DiskLogConfig,
        shelf: Arc<Shelf>,
        figures: Figures,
        create: Create,
        lock: File,
        next_index: u64,
    ) -> Self {
        Self {
            config,
            shelf,
            figures,
            create,
            _lock: lock,
            next_index,
            open: None,
            unsafe_yet: vec![],
            free_bytes: 0,
        }
    }

    /// Writes until nobody can hand it anything any more.
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        let mut company = Duration::ZERO;
        while let Some(first) = waiting.blocking_recv() {
            // Who was answered a moment ago comes again in a moment: better one fsync for all of
            // them than one for the fastest and another for the rest.
            std::thread::sleep(company);
            let mut bytes = first.bytes.len();
            let mut group = vec![first];
            while bytes < GROUP_BYTES
                && let Ok(next) = waiting.try_recv()
            {
                bytes += next.bytes.len();
                group.push(next);
            }
            let is_alone = group.len() == 1;
            let begun = clock::monotonic();
            self.commit(group);
            company = match is_alone {
                true => Duration::ZERO,
                false => (begun.elapsed() / 2).min(COMPANY_MAX),
            };
        }
    }

    /// Writes these requests and answers each of them.
    pub(super) fn commit(&mut self, group: Vec<Request>) {
        self.free_bytes = self.config.free_bytes().unwrap_or(u64::MAX);
        for mut request in group {
            match self.put(&mut request) {
                Ok(()) => self.unsafe_yet.push(request),
                Err(error) => self.refuse(request, error),
            }
        }
        self.make_safe();
        if let Err(error) = self.mend() {
            tracing::error!(%error, "the disk log could not be cut; it takes nothing until it is");
        }
    }

    /// Writes one request, not yet safely.
    fn put(&mut self, request: &mut Request) -> Result<(), AppendError> {
        let bytes = request.bytes.len() as u64;
        if !self.has_place(bytes) {
            self.close();
        }
        // Behind the close, which makes safe what is left and may fail.
        self.mend().map_err(|error| AppendError::of(&error))?;
        self.check_room(bytes)?;
        if self.open.is_none() {
            self.begin().map_err(|error| AppendError::of(&error))?;
        }
        let open = self.open.as_mut().expect("it was begun above");
        let place = Place {
            salt: open.head.salt,
            offset: open.written.bytes,
            number: open.written.next_number,
            stored_at_ms: clock::now_ms(),
        };
        entry::seal(&mut request.bytes, &place);
        if let Err(error) = open.medium.write(&request.bytes, open.written.bytes) {
            self.save_what_was_whole();
            return Err(AppendError::of(&error));
        }
        open.written.bytes += bytes;
        open.written.next_number += request.count;
        self.free_bytes = self.free_bytes.saturating_sub(bytes);
        Ok(())
    }

    /// True when the request can go into the segment that is open, or none is.
    fn has_place(&self, bytes: u64) -> bool {
        let Some(open) = self.open.as_ref().filter(|open| !open.has_failed) else {
            return true;
        };
        let is_empty = open.written.bytes == segment::HEAD_BYTES;
        // What is settled goes with its segment, and the next request begins a new one.
        let is_done = self.unsafe_yet.is_empty() && self.shelf.is_settled();
        is_empty || (open.written.bytes + bytes <= self.config.segment_bytes && !is_done)
    }

    fn check_room(&self, bytes: u64) -> Result<(), AppendError> {
        let not_yet_counted = match &self.open {
            Some(open) => open.written.bytes - open.safe.bytes,
            None => segment::HEAD_BYTES,
        };
        let used = self.shelf.used_bytes() + not_yet_counted;
        match used + bytes <= self.config.bytes_max && bytes <= self.free_bytes {
            true => Ok(()),
            false => Err(AppendError::Full),
        }
    }

    /// Begins a segment: its head and its name are safe before anything is in it.
    fn begin(&mut self) -> io::Result<()> {
        let mut salt = [0; 8];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        let head = Head {
            index: self.next_index,
            salt: u64::from_le_bytes(salt),
            first_number: self.shelf.next_number(),
        };
        let path = self.config.folder.join(segment::name(head.index));
        // A name is used once, whatever becomes of its file.
        self.next_index += 1;
        let begun = (self.create)(&path).and_then(|mut medium| {
            medium.write(&head.encode(), 0)?;
            medium.sync()?;
            sync_folder(&self.config.folder)?;
            Ok(medium)
        });
        let medium = begun.inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        let mark = Mark {
            bytes: segment::HEAD_BYTES,
            next_number: head.first_number,
        };
        self.shelf.begin(Segment {
            index: head.index,
            bytes: mark.bytes,
            first_number: head.first_number,
            next_number: head.first_number,
        });
        self.open = Some(Open {
            head,
            medium,
            safe: mark,
            written: mark,
            has_failed: false,
        });
        Ok(())
    }

    /// One fsync for all that was written, and then their answers.
    fn make_safe(&mut self) {
        let Some(open) = self.open.as_mut().filter(|_| !self.unsafe_yet.is_empty()) else {
            return;
        };
        let requests = std::mem::take(&mut self.unsafe_yet);
        match open.medium.sync() {
            Ok(()) => {
                open.safe = open.written;
                self.shelf.extend(open.safe.bytes, open.safe.next_number);
                for request in requests {
                    self.figures.appended(request.count);
                    request.answer(Ok(()));
                }
            }
            Err(error) => {
                tracing::error!(%error, "the disk log could not be made safe");
                open.has_failed = true;
                for request in requests {
                    self.refuse(request, AppendError::of(&error));
                }
            }
        }
    }

    /// A write failed: what was written whole before it may still become safe, and then the
    /// segment is closed.
    fn save_what_was_whole(&mut self) {
        let Some(open) = self.open.as_mut() else {
            return;
        };
        match open.medium.cut(open.written.bytes) {
            Ok(()) => {
                self.make_safe();
                self.close();
            }
            Err(error) => {
                tracing::error!(%error, "the disk log could not be cut");
                open.has_failed = true;
                for request in std::mem::take(&mut self.unsafe_yet) {
                    self.refuse(request, AppendError::of(&error));
                }
            }
        }
    }

    /// Closes the segment, with all that was written to it safe, or marked as failed.
    fn close(&mut self) {
        self.make_safe();
        if let Some(open) = self.open.take_if(|open| !open.has_failed) {
            self.leave(open);
        }
    }

    /// Cuts a segment that failed back to what was safe, before anything is written elsewhere: an
    /// fsync that fails may have dropped what it was to write, so later ones prove nothing about
    /// it, and what was refused must not come back.
    fn mend(&mut self) -> io::Result<()> {
        let Some(open) = self.open.as_mut().filter(|open| open.has_failed) else {
            return Ok(());
        };
        open.medium.cut(open.safe.bytes)?;
        open.medium.sync()?;
        if let Some(open) = self.open.take() {
            self.leave(open);
        }
        Ok(())
    }

    /// A segment that nothing more comes into; an empty one is not kept.
    fn leave(&mut self, open: Open) {
        if open.safe.bytes == segment::HEAD_BYTES {
            self.shelf.abandon(open.head.index);
            let path = self.config.folder.join(segment::name(open.head.index));
            drop(std::fs::remove_file(path));
        }
    }

    fn refuse(&self, request: Request, error: AppendError) {
        self.figures.refused(&error);
        self.shelf.refuse(match &error {
            AppendError::Failed(reason) => Some(reason.clone()),
            AppendError::Full | AppendError::TooLarge { .. } => None,
        });
        request.answer(Err(error));
    }
}
