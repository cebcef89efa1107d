//! The one task that lets a market's time pass, and tells every subscriber what happens.
//!
//! Time begins with the first client. At a speed, it passes by the clock and a client that reads
//! too slowly is dropped, as an
//! exchange does. At the highest speed time passes as fast as all clients read, stands still while
//! nobody is subscribed, and so the same requests give the same frames. Market time never passes
//! this machine's clock: nothing is dated in the future.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use runtime::clock;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::market::Snapshot;
use super::shared::Shared;
use super::words::{Asked, OutFrame};
use super::world::{Happening, World};
use super::{MarketOptions, Speed};

/// What waits for one client at most. It is what a broken connection takes with it, so at the
/// highest speed, where the market waits for its readers, it is little.
pub(super) fn queue_count(speed: Speed) -> usize {
    match speed {
        Speed::Max => 64,
        Speed::Times(_) => 4_096,
    }
}

/// How long after a first request others are waited for, when time stands still.
const SETTLE: Duration = Duration::from_millis(100);

/// What is on its way to a client.
pub(super) enum ToClient {
    /// The answer to its request.
    Opening {
        asked: Asked,
        snapshots: Vec<Snapshot>,
        at_us: i64,
    },
    /// Something that happened.
    Happening(Arc<Happening>),
    /// A recorded frame, with its place in the recording.
    Recorded(usize, OutFrame),
    /// That was all; heartbeats go on.
    End,
}

/// What a client asks of the market.
pub(super) struct Request {
    pub(super) client: u64,
    pub(super) asked: Asked,
    pub(super) to_client: mpsc::Sender<ToClient>,
}

struct Client {
    id: u64,
    to_client: mpsc::Sender<ToClient>,
}

/// A market whose time has not begun: it waits for its first client.
pub(super) struct Waiting {
    pub(super) options: MarketOptions,
    pub(super) speed: Speed,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) shared: Arc<Shared>,
}

impl Waiting {
    /// Runs until the simulator stops.
    pub(super) async fn run(self) {
        let stop = self.shared.stop.clone();
        tokio::select! {
            () = stop.requested() => {}
            () = self.begin() => {}
        }
    }

    async fn begin(mut self) {
        let Some(first) = self.requests.recv().await else {
            return;
        };
        let (world, openings) = World::new(&self.options.plan(self.speed));
        for (market, made) in openings {
            self.shared.truth.made(market, &[made]);
        }
        let mut driver = Driver {
            anchor: (clock::monotonic(), world.now_us()),
            world,
            speed: self.speed,
            frames_max: self.options.frames,
            requests: self.requests,
            clients: vec![],
            shared: self.shared,
            has_ended: false,
        };
        driver.serve(first).await;
        driver.settle().await;
        driver.anchor.0 = clock::monotonic();
        driver.drive().await;
    }
}

/// A market whose time passes.
struct Driver {
    world: World,
    speed: Speed,
    /// Ends the market once so many frames were sent.
    frames_max: Option<u64>,
    requests: mpsc::Receiver<Request>,
    clients: Vec<Client>,
    shared: Arc<Shared>,
    has_ended: bool,
    /// Where the market's time was at which instant of ours.
    anchor: (Instant, i64),
}

impl Driver {
    async fn drive(&mut self) {
        loop {
            while let Ok(request) = self.requests.try_recv() {
                self.serve(request).await;
            }
            if self.clients.is_empty() && self.speed == Speed::Max {
                self.wait_for_clients().await;
            }
            let due = self.due(self.world.next_at_us());
            if due > clock::monotonic() {
                tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => {}
                    Some(request) = self.requests.recv() => {
                        self.serve(request).await;
                        continue;
                    }
                }
            }
            let limit = self.frames_max.unwrap_or(u64::MAX);
            if !self.has_ended && self.shared.frame_count() >= limit {
                self.world.close();
            }
            self.advance().await;
        }
    }

    /// Time stands still.
    async fn wait_for_clients(&mut self) {
        while self.clients.is_empty() {
            let Some(request) = self.requests.recv().await else {
                // Nobody can ask any more: the simulator is about to stop.
                return std::future::pending().await;
            };
            self.serve(request).await;
        }
        self.settle().await;
    }

    /// What belongs to a first request often comes in several.
    async fn settle(&mut self) {
        while let Ok(Some(request)) = tokio::time::timeout(SETTLE, self.requests.recv()).await {
            self.serve(request).await;
        }
    }

    /// A connection was broken: before its client is served again the market goes on, for those
    /// who are still there.
    async fn pass_outage(&mut self) {
        let outage_us = self.shared.outage_us.swap(0, Ordering::Relaxed);
        if outage_us == 0 || self.speed != Speed::Max {
            return;
        }
        let until_us = self.world.now_us() + outage_us;
        while !self.has_ended && self.world.next_at_us() < until_us {
            // Its last trades are for all to see: they tell what was lost before.
            if self.world.is_closing() {
                return;
            }
            self.advance().await;
        }
    }

    async fn serve(&mut self, request: Request) {
        self.pass_outage().await;
        let Request {
            client,
            asked,
            to_client,
        } = request;
        let mut places: Vec<usize> = asked.channels.iter().flat_map(|(_, p)| p.clone()).collect();
        places.sort_unstable();
        places.dedup();
        let opening = ToClient::Opening {
            snapshots: self.world.snapshots(places),
            at_us: self.world.now_us(),
            asked,
        };
        if to_client.send(opening).await.is_err() {
            return;
        }
        if self.has_ended {
            // It comes late, and this is all that it gets.
            let _ = to_client.send(ToClient::End).await;
        }
        if self.clients.iter().all(|known| known.id != client) {
            self.clients.push(Client {
                id: client,
                to_client,
            });
        }
    }

    async fn advance(&mut self) {
        let happening = Arc::new(self.world.next());
        self.record(&happening);
        let is_end = *happening == Happening::End;
        self.has_ended |= is_end;
        let mut gone = vec![];
        for client in &self.clients {
            let message = match is_end {
                true => ToClient::End,
                false => ToClient::Happening(Arc::clone(&happening)),
            };
            let is_gone = match self.speed {
                Speed::Max => client.to_client.send(message).await.is_err(),
                Speed::Times(_) => match client.to_client.try_send(message) {
                    Ok(()) => false,
                    Err(TrySendError::Closed(_)) => true,
                    Err(TrySendError::Full(_)) => {
                        tracing::warn!(client = client.id, "client reads too slowly: dropped");
                        true
                    }
                },
            };
            if is_gone {
                gone.push(client.id);
            }
        }
        self.clients.retain(|client| !gone.contains(&client.id));
    }

    fn record(&self, happening: &Happening) {
        let now_us = self.world.now_us();
        self.shared.market_time_us.store(now_us, Ordering::Relaxed);
        if let Happening::Step(step) = happening
            && !step.made.is_empty()
        {
            self.shared.truth.made(step.market, &step.made);
        }
    }

    /// When the market's `at_us` is due by our clock.
    fn due(&mut self, at_us: i64) -> Instant {
        let now = clock::monotonic();
        let ahead_us = at_us.saturating_sub(clock::now_us());
        let not_before = now + micros(ahead_us);
        if self.has_ended {
            // Only heartbeats are left, one a second whatever the speed was.
            self.anchor = (
                self.anchor.0.max(now - Duration::from_secs(1)),
                self.world.now_us(),
            );
            return (self.anchor.0 + micros(at_us - self.anchor.1)).max(not_before);
        }
        match self.speed {
            Speed::Max => not_before,
            Speed::Times(factor) => {
                let since_us = (at_us - self.anchor.1).max(0) as f64 / factor;
                (self.anchor.0 + micros(since_us as i64)).max(not_before)
            }
        }
    }
}

/// A span that is not negative, and at most a day: what is further away is looked at again then.
fn micros(us: i64) -> Duration {
    Duration::from_micros(us.clamp(0, 86_400_000_000).unsigned_abs())
}
