//! The whole line under load: publisher, broker, `pulse-metrics`, `pulse-clickhouse`, ClickHouse,
//! all on this machine, at a steady rate; each second the lag of both and the memory of all.
//!
//! At the end everything is awaited and counted: every event is a row once, and the 1 s candles
//! hold every event once.
//!
//! `line [--rate N] [--seconds N]`

use std::time::{Duration, Instant};

use anyhow::Context as _;
use benches::installation::{Installation, Role, publish_each};
use benches::{Args, percentile, process, trades};
use runtime::clock;
use schemas::ids::Stream;
use schemas::time::EventTime;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const METRICS_GROUP: &str = "pulse-metrics";
/// How often events are made.
const TICK: Duration = Duration::from_millis(10);
/// Batches that may wait for the broker: who is behind the schedule then waits.
const IN_FLIGHT_MAX: usize = 50;
/// How long the end may take to come.
const PATIENCE: Duration = Duration::from_secs(300);
/// The rows of some subjects, whose names follow.
const ROWS: &str = "SELECT count() AS n FROM events WHERE subject IN";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::read();
    let (rate, seconds) = (args.count("rate", 150_000), args.count("seconds", 120));
    let meters = schemas::meter::built_in();
    let bench = Installation::start(meters, Duration::from_millis(5)).await?;
    let line = Line {
        metrics: bench.launch("pulse-metrics")?,
        sink: bench.launch("pulse-clickhouse")?,
        bench,
    };
    line.warm().await?;
    let mut samples = vec![];
    let publishing = line.publish(rate, rate * seconds);
    let began = Instant::now();
    while !publishing.is_finished() {
        sleep(Duration::from_secs(1)).await;
        let sample = line.sample(began)?;
        if samples.len() % 10 == 0 {
            sample.print();
        }
        samples.push(sample);
    }
    let published = publishing.await??;
    let wall = began.elapsed().as_secs_f64();
    println!(
        "published {published} in {wall:.1} s: {:.0} events/s",
        published as f64 / wall
    );
    line.finish(published + trades::PRODUCTS as u64).await?;
    tell(&samples);
    Ok(())
}

struct Line {
    metrics: Role,
    sink: Role,
    bench: Installation,
}

/// How things stood at one time.
struct Sample {
    at: f64,
    /// Events that metrics, and the sink, have still before them.
    lag: [f64; 2],
    /// Of metrics, sink, ClickHouse and broker.
    megabytes: [f64; 4],
    /// CPU seconds so far: of the same, and of this process.
    cpu: [f64; 5],
}

impl Sample {
    fn print(&self) {
        let Self {
            at, lag, megabytes, ..
        } = self;
        println!(
            "{at:4.0} s  lag of metrics {:.0}, sink {:.0}; MB of metrics {:.0}, sink {:.0}, \
             clickhouse {:.0}, broker {:.0}",
            lag[0], lag[1], megabytes[0], megabytes[1], megabytes[2], megabytes[3]
        );
    }
}

impl Line {
    /// One trade of each market, until it is a row: everything is at work.
    async fn warm(&self) -> anyhow::Result<()> {
        let now = EventTime::from_us(clock::now_us());
        let markets = 0..trades::PRODUCTS as u64;
        let records: Vec<_> = markets.map(|n| trades::live(n, now)).collect();
        self.bench.publish(&records).await?;
        let began = Instant::now();
        // An error while the tables are being made.
        while self.count(ROWS).await.unwrap_or(0) < records.len() as u64 {
            anyhow::ensure!(began.elapsed() < PATIENCE, "no rows came");
            self.check()?;
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        self.metrics.check()?;
        self.sink.check()
    }

    fn publish(&self, rate: u64, count: u64) -> JoinHandle<anyhow::Result<u64>> {
        let (publisher, tenant) = (self.bench.publisher.clone(), self.bench.tenant.clone());
        tokio::spawn(async move {
            let first = trades::PRODUCTS as u64;
            let (began, mut next) = (Instant::now(), 0);
            let mut publishing = tokio::task::JoinSet::new();
            while next < count {
                let due = began.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000;
                // One batch is at most a tenth of a second's, however late we are.
                let due = u64::try_from(due)?.min(count).min(next + rate / 10);
                let now = EventTime::from_us(clock::now_us());
                let mut batch = trades::Batch::default();
                (next..due).for_each(|n| batch.push(first + n, now));
                next = due;
                let (publisher, tenant) = (publisher.clone(), tenant.clone());
                publishing
                    .spawn(async move { publish_each(&publisher, &tenant, batch.records()).await });
                while publishing.len() > IN_FLIGHT_MAX {
                    publishing
                        .join_next()
                        .await
                        .expect("some are in flight")??;
                }
                sleep(TICK).await;
            }
            while let Some(published) = publishing.join_next().await {
                published??;
            }
            Ok(count)
        })
    }

    fn sample(&self, began: Instant) -> anyhow::Result<Sample> {
        self.check()?;
        let lag = |group| {
            let behind = self.bench.committed(group, Stream::Events)?;
            let end: i64 = self.bench.ends(Stream::Events)?.iter().sum();
            Ok::<_, anyhow::Error>((end - behind) as f64)
        };
        let stack = &self.bench.stack;
        let pids = [
            self.metrics.process.pid(),
            self.sink.process.pid(),
            stack.clickhouse.pid(),
            stack.kafka.pid(),
        ];
        let all = [
            Some(pids[0]),
            Some(pids[1]),
            Some(pids[2]),
            Some(pids[3]),
            None,
        ];
        Ok(Sample {
            at: began.elapsed().as_secs_f64(),
            lag: [lag(METRICS_GROUP)?, lag(sinks::clickhouse::GROUP)?],
            megabytes: pids.map(|pid| process::resident_megabytes(Some(pid))),
            cpu: all.map(process::cpu_seconds),
        })
    }

    /// Waits until every event is a row, and every 1 s window has fired and is a row.
    async fn finish(&self, events: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        let held = "SELECT toUInt64(sum(trades)) AS n FROM candles \
                    WHERE window_ms = 1000 AND concat(exchange, ':', product) IN";
        for (what, sql) in [("rows", ROWS), ("events in 1 s candles", held)] {
            let mut count = 0;
            while count < events && began.elapsed() < PATIENCE {
                self.check()?;
                sleep(Duration::from_millis(200)).await;
                count = self.count(sql).await?;
            }
            let is_right = if count == events {
                "all, each once"
            } else {
                "WRONG"
            };
            println!("{what}: {count} of {events}: {is_right}");
        }
        println!("drained within {:.1} s", began.elapsed().as_secs_f64());
        Ok(())
    }

    /// The sum of a query's one number over the markets, a few of them at a time: a query has a
    /// limit, and millions of rows are made one by `FINAL`.
    async fn count(&self, sql: &str) -> anyhow::Result<u64> {
        const MARKETS: usize = 8;
        let markets: Vec<_> = (0..trades::PRODUCTS as u64).map(trades::subject).collect();
        let mut sum = 0;
        for few in markets.chunks(MARKETS) {
            let sql = format!("{sql} ('{}') SETTINGS final = 1", few.join("', '"));
            let rows: Vec<Value> = self.bench.server.rows(&sql).await?;
            let count = rows.first().and_then(|row| row["n"].as_u64());
            sum += count.with_context(|| format!("no number n from {sql}"))?;
        }
        Ok(sum)
    }
}

/// What the first, the middle and the last third of the run had.
fn tell(samples: &[Sample]) {
    let third = samples.len().div_ceil(3).max(1);
    for (name, part) in ["first", "middle", "last"]
        .iter()
        .zip(samples.chunks(third))
    {
        let lag = |of: usize, share| {
            let mut values: Vec<f64> = part.iter().map(|sample| sample.lag[of]).collect();
            percentile(&mut values, share)
        };
        let median = |of: usize| {
            let mut values: Vec<f64> = part.iter().map(|sample| sample.megabytes[of]).collect();
            percentile(&mut values, 0.5)
        };
        let (begin, end) = (&part[0], &part[part.len() - 1]);
        let cores = |of: usize| (end.cpu[of] - begin.cpu[of]) / (end.at - begin.at).max(1e-9);
        println!(
            "{name} third: lag p50/most of metrics {:.0}/{:.0}, sink {:.0}/{:.0}; MB of metrics \
             {:.0}, sink {:.0}, clickhouse {:.0}, broker {:.0}; cores of metrics {:.2}, sink {:.2}, \
             clickhouse {:.2}, broker {:.2}, publisher {:.2}",
            lag(0, 0.5),
            lag(0, 1.0),
            lag(1, 0.5),
            lag(1, 1.0),
            median(0),
            median(1),
            median(2),
            median(3),
            cores(0),
            cores(1),
            cores(2),
            cores(3),
            cores(4)
        );
    }
}
