//! The windowing job of the peers, on a real broker: events in, candles out, exactly once.
//!
//! 5,000,000 trades of 400 products over 500 s of event time, up to 200 ms out of order, as Events;
//! per product 1 s and 60 s candles. One thread, a commit every 50 ms; duplicates, lateness, state
//! and flushes are on; silence fires nothing, since no peer has that. The digests are those of the
//! peers' own program over the same trades, so equal digests mean equal candles.
//!
//! `windows [--events N] [--runs N] [--commit-ms N]`

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use benches::process;
use processors::metrics::step::Silence;
use processors::metrics::{Definitions, MetricsStep, NamedMeter};
use pulse::stack::TestStack;
use runtime::kafka::admin::TopicSpec;
use runtime::kafka::{
    Admin, GroupSettings, Isolation, KafkaConfig, Outgoing, Partition, Publisher,
    PublisherSettings, Reader, Start, TransactionalSettings,
};
use runtime::step::{Counts, Holdings, Incoming, Output, Place, StateError, Step};
use runtime::task::{
    DefinitionSource, KafkaLog, KafkaLogSettings, Log, Turn, Worker, WorkerSettings,
};
use schemas::control::Limits;
use schemas::decimal::Decimal;
use schemas::event::{self, EventHead, Severity};
use schemas::ids::{Offset, Stream, TenantId};
use schemas::meter::{Window, candles};
use schemas::metric::MetricView;
use schemas::time::{BrokerTime, EventTime};
use schemas::wire::avro::put_decimal;

/// Digests of the peers' program for 5,000,000 trades: prices and counts; everything.
const DIGESTS: (u64, u64) = (0x48f7_527e_abc6_ff36, 0x8708_f908_1def_c247);
const PRODUCTS: usize = 400;
const START_MS: i64 = 1_790_000_000_000;

/// The metrics step, fired by events alone.
struct ByEvents(MetricsStep);

impl Step for ByEvents {
    type Definitions = Definitions;
    const READS: Stream = MetricsStep::READS;
    const STATE: Stream = MetricsStep::STATE;

    fn new(place: &Place, partition_count: i32) -> Self {
        Self(MetricsStep::new(place, partition_count).with_silence(Silence::Waits))
    }
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        self.0.restore(key, value)
    }
    fn finish_restore(&mut self, definitions: &Definitions) -> Result<(), StateError> {
        self.0.finish_restore(definitions)
    }
    fn observe(&mut self, record: &Incoming<'_>, out: &mut Output) {
        self.0.observe(record, out);
    }
    fn advance(&mut self, now: BrokerTime, out: &mut Output) {
        self.0.advance(now, out);
    }
    fn redefine(&mut self, definitions: &Definitions, out: &mut Output) {
        self.0.redefine(definitions, out);
    }
    fn due_at(&self) -> Option<BrokerTime> {
        self.0.due_at()
    }
    fn drain_changes(&mut self, changes: &mut Output) {
        self.0.drain_changes(changes);
    }
    fn change_count(&self) -> usize {
        self.0.change_count()
    }
    fn counts(&self) -> Counts {
        self.0.counts()
    }
    fn holdings(&self) -> Holdings {
        self.0.holdings()
    }
}

/// One tenant with candles at 1 s and 60 s.
struct Fixed(TenantId);

impl DefinitionSource<Definitions> for Fixed {
    fn offset(&self) -> Offset {
        1
    }
    fn tenants(&self) -> BTreeSet<TenantId> {
        BTreeSet::from([self.0.clone()])
    }
    fn of(&self, _: &TenantId) -> Option<Definitions> {
        let mut meter = candles();
        meter.windows = [1_000, 60_000]
            .map(|width_ms| Window::Tumbling { width_ms })
            .to_vec();
        let meters = vec![NamedMeter {
            id: "candles".into(),
            version: 1,
            meter,
        }];
        Some(Definitions {
            limits: Limits::default(),
            meters,
        })
    }
}

fn main() -> anyhow::Result<()> {
    let args = benches::Args::read();
    let events = args.number("events", 5_000_000);
    let runs = args.number("runs", 3);
    let commit_ms = args.number("commit-ms", 50);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let stack = runtime.block_on(TestStack::start_with(|options| options))?;
    let kafka = KafkaConfig::plaintext(stack.kafka.brokers());
    let tenant: TenantId = "bench".parse()?;
    let admin = Admin::new(&kafka)?;
    let topics = Stream::ALL.map(|stream| TopicSpec::of(&tenant.topic(stream), &kafka));
    runtime.block_on(admin.ensure(&topics))?;
    let bytes = runtime.block_on(generate(&kafka, &tenant, events))?;
    println!(
        "{events} events, {:.1} bytes each",
        bytes as f64 / events as f64
    );
    for run in 0..runs {
        if run > 0 {
            runtime.block_on(anew(&admin, &kafka, &tenant))?;
        }
        let group = format!("bench-{run}");
        measure(
            &kafka,
            &tenant,
            &group,
            events,
            commit_ms,
            stack.kafka.pid(),
        )?;
        let (rows, digests) = digest(&kafka, &tenant)?;
        let verdict = match (events, digests == DIGESTS) {
            (5_000_000, true) => "digests equal",
            (5_000_000, false) => "DIGESTS DIFFER",
            _ => "no digest is known for this many events",
        };
        println!(
            "  {rows} rows, {:016x} {:016x}: {verdict}",
            digests.0, digests.1
        );
    }
    Ok(())
}

/// Makes the output and state topics anew between runs.
async fn anew(admin: &Admin, kafka: &KafkaConfig, tenant: &TenantId) -> anyhow::Result<()> {
    let streams = [Stream::Metrics, Stream::MetricsOpen, Stream::MetricsState];
    let names = streams.map(|stream| tenant.topic(stream).to_string());
    admin
        .delete_topics(&names.each_ref().map(String::as_str))
        .await?;
    let specs = streams.map(|stream| TopicSpec::of(&tenant.topic(stream), kafka));
    let began = Instant::now();
    loop {
        match admin.ensure(&specs).await {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > Duration::from_secs(20) => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// The peers' trades, from the same seed, as Events.
async fn generate(kafka: &KafkaConfig, tenant: &TenantId, count: i64) -> anyhow::Result<usize> {
    let publisher = Publisher::new(kafka, &PublisherSettings::new("bench"))?;
    let topic = tenant.topic(Stream::Events).to_string();
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let names: Vec<String> = (0..PRODUCTS).map(|n| format!("P{n:03}-USD")).collect();
    let mut cents: Vec<i64> = (0..PRODUCTS as i64)
        .map(|n| 10_000 + n * 7_919 % 6_000_000)
        .collect();
    let mut batch: Vec<(usize, Vec<u8>)> = vec![];
    let mut bytes = 0;
    for n in 0..count {
        let product = (next() % PRODUCTS as u64) as usize;
        let step = (next() % 201) as i64 - 100;
        cents[product] = (cents[product] + step).max(100);
        let at_ms = START_MS + n * 500_000 / count.max(1) - (next() % 201) as i64;
        let size = i128::from(1 + next() % 500_000_000) * 10_000_000_000;
        let id = format!("{:08x}{:016x}", n as u32, next());
        let side = if next() & 1 == 1 { "sell" } else { "buy" };
        let price = i128::from(cents[product]) * 10_000_000_000_000_000;
        let value = trade(
            &id,
            at_ms,
            &names[product],
            side,
            (price, size),
            1_000_000_000 + n,
        );
        bytes += value.len();
        batch.push((product, value));
        if batch.len() == 50_000 {
            publish(&publisher, &topic, &names, &mut batch).await?;
        }
    }
    // Far ahead, for each product: every window closes.
    for (product, name) in names.iter().enumerate() {
        let at_ms = START_MS + 500_000 + 300_000;
        let one = Decimal::ONE.units();
        batch.push((
            product,
            trade("last", at_ms, name, "buy", (one, one), 2_000_000_000),
        ));
    }
    publish(&publisher, &topic, &names, &mut batch).await?;
    Ok(bytes)
}

async fn publish(
    publisher: &Publisher,
    topic: &str,
    names: &[String],
    batch: &mut Vec<(usize, Vec<u8>)>,
) -> anyhow::Result<()> {
    let keyed = |(product, value): &(usize, Vec<u8>)| (names[*product].as_bytes(), value.clone());
    let records: Vec<_> = batch.iter().map(keyed).collect();
    let records: Vec<_> = records
        .iter()
        .map(|(key, value)| Outgoing::keyed(topic, key, value))
        .collect();
    let undelivered = publisher.publish(&records).await;
    anyhow::ensure!(
        undelivered.is_empty(),
        "{} records were not taken",
        undelivered.len()
    );
    batch.clear();
    Ok(())
}

fn trade(
    id: &str,
    at_ms: i64,
    product: &str,
    side: &str,
    (price, size): (i128, i128),
    sequence: i64,
) -> Vec<u8> {
    let head = EventHead {
        event_id: id,
        event_type: "trade",
        name: None,
        occurred_at: EventTime::from_ms(at_ms),
        received_at: EventTime::from_ms(at_ms),
        severity: Severity::Info,
        service: "bench",
        host: None,
        method: None,
        endpoint: None,
        version: None,
        subject: product,
        sequence: Some(sequence),
        title: None,
        trace_id: None,
        user_id: None,
        payload: None,
    };
    let tags = [("product_id", product), ("side", side)];
    let metrics = [("price", price), ("size", size)];
    let metrics = metrics.map(|(name, units)| (name, Decimal::units_checked(units)));
    let mut value = vec![];
    event::encode(&mut value, &head, tags.into_iter(), metrics.into_iter());
    value
}

/// Runs the worker over all events and prints its figures.
fn measure(
    kafka: &KafkaConfig,
    tenant: &TenantId,
    group: &str,
    events: i64,
    commit_interval_ms: i64,
    broker: u32,
) -> anyhow::Result<()> {
    let mut group_settings = GroupSettings::new(group, "bench", Duration::from_secs(10));
    group_settings.prefetch_kilobytes = 65_536;
    let settings = KafkaLogSettings {
        group: group_settings,
        transactional: TransactionalSettings::new(group, Duration::from_secs(8)),
    };
    let log: KafkaLog<ByEvents> = KafkaLog::open(kafka, &settings)?;
    let settings = WorkerSettings {
        commit_interval_ms,
        ..WorkerSettings::default()
    };
    let mut worker: Worker<ByEvents, _, _> =
        Worker::new(log, Fixed(tenant.clone()), settings, fastrand::u64(..));
    let report = worker.report();
    let total = events as u64 + PRODUCTS as u64;
    let mut began: Option<(Instant, f64, f64)> = None;
    let counts = loop {
        let turn = worker.turn()?;
        let report = report.lock().expect("nobody panics with it");
        let sum = |counts: Counts, p: &runtime::task::PartitionReport| counts.plus(p.counts);
        let counts = report.partitions.values().fold(Counts::default(), sum);
        if began.is_none() && !report.partitions.is_empty() {
            began = Some((
                Instant::now(),
                process::cpu_seconds(None),
                process::cpu_seconds(Some(broker)),
            ));
        }
        if counts.observed == total {
            break counts;
        }
        drop(report);
        if let Turn::Idle(wait_ms) = turn {
            worker.log_mut().wait(wait_ms);
        }
    };
    let (at, cpu, broker_cpu) = began.expect("it has partitions");
    let wall = at.elapsed().as_secs_f64();
    let cpu = process::cpu_seconds(None) - cpu;
    let broker_cpu = process::cpu_seconds(Some(broker)) - broker_cpu;
    let per_event = |seconds: f64| seconds / total as f64 * 1e6;
    let report = report.lock().expect("nobody panics with it");
    println!(
        "{:.0} k events/s; {:.2} µs CPU per event (broker {:.2}); {} commits; peak {:.0} MB; \
         counted {} late {} duplicate {}",
        total as f64 / wall / 1e3,
        per_event(cpu),
        per_event(broker_cpu),
        report.commit_count,
        process::peak_megabytes(None),
        counts.counted,
        counts.late,
        counts.duplicate,
    );
    Ok(())
}

/// Rows and digests of the fired candles, by the peers' own arithmetic.
fn digest(kafka: &KafkaConfig, tenant: &TenantId) -> anyhow::Result<(u64, (u64, u64))> {
    let topic = tenant.topic(Stream::Metrics).to_string();
    let spans: Vec<_> = (0..kafka.partition_count)
        .map(|number| (Partition::new(&topic, number), Start::Beginning))
        .collect();
    let reader = Reader::open(kafka, "digest", Isolation::Committed, &spans)?;
    let wait = Duration::from_secs(30);
    let edges = reader.watermarks(Isolation::Committed, wait)?;
    let ends: Vec<i64> = edges.iter().map(|edges| edges.high).collect();
    let (mut rows, mut some, mut all) = (0, 0_u64, 0_u64);
    let mut seen = HashSet::new();
    reader.read_until(&ends, wait, |_, record| {
        let metric = MetricView::decode(record.value().expect("a metric has a value"));
        let metric = metric.expect("the step writes metrics");
        let product = metric
            .labels
            .get("subject")
            .expect("a candle has a subject")
            .as_str();
        let start_ms = metric.window_start.as_ms();
        // The far-ahead trade's own windows are not part of the job.
        if start_ms >= START_MS + 600_000 {
            return;
        }
        assert!(
            seen.insert((product.to_owned(), metric.window_ms, start_ms)),
            "a row twice"
        );
        let mut bytes = product.as_bytes().to_vec();
        bytes.extend_from_slice(&metric.window_ms.to_le_bytes());
        bytes.extend_from_slice(&start_ms.to_le_bytes());
        let value = |name| {
            metric
                .values
                .get(name)
                .expect("a candle has all its values")
        };
        for name in ["open", "high", "low", "close"] {
            put_decimal(&mut bytes, value(name));
        }
        bytes.extend_from_slice(&(metric.event_count as i64).to_le_bytes());
        some = some.wrapping_add(hash(&bytes));
        for name in ["volume", "vwap"] {
            put_decimal(&mut bytes, value(name));
        }
        all = all.wrapping_add(hash(&bytes));
        rows += 1;
    })?;
    Ok((rows, (some, all)))
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    hash ^ (hash >> 29)
}
