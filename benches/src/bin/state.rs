//! The metrics step's state by itself, without a broker but for one restore: what an update of a
//! window costs, what windows and identities weigh, and how fast a state is put back. What the step
//! does alone is timed by the thread's CPU, what a broker does with it by the clock on the wall.
//!
//! `state [--windows N]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use benches::process::thread_cpu_seconds;
use benches::{Args, installation, percentile, trades};
use processors::metrics::{Definitions, MetricsStep, NamedMeter};
use pulse::stack::testing::TestFolder;
use runtime::kafka::admin::TopicSpec;
use runtime::kafka::{
    Admin, Isolation, KafkaConfig, Outgoing, Partition, Publisher, PublisherSettings, Reader, Start,
};
use runtime::step::{Incoming, Output, Place, Step};
use schemas::control::Limits;
use schemas::ids::Stream;
use schemas::meter::candles;
use schemas::time::{BrokerTime, EventTime};

const START_MS: i64 = 1_790_000_000_000;
const RUNS: usize = 5;

fn main() -> anyhow::Result<()> {
    let windows = Args::read().count("windows", 1_000_000);
    updates("20,000 markets with 5 windows", 20_000, 1);
    updates("806 markets with 124 windows", 806, 120);
    memory(windows);
    identities();
    restore(windows)
}

/// A step of one partition that takes all subjects, with the built-in candles or without a meter.
struct Bench {
    step: MetricsStep,
    definitions: Definitions,
    out: Output,
    offset: i64,
}

impl Bench {
    fn new(has_meter: bool) -> Self {
        let meter = NamedMeter {
            id: "candles".into(),
            version: 1,
            meter: candles(),
        };
        let definitions = Definitions {
            limits: Limits {
                subjects_max: 10_000_000,
                dedup_ids_max: 100_000_000,
                ..Limits::default()
            },
            meters: if has_meter { vec![meter] } else { vec![] },
        };
        let mut step = MetricsStep::new(&place(), 1);
        step.redefine(&definitions, &mut Output::default());
        Self {
            step,
            definitions,
            out: Output::default(),
            offset: 0,
        }
    }

    /// As the shell does it: a few records are read together, then observed one by one.
    #[inline]
    fn observe(&mut self, values: &[Vec<u8>], at_ms: i64) {
        for few in values.chunks(runtime::task::TOGETHER) {
            let record = |(offset, value)| Incoming {
                offset,
                appended_at: BrokerTime::from_ms(at_ms),
                key: None,
                value: Some(Vec::as_slice(value)),
            };
            let records: Vec<_> = (self.offset..).zip(few).map(record).collect();
            self.offset += few.len() as i64;
            let mut reads = Vec::with_capacity(records.len());
            self.step.read(&records, &mut reads);
            for (record, read) in records.iter().zip(&reads) {
                self.step.advance(record.appended_at, &mut self.out);
                self.step.observe(record, read, &mut self.out);
                self.out.clear();
            }
        }
    }

    /// One event of each market, at one time: a window of each length.
    fn fill(&mut self, markets: u64, first: u64, at_ms: i64) {
        for market in 0..markets {
            let at = EventTime::from_ms(at_ms);
            let (_, value) = trades::on_market(market, first + market, at);
            self.observe(&[value], at_ms);
        }
    }

    /// What a flush would write.
    fn flush(&mut self) -> Output {
        let mut changes = Output::default();
        self.step.drain_changes(&mut changes);
        changes
    }
}

fn place() -> Place {
    Place {
        tenant: "bench".parse().expect("a slug"),
        partition: 0,
    }
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

/// What windows weigh, once by many subjects and once by a long past.
fn memory(windows: u64) {
    let flat = weigh(|| {
        let mut bench = Bench::new(true);
        bench.fill(windows / 5, 0, START_MS);
        bench
    });
    tell_memory("5 windows for each of many subjects", &flat);
    let deep = weigh(|| {
        // Two minutes of 1 s windows stay for corrections.
        let mut bench = Bench::new(true);
        let markets = windows / 124;
        for second in 0..120_u64 {
            bench.fill(markets, second * markets, START_MS + second as i64 * 1_000);
            // As often as the process does it.
            if second % 2 == 1 {
                bench.flush();
            }
        }
        bench
    });
    tell_memory("124 windows for each of few subjects", &deep);
}

struct Weight {
    windows: f64,
    ids: f64,
    bytes: f64,
}

/// What a step holds after a flush, and the memory that is taken for it.
fn weigh(make: impl FnOnce() -> Bench) -> Weight {
    let mut held = None;
    let info = allocation_counter::measure(|| {
        let mut bench = make();
        bench.flush();
        bench.out = Output::default();
        held = Some(bench);
    });
    let bench = held.expect("made above");
    let holdings = bench.step.holdings();
    Weight {
        windows: holdings.windows as f64,
        ids: holdings.ids as f64,
        bytes: info.bytes_current as f64,
    }
}

fn tell_memory(what: &str, weight: &Weight) {
    println!(
        "memory, {what}: {:.0} windows and {:.0} identities take {:.1} MB, {:.0} MB per million \
         windows with all of it",
        weight.windows,
        weight.ids,
        weight.bytes / 1e6,
        weight.bytes / weight.windows
    );
}

/// What a remembered identity weighs, by how many a subject has in 30 s.
fn identities() {
    for each in [1, 10, 100, 350, 1_000, 10_000] {
        let markets = (1_000_000 / each / 4).max(1);
        let rest = weigh(|| {
            let mut bench = Bench::new(false);
            bench.fill(markets, 0, START_MS);
            bench
        });
        let all = weigh(|| {
            let mut bench = Bench::new(false);
            for n in 0..each * 4 {
                let at_ms = START_MS + (n * 120_000 / (each * 4)) as i64;
                bench.fill(markets, n * markets, at_ms);
            }
            bench
        });
        println!(
            "memory, {each} identities a subject and 30 s: {:.1} bytes for each of {:.0}",
            (all.bytes - rest.bytes) / (all.ids - rest.ids),
            all.ids
        );
    }
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
    for _ in 0..RUNS {
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
    println!(
        "the same from a broker: {:.2} M windows/s",
        percentile(&mut runs, 0.5) / 1e6
    );
    Ok(())
}
