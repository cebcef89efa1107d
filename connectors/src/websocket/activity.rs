//! When something last arrived on a connection: bytes count, and pings do not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use runtime::clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A frame is waited for.
pub(super) struct Wait {
    pub(super) since: Instant,
    /// When something other than a ping last arrived.
    heard: Instant,
    /// Bytes that had arrived when that was known.
    mark: u64,
}

/// What may come around a ping's payload: its own head, and a TLS record's head and tag.
const PING_OVERHEAD_BYTES: u64 = 64;

impl Wait {
    pub(super) fn begin(activity: &Activity) -> Self {
        let now = clock::monotonic();
        Self {
            since: now,
            heard: now,
            mark: activity.bytes(),
        }
    }

    pub(super) fn heard(&self, activity: &Activity) -> Instant {
        match activity.bytes() > self.mark {
            true => activity.last().max(self.heard),
            false => self.heard,
        }
    }

    /// Takes a ping out of what has arrived.
    pub(super) fn pinged(&mut self, payload_bytes: usize, activity: &Activity) {
        let arrived = activity.bytes();
        if arrived - self.mark > payload_bytes as u64 + PING_OVERHEAD_BYTES {
            self.heard = activity.last().max(self.heard);
        }
        self.mark = arrived;
    }
}

/// How many bytes arrived, and when the last of them.
#[derive(Clone)]
pub(super) struct Activity {
    start: Instant,
    after_ms: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            start: clock::monotonic(),
            after_ms: Arc::default(),
            bytes: Arc::default(),
        }
    }
}

impl Activity {
    pub(super) fn note(&self, count: usize) {
        let after = clock::monotonic().saturating_duration_since(self.start);
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.after_ms.store(after_ms, Ordering::Relaxed);
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.after_ms.load(Ordering::Relaxed))
    }
}

/// A stream that notes when bytes arrive.
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    pub(super) activity: Activity,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.activity.note(count);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
