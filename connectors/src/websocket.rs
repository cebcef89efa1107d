//! A websocket as a connector needs it: a bound on the time to connect, on a frame's size, and on
//! silence.
//!
//! Silence is measured in bytes, not frames, and only while somebody waits for a frame: a depth
//! snapshot that takes seconds to arrive is no silence, and neither is time that the log took.
//! Pings are none of these bytes: a feed that has nothing to say sends heartbeats.

mod activity;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use runtime::clock;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, UrlError};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use crate::exchange::FRAME_BYTES_MAX;
use activity::{Activity, Wait, Watched};

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
    /// Since the last frame, over calls that were dropped.
    wait: Option<Wait>,
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
        Ok(Self {
            stream,
            activity,
            wait: None,
        })
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

    /// The next frame. Dropping the future loses nothing, and the next call waits on.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn next(&mut self) -> Result<Incoming, Ended> {
        let Self {
            stream,
            activity,
            wait,
        } = self;
        loop {
            let current = wait.get_or_insert_with(|| Wait::begin(activity));
            let frame_by = current.since + FRAME_WAIT;
            let deadline = (current.heard(activity) + SILENCE_MAX).min(frame_by);
            // The stream is asked first, so what has arrived already is never silence.
            match tokio::time::timeout_at(deadline.into(), stream.next()).await {
                Ok(Some(Ok(Message::Ping(payload) | Message::Pong(payload)))) => {
                    current.pinged(payload.len(), activity);
                }
                Ok(Some(Ok(message))) => {
                    *wait = None;
                    return incoming(message);
                }
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => return Err(Ended::Closed("without a word".into())),
                Err(_) => {
                    let (now, heard) = (clock::monotonic(), current.heard(activity));
                    if now >= frame_by || now >= heard + SILENCE_MAX {
                        return Err(Ended::Silent(now - current.since));
                    }
                }
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
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
            Err(Ended::Failed("a frame that is none".into()))
        }
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    const OFTEN: Duration = Duration::from_millis(200);

    /// A server that does `act` with its only connection.
    async fn served<F>(
        act: impl FnOnce(WebSocketStream<TcpStream>) -> F,
    ) -> (Socket, JoinHandle<()>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let accept = async {
            let (stream, _) = listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        let (socket, stream) = tokio::join!(Socket::open(&url, &[]), accept);
        let server = tokio::spawn(act(stream));
        (socket.unwrap_or_else(|error| panic!("{error}")), server)
    }

    /// Waits as a session does, which looks at something else now and then.
    async fn next(socket: &mut Socket) -> Result<Incoming, Ended> {
        for _ in 0..300 {
            if let Ok(next) = tokio::time::timeout(OFTEN, socket.next()).await {
                return next;
            }
        }
        panic!("neither a frame nor an end");
    }

    #[tokio::test]
    async fn who_says_nothing_is_silent_however_often_one_looks() {
        let (mut socket, server) = served(|stream| async {
            let _open = stream;
            std::future::pending::<()>().await;
        })
        .await;
        assert!(matches!(next(&mut socket).await, Err(Ended::Silent(_))));
        server.abort();
    }

    #[tokio::test]
    async fn who_only_pings_is_silent() {
        let (mut socket, server) = served(|mut stream| async move {
            stream.send(Message::text("a")).await.unwrap();
            let mut often = tokio::time::interval(OFTEN);
            while stream.send(Message::Ping("b".into())).await.is_ok() {
                often.tick().await;
            }
        })
        .await;
        let first = next(&mut socket).await;
        assert!(matches!(first, Ok(Incoming::Text(text)) if text.as_str() == "a"));
        assert!(matches!(next(&mut socket).await, Err(Ended::Silent(_))));
        server.abort();
    }

    /// Longer than the longest silence.
    #[tokio::test]
    async fn a_frame_that_trickles_is_no_silence() {
        const PART: usize = 200;
        let parts = 2 * SILENCE_MAX.as_millis() / OFTEN.as_millis();
        let (mut socket, server) = served(move |stream| async move {
            use tokio::io::AsyncWriteExt;
            let mut raw = stream.into_inner();
            let length = u16::try_from(PART * parts as usize).unwrap();
            let head = [&[0x81, 126][..], &length.to_be_bytes()].concat();
            raw.write_all(&head).await.unwrap();
            let mut often = tokio::time::interval(OFTEN);
            for _ in 0..parts {
                often.tick().await;
                raw.write_all(&[b'x'; PART]).await.unwrap();
            }
            std::future::pending::<()>().await;
        })
        .await;
        let whole = "x".repeat(PART * parts as usize);
        let frame = next(&mut socket).await;
        assert!(matches!(frame, Ok(Incoming::Text(text)) if text.as_str() == whole));
        server.abort();
    }
}
