//! `pulse simulate coinbase`: the flags, and what they start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use runtime::service::Shutdown;
use schemas::time::EventTime;

use super::{
    FaultOptions, MarketOptions, ReplayOptions, Simulator, SimulatorOptions, Source, Speed,
};

/// Exchanges that can be simulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Simulated {
    /// Both public feeds of Coinbase.
    Coinbase,
}

/// What `pulse simulate` is told.
#[derive(Args, Clone, Debug)]
pub struct SimulateArgs {
    /// Whose protocol to speak.
    #[arg(value_enum, default_value = "coinbase")]
    pub exchange: Simulated,

    /// Where to listen; port 0 takes a free one, which is then printed.
    #[arg(long, default_value = "127.0.0.1:9300", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// How fast time passes: a factor (1 is the clock's own pace), or `max` for as fast as clients
    /// read. A market served faster than time begins in the past, so nothing is dated ahead.
    #[arg(long, default_value = "1", value_name = "N|max")]
    pub speed: Speed,

    /// Serve a recording instead of a made-up market: lines `{"at": SECONDS, "frame": "FRAME"}`,
    /// compressed with zstd or not.
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,

    /// After a planned disconnect of a replay, how many of the last frames to serve again.
    #[arg(
        long,
        default_value_t = 200,
        value_name = "FRAMES",
        requires = "replay"
    )]
    pub overlap: usize,

    /// The markets, by the exchange's names for them.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "BTC-USD,ETH-USD",
        value_name = "NAME,…",
        conflicts_with = "replay"
    )]
    pub products: Vec<String>,

    /// So many markets with made-up names (SIM0001-USD, …) instead.
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["replay", "products"])]
    pub product_count: Option<usize>,

    /// What the market and its faults follow from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// When the market's time begins, as 2026-08-09T21:00:00Z; by default now, or so long ago that
    /// a run faster than time ends now.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "replay")]
    pub start: Option<EventTime>,

    /// How long the market is open, in seconds of its own time; for ever when absent. Afterwards
    /// clients stay connected and get heartbeats.
    #[arg(long, value_name = "SECONDS", conflicts_with = "replay")]
    pub duration: Option<u64>,

    /// Close the market once so many frames were sent.
    #[arg(long, value_name = "COUNT", conflicts_with = "replay")]
    pub frames: Option<u64>,

    /// Takers per second in each market; each makes one to three trades.
    #[arg(
        long,
        default_value_t = 2.0,
        value_name = "RATE",
        conflicts_with = "replay"
    )]
    pub trades_per_second: f64,

    /// Changes of each market's book per second.
    #[arg(
        long,
        default_value_t = 10.0,
        value_name = "RATE",
        conflicts_with = "replay"
    )]
    pub changes_per_second: f64,

    /// Write every trade made, and every one withheld by a fault, to this file as JSON lines.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub truth: Option<PathBuf>,

    /// What goes wrong on purpose.
    #[command(flatten)]
    pub faults: FaultArgs,
}

/// Faults: each a share of the data frames from 0 to 1, drawn from the seed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Faults (shares of the data frames, 0 to 1)")]
pub struct FaultArgs {
    /// Never sent.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub drop: f64,
    /// Sent twice.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub duplicate: f64,
    /// Overtaken by others.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub reorder: f64,
    /// By how many frames one is overtaken at most.
    #[arg(long, default_value_t = 8, value_name = "FRAMES")]
    pub reorder_span: usize,
    /// Spoilt, so that nobody can read them.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub malformed: f64,
    /// Sent a few bytes at a time.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub slow: f64,
    /// Preceded by silence.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub stall: f64,
    /// How long such a silence lasts.
    #[arg(long, default_value_t = 5_000, value_name = "MILLISECONDS")]
    pub stall_ms: u64,
    /// The last before the connection breaks.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub disconnect: f64,
    /// Preceded by a frame of 17 MiB, which is more than any client takes.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub oversized: f64,
    /// Break the connection after so many frames in all, at each of these counts.
    #[arg(long, value_delimiter = ',', value_name = "COUNT,…")]
    pub disconnect_after: Vec<u64>,
    /// How much of the market's time passes unseen after a break, at `--speed max`.
    #[arg(long, default_value_t = 500, value_name = "MILLISECONDS")]
    pub outage_ms: u64,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".into()),
    }
}

fn time(text: &str) -> Result<EventTime, String> {
    let at: Result<jiff::Timestamp, _> = text.parse();
    at.map(|at| EventTime::from_us(at.as_microsecond()))
        .map_err(|error| error.to_string())
}

impl SimulateArgs {
    /// The simulator that the flags describe.
    pub fn options(&self) -> SimulatorOptions {
        SimulatorOptions {
            listen: self.listen,
            source: self.source(),
            speed: self.speed,
            faults: self.faults.options(),
            truth_file: self.truth.clone(),
        }
    }

    fn source(&self) -> Source {
        if let Some(file) = &self.replay {
            return Source::Replay(ReplayOptions {
                file: file.clone(),
                overlap: self.overlap,
            });
        }
        let made_up = |count| (1..=count).map(|n| format!("SIM{n:04}-USD")).collect();
        Source::Market(MarketOptions {
            seed: self.seed,
            products: self
                .product_count
                .map_or_else(|| self.products.clone(), made_up),
            start_at: self.start,
            duration: self.duration.map(Duration::from_secs),
            frames: self.frames,
            trades_per_second: self.trades_per_second,
            changes_per_second: self.changes_per_second,
        })
    }
}

impl FaultArgs {
    fn options(&self) -> FaultOptions {
        FaultOptions {
            drop: self.drop,
            duplicate: self.duplicate,
            reorder: self.reorder,
            reorder_span: self.reorder_span,
            malformed: self.malformed,
            slow: self.slow,
            stall: self.stall,
            stall_for: Duration::from_millis(self.stall_ms),
            disconnect: self.disconnect,
            oversized: self.oversized,
            disconnect_after: self.disconnect_after.clone(),
            outage: Duration::from_millis(self.outage_ms),
        }
    }
}

/// Serves until the shutdown; says where, and when everything was served.
///
/// # Errors
/// When the simulator cannot start.
pub async fn run(args: SimulateArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let simulator = Simulator::start(args.options()).await?;
    let address = simulator.address();
    println!("simulator: ws://{address}/exchange and ws://{address}/advanced");
    println!("status:    http://{address}/status");
    tokio::select! {
        () = simulator.finished() => {
            let status = simulator.status();
            println!(
                "served: {} frames, {} trades; heartbeats go on",
                status.frame_count, status.trade_count
            );
            shutdown.requested().await;
        }
        () = shutdown.requested() => {}
    }
    simulator.stop().await;
    Ok(())
}
