//! What hyper answers by itself, in the form of all our errors.
//!
//! A head that hyper cannot read gets to no route: hyper answers it with a status and nothing else,
//! and closes. Here that answer gets the body of a problem on its way to the socket. No answer of
//! ours is taken for one of hyper's: an error of ours has a body, and what is written in pieces
//! does not begin like a head.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::problem::{ApiError, PROBLEM_JSON};

/// A connection on which hyper's own answers are problems.
pub(super) struct Worded<S> {
    stream: S,
    instead: Option<Instead>,
}

/// What is on its way in the place of something that hyper has written.
struct Instead {
    bytes: Bytes,
    /// Bytes of hyper's that it stands for.
    stands_for: usize,
}

impl<S> Worded<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            instead: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.instead.is_none() {
            this.instead = worded(bytes).map(|instead| Instead {
                bytes: instead,
                stands_for: bytes.len(),
            });
        }
        let Some(instead) = &mut this.instead else {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        };
        while instead.bytes.has_remaining() {
            let count = ready!(Pin::new(&mut this.stream).poll_write(cx, &instead.bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            instead.bytes.advance(count);
        }
        let count = instead.stands_for;
        this.instead = None;
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = pieces.iter().filter(|piece| !piece.is_empty());
        match (filled.next(), filled.next()) {
            // An answer with a body is none of hyper's own.
            (Some(piece), None) => self.poll_write(cx, piece),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The answer as a problem, where these bytes are one of hyper's own.
fn worded(bytes: &[u8]) -> Option<Bytes> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ")?;
    if status.first() != Some(&b'4') {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let status = StatusCode::from_bytes(status.get(..3)?).ok()?;
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    let length = lines.iter().position(|line| {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        name.eq_ignore_ascii_case("content-length") && value == "0"
    })?;
    lines.remove(length);
    let body = serde_json::to_string(&error(status).problem())
        .expect("a problem holds nothing that JSON cannot say");
    let head = lines.join("\r\n");
    let whole = format!(
        "{head}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    Some(whole.into())
}

fn error(status: StatusCode) -> ApiError {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ApiError::new(
            status,
            "head_too_large",
            "the request's headers are more, or longer, than are read",
        ),
        StatusCode::URI_TOO_LONG => {
            ApiError::new(status, "uri_too_long", "the request's path is too long")
        }
        _ => ApiError::new(
            status,
            "unreadable_head",
            "the request's first line and headers are no HTTP/1.1 that can be read",
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What comes out at the other end, `width` bytes at a time.
    async fn sent(pieces: &[&[u8]], width: usize) -> String {
        let (near, mut far) = tokio::io::duplex(width);
        let heard = tokio::spawn(async move {
            let mut text = String::new();
            far.read_to_string(&mut text).await.unwrap();
            text
        });
        let mut worded = Worded::new(near);
        for piece in pieces {
            worded.write_all(piece).await.unwrap();
        }
        drop(worded);
        heard.await.unwrap()
    }

    #[tokio::test]
    async fn a_bare_answer_gets_a_body_also_in_small_pieces() {
        let bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        for width in [1, 7, 4_096] {
            let text = sent(&[bare], width).await;
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n"));
            assert!(
                head.contains("content-type: application/problem+json"),
                "{head}"
            );
            let length = format!("content-length: {}", body.len());
            assert!(head.ends_with(&length), "{head}");
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["status"], 400);
            assert_eq!(problem["type"], "urn:pulse:problem:unreadable_head");
        }
    }

    #[tokio::test]
    async fn every_other_answer_stays_as_it_is() {
        let with_body: &[&[u8]] = &[
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n",
            b"{}",
        ];
        let at_once: &[&[u8]] = &[b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"];
        let fine: &[&[u8]] = &[b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"];
        let text: &[&[u8]] = &[b"HTTP/1.1 4", b"content-length: 0\r\n\r\n"];
        for pieces in [with_body, at_once, fine, text] {
            assert_eq!(sent(pieces, 64).await.as_bytes(), pieces.concat());
        }
    }
}
