//! One feed of an exchange, kept alive: connect, subscribe, read, and again.
//!
//! There is at most one connection per feed, whatever the number of tenants; it follows what is
//! wanted without a restart. Frames are translated and handed to the log in the order in which they
//! came. While the log takes nothing, nothing is read, so memory is bounded; what the exchange then
//! does not keep for us is a gap like any other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::clock;
use runtime::control::ControlConfig;
use runtime::fate::Backoff;
use runtime::health::{Condition, Health};
use runtime::kafka::KafkaConfig;
use runtime::service::Shutdown;
use schemas::control::Channel;
use schemas::time::EventTime;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::delivery::{Delivery, DeliveryError};
use crate::exchange::FrameError;
use crate::mapping::FeedState;
use crate::market::Published;
use crate::resume::{self, ResumeError};
use crate::subscription::{Audience, Subscriptions, Wanted};
use crate::telemetry::FeedFigures;
use crate::translate::{Output, Translator};
use crate::websocket::{Ended, Incoming, Socket};

/// The first wait before connecting again, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// A connection that lasted this long had nothing wrong with it: the next wait is the first again.
const LASTED: Duration = Duration::from_secs(30);

/// How often figures are shown.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

/// What a connection is made of.
pub struct Parts {
    /// Where the feed is.
    pub url: String,
    /// The feed's name in health and readiness.
    pub check: &'static str,
    /// What its frames mean.
    pub translator: Translator,
    /// Where its outputs go.
    pub delivery: Delivery,
    /// Who wants what, now and later.
    pub wishes: watch::Receiver<Arc<Subscriptions>>,
    /// Where an earlier process's records lie.
    pub kafka: KafkaConfig,
    /// What tells which of the records there are our own.
    pub control: ControlConfig,
    /// The process's name to the brokers.
    pub member: String,
    /// Its counters.
    pub figures: FeedFigures,
    /// Where it says how it is.
    pub health: Health,
    /// Tells when to stop.
    pub shutdown: Shutdown,
}

/// A feed's connection.
pub struct Connection {
    parts: Parts,
    current: Arc<Subscriptions>,
    wanted: Wanted,
    out: Vec<Output>,
    backoff: Backoff,
    is_resumed: bool,
    was_lost: bool,
}

/// Says what an earlier process published of what is wanted.
trait Tail:
    Fn(&Subscriptions, EventTime) -> Result<BTreeMap<String, Published>, ResumeError>
    + Clone
    + Send
    + 'static
{
}

impl<T> Tail for T where
    T: Fn(&Subscriptions, EventTime) -> Result<BTreeMap<String, Published>, ResumeError>
        + Clone
        + Send
        + 'static
{
}

/// Why a session was left without an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    Shutdown,
    NothingWanted,
}

/// Why a session ended otherwise.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

impl Connection {
    /// A connection that is not made yet.
    pub fn new(parts: Parts) -> Self {
        parts.health.register(parts.check);
        Self {
            parts,
            current: Arc::default(),
            wanted: Wanted::default(),
            out: vec![],
            backoff: Backoff::new(BACKOFF.0, BACKOFF.1),
            is_resumed: false,
            was_lost: false,
        }
    }

    /// Keeps the feed until the shutdown is requested; on return everything that was translated is
    /// acknowledged.
    ///
    /// # Errors
    /// When the log refuses this process for good.
    pub async fn run(self) -> Result<(), DeliveryError> {
        let (kafka, feed) = (self.parts.kafka.clone(), self.parts.translator.feed());
        let control = self.parts.control.clone();
        let name = format!("{}-{}-tail", self.parts.member, feed.feed);
        let tail = move |wishes: &Subscriptions, at: EventTime| {
            resume::published(&kafka, &control, (&name, feed.exchange), wishes, at)
        };
        self.run_behind(tail).await
    }

    /// The same behind what `tail` says was published; it may block.
    async fn run_behind(mut self, tail: impl Tail) -> Result<(), DeliveryError> {
        while !self.parts.shutdown.is_requested() {
            self.adopt().await?;
            if self.wanted.is_empty() {
                self.idle().await?;
                continue;
            }
            if !self.resume(&tail).await? {
                continue;
            }
            let began = clock::monotonic();
            let left = self.session().await;
            self.leave().await?;
            match left {
                Ok(Left::Shutdown | Left::NothingWanted) => self.was_lost = false,
                Err(SessionError::Delivery(error)) => return Err(error),
                Err(SessionError::Ended(ended)) => {
                    if began.elapsed() >= LASTED {
                        self.backoff.reset();
                    }
                    self.lost(&ended).await?;
                }
            }
        }
        self.parts.health.retire(self.parts.check);
        self.parts.delivery.drain().await
    }

    /// Takes over what is wanted now, and returns what was wanted before.
    async fn adopt(&mut self) -> Result<Wanted, DeliveryError> {
        let next = self.parts.wishes.borrow_and_update().clone();
        for product in next.refused() {
            let feed = self.parts.translator.feed().feed;
            tracing::warn!(
                feed,
                product,
                "product left out: one connection asks for no more"
            );
        }
        self.wanted = next.wanted();
        let wanted = self.wanted.clone();
        let before = self.parts.translator.want(wanted, now(), &mut self.out);
        // What markets leave behind that nobody wants any more is still for those who wanted them.
        self.deliver().await?;
        for product in next.with_more(Channel::Quotes, &self.current) {
            self.parts.translator.forget_quote(product);
        }
        self.current = next;
        self.parts.delivery.retain(&self.current);
        Ok(before)
    }

    async fn idle(&mut self) -> Result<(), DeliveryError> {
        self.parts.health.set(self.parts.check, Condition::Ready);
        tokio::select! {
            () = self.parts.shutdown.requested() => Ok(()),
            changed = self.parts.wishes.changed() => {
                if changed.is_err() {
                    // Nobody is left to wish for anything.
                    self.parts.shutdown.requested().await;
                }
                Ok(())
            }
            error = self.parts.delivery.failed() => Err(error),
        }
    }

    /// Learns before the first connection where an earlier process stopped: connected without, the
    /// trades in between would be neither asked for nor named. False when that is not known yet;
    /// what is wanted may have changed meanwhile.
    async fn resume(&mut self, tail: &impl Tail) -> Result<bool, DeliveryError> {
        if self.is_resumed {
            return Ok(true);
        }
        let (tail, wishes, at) = (tail.clone(), Arc::clone(&self.current), now());
        let read = tokio::task::spawn_blocking(move || tail(&wishes, at));
        let read = tokio::select! {
            () = self.parts.shutdown.requested() => return Ok(false),
            error = self.parts.delivery.failed() => return Err(error),
            read = read => read,
        };
        let feed = self.parts.translator.feed().feed;
        match read {
            Ok(Ok(published)) => self.go_on_behind(published),
            Ok(Err(error)) => {
                self.wait_for_tail(&error).await?;
                return Ok(false);
            }
            // The next attempt would read the same, and panic as well.
            Err(error) => tracing::error!(feed, %error, "reading the tail panicked: begins anew"),
        }
        self.is_resumed = true;
        self.backoff.reset();
        Ok(true)
    }

    fn go_on_behind(&mut self, published: BTreeMap<String, Published>) {
        let feed = self.parts.translator.feed().feed;
        for (product, published) in published {
            if let Some(trades) = &published.trades {
                let last = trades.series.last();
                tracing::info!(feed, product, last, "goes on behind this trade");
            }
            self.parts.translator.resume(&product, published);
        }
    }

    async fn wait_for_tail(&mut self, error: &ResumeError) -> Result<(), DeliveryError> {
        let feed = self.parts.translator.feed().feed;
        let wait = self.backoff.next_wait();
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(feed, %error, wait_ms, "log's tail not read, tried again");
        let reason = format!("not connected: log's tail not read: {error}");
        self.parts
            .health
            .set(self.parts.check, Condition::NotReady(reason));
        tokio::select! {
            () = self.parts.shutdown.requested() => Ok(()),
            Ok(()) = self.parts.wishes.changed() => Ok(()),
            () = tokio::time::sleep(wait) => Ok(()),
            error = self.parts.delivery.failed() => Err(error),
        }
    }

    /// From connecting to the connection's end.
    async fn session(&mut self) -> Result<Left, SessionError> {
        let shutdown = self.parts.shutdown.clone();
        let requests = self
            .parts
            .translator
            .protocol()
            .requests(&Wanted::default(), &self.wanted);
        let opened = Socket::open(&self.parts.url, &requests);
        let mut socket = tokio::select! {
            biased;
            () = shutdown.requested() => return Ok(Left::Shutdown),
            opened = opened => opened?,
        };
        self.connected().await?;
        let mut shown = tokio::time::interval(SHOWN_EVERY);
        shown.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let left = loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => break Left::Shutdown,
                error = self.parts.delivery.failed() => return Err(error.into()),
                _ = shown.tick() => self.show(),
                Ok(()) = self.parts.wishes.changed() => {
                    if let Some(left) = self.change(&mut socket).await? {
                        break left;
                    }
                }
                incoming = socket.next() => {
                    self.take(incoming).await?;
                    self.ask_again(&mut socket).await?;
                }
            }
        };
        socket.close().await;
        Ok(left)
    }

    async fn connected(&mut self) -> Result<(), DeliveryError> {
        let at = now();
        self.parts.translator.connected(at);
        self.was_lost = false;
        self.parts.figures.connected(true);
        self.parts.health.set(self.parts.check, Condition::Ready);
        self.tell(FeedState::Connected, "", at).await
    }

    /// Follows a change of what is wanted on the live connection.
    async fn change(&mut self, socket: &mut Socket) -> Result<Option<Left>, SessionError> {
        let before = self.adopt().await?;
        if self.wanted.is_empty() {
            return Ok(Some(Left::NothingWanted));
        }
        let protocol = self.parts.translator.protocol();
        let requests = protocol.requests(&before, &self.wanted);
        if !requests.is_empty() {
            self.tell(FeedState::Resubscribing, "what is wanted changed", now())
                .await?;
            socket.send(&requests).await?;
        }
        Ok(None)
    }

    /// Asks again for what frames that were lost may have held.
    async fn ask_again(&mut self, socket: &mut Socket) -> Result<(), SessionError> {
        let requests = self.parts.translator.requests_again(now());
        if !requests.is_empty() {
            self.tell(FeedState::Resubscribing, "frames were lost", now())
                .await?;
            socket.send(&requests).await?;
        }
        Ok(())
    }

    async fn take(&mut self, incoming: Result<Incoming, Ended>) -> Result<(), SessionError> {
        let at = now();
        match incoming {
            Ok(Incoming::Text(text)) => {
                let read = self.parts.translator.translate(&text, at, &mut self.out);
                self.deliver().await?;
                if let Err(error) = read {
                    self.keep(text.as_bytes(), &error, at).await?;
                }
            }
            Ok(Incoming::Binary(bytes)) => {
                self.parts.translator.unreadable();
                self.keep(&bytes, &FrameError::NotText, at).await?;
            }
            Err(Ended::TooLarge { bytes }) => {
                self.parts.translator.unreadable();
                self.keep(&[], &FrameError::TooLarge { bytes }, at).await?;
                return Err(Ended::TooLarge { bytes }.into());
            }
            Err(ended) => return Err(ended.into()),
        }
        Ok(())
    }

    /// Keeps a frame that cannot be read.
    async fn keep(
        &mut self,
        frame: &[u8],
        error: &FrameError,
        at: EventTime,
    ) -> Result<(), DeliveryError> {
        let feed = self.parts.translator.feed();
        let bytes = frame.len();
        tracing::warn!(feed = feed.feed, bytes, %error, "frame cannot be read, dead-lettered");
        let subject = feed.subject();
        let (delivery, current) = (&mut self.parts.delivery, &self.current);
        delivery
            .dead_letter(current, &subject, (frame, error), at)
            .await
    }

    /// The session is over: what waited for its frames waits no longer.
    async fn leave(&mut self) -> Result<(), DeliveryError> {
        self.parts.translator.disconnected(now(), &mut self.out);
        self.parts.figures.connected(false);
        self.show();
        self.deliver().await
    }

    /// A connection was lost, or could not be made: says so once, and waits.
    async fn lost(&mut self, ended: &Ended) -> Result<(), DeliveryError> {
        let (feed, detail) = (self.parts.translator.feed().feed, ended.to_string());
        let wait = self.backoff.next_wait();
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(feed, reason = detail, wait_ms, "no connection, tried again");
        let reason = format!("not connected: {detail}");
        self.parts
            .health
            .set(self.parts.check, Condition::NotReady(reason));
        if !std::mem::replace(&mut self.was_lost, true) {
            let state = match ended {
                Ended::Silent(_) => FeedState::Silent,
                _ => FeedState::Disconnected,
            };
            self.tell(state, &detail, now()).await?;
            self.tell(FeedState::Resubscribing, "", now()).await?;
        }
        tokio::select! {
            () = self.parts.shutdown.requested() => Ok(()),
            () = tokio::time::sleep(wait) => Ok(()),
            error = self.parts.delivery.failed() => Err(error),
        }
    }

    async fn tell(
        &mut self,
        state: FeedState,
        detail: &str,
        at: EventTime,
    ) -> Result<(), DeliveryError> {
        let feed = self.parts.translator.feed();
        tracing::info!(feed = feed.feed, state = state.as_str(), detail, "feed");
        let event = feed.state(state, detail, at);
        self.out.push(Output::Event(Audience::Feed, event));
        self.deliver().await
    }

    async fn deliver(&mut self) -> Result<(), DeliveryError> {
        let (delivery, current) = (&mut self.parts.delivery, &self.current);
        delivery.dispatch(current, &mut self.out).await
    }

    fn show(&mut self) {
        let counts = self.parts.translator.counts();
        self.parts.figures.show(counts);
    }
}

fn now() -> EventTime {
    EventTime::from_us(clock::now_us())
}

#[cfg(test)]
mod tests;
