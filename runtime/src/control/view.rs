//! Follows the control topic on a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use schemas::ids::{CONTROL_TOPIC, Offset};
use tokio::sync::{oneshot, watch};

use super::kept::{Found, Keeper};
use super::{Control, ControlConfig, OFFSET, REJECTED, Refusal};
use crate::clock::Deadline;
use crate::fate::{Backoff, Fate};
use crate::health::{Condition, Health};
use crate::kafka::reader::ReadError;
use crate::kafka::{Isolation, KafkaConfig, Partition, Reader, Start};
use crate::service::{Service, Shutdown};

/// The health check of this part.
const CHECK: &str = "control";

/// How long one attempt to reach the topic's end may make no progress.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the follower sleeps at most before it looks whether it should stop.
const NAP: Duration = Duration::from_millis(200);

/// How often the follower asks where the topic ends while nothing comes, and how long it waits for
/// the answer. A reader that was opened while its broker woke from a long sleep was seen to hear of
/// no record ever after: what lies there from one look to the next is read by another reader.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
const LOOK_WAIT: Duration = Duration::from_secs(1);

/// How long brokers may take to show the topic before the definitions count that were kept.
const KEPT_AFTER: Duration = Duration::from_secs(3);

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The topic cannot be read, and waiting will not help.
    #[error("control topic cannot be read: {0}")]
    Read(#[from] ReadError),
}

/// The definitions in force, in memory. Cheap to clone; all clones are one view.
#[derive(Clone)]
pub struct ControlView {
    control: Arc<ArcSwap<Control>>,
    changes: watch::Receiver<Offset>,
}

impl ControlView {
    /// Follows the topic until the service is told to stop, and returns once the view has reached
    /// the end that the topic had at the call; `None` when the service is told to stop before.
    /// Waits for brokers that are away, and for a topic that does not exist yet.
    ///
    /// # Errors
    /// When waiting will not help.
    pub async fn open(
        kafka: &KafkaConfig,
        config: &ControlConfig,
        service: &Service,
    ) -> Result<Option<Self>, ControlError> {
        Self::open_kept(kafka, config, service, None).await
    }

    /// The same for a process that keeps its definitions in `folder`: where the topic cannot be
    /// read within 3 s, what an earlier process has kept there counts until it can.
    ///
    /// # Errors
    /// When waiting will not help, and nothing was kept.
    pub async fn open_kept(
        kafka: &KafkaConfig,
        config: &ControlConfig,
        service: &Service,
        folder: Option<&Path>,
    ) -> Result<Option<Self>, ControlError> {
        let nothing = Arc::new(Control::default());
        let control = Arc::new(ArcSwap::new(Arc::clone(&nothing)));
        let (changed, changes) = watch::channel(0);
        let (caught_up, mut complete) = oneshot::channel();
        service.health.register(CHECK);
        let keeper = folder.map(|folder| Keeper::new(folder, config));
        let kept = keeper.as_ref().and_then(read_kept);
        let follower = Follower {
            kafka: kafka.clone(),
            config: config.clone(),
            name: format!("{}-control", service.member()),
            shutdown: service.shutdown.clone(),
            health: service.health.clone(),
            rejected: service.metrics.counter(&REJECTED),
            offset: service.metrics.gauge(&OFFSET),
            held: Control::default(),
            control: Arc::clone(&control),
            changed,
            caught_up: Some(caught_up),
            kept: kept.as_ref().map(|found| found.kept_at_ms),
            keeper: keeper.clone(),
        };
        start(follower, keeper, &service.shutdown);
        // The thread may be in a question that takes as long as a stop may.
        let complete = tokio::select! {
            complete = &mut complete => complete,
            () = service.shutdown.requested() => return Ok(None),
            () = tokio::time::sleep(KEPT_AFTER), if kept.is_some() => {
                let kept = kept.map(|found| found.control).unwrap_or_default();
                tracing::warn!(
                    tenant_count = kept.tenants().count(),
                    offset = kept.offset,
                    "the topic cannot be read: the definitions are those that were kept"
                );
                let reason = "the topic cannot be read; the definitions are those that were kept";
                service.health.set(CHECK, Condition::Warning(reason.into()));
                // Where the topic was read at this very moment, that counts.
                control.compare_and_swap(&nothing, Arc::new(kept));
                return Ok(Some(Self { control, changes }));
            }
        };
        match complete {
            Ok(result) => result.map(|()| Some(Self { control, changes })),
            // The thread ends without a word where it is told to stop, and where it panics.
            Err(_) if service.shutdown.is_requested() => Ok(None),
            Err(_) => panic!("the control thread panicked"),
        }
    }

    pub(super) fn fixed(control: Arc<Control>) -> Self {
        let (_, changes) = watch::channel(control.offset);
        Self {
            control: Arc::new(ArcSwap::new(control)),
            changes,
        }
    }

    /// The definitions now.
    pub fn snapshot(&self) -> Arc<Control> {
        self.control.load_full()
    }

    /// The offset that the view has reached; it grows with each record, so a thread that polls it
    /// sees every change.
    pub fn offset(&self) -> Offset {
        self.control.load().offset
    }

    /// Tells tasks of each change.
    pub fn changes(&self) -> watch::Receiver<Offset> {
        self.changes.clone()
    }
}

/// What an earlier process has kept; nothing where it cannot be used, which is told.
fn read_kept(keeper: &Keeper) -> Option<Found> {
    keeper.read().unwrap_or_else(|error| {
        tracing::warn!(%error, "kept definitions are not used");
        None
    })
}

/// Starts the threads that follow the topic and keep what it says.
fn start(mut follower: Follower, keeper: Option<Keeper>, shutdown: &Shutdown) {
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new()
            .name(name.into())
            .spawn(work)
            .expect("a process that cannot start a thread cannot work");
    };
    spawn("control", Box::new(move || follower.run()));
    if let Some(keeper) = keeper {
        let shutdown = shutdown.clone();
        spawn("control-keeper", Box::new(move || keeper.run(&shutdown)));
    }
}

struct Follower {
    kafka: KafkaConfig,
    config: ControlConfig,
    name: String,
    shutdown: Shutdown,
    health: Health,
    rejected: Counter,
    offset: Gauge,
    held: Control,
    control: Arc<ArcSwap<Control>>,
    changed: watch::Sender<Offset>,
    /// Gone once the topic's end was reached.
    caught_up: Option<oneshot::Sender<Result<(), ControlError>>>,
    /// When what stands in for the topic was kept, in ms since the epoch.
    kept: Option<i64>,
    keeper: Option<Keeper>,
}

impl Follower {
    fn run(&mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        while !self.shutdown.is_requested() {
            let Err(error) = self.read(&mut backoff) else {
                return;
            };
            self.health.set(CHECK, self.without_topic(&error));
            // A view that was complete once is worth keeping while an operator mends the topic, and
            // so is one that was kept.
            if error.fate() == Fate::Halt
                && self.kept.is_none()
                && let Some(caught_up) = self.caught_up.take()
            {
                let _ = caught_up.send(Err(error.into()));
                return;
            }
            self.shutdown.wait_at_most(backoff.next_wait());
        }
    }

    /// How this part is while the topic cannot be read: it can work with what was kept.
    fn without_topic(&self, error: &ReadError) -> Condition {
        match (&self.caught_up, self.kept) {
            (Some(_), Some(kept_at_ms)) => {
                // An instant and no age: what is said anew each time would be logged each time.
                let kept_at = jiff::Timestamp::from_millisecond(kept_at_ms).unwrap_or_default();
                Condition::Warning(format!(
                    "the definitions are those that were kept at {kept_at}: {error}"
                ))
            }
            _ => Condition::NotReady(error.to_string()),
        }
    }

    /// Reads on from where the view is, until the process stops.
    fn read(&mut self, backoff: &mut Backoff) -> Result<(), ReadError> {
        let start = match self.held.offset {
            0 => Start::Beginning,
            offset => Start::At(offset),
        };
        let partition = Partition::new(CONTROL_TOPIC, 0);
        let spans = [(partition, start)];
        let reader = Reader::open(&self.kafka, &self.name, Isolation::Committed, &spans)?;
        let end = reader.watermarks(Isolation::Committed, PATIENCE)?[0].high;
        let (mut look, mut seen_end) = (Deadline::after(LOOK_INTERVAL), 0);
        while !self.shutdown.is_requested() {
            let batch = reader.next(0)?;
            let is_empty = batch.is_empty();
            for record in batch.records() {
                self.apply(record.offset(), record.key(), record.value());
            }
            drop(batch);
            // Before its end is reached what is known is not all, and what was kept may be.
            if !is_empty && self.caught_up.is_none() {
                self.show();
            }
            if reader.position(0) >= end {
                backoff.reset();
                self.health.set(CHECK, Condition::Ready);
                if let Some(caught_up) = self.caught_up.take() {
                    self.show();
                    if let Some(keeper) = &self.keeper {
                        keeper.complete();
                    }
                    let _ = caught_up.send(Ok(()));
                }
            }
            if is_empty {
                reader.wait(NAP);
            }
            if is_empty && look.has_passed() {
                check_progress(&reader, seen_end)?;
                // Brokers that are away are no reason to give up the reader.
                if let Ok(edges) = reader.watermarks(Isolation::Committed, LOOK_WAIT) {
                    seen_end = edges[0].high;
                }
                look = Deadline::after(LOOK_INTERVAL);
            }
        }
        Ok(())
    }

    fn apply(&mut self, offset: Offset, key: Option<&[u8]>, value: Option<&[u8]>) {
        match self.held.apply(&self.config, offset, key, value) {
            Ok(key) => {
                tracing::info!(%key, offset, "control changed");
                if let (Some(keeper), Some(value)) = (&self.keeper, value) {
                    keeper.take(key, value, offset);
                }
            }
            Err(Refusal::Repeated(version)) => {
                tracing::debug!(version, offset, "control record repeated");
            }
            Err(refusal) => {
                self.rejected.inc();
                tracing::error!(%refusal, topic = CONTROL_TOPIC, offset, "control record ignored");
            }
        }
    }

    fn show(&self) {
        self.offset.set(self.held.offset);
        self.control.store(Arc::new(self.held.clone()));
        self.changed.send_replace(self.held.offset);
    }
}

/// Fails when the reader has not come to an end that the topic had at the last look.
fn check_progress(reader: &Reader, end: Offset) -> Result<(), ReadError> {
    let position = reader.position(0);
    match position >= end {
        true => Ok(()),
        false => Err(ReadError::Stalled {
            partition: Partition::new(CONTROL_TOPIC, 0),
            position,
            end,
            wait_ms: u64::try_from(LOOK_INTERVAL.as_millis()).unwrap_or(u64::MAX),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[tokio::test]
    async fn a_stop_before_the_view_is_complete_is_no_view_and_no_error() {
        let (kafka, service) = (
            KafkaConfig::plaintext("127.0.0.1:1"),
            Service::detached("pulse-test"),
        );
        let config = ControlConfig::new(Secret::new("a secret of this test"));
        service.shutdown.request();
        let view = ControlView::open(&kafka, &config, &service).await;
        assert!(view.unwrap().is_none());
    }
}
