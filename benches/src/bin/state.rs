//! The metrics step's state by itself, without a broker but for one restore: what an update of a
//! window costs, and how fast a state is put back. What the step does alone is timed by its
//! thread's CPU, what a broker does with it by the clock on the wall.
//!
//! `state [--windows N]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use benches::process::thread_cpu_seconds;
use benches::step::{Bench, START_MS, place};
use benches::{Args, installation, percentile, trades};
use processors::metrics::{Definitions, MetricsStep};
use pulse::stack::testing::TestFolder;
use runtime::kafka::admin::TopicSpec;
use runtime::kafka::{
    Admin, Isolation, KafkaConfig, Outgoing, Partition, Publisher, PublisherSettings, Reader, Start,
};
use runtime::step::{Output, Step};
use schemas::ids::Stream;
use schemas::time::EventTime;

const RUNS: usize = 5;
/// A broker that has just started compiles itself during the first.
const BROKER_RUNS: usize = 15;

fn main() -> anyhow::Result<()> {
    let windows = Args::read().count("windows", 1_000_000);
    updates("20,000 markets with 5 windows", 20_000, 1);
    updates("806 markets with 124 windows", 806, 120);
    restore(windows)
}

/// What folding an event into 5 windows costs beside all the rest, at random markets, each of which
/// has had an event a second for so long.
fn updates(what: &str, markets: u64, seconds: u64) {
    const EVENTS: usize = 500_000;
    let cost = |has_meter: bool| {
        let mut bench = Bench::new(has_meter);
        for second in 0..seconds {
            bench.fill(markets, second * markets, START_MS + second as i64 * 1_000);
        }
        let now_ms = START_MS + (seconds as i64 - 1) * 1_000;
        let mut rng = fastrand::Rng::with_seed(7);
        let mut number = seconds * markets;
        let mut run = || {
            let mut trade = |_| {
                number += 1;
                let at = EventTime::from_ms(now_ms + rng.i64(0..400));
                trades::on_market(rng.u64(0..markets), number, at).1
            };
            let values: Vec<_> = (0..EVENTS).map(&mut trade).collect();
            let began = thread_cpu_seconds();
            bench.observe(black_box(&values), now_ms);
            let each = (thread_cpu_seconds() - began) * 1e9 / EVENTS as f64;
            bench.flush();
            each
        };
        let mut runs: Vec<f64> = (0..RUNS).map(|_| run()).collect();
        (percentile(&mut runs, 0.5), bench.step.holdings().windows)
    };
    let ((with, held), (without, _)) = (cost(true), cost(false));
    println!(
        "update, {what}, {held} held: {:.0} ns a window; an event in whole {with:.0} ns with 5 \
         windows, {without:.0} ns with none (decoding, duplicates and clock)",
        (with - without) / 5.0
    );
}

/// How fast windows are put back from records, by the step alone and from a broker.
fn restore(windows: u64) -> anyhow::Result<()> {
    let mut bench = Bench::new(true);
    bench.fill(windows / 5, 0, START_MS);
    let definitions = bench.definitions.clone();
    let changes = bench.flush();
    drop(bench);
    let mut runs = vec![];
    for _ in 0..RUNS {
        let began = thread_cpu_seconds();
        let mut step = MetricsStep::new(&place(), 1);
        for record in changes.iter() {
            step.restore(record.key, record.value)?;
        }
        step.finish_restore(&definitions)?;
        runs.push(windows as f64 / (thread_cpu_seconds() - began));
    }
    println!(
        "restore of {windows} windows, {} records of {:.0} MB, by the step alone: {:.2} M windows \
         a CPU second",
        changes.len(),
        changes.byte_count() as f64 / 1e6,
        percentile(&mut runs, 0.5) / 1e6
    );
    restore_from_broker(windows, &definitions, &changes)
}

fn restore_from_broker(
    windows: u64,
    definitions: &Definitions,
    changes: &Output,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let folder = TestFolder::make()?;
    let broker = runtime.block_on(installation::broker(&folder))?;
    let kafka = KafkaConfig::plaintext(broker.brokers());
    let topic = place().tenant.topic(Stream::MetricsState);
    runtime.block_on(Admin::new(&kafka)?.ensure(&[TopicSpec::of(&topic, &kafka)]))?;
    let name = topic.to_string();
    let publisher = Publisher::new(&kafka, &PublisherSettings::new("bench"))?;
    let records: Vec<_> = changes.iter().collect();
    for chunk in records.chunks(20_000) {
        let batch = chunk.iter().map(|record| Outgoing {
            topic: &name,
            partition: Some(0),
            key: Some(record.key),
            value: record.value,
            headers: &[],
        });
        let batch: Vec<_> = batch.collect();
        let undelivered = runtime.block_on(publisher.publish(&batch));
        anyhow::ensure!(
            undelivered.is_empty(),
            "{} were not taken",
            undelivered.len()
        );
    }
    let mut runs = vec![];
    for _ in 0..BROKER_RUNS {
        let began = Instant::now();
        let mut step = MetricsStep::new(&place(), 1);
        let spans = [(Partition::new(&name, 0), Start::Beginning)];
        let reader = Reader::open(&kafka, "restore", Isolation::Committed, &spans)?;
        let patience = Duration::from_secs(30);
        let ends = reader.watermarks(Isolation::Uncommitted, patience)?[0].high;
        let mut fault = None;
        reader.read_until(&[ends], patience, |_, record| {
            let restored = step.restore(record.key().unwrap_or_default(), record.value());
            fault = fault.take().or(restored.err());
        })?;
        fault.map_or(Ok(()), Err)?;
        step.finish_restore(definitions)?;
        runs.push(windows as f64 / began.elapsed().as_secs_f64());
    }
    let each: Vec<_> = runs.iter().map(|run| format!("{:.2}", run / 1e6)).collect();
    println!(
        "the same from a broker: {:.2} M windows/s ({})",
        percentile(&mut runs, 0.5) / 1e6,
        each.join(", ")
    );
    Ok(())
}
