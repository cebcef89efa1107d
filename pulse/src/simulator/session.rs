//! One client's connection: its requests in, its frames out, and what goes wrong on purpose.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::driver::{Request, ToClient};
use super::faults::{Action, Faults};
use super::shared::Shared;
use super::words::{OutFrame, Words};
use super::world::Happening;

/// How long a client may take to ask for something.
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(5);

/// How often a client is pinged.
const PING_EVERY: Duration = Duration::from_secs(1);

/// More than any client takes.
const OVERSIZE_BYTES: usize = 17 * 1024 * 1024;

/// Bytes of a trickling frame that are written at once, and the pause after them.
const TRICKLE: (usize, Duration) = (64, Duration::from_millis(5));

/// Where a session's frames come from.
pub(super) enum Supply {
    /// A market: requests go there.
    Market {
        requests: mpsc::Sender<Request>,
        words: Words,
    },
    /// A recording, which begins with the first request, whatever it asks for.
    Recording(Arc<super::replay::Replay>, super::Speed),
}

/// Why a session is over.
#[derive(Debug)]
enum Over {
    /// The client, or the network, ended it.
    Left,
    /// The simulator stops.
    Stopped,
    /// It was broken on purpose, after the recorded frame at this place if it was one.
    Broken(Option<usize>),
}

impl From<Error> for Over {
    fn from(_: Error) -> Self {
        Self::Left
    }
}

/// A connection.
pub(super) struct Session {
    id: u64,
    socket: WebSocketStream<Trickle>,
    is_slow: Arc<AtomicBool>,
    supply: Supply,
    faults: Faults,
    shared: Arc<Shared>,
    to_me: mpsc::Sender<ToClient>,
    is_subscribed: bool,
    /// The markets are closing: nothing is spoilt any more.
    is_sound: bool,
}

impl Session {
    pub(super) fn new(
        (id, seed): (u64, u64),
        (socket, is_slow): (WebSocketStream<Trickle>, Arc<AtomicBool>),
        supply: Supply,
        shared: Arc<Shared>,
    ) -> (Self, mpsc::Receiver<ToClient>) {
        let (to_me, inbox) = mpsc::channel(shared.queue_count);
        let session = Self {
            id,
            socket,
            is_slow,
            supply,
            faults: Faults::new(shared.faults.clone(), seed ^ id),
            shared,
            to_me,
            is_subscribed: false,
            is_sound: false,
        };
        (session, inbox)
    }

    /// Serves the client to the end of the connection.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<ToClient>) {
        let over = match self.serve(&mut inbox).await {
            Ok(never) => match never {},
            Err(over) => over,
        };
        tracing::info!(client = self.id, ?over, "client gone");
        self.shared.left(self.id);
        match over {
            Over::Left => {}
            Over::Stopped => self.part().await,
            Over::Broken(Some(index)) => {
                // The client gets all that was sent, and later the last of it once more.
                if let Supply::Recording(replay, _) = &self.supply {
                    replay.cut_off(index);
                }
                self.part().await;
            }
            Over::Broken(None) => {
                let outage_us = self.shared.faults.outage.as_micros();
                let outage_us = i64::try_from(outage_us).unwrap_or(i64::MAX);
                self.shared.outage_us.store(outage_us, Ordering::Relaxed);
                // What is on its way is lost with the connection, as on a real network.
                let _ = self.socket.get_ref().stream.set_zero_linger();
            }
        }
    }

    async fn serve(
        &mut self,
        inbox: &mut mpsc::Receiver<ToClient>,
    ) -> Result<std::convert::Infallible, Over> {
        let stop = self.shared.stop.clone();
        let deadline = tokio::time::sleep(SUBSCRIBE_WAIT);
        tokio::pin!(deadline);
        let mut ping = tokio::time::interval(PING_EVERY);
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return Err(Over::Stopped),
                message = self.socket.next() => match message {
                    Some(Ok(Message::Text(text))) => self.request(&text).await?,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Over::Left),
                    Some(Ok(_)) => {}
                },
                () = &mut deadline, if !self.is_subscribed => return Err(Over::Stopped),
                _ = ping.tick() => self.socket.send(Message::Ping(Bytes::new())).await?,
                Some(message) = inbox.recv() => {
                    self.pass_on(message).await?;
                    if inbox.is_empty() {
                        self.socket.flush().await?;
                    }
                }
            }
        }
    }

    async fn request(&mut self, text: &str) -> Result<(), Over> {
        match &self.supply {
            Supply::Market { requests, words } => {
                let Some(asked) = words.asked(text) else {
                    let error = r#"{"type":"error","message":"Malformed JSON"}"#;
                    self.socket.send(Message::text(error)).await?;
                    return Ok(());
                };
                // Said here and not by who answers: that may be after this client has left.
                self.shared.subscribed(self.id);
                let request = Request {
                    client: self.id,
                    asked,
                    to_client: self.to_me.clone(),
                };
                // A client that asks faster than it can be answered is sent away.
                requests.try_send(request).map_err(|_| Over::Stopped)?;
            }
            Supply::Recording(replay, speed) if !self.is_subscribed => {
                self.shared.subscribed(self.id);
                let player = super::player::Player::new(Arc::clone(replay), *speed);
                let stop = self.shared.stop.clone();
                tokio::spawn(player.run(self.to_me.clone(), stop));
            }
            Supply::Recording(..) => {}
        }
        self.is_subscribed = true;
        Ok(())
    }

    async fn pass_on(&mut self, message: ToClient) -> Result<(), Over> {
        let mut frames = vec![];
        match message {
            ToClient::Opening {
                asked,
                snapshots,
                at_us,
            } => {
                if let Supply::Market { words, .. } = &mut self.supply {
                    frames = words.answer(&asked, &snapshots, at_us);
                }
            }
            ToClient::Happening(happening) => self.words(&happening, &mut frames).await?,
            ToClient::Recorded(index, frame) => return self.send(frame, Some(index)).await,
            ToClient::End => {
                self.release().await?;
                self.socket.flush().await?;
                self.shared.served(self.id);
            }
        }
        for mut frame in frames {
            frame.is_sound |= self.is_sound;
            self.send(frame, None).await?;
        }
        Ok(())
    }

    async fn words(&mut self, happening: &Happening, out: &mut Vec<OutFrame>) -> Result<(), Over> {
        let is_last = matches!(happening, Happening::Step(step) if step.is_last);
        if is_last && !std::mem::replace(&mut self.is_sound, true) {
            self.release().await?;
        }
        if let Supply::Market { words, .. } = &mut self.supply {
            match happening {
                Happening::Step(step) => words.step(step, out),
                Happening::Beat(beat) => words.beat(beat, out),
                Happening::End => {}
            }
        }
        Ok(())
    }

    /// Sends what waits to be overtaken.
    async fn release(&mut self) -> Result<(), Over> {
        for action in self.faults.release() {
            self.act(action, None).await?;
        }
        Ok(())
    }

    async fn send(&mut self, frame: OutFrame, place: Option<usize>) -> Result<(), Over> {
        let passed = self.faults.pass(frame);
        if !passed.withheld.is_empty() {
            self.shared.truth.withhold(&passed.withheld);
        }
        for action in passed.actions {
            self.act(action, place).await?;
        }
        Ok(())
    }

    async fn act(&mut self, action: Action, place: Option<usize>) -> Result<(), Over> {
        match action {
            Action::Send(text) => self.socket.feed(Message::text(text)).await?,
            Action::Trickle(text) => {
                self.socket.flush().await?;
                self.is_slow.store(true, Ordering::Relaxed);
                let sent = self.socket.send(Message::text(text)).await;
                self.is_slow.store(false, Ordering::Relaxed);
                sent?;
            }
            Action::Stall => {
                self.socket.flush().await?;
                tokio::select! {
                    () = self.shared.stop.requested() => return Err(Over::Stopped),
                    () = tokio::time::sleep(self.shared.faults.stall_for) => {}
                }
                return Ok(());
            }
            Action::Oversize => {
                let padding = "x".repeat(OVERSIZE_BYTES);
                let text = format!(r#"{{"type":"status","padding":"{padding}"}}"#);
                self.socket.send(Message::text(text)).await?;
            }
            Action::Break => return Err(Over::Broken(None)),
        }
        match self.shared.sent() {
            true => Err(Over::Broken(place)),
            false => Ok(()),
        }
    }

    /// Ends the connection so that the client reads all that was sent.
    async fn part(&mut self) {
        let parting = async {
            let _ = self.socket.close(None).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), parting).await;
    }
}

/// A stream that writes a few bytes at a time while it is told to.
pub(super) struct Trickle {
    stream: TcpStream,
    is_slow: Arc<AtomicBool>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Trickle {
    pub(super) fn new(stream: TcpStream) -> (Self, Arc<AtomicBool>) {
        let is_slow = Arc::new(AtomicBool::new(false));
        let trickle = Self {
            stream,
            is_slow: Arc::clone(&is_slow),
            pause: None,
        };
        (trickle, is_slow)
    }
}

impl AsyncRead for Trickle {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Trickle {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let is_slow = self.is_slow.load(Ordering::Relaxed);
        let most = if is_slow { TRICKLE.0 } else { bytes.len() };
        let part = &bytes[..bytes.len().min(most)];
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(context, part));
        if is_slow {
            self.pause = Some(Box::pin(tokio::time::sleep(TRICKLE.1)));
        }
        Poll::Ready(written)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
