//! An exchange that is not there: a server that speaks both of Coinbase's feeds, frame for frame.
//!
//! In: a seed, or a recording; requests of clients. Out: frames over websockets on the loopback
//! interface, and [`Truth`], the simulator's own record of what it traded.
//!
//! The market and what goes wrong with it are pure and seeded ([`market`], [`world`], [`faults`],
//! and the words of both feeds); tasks and sockets are around them. What can never happen: a
//! ticker, a trade and a book of one instant disagree; a frame is spoilt that a loss could only be
//! seen by; the simulator is reached from another machine unless it was told to.
//!
//! Read in this order: [`market`], [`world`], [`words`], [`exchange`], [`advanced`], [`faults`],
//! [`replay`]; then [`driver`], [`player`], [`session`], [`server`].

mod day;
mod market;
mod world;

mod advanced;
mod exchange;
mod words;

mod faults;
mod replay;
mod truth;

mod driver;
mod player;
mod server;
mod session;
mod shared;

mod args;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use runtime::clock;
use schemas::control::Exchange;
use schemas::time::EventTime;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use args::{SimulateArgs, run};
pub use faults::FaultOptions;
pub(crate) use replay::lines as recorded_lines;
pub use replay::{ReplayError, ReplayOptions};
pub use shared::SimulatorStatus;
pub use truth::{TrueTrade, Truth};

use driver::{Waiting, queue_count};
use market::Pace;
use replay::Replay;
use server::Stock;
use shared::Shared;
use words::Names;
use world::WorldPlan;

/// Requests that may wait for the market.
const REQUEST_COUNT: usize = 1_024;

/// Markets that one simulator has at most.
pub const PRODUCTS_MAX: usize = 1_000;

/// How fast time passes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Speed {
    /// This many times as fast as the clock.
    Times(f64),
    /// As fast as the frames are read.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse() {
            Ok(factor) if (0.1..=10_000.0).contains(&factor) => Ok(Self::Times(factor)),
            _ => Err("a speed is `max` or a factor from 0.1 to 10000".into()),
        }
    }
}

/// A market to make up.
#[derive(Clone, PartialEq, Debug)]
pub struct MarketOptions {
    /// The same seed makes the same market.
    pub seed: u64,
    /// Names of the markets.
    pub products: Vec<String>,
    /// When the market's time begins, with its first client; by default that moment, or so long
    /// before it that the end is not in the future when it is served faster than time.
    pub start_at: Option<EventTime>,
    /// How long the market is open; for ever when absent.
    pub duration: Option<Duration>,
    /// Closes the market once so many frames were sent, if that is earlier.
    pub frames: Option<u64>,
    /// Takers per second and market; one may make up to three trades.
    pub trades_per_second: f64,
    /// Changes of the book per second and market.
    pub changes_per_second: f64,
}

impl Default for MarketOptions {
    /// Two lively markets, open for ever.
    fn default() -> Self {
        Self {
            seed: 1,
            products: vec!["BTC-USD".into(), "ETH-USD".into()],
            start_at: None,
            duration: None,
            frames: None,
            trades_per_second: 2.0,
            changes_per_second: 10.0,
        }
    }
}

/// What is served.
#[derive(Clone, PartialEq, Debug)]
pub enum Source {
    /// A market of the simulator's own.
    Market(MarketOptions),
    /// A recording.
    Replay(ReplayOptions),
}

/// A simulator to be started.
#[derive(Clone, PartialEq, Debug)]
pub struct SimulatorOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What is served.
    pub source: Source,
    /// How fast.
    pub speed: Speed,
    /// What goes wrong on purpose.
    pub faults: FaultOptions,
    /// A file that gets every trade and every one withheld, one JSON object a line.
    pub truth_file: Option<PathBuf>,
}

impl SimulatorOptions {
    /// What is served without faults, at this speed, on a free port of this machine.
    pub fn new(source: Source, speed: Speed) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            source,
            speed,
            faults: FaultOptions::default(),
            truth_file: None,
        }
    }
}

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The port cannot be had.
    #[error("{address}: {error}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// Why it cannot.
        error: io::Error,
    },
    /// The recording cannot be used.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The truth's file cannot be made.
    #[error("truth file: {0}")]
    Truth(io::Error),
    /// The market cannot be made.
    #[error("{0}")]
    Market(String),
}

/// A running simulator. Dropping it stops it.
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    finished: watch::Receiver<bool>,
    tasks: JoinSet<()>,
}

impl Simulator {
    /// Starts one; it listens when this returns.
    ///
    /// # Errors
    /// When it cannot listen, or cannot serve what it is told to.
    pub async fn start(options: SimulatorOptions) -> Result<Self, SimulatorError> {
        let listen = options.listen;
        let failed = |error| SimulatorError::Listen {
            address: listen,
            error,
        };
        let truth = match &options.truth_file {
            Some(path) => Truth::to_file(path).map_err(SimulatorError::Truth)?,
            None => Truth::default(),
        };
        let shared = Arc::new(Shared::new(
            truth,
            options.faults,
            queue_count(options.speed),
        ));
        let mut tasks = JoinSet::new();
        let (stock, seed) = match options.source {
            Source::Market(market) => {
                let seed = market.seed;
                let (stock, waiting) = open_market(market, options.speed, &shared)?;
                tasks.spawn(waiting.run());
                (stock, seed)
            }
            Source::Replay(replay) => {
                let read = tokio::task::spawn_blocking(move || Replay::read(&replay)).await;
                let replay = read.map_err(|e| SimulatorError::Market(e.to_string()))??;
                (Stock::Recording(Arc::new(replay), options.speed), 0)
            }
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tasks.spawn(server::serve(listener, stock, seed, Arc::clone(&shared)));
        Ok(Self {
            address,
            finished: shared.finished.subscribe(),
            shared,
            tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a feed, as a connector is told it.
    pub fn url(&self, feed: Exchange) -> String {
        let path = match feed {
            Exchange::CoinbaseExchange => "exchange",
            Exchange::CoinbaseAdvanced => "advanced",
        };
        format!("ws://{}/{path}", self.address)
    }

    /// What it traded so far.
    pub fn truth(&self) -> &Truth {
        &self.shared.truth
    }

    /// How it is doing.
    pub fn status(&self) -> SimulatorStatus {
        self.shared.status()
    }

    /// Waits until every subscribed client has all there is.
    pub async fn finished(&self) {
        let mut finished = self.finished.clone();
        // The sender lives in `shared`, as long as this.
        let _ = finished.wait_for(|finished| *finished).await;
    }

    /// Parts from all clients and returns once nothing of it runs any more.
    pub async fn stop(mut self) {
        self.shared.stop.request();
        while self.tasks.join_next().await.is_some() {}
        self.shared.truth.flush();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.request();
    }
}

fn open_market(
    options: MarketOptions,
    speed: Speed,
    shared: &Arc<Shared>,
) -> Result<(Stock, Waiting), SimulatorError> {
    options.check().map_err(SimulatorError::Market)?;
    let names: Names = options
        .products
        .iter()
        .map(|name| name.as_str().into())
        .collect();
    shared.truth.name(Arc::clone(&names));
    let (requests, inbox) = mpsc::channel(REQUEST_COUNT);
    let waiting = Waiting {
        options,
        speed,
        requests: inbox,
        shared: Arc::clone(shared),
    };
    Ok((Stock::Market { requests, names }, waiting))
}

impl MarketOptions {
    /// What is wrong with them.
    fn check(&self) -> Result<(), String> {
        let count = self.products.len();
        if count == 0 || count > PRODUCTS_MAX {
            return Err(format!(
                "a simulator has 1 to {PRODUCTS_MAX} markets, not {count}"
            ));
        }
        let names: BTreeSet<_> = self.products.iter().collect();
        if names.len() < count {
            return Err("two markets have one name".into());
        }
        match self
            .products
            .iter()
            .find(|name| !schemas::control::is_product(name))
        {
            Some(name) => Err(format!("{name:?} is no market's name")),
            None => Ok(()),
        }
    }

    /// The markets as they begin now.
    fn plan(&self, speed: Speed) -> WorldPlan {
        let duration_us = self.duration.map(|d| i64::try_from(d.as_micros()));
        let duration_us = duration_us.map(|us| us.unwrap_or(i64::MAX));
        let start_us = match self.start_at {
            Some(at) => at.as_us(),
            None => default_start_us(duration_us, speed),
        };
        WorldPlan {
            seed: self.seed,
            products: self.products.clone(),
            pace: Pace::per_second(self.trades_per_second, self.changes_per_second),
            start_us,
            end_us: duration_us.map(|us| start_us.saturating_add(us)),
        }
    }
}

/// Now, at the clock's own speed or below; otherwise so long ago that a whole run lies in the past.
fn default_start_us(duration_us: Option<i64>, speed: Speed) -> i64 {
    const HOUR_US: i64 = 3_600_000_000;
    match speed {
        Speed::Times(factor) if factor <= 1.0 => clock::now_us(),
        Speed::Times(_) | Speed::Max => clock::now_us() - duration_us.unwrap_or(HOUR_US),
    }
}

#[cfg(test)]
mod tests;
