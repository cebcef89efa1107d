//! An hour of the simulator's market through the whole line, on both feeds, with drops, duplicates,
//! reorders and disconnects: the candles are those of the simulator's own record, minus exactly
//! the trades that gaps name.
//!
//! Three minutes of it in the short form; `PULSE_SOAK=1` runs the hour.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::time::{Duration, Instant};

use pulse::simulator::{FaultOptions, MarketOptions, Simulator, SimulatorOptions, Source, Speed};
use schemas::control::{Channel, Exchange, Limits};
use schemas::ids::{Stream, TenantId};
use schemas::meter::built_in;
use tests::market::{OnLog, truth};
use tests::topic::Tail;
use tests::trades::{self, Trade};
use tests::{Installation, eventually, is_soak};

const PRODUCTS: [&str; 2] = ["BTC-USD", "ETH-USD"];

/// How much market there is.
#[derive(Clone, Copy)]
struct Size {
    duration: Duration,
    changes_per_second: f64,
    /// Frames that each feed sends at least.
    frames_least: u64,
    disconnects: u64,
}

const SHORT: Size = Size {
    duration: Duration::from_secs(180),
    changes_per_second: 100.0,
    frames_least: 40_000,
    disconnects: 4,
};

const WHOLE: Size = Size {
    duration: Duration::from_secs(3_600),
    changes_per_second: 260.0,
    frames_least: 2_000_000,
    disconnects: 20,
};

/// One feed: its market, and the tenant that gets it.
struct Line {
    exchange: Exchange,
    simulator: Simulator,
    tenant: TenantId,
}

impl Line {
    async fn start(installation: &Installation, exchange: Exchange, seed: u64, size: Size) -> Self {
        let market = MarketOptions {
            seed,
            products: PRODUCTS.map(str::to_owned).to_vec(),
            duration: Some(size.duration),
            trades_per_second: 10.0,
            changes_per_second: size.changes_per_second,
            ..MarketOptions::default()
        };
        let mut options = SimulatorOptions::new(Source::Market(market), Speed::Max);
        let breaks = 1..=size.disconnects;
        options.faults = FaultOptions {
            drop: 0.005,
            duplicate: 0.005,
            reorder: 0.005,
            disconnect_after: breaks
                .map(|n| n * size.frames_least / (size.disconnects + 1))
                .collect(),
            ..FaultOptions::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        let id = match exchange {
            Exchange::CoinbaseExchange => "flat",
            Exchange::CoinbaseAdvanced => "advanced",
        };
        let tenant = installation
            .tenant(id, Limits::default(), &built_in())
            .await;
        Self {
            exchange,
            simulator,
            tenant,
        }
    }

    fn topic(&self, stream: Stream) -> String {
        self.tenant.topic(stream).to_string()
    }

    /// Waits until each trade of the truth is on the log or named, and returns those on the log.
    async fn until_accounted(&self, installation: &Installation) -> Vec<Trade> {
        self.simulator.finished().await;
        let truth = truth(self.simulator.truth());
        let mut tail = Tail::new(&installation.kafka(), &self.topic(Stream::Events));
        let mut log = OnLog::default();
        eventually("each trade is on the log or named by a gap", async || {
            tail.read_on(|value| log.take(value.unwrap()));
            log.lacks(&truth)
        })
        .await;
        assert!(
            !log.named.is_empty(),
            "{:?}: nothing was lost",
            self.exchange
        );
        eprintln!(
            "{:?}: {} frames, {} trades, {} of them named by gaps",
            self.exchange,
            self.simulator.status().frame_count,
            truth.len(),
            log.named.len()
        );
        log.check(&truth)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_are_the_markets_own_minus_what_gaps_name() {
    let size = if is_soak() { WHOLE } else { SHORT };
    let began = Instant::now();
    let mut installation = Installation::start().await;
    let lines = [
        Line::start(&installation, Exchange::CoinbaseExchange, 31, size).await,
        Line::start(&installation, Exchange::CoinbaseAdvanced, 32, size).await,
    ];
    installation.role("pulse-metrics", "0", &[]).await;
    let feeds = lines.each_ref();
    let feeds = feeds.map(|line| (line.exchange, &line.simulator));
    installation.coinbase(&feeds).await;
    let channels = [Channel::Quotes, Channel::Trades, Channel::Depth];
    for line in &lines {
        installation
            .feed(&line.tenant, line.exchange, &PRODUCTS, &channels)
            .await;
    }
    let mut expect = vec![];
    for line in &lines {
        expect.push(line.until_accounted(&installation).await);
    }
    let tenants = lines.each_ref().map(|line| &line.tenant);
    installation.until_counted(&tenants).await;
    // Quotes that the simulator sends twice are duplicates; trades are not: see `OnLog`.
    for fate in ["\"late\"", "\"dead_lettered\""] {
        let count = installation
            .figure("pulse-metrics-0", "pulse_records", fate)
            .await;
        assert_eq!(count, Ok(0.0), "{fate}");
    }
    for (line, expect) in lines.iter().zip(&expect) {
        trades::assert_candles(&installation.kafka(), &line.tenant, expect);
        let frames = line.simulator.status().frame_count;
        assert!(frames >= size.frames_least, "{frames} frames");
    }
    eprintln!("all of it: {} s", began.elapsed().as_secs());
    installation.stop_all().await;
    for line in lines {
        line.simulator.stop().await;
    }
}
