//! A websocket as a connector needs it: a bound on the time to connect, on a frame's size, and on
//! silence.
//!
//! Silence is measured in bytes, not frames, and only while somebody waits for a frame: a depth
//! snapshot that takes seconds to arrive is no silence, and neither is time that the log took.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use runtime::clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, UrlError};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use crate::exchange::FRAME_BYTES_MAX;

/// How long connecting and subscribing may take; the exchange hangs up on who does not subscribe
/// within that time.
pub const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// How long a live connection may send nothing at all: heartbeats come every second.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How long one frame may take, however steadily it trickles.
pub const FRAME_WAIT: Duration = Duration::from_secs(30);

/// What arrived.
pub enum Incoming {
    /// A text frame.
    Text(Utf8Bytes),
    /// A binary frame.
    Binary(Bytes),
    /// A sign of life that says nothing: a ping, which was answered, or a pong.
    Sign,
}

/// Why a connection ended, or never came to be.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The other side closed it.
    #[error("closed by the exchange: {0}")]
    Closed(String),
    /// Nothing came for [`SILENCE_MAX`], or a frame did not end within [`FRAME_WAIT`].
    #[error("silent for {} ms", .0.as_millis())]
    Silent(Duration),
    /// A frame beyond what is taken.
    #[error("frame of {bytes} bytes")]
    TooLarge {
        /// As announced by its header.
        bytes: usize,
    },
    /// It could not be made in time.
    #[error("no connection within {} ms", CONNECT_WAIT.as_millis())]
    Timeout,
    /// Anything else that the network or the protocol says.
    #[error("{0}")]
    Failed(String),
}

/// A connection.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<Watched>>,
    activity: Activity,
}

impl Socket {
    /// Connects to `url` and sends `requests`, all within [`CONNECT_WAIT`].
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(url: &str, requests: &[String]) -> Result<Self, Ended> {
        let opened = tokio::time::timeout(CONNECT_WAIT, async {
            let mut socket = Self::connect(url).await?;
            socket.send(requests).await?;
            Ok(socket)
        });
        opened.await.unwrap_or(Err(Ended::Timeout))
    }

    async fn connect(url: &str) -> Result<Self, Ended> {
        let request = url.into_client_request()?;
        let (host, port) = address(request.uri()).ok_or(Error::Url(UrlError::NoHostName))?;
        let stream = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(Error::Io)?;
        stream.set_nodelay(true).map_err(Error::Io)?;
        let activity = Activity::default();
        let stream = Watched {
            stream,
            activity: activity.clone(),
        };
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(FRAME_BYTES_MAX);
        config.max_frame_size = Some(FRAME_BYTES_MAX);
        let connected = client_async_tls_with_config(request, stream, Some(config), None);
        let (stream, _) = connected.await?;
        Ok(Self { stream, activity })
    }

    /// Sends frames.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn send(&mut self, frames: &[String]) -> Result<(), Ended> {
        for frame in frames {
            self.stream.feed(Message::text(frame.as_str())).await?;
        }
        self.stream.flush().await?;
        Ok(())
    }

    /// The next frame. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn next(&mut self) -> Result<Incoming, Ended> {
        let began = clock::monotonic();
        loop {
            let heard = self.activity.last().max(began);
            let deadline = (heard + SILENCE_MAX).min(began + FRAME_WAIT);
            let next = tokio::time::timeout_at(deadline.into(), self.stream.next());
            match next.await {
                Ok(Some(Ok(message))) => return incoming(message),
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => return Err(Ended::Closed("without a word".into())),
                Err(_) => {}
            }
            let now = clock::monotonic();
            if now >= began + FRAME_WAIT || now >= self.activity.last().max(began) + SILENCE_MAX {
                return Err(Ended::Silent(now - began));
            }
        }
    }

    /// Says goodbye, without waiting long for the answer.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(200), self.stream.close(None)).await;
    }
}

fn incoming(message: Message) -> Result<Incoming, Ended> {
    match message {
        Message::Text(text) => Ok(Incoming::Text(text)),
        Message::Binary(bytes) => Ok(Incoming::Binary(bytes)),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(Incoming::Sign),
        Message::Close(None) => Err(Ended::Closed("without a reason".into())),
        Message::Close(Some(close)) => {
            let code = u16::from(close.code);
            Err(Ended::Closed(
                format!("{code} {}", close.reason).trim_end().into(),
            ))
        }
    }
}

fn address(uri: &tokio_tungstenite::tungstenite::http::Uri) -> Option<(String, u16)> {
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    let standard = if uri.scheme_str() == Some("wss") {
        443
    } else {
        80
    };
    Some((host, uri.port_u16().unwrap_or(standard)))
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { size, .. }) => {
                Self::TooLarge { bytes: size }
            }
            Error::ConnectionClosed | Error::AlreadyClosed => Self::Closed("without a word".into()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// When bytes last arrived.
#[derive(Clone)]
struct Activity {
    start: Instant,
    after_ms: Arc<AtomicU64>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            start: clock::monotonic(),
            after_ms: Arc::default(),
        }
    }
}

impl Activity {
    fn note(&self) {
        let after = clock::monotonic().saturating_duration_since(self.start);
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.after_ms.store(after_ms, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.after_ms.load(Ordering::Relaxed))
    }
}

/// A stream that notes when bytes arrive.
struct Watched {
    stream: TcpStream,
    activity: Activity,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.note();
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
