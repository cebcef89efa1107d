//! The ClickHouse sink as it runs: from a real broker into a real ClickHouse, all on this machine.
//!
//! Throughput: that many trades lie in the log, then `pulse-clickhouse` starts; counted from its
//! first confirmed rows to its last committed position. Latency: so many trades a second, each
//! timed
//! from its making to the first query that shows it.
//!
//! `sink [--events N] [--latency-seconds N] [--rate N]`

use std::time::{Duration, Instant};

use anyhow::Context;
use benches::process;
use pulse::stack::{Launch, Port, PortWish, Process, TestStack, binary};
use runtime::clickhouse::ClickHouseConfig;
use runtime::clock;
use runtime::config::Secret;
use runtime::control::{ControlConfig, ControlWriter};
use runtime::kafka::admin::TopicSpec;
use runtime::kafka::{
    Admin, Isolation, KafkaConfig, Outgoing, Partition, Publisher, PublisherSettings,
};
use schemas::control::{ControlKey, Definition, Kind, Limits, Tenant};
use schemas::decimal::Decimal;
use schemas::event::{self, EventHead, Severity};
use schemas::ids::{Stream, TenantId};
use schemas::time::EventTime;
use serde_json::Value;
use sinks::clickhouse::GROUP;
use sinks::clickhouse::server::Server;

const SECRET: &str = "a secret of the benches alone";
const PRODUCTS: u64 = 400;
const WAIT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = benches::Args::read();
    let bench = Bench::start().await?;
    match args.number("latency-seconds", 0) {
        0 => {
            bench
                .throughput(args.number("events", 5_000_000).unsigned_abs())
                .await
        }
        seconds => {
            let rate = args.number("rate", 5_000).unsigned_abs();
            bench.latency(seconds.unsigned_abs(), rate).await
        }
    }
}

struct Bench {
    stack: TestStack,
    kafka: KafkaConfig,
    topic: String,
    publisher: Publisher,
    server: Server,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        let stack = TestStack::start().await?;
        let kafka = KafkaConfig::plaintext(stack.kafka.brokers());
        let admin = Admin::new(&kafka)?;
        let tenant: TenantId = "acme".parse()?;
        let topics = Stream::ALL.map(|stream| TopicSpec::of(&tenant.topic(stream), &kafka));
        admin.ensure(&[TopicSpec::control(&kafka)]).await?;
        admin.ensure(&topics).await?;
        let writer = ControlWriter::new(&kafka, &ControlConfig::new(Secret::new(SECRET)))?;
        let key = ControlKey {
            tenant: tenant.clone(),
            kind: Kind::Tenant,
            id: "self".into(),
        };
        let definition = Tenant {
            name: "acme".into(),
            limits: Limits::default(),
        };
        writer.put(&key, &Definition::Tenant(definition)).await?;
        let publisher = Publisher::new(&kafka, &PublisherSettings::new("bench"))?;
        let account = stack.clickhouse.writer();
        let clickhouse = ClickHouseConfig {
            url: stack.clickhouse.url(),
            user: account.user.clone(),
            password: Some(account.password.clone()),
            ca: None,
            database: "pulse".into(),
        };
        let server = Server::new(&clickhouse, WAIT)?;
        let topic = tenant.topic(Stream::Events).to_string();
        Ok(Self {
            stack,
            kafka,
            topic,
            publisher,
            server,
        })
    }

    async fn throughput(&self, event_count: u64) -> anyhow::Result<()> {
        for start in (0..event_count).step_by(20_000) {
            self.publish(start..event_count.min(start + 20_000)).await?;
        }
        println!("{event_count} events lie in the log");
        let admin = Admin::new(&self.kafka)?;
        let partitions: Vec<_> = (0..4).map(|n| Partition::new(&self.topic, n)).collect();
        let edges = admin.watermarks(&partitions, Isolation::Committed, WAIT)?;
        let end: i64 = edges.iter().map(|edges| edges.high).sum();
        let (sink, _port) = self.sink()?;
        let committed = || -> anyhow::Result<i64> {
            let committed = admin.committed(GROUP, &partitions, WAIT)?;
            Ok(committed
                .into_iter()
                .flatten()
                .map(|committed| committed.offset)
                .sum())
        };
        let mut first = None;
        loop {
            let at = committed()?;
            if at > 0 && first.is_none() {
                first = Some((Instant::now(), at, self.cpu(&sink)));
            }
            if at >= end {
                break;
            }
            anyhow::ensure!(sink.is_running(), "the sink ended: {}", sink.log_tail(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (began_at, before, cpu) = first.context("all rows came at once: use more events")?;
        let (seconds, rows) = (began_at.elapsed().as_secs_f64(), (end - before) as f64);
        let used = self.cpu(&sink);
        let [sink_us, clickhouse_us, kafka_us] =
            [0, 1, 2].map(|at| (used[at] - cpu[at]) / rows * 1e6);
        let megabytes = process::peak_megabytes(Some(sink.pid()));
        println!(
            "{:.0} rows/s; CPU us/row: sink {sink_us:.2}, clickhouse {clickhouse_us:.2}, \
             broker {kafka_us:.2}; sink's peak {megabytes:.0} MB",
            rows / seconds
        );
        self.check(event_count).await
    }

    async fn check(&self, event_count: u64) -> anyhow::Result<()> {
        let sql = "SELECT count() AS n, uniqExact(event_id) AS ids FROM events FINAL";
        let rows: Vec<Value> = self.server.rows(sql).await?;
        anyhow::ensure!(
            rows[0]["n"] == event_count && rows[0]["ids"] == event_count,
            "{rows:?}"
        );
        Ok(())
    }

    async fn latency(&self, seconds: u64, rate: u64) -> anyhow::Result<()> {
        let (sink, _port) = self.sink()?;
        self.publish(0..1).await?;
        while self.visible_count().await.unwrap_or(0) == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (began_at, ticks) = (Instant::now(), seconds * 100);
        let (mut made_at, mut latencies) = (vec![began_at], Vec::new());
        let mut next_tick = 0;
        while next_tick < ticks || latencies.len() < made_at.len() - 1 {
            while next_tick < ticks && began_at.elapsed() >= Duration::from_millis(10 * next_tick) {
                let start = made_at.len() as u64;
                made_at.resize(made_at.len() + usize::try_from(rate / 100)?, Instant::now());
                self.publish(start..made_at.len() as u64).await?;
                next_tick += 1;
            }
            let visible = self.visible_count().await?;
            while latencies.len() + 1 < visible {
                latencies.push(made_at[latencies.len() + 1].elapsed().as_secs_f64() * 1e3);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut at = |share: f64| benches::percentile(&mut latencies, share);
        println!(
            "{rate} events/s for {seconds} s: visible after p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms",
            at(0.5),
            at(0.99),
            at(1.0)
        );
        drop(sink);
        Ok(())
    }

    /// Rows that a query shows; a partition's rows come in order, and all partitions' in a round.
    async fn visible_count(&self) -> anyhow::Result<usize> {
        let rows: Vec<Value> = self.server.rows("SELECT count() AS n FROM events").await?;
        Ok(usize::try_from(rows[0]["n"].as_u64().unwrap_or(0))?)
    }

    async fn publish(&self, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
        let records: Vec<_> = numbers.map(trade).collect();
        let records: Vec<_> = records
            .iter()
            .map(|(key, value)| Outgoing::keyed(&self.topic, key, value))
            .collect();
        let undelivered = self.publisher.publish(&records).await;
        anyhow::ensure!(
            undelivered.is_empty(),
            "{} are not delivered",
            undelivered.len()
        );
        Ok(())
    }

    fn sink(&self) -> anyhow::Result<(Process, Port)> {
        let port = Port::claim(PortWish::Any)?;
        let log = self.stack.folder().join("pulse-clickhouse.log");
        let launch = Launch::new(binary("pulse-clickhouse")?, log)
            .envs(self.stack.environment())
            .env("PULSE_CONTROL_SECRET", SECRET)
            .env("PULSE_LISTEN", port.address());
        Ok((launch.spawn()?, port))
    }

    fn cpu(&self, sink: &Process) -> [f64; 3] {
        let pids = [
            sink.pid(),
            self.stack.clickhouse.pid(),
            self.stack.kafka.pid(),
        ];
        pids.map(|pid| process::cpu_seconds(Some(pid)))
    }
}

/// The key and value of a trade that happens now.
fn trade(number: u64) -> (Vec<u8>, Vec<u8>) {
    let now = EventTime::from_us(clock::now_us());
    let product = format!("P{}-USD", number % PRODUCTS);
    let subject = format!("coinbase:{product}");
    let event_id = format!("{subject}:trade:{}", 1_068_571_991 + number);
    let head = EventHead {
        event_id: &event_id,
        event_type: "trade",
        name: None,
        occurred_at: now,
        received_at: now,
        severity: Severity::Info,
        service: "coinbase",
        host: None,
        method: None,
        endpoint: None,
        version: None,
        subject: &subject,
        sequence: i64::try_from(number).ok(),
        title: None,
        trace_id: None,
        user_id: None,
        payload: None,
    };
    let side = if number.is_multiple_of(3) {
        "buy"
    } else {
        "sell"
    };
    let tags = [
        ("exchange", "coinbase"),
        ("product_id", product.as_str()),
        ("side", side),
    ];
    let cents = i128::from(2_000_000 + number * 7_919 % 1_000_000);
    let price = Decimal::units_checked(cents * 10_000_000_000_000_000);
    let size =
        Decimal::units_checked(i128::from(1 + number * 104_729 % 100_000_000) * 10_i128.pow(10));
    let metrics = [("price", price), ("size", size)];
    let mut value = Vec::new();
    event::encode(&mut value, &head, tags.into_iter(), metrics.into_iter());
    (subject.into_bytes(), value)
}
