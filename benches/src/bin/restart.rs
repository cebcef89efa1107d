//! How soon outputs are committed again after `kill -9` of `pulse-metrics`, restarted at once as
//! the same instance, with 100,000 windows held and events coming in.
//!
//! Timed from the kill until a reader of committed records sees an output that was appended after
//! it.
//!
//! `restart [--windows N] [--rate N] [--kills N]`

use std::time::{Duration, Instant};

use benches::installation::{Installation, Role, publish};
use benches::{Args, percentile, trades};
use runtime::clock;
use runtime::kafka::Reader;
use schemas::ids::Stream;
use schemas::meter::candles;
use schemas::time::EventTime;
use tokio::time::sleep;

/// A trade of one of many markets, now.
fn trade(number: u64, market: u64) -> trades::Record {
    trades::on_market(market, number, EventTime::from_us(clock::now_us()))
}

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::read();
    let meter = candles();
    let subjects = args.count("windows", 100_000) / meter.windows.len() as u64;
    let meters = vec![("candles", meter)];
    let bench = Installation::start(meters, Duration::from_millis(1)).await?;
    let mut metrics = bench.launch("pulse-metrics")?;
    // Every subject holds a window of each length: fired ones stay for corrections.
    let numbers: Vec<u64> = (0..subjects).collect();
    for chunk in numbers.chunks(10_000) {
        let records: Vec<_> = chunk.iter().map(|n| trade(*n, *n)).collect();
        bench.publish(&records).await?;
    }
    until_read(&bench, subjects).await?;
    // A flush takes the state along.
    sleep(Duration::from_secs(3)).await;
    println!(
        "{subjects} subjects, {} windows held at least",
        subjects * 5
    );
    let (publisher, tenant) = (bench.publisher.clone(), bench.tenant.clone());
    let rate = args.count("rate", 5_000);
    let load = tokio::spawn(async move {
        for tick in 0.. {
            let first = subjects + tick * rate / 100;
            let records: Vec<_> = (first..first + rate / 100)
                .map(|n| trade(n, n % subjects))
                .collect();
            publish(&publisher, &tenant, &records).await?;
            sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    });
    let mut waits = vec![];
    for kill in 1..=args.count("kills", 10) {
        sleep(Duration::from_secs(5)).await;
        let wait = kill_once(&bench, &mut metrics).await?;
        println!("kill {kill}: first committed output after {wait:.0} ms");
        waits.push(wait);
    }
    load.abort();
    let mut at = |share| percentile(&mut waits, share);
    println!("p50 {:.0} ms, most {:.0} ms", at(0.5), at(1.0));
    Ok(())
}

async fn kill_once(bench: &Installation, metrics: &mut Role) -> anyhow::Result<f64> {
    metrics.check()?;
    let tails = [Stream::Metrics, Stream::MetricsOpen].map(|stream| bench.tail(stream));
    let began = Instant::now();
    metrics.kill().await;
    let dead_ms = clock::now_ms();
    metrics.restart()?;
    loop {
        for tail in &tails {
            let tail = tail.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
            // What a dead process had on its way is there within a few milliseconds.
            if has_record_after(tail, dead_ms + 20)? {
                return Ok(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "no output came");
        sleep(Duration::from_millis(2)).await;
    }
}

/// True when one of the records that have come was appended after that.
fn has_record_after(tail: &Reader, after_ms: i64) -> anyhow::Result<bool> {
    for index in 0..tail.partitions().count() {
        let batch = tail.next(index)?;
        let mut records = batch.records();
        if records.any(|record| record.appended_at_ms() > after_ms) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn until_read(bench: &Installation, count: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    while (bench.committed("pulse-metrics", Stream::Events)? as u64) < count {
        anyhow::ensure!(began.elapsed() < PATIENCE, "events were not read");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
