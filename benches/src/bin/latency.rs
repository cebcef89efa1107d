//! How long after an event its effects are seen, at a steady rate, with our programs as
//! processes.
//!
//! `--of output`: from an event's making to a committed metric that holds it. Each event goes
//! into a window that has fired, so that each has an output of its own, at once: a correction,
//! which counts the events that it holds. Nothing here waits for a window to end.
//! `--of rows`: from an event's making to the first query that shows its row.
//!
//! A broker that has just started compiles itself for half a minute on both cores; events of that
//! time are not counted (`--warm`, in seconds).
//!
//! `latency [--of output|rows] [--rate N] [--seconds N] [--warm N]`

use std::collections::HashMap;
use std::time::{Duration, Instant};

use benches::installation::{Installation, publish};
use benches::trades::{self, PRODUCTS, Record};
use benches::{Args, percentile};
use runtime::clock;
use runtime::kafka::Reader;
use schemas::ids::Stream;
use schemas::meter::{Meter, Window, candles};
use schemas::metric::MetricView;
use schemas::murmur2::partition_of;
use schemas::time::EventTime;
use serde_json::Value;
use tokio::task::JoinSet;

/// How often events are made.
const TICK: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::read();
    let load = Load {
        rate: args.count("rate", 5_000),
        seconds: args.count("warm", 40) + args.count("seconds", 30),
        warm_seconds: args.count("warm", 40),
    };
    let what = args.text("of");
    if what != Some("rows") {
        output(&load).await?;
    }
    if what != Some("output") {
        rows(&load).await?;
    }
    Ok(())
}

/// So many events a second, for so long.
#[derive(Clone, Copy)]
struct Load {
    rate: u64,
    /// From the first event to the last.
    seconds: u64,
    /// Events of the first so many are not counted.
    warm_seconds: u64,
}

/// When each event was made, in the order in which its stream has them.
type Made = HashMap<u64, Vec<Instant>>;

impl Load {
    fn count(&self) -> u64 {
        self.rate * self.seconds
    }

    /// Makes the events; `stream_of` says in which order of its own an event stands.
    async fn make(
        self,
        bench: &Installation,
        event: impl Fn(u64) -> Record,
        stream_of: impl Fn(u64) -> u64,
        mut meanwhile: impl AsyncFnMut(&Made) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let mut publishing = JoinSet::new();
        let mut made = Made::new();
        let (began, mut next) = (Instant::now(), 0);
        loop {
            let due = began.elapsed().as_nanos() * u128::from(self.rate) / 1_000_000_000;
            let due = u64::try_from(due)?.min(self.count());
            if due > next {
                let now = Instant::now();
                let records: Vec<_> = (next..due).map(&event).collect();
                (next..due).for_each(|n| made.entry(stream_of(n)).or_default().push(now));
                next = due;
                let (publisher, tenant) = (bench.publisher.clone(), bench.tenant.clone());
                publishing.spawn(async move { publish(&publisher, &tenant, &records).await });
            }
            while let Some(published) = publishing.try_join_next() {
                published??;
            }
            if meanwhile(&made).await? && next == self.count() {
                return Ok(());
            }
            let is_late = began.elapsed() > Duration::from_secs(self.seconds) + PATIENCE;
            anyhow::ensure!(!is_late, "not all events were seen");
            tokio::time::sleep(TICK).await;
        }
    }

    fn tell(&self, what: &str, mut latencies: Vec<f64>) {
        let count = latencies.len();
        let mut at = |share| percentile(&mut latencies, share);
        println!(
            "{} events/s for {} s: {what} after p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, most \
             {:.0} ms ({count} events)",
            self.rate,
            self.seconds,
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0)
        );
    }
}

fn ms(made: Instant) -> f64 {
    made.elapsed().as_secs_f64() * 1e3
}

async fn output(load: &Load) -> anyhow::Result<()> {
    let mut meter: Meter = candles();
    meter.windows = vec![Window::Tumbling { width_ms: 1_000 }];
    let bench = Installation::start(vec![("candles", meter)], Duration::from_millis(1)).await?;
    let tail = bench.tail(Stream::Metrics)?;
    let _metrics = bench.launch("pulse-metrics")?;
    let start_ms = clock::now_ms() / 1_000 * 1_000 - 60_000;
    let event = |number: u64, ms: i64| trades::live(number, EventTime::from_ms(start_ms + ms));
    // One event opens each market's window, another one, later in its stream, fires it.
    for ms in [0, 10_000] {
        let records: Vec<_> = (0..PRODUCTS as u64).map(|n| event(n, ms)).collect();
        bench.publish(&records).await?;
    }
    let mut fired = 0;
    let began = Instant::now();
    while fired < PRODUCTS {
        each(&tail, start_ms, |_, _| fired += 1)?;
        anyhow::ensure!(began.elapsed() < PATIENCE, "windows did not fire");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let first = PRODUCTS as u64;
    let warm = (load.rate * load.warm_seconds) as usize;
    let (mut latencies, mut seen) = (vec![], 0);
    load.make(
        &bench,
        |n| event(first + n, 1 + (n / first) as i64 % 900),
        |n| n % first,
        async |made| {
            each(&tail, start_ms, |market, count| {
                seen += 1;
                // The window held one event before.
                if seen > warm {
                    latencies.push(ms(made[&market][count as usize - 2]));
                }
            })?;
            Ok(seen as u64 == load.count())
        },
    )
    .await?;
    load.tell("a committed output", latencies);
    Ok(())
}

/// Hands on what has come of the window that starts there: its market's number and its events.
fn each(tail: &Reader, start_ms: i64, mut seen: impl FnMut(u64, u64)) -> anyhow::Result<()> {
    for index in 0..tail.partitions().count() {
        let batch = tail.next(index)?;
        for record in batch.records() {
            let metric = MetricView::decode(record.value().unwrap_or_default())?;
            if metric.window_start != EventTime::from_ms(start_ms) {
                continue;
            }
            let subject = metric
                .labels
                .get("subject")
                .map_or("", |text| text.as_str());
            let number = subject
                .trim_start_matches("coinbase:P")
                .trim_end_matches("-USD");
            seen(number.parse()?, metric.event_count);
        }
    }
    Ok(())
}

async fn rows(load: &Load) -> anyhow::Result<()> {
    let meters = schemas::meter::built_in();
    let bench = Installation::start(meters, Duration::from_millis(1)).await?;
    let _metrics = bench.launch("pulse-metrics")?;
    let sink = bench.launch("pulse-clickhouse")?;
    let partitions = bench.partitions(Stream::Events).len() as i32;
    let mut counted = HashMap::new();
    let (mut latencies, warm) = (vec![], (load.rate * load.warm_seconds) as usize);
    let mut seen = 0;
    load.make(
        &bench,
        |n| trades::live(n, EventTime::from_us(clock::now_us())),
        |n| partition_of(trades::subject(n % PRODUCTS as u64).as_bytes(), partitions) as u64,
        async |made| {
            sink.check()?;
            for (partition, visible) in visible(&bench).await {
                let before = counted.insert(partition, visible).unwrap_or(0);
                for made_at in &made[&partition][before..visible] {
                    seen += 1;
                    if seen > warm {
                        latencies.push(ms(*made_at));
                    }
                }
            }
            Ok(seen as u64 == load.count())
        },
    )
    .await?;
    load.tell("a visible row", latencies);
    Ok(())
}

/// Rows that a query shows, of each partition; none while the tables are being made. A partition's
/// rows come in its order.
async fn visible(bench: &Installation) -> Vec<(u64, usize)> {
    let sql = "SELECT _partition AS partition, count() AS n FROM events GROUP BY _partition";
    let rows: Vec<Value> = bench.server.rows(sql).await.unwrap_or_default();
    let number = |row: &Value, name: &str| row[name].as_u64().unwrap_or(0);
    let pair = |row: &Value| (number(row, "partition"), number(row, "n") as usize);
    rows.iter().map(pair).collect()
}
