//! The ClickHouse sink as it runs: from a real broker into a real ClickHouse, all on this
//! machine.
//!
//! That many trades lie in the log, then `pulse-clickhouse` starts; counted from its first
//! confirmed rows to its last committed position.
//!
//! `sink [--events N] [--runs N]`

use std::time::{Duration, Instant};

use anyhow::Context;
use benches::installation::{Installation, Role};
use benches::{Args, process, trades};
use runtime::clock;
use schemas::ids::Stream;
use schemas::time::EventTime;
use serde_json::Value;
use sinks::clickhouse::GROUP;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::read();
    let events = args.count("events", 5_000_000);
    for _ in 0..args.count("runs", 1) {
        let bench = Installation::start(vec![], Duration::from_millis(5)).await?;
        measure(&bench, events).await?;
    }
    Ok(())
}

async fn measure(bench: &Installation, events: u64) -> anyhow::Result<()> {
    for start in (0..events).step_by(20_000) {
        let numbers = start..events.min(start + 20_000);
        let now = EventTime::from_us(clock::now_us());
        let records: Vec<_> = numbers.map(|number| trades::live(number, now)).collect();
        bench.publish(&records).await?;
    }
    println!("{events} events lie in the log");
    let end: i64 = bench.ends(Stream::Events)?.iter().sum();
    let sink = bench.launch("pulse-clickhouse")?;
    let mut first = None;
    loop {
        let at = bench.committed(GROUP, Stream::Events)?;
        if at > 0 && first.is_none() {
            first = Some((Instant::now(), at, used(bench, &sink)));
        }
        if at >= end {
            break;
        }
        sink.check()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (began_at, before, cpu) = first.context("all rows came at once: use more events")?;
    let (seconds, rows) = (began_at.elapsed().as_secs_f64(), (end - before) as f64);
    let used = used(bench, &sink);
    let [sink_us, clickhouse_us, kafka_us] = [0, 1, 2].map(|at| (used[at] - cpu[at]) / rows * 1e6);
    println!(
        "{:.0} rows/s; CPU us/row: sink {sink_us:.2}, clickhouse {clickhouse_us:.2}, broker \
         {kafka_us:.2}; sink's peak {:.0} MB",
        rows / seconds,
        process::peak_megabytes(Some(sink.process.pid()))
    );
    let sql = "SELECT count() AS n, uniqExact(event_id) AS ids FROM events FINAL";
    let rows: Vec<Value> = bench.server.rows(sql).await?;
    let is_whole = rows[0]["n"] == events && rows[0]["ids"] == events;
    anyhow::ensure!(is_whole, "{rows:?}");
    Ok(())
}

fn used(bench: &Installation, sink: &Role) -> [f64; 3] {
    let stack = &bench.stack;
    let pids = [
        sink.process.pid(),
        stack.clickhouse.pid(),
        stack.kafka.pid(),
    ];
    pids.map(|pid| process::cpu_seconds(Some(pid)))
}
