//! The peers' windowing job on our metrics step: their trades, from the same seed and order, as
//! Events; per product 1 s and 60 s candles. One thread, a commit every 50 ms; duplicates,
//! lateness, state and flushes are on; silence fires nothing, since no peer has that. The digests
//! are those of the peers' own program over the same trades, so equal digests mean equal candles.
//!
//! `windows [--events N] [--runs N] [--commit-ms N]` does all of it on a broker of its own.
//! `windows --serve 1 [--events N]` starts a broker with the trades on it, says where, and waits
//! for the end of its input; `windows --brokers ADDRESS --broker-pid PID` then runs the job
//! there. So other engines can have the same bytes from the same broker.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::time::{Duration, Instant};

use benches::digest::{Digest, OF_FIVE_MILLION};
use benches::trades::{PRODUCTS, PeerTrades};
use benches::{Args, installation, process};
use processors::metrics::step::Silence;
use processors::metrics::{Definitions, MetricsStep, NamedMeter};
use pulse::stack::testing::TestFolder;
use runtime::config::Secret;
use runtime::control::ControlConfig;
use runtime::kafka::admin::TopicSpec;
use runtime::kafka::{
    Admin, GroupSettings, KafkaConfig, Publisher, PublisherSettings, TransactionalSettings,
};
use runtime::step::{Counts, Holdings, Incoming, Output, Place, StateError, Step};
use runtime::task::{
    DefinitionSource, KafkaLog, KafkaLogSettings, Log, PartitionReport, Turn, Worker,
    WorkerSettings,
};
use schemas::control::Limits;
use schemas::ids::{Offset, Stream, TenantId};
use schemas::meter::{Window, candles};
use schemas::time::BrokerTime;

/// The metrics step, fired by events alone.
struct ByEvents(MetricsStep);

impl Step for ByEvents {
    type Definitions = Definitions;
    type Read<'a> = <MetricsStep as Step>::Read<'a>;
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
    fn read<'a>(&self, records: &[Incoming<'a>], reads: &mut Vec<Self::Read<'a>>) {
        self.0.read(records, reads);
    }
    fn observe(&mut self, record: &Incoming<'_>, read: &Self::Read<'_>, out: &mut Output) {
        self.0.observe(record, read, out);
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
            direct_producers: false,
            meters,
        })
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::read();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let job = Job {
        tenant: "bench".parse()?,
        events: args.number("events", 5_000_000),
        runs: args.number("runs", 3),
        commit_ms: args.number("commit-ms", 50),
    };
    if let Some(brokers) = args.text("brokers") {
        let pid = u32::try_from(args.number("broker-pid", 0))?;
        return job.run(&runtime, &KafkaConfig::plaintext(brokers), pid);
    }
    let folder = TestFolder::make()?;
    let broker = runtime.block_on(installation::broker(&folder))?;
    let kafka = KafkaConfig::plaintext(broker.brokers());
    runtime.block_on(job.generate(&kafka))?;
    if args.text("serve").is_none() {
        return job.run(&runtime, &kafka, broker.pid());
    }
    let topic = job.tenant.topic(Stream::Events);
    println!("SERVING {} {} {topic}", broker.brokers(), broker.pid());
    std::io::stdin().read_to_end(&mut vec![])?;
    Ok(())
}

/// What is to be done.
struct Job {
    tenant: TenantId,
    events: i64,
    runs: i64,
    commit_ms: i64,
}

impl Job {
    /// Puts the trades on the broker.
    async fn generate(&self, kafka: &KafkaConfig) -> anyhow::Result<()> {
        let topics = Stream::ALL.map(|stream| TopicSpec::of(&self.tenant.topic(stream), kafka));
        Admin::new(kafka)?.ensure(&topics).await?;
        let publisher = Publisher::new(kafka, &PublisherSettings::new("bench"))?;
        let mut trades = PeerTrades::new(self.events);
        let mut bytes = 0;
        loop {
            let batch: Vec<_> = trades.by_ref().take(50_000).collect();
            if batch.is_empty() {
                break;
            }
            bytes += batch.iter().map(|(_, value)| value.len()).sum::<usize>();
            installation::publish(&publisher, &self.tenant, &batch).await?;
        }
        let each = bytes as f64 / (self.events + PRODUCTS as i64) as f64;
        println!("{} events, {each:.1} bytes each", self.events);
        Ok(())
    }

    fn run(
        &self,
        runtime: &tokio::runtime::Runtime,
        kafka: &KafkaConfig,
        broker: u32,
    ) -> anyhow::Result<()> {
        for _ in 0..self.runs {
            runtime.block_on(self.anew(kafka))?;
            self.measure(kafka, broker)?;
            let digest = Digest::read(kafka, &self.tenant)?;
            let verdict = match (self.events, digest == OF_FIVE_MILLION) {
                (5_000_000, true) => "digests equal",
                (5_000_000, false) => "DIGESTS DIFFER",
                _ => "no digest is known for this many events",
            };
            let Digest { rows, prices, all } = digest;
            println!("  {rows} rows, {prices:016x} {all:016x}: {verdict}");
        }
        Ok(())
    }

    /// Makes the output and state topics anew.
    async fn anew(&self, kafka: &KafkaConfig) -> anyhow::Result<()> {
        let admin = Admin::new(kafka)?;
        let streams = [Stream::Metrics, Stream::MetricsOpen, Stream::MetricsState];
        let names = streams.map(|stream| self.tenant.topic(stream).to_string());
        let names = names.each_ref().map(String::as_str);
        admin.delete_topics(&names).await?;
        let specs = streams.map(|stream| TopicSpec::of(&self.tenant.topic(stream), kafka));
        let began = Instant::now();
        loop {
            match admin.ensure(&specs).await {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > Duration::from_secs(20) => {
                    return Err(error.into());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Runs the worker over all events, as a group of its own, and prints its figures.
    fn measure(&self, kafka: &KafkaConfig, broker: u32) -> anyhow::Result<()> {
        let seed = fastrand::u64(..);
        let name = format!("bench-{seed:x}");
        let group = GroupSettings::new(&name, "bench", Duration::from_secs(10));
        let settings = KafkaLogSettings {
            group,
            transactional: TransactionalSettings::new(&name, Duration::from_secs(8)),
            control: ControlConfig::new(Secret::new("a secret of the benches")),
        };
        let log: KafkaLog<ByEvents> = KafkaLog::open(kafka, &settings)?;
        let settings = WorkerSettings {
            commit_interval_ms: self.commit_ms,
            ..WorkerSettings::default()
        };
        let mut worker: Worker<ByEvents, _, _> =
            Worker::new(log, Fixed(self.tenant.clone()), settings, seed);
        let report = worker.report();
        let total = self.events as u64 + PRODUCTS as u64;
        let used = || [None, Some(broker)].map(process::cpu_seconds);
        let mut began = None;
        let counts = loop {
            let turn = worker.turn()?;
            let report = report.lock().expect("nobody panics with it");
            let sum = |counts: Counts, p: &PartitionReport| counts.plus(p.counts);
            let counts = report.partitions.values().fold(Counts::default(), sum);
            if began.is_none() && !report.partitions.is_empty() {
                began = Some((Instant::now(), used()));
            }
            if counts.observed == total {
                break counts;
            }
            drop(report);
            if let Turn::Idle(wait_ms) = turn {
                worker.log_mut().wait(wait_ms);
            }
        };
        let (at, before) = began.expect("it has partitions");
        let (wall, after) = (at.elapsed().as_secs_f64(), used());
        let [ours, brokers] = [0, 1].map(|n| (after[n] - before[n]) / total as f64 * 1e6);
        println!(
            "{:.0} k events/s; {ours:.2} µs CPU per event (broker {brokers:.2}); {} commits; \
             peak {:.0} MB; counted {} late {} duplicate {}",
            total as f64 / wall / 1e3,
            report.lock().expect("nobody panics with it").commit_count,
            process::peak_megabytes(None),
            counts.counted,
            counts.late,
            counts.duplicate,
        );
        Ok(())
    }
}
