//! A connection on which answers are waited for only so long: whoever asks and never reads is cut
//! off.
//!
//! hyper watches how slowly a request comes, and not how slowly an answer is taken. Each byte that
//! the other side takes begins the wait anew; an answer is small, and what it waits for otherwise
//! is the other side's own buffer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A stream whose writes end with an error when nothing of them is taken for `wait_max`.
pub(super) struct Patience<S> {
    stream: S,
    wait_max: Duration,
    /// Runs while something waits to be written.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Patience<S> {
    pub(super) fn new(stream: S, wait_max: Duration) -> Self {
        Self {
            stream,
            wait_max,
            until: None,
        }
    }

    /// What a write came to, or the end of the wait for it.
    fn judge(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.until = None;
            return written;
        }
        let wait_max = self.wait_max;
        let sleep = || Box::pin(tokio::time::sleep(wait_max));
        match self.until.get_or_insert_with(sleep).as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It says nothing of what was taken.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_and_each_byte_begins_the_wait_anew() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut patient = Patience::new(near, Duration::from_millis(50));
        patient.write_all(&[1; 64]).await.unwrap();
        assert!(patient.until.is_none(), "nothing waits");
        let mut waits = Box::pin(patient.write_all(&[2; 65]));
        let now = std::future::poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx)));
        assert!(now.await.is_pending());
        far.read_exact(&mut [0; 64]).await.unwrap();
        let error = waits.await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // What fitted was written, and only then did the wait that failed begin.
        let mut second = [0; 64];
        far.read_exact(&mut second).await.unwrap();
        assert_eq!(second, [2; 64]);
    }
}
