//! A tenant at 50 × its limit, and what its neighbour notices: over HTTP, where the gateway refuses
//! what is too much, and straight to Kafka, where the broker slows whoever is over a byte quota.
//!
//! The neighbour posts events one at a time at a steady rate. Of each, two times are taken: from
//! the moment in which it was due until it was answered, and from then until a query shows its row.
//! A round has three parts: alone, beside the noisy one over HTTP, beside it straight to Kafka.
//! Shown are medians over the rounds, and by how much the noisy one moves the p99.
//!
//! Broker, ClickHouse, gateway, processor, sink and both loads are on the same cores, so what the
//! noisy one's own sending takes of them is in the figures too; it is a process of this bench's own
//! that no limit of ours holds back.
//!
//! `neighbour [--rounds N] [--seconds N] [--warm N] [--rate N] [--limit N] [--times N]`

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use benches::http::{Pace, Poster};
use benches::installation::{Installation, Role, publish_each};
use benches::{Args, percentile};
use pulse::stack::{Cache, Port, PortWish, fetch};
use runtime::clock;
use runtime::clock::Deadline;
use runtime::kafka::{Publisher, PublisherSettings};
use schemas::access::{ApiKey, KeyKind, Scope};
use schemas::control::{Definition, Tenant};
use schemas::ids::TenantId;
use schemas::tier::{IngestOverrides, Tier};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const PATH: &str = "/api/v1/ingestion/events/batch";
/// Connections of the neighbour, and of the noisy one.
const CONNECTIONS: u64 = 16;
const NOISY_CONNECTIONS: u64 = 16;
/// Events in each of the noisy one's requests.
const BATCH: u64 = 100;
/// Bytes of one of its events, as JSON and as a record.
const EVENT_BYTES: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
struct Load {
    seconds: u64,
    /// The neighbour's events a second.
    rate: u64,
    /// The noisy one's limit, in events a second, and how many times that it sends.
    limit: u64,
    times: u64,
}

/// Who makes noise, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Noise {
    Nobody,
    Http,
    Kafka,
}

/// What a part of a round gave.
struct Figures {
    posted: [f64; 2],
    visible: [f64; 2],
    /// Of the noisy one: events that went in, and those that did not, a second.
    noisy: [f64; 2],
}

struct Bench {
    installation: Installation,
    noisy: TenantId,
    keys: [String; 2],
    address: String,
    loud: Publisher,
    roles: Vec<Role>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::read();
    let load = Load {
        seconds: args.count("seconds", 20),
        rate: args.count("rate", 200),
        limit: args.count("limit", 1_000),
        times: args.count("times", 50),
    };
    let bench = Arc::new(Bench::open(load).await?);
    let warm = Load {
        seconds: args.count("warm", 40),
        ..load
    };
    bench.part(warm, Noise::Nobody, "warm").await?;
    let mut taken: HashMap<&str, Vec<Figures>> = HashMap::new();
    for round in 0..args.count("rounds", 5) {
        let parts = [
            ("alone", Noise::Nobody),
            ("beside HTTP", Noise::Http),
            ("beside Kafka", Noise::Kafka),
        ];
        for (name, noise) in parts {
            let figures = bench
                .part(load, noise, &format!("{round}-{noise:?}"))
                .await?;
            figures.print(&format!("round {} {name}", round + 1));
            taken.entry(name).or_default().push(figures);
        }
    }
    let medians = |name: &str| Figures::medians(&taken[name]);
    let alone = medians("alone");
    alone.print("median alone");
    for name in ["beside HTTP", "beside Kafka"] {
        let beside = medians(name);
        beside.print(&format!("median {name}"));
        let moved = |of: fn(&Figures) -> f64| (of(&beside) / of(&alone) - 1.0) * 100.0;
        println!(
            "{name}: the neighbour's p99 moved by {:+.0} % for the answer and {:+.0} % for the row \
             (target: below 20 %)",
            moved(|figures| figures.posted[1]),
            moved(|figures| figures.visible[1]),
        );
    }
    Ok(())
}

impl Bench {
    async fn open(load: Load) -> anyhow::Result<Self> {
        let linger = Duration::from_millis(5);
        let meters = schemas::meter::built_in();
        let installation = Installation::start(meters, linger).await?;
        let limit = u32::try_from(load.limit)?;
        let tenant = Tenant {
            tier: Tier::Enterprise,
            ingest: IngestOverrides {
                events_per_second: Some(limit),
                burst_events: Some(limit),
                ..IngestOverrides::default()
            },
            ..Tenant::new("noisy")
        };
        let noisy = installation.add_tenant("noisy", tenant).await?;
        let mut keys = vec![];
        for tenant in [installation.tenant.clone(), noisy.clone()] {
            let key = api::access::secret::generate(KeyKind::Secret)?;
            let definition = Definition::Key(own_key(&key));
            installation
                .define_for(&tenant, "bench", &definition)
                .await?;
            keys.push(key);
        }
        let keys = keys.try_into().ok().context("two keys")?;
        let port = Port::claim(PortWish::Any)?;
        let address = port.address();
        drop(port);
        let gateway = [("PULSE_GATEWAY_LISTEN", address.as_str())];
        let roles = vec![
            installation.launch_with("pulse-gateway", &gateway)?,
            installation.launch("pulse-metrics")?,
            installation.launch("pulse-clickhouse")?,
        ];
        let mut settings = PublisherSettings::new("loud");
        settings.linger = linger;
        let loud = Publisher::new(&installation.kafka, &settings)?;
        // As `pulse tenant acl` has it for a principal; without principals, of the client's name.
        bound_bytes(
            &installation.stack.kafka.brokers(),
            load.limit * EVENT_BYTES,
        )
        .await?;
        let bench = Self {
            installation,
            noisy,
            keys,
            address,
            loud,
            roles,
        };
        bench.until_serving().await?;
        Ok(bench)
    }

    async fn until_serving(&self) -> anyhow::Result<()> {
        let deadline = Deadline::after(PATIENCE);
        let body = event("first", 0);
        loop {
            self.check()?;
            let posted = async {
                let mut poster = Poster::connect(&self.address, PATH, &self.keys[0]).await?;
                poster.post(&body).await
            };
            match posted.await {
                Ok(200) => return Ok(()),
                other => anyhow::ensure!(!deadline.has_passed(), "the gateway says {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        self.roles.iter().try_for_each(Role::check)
    }

    /// One part of a round, whose events are called by its name.
    async fn part(
        self: &Arc<Self>,
        load: Load,
        noise: Noise,
        name: &str,
    ) -> anyhow::Result<Figures> {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let mut loud = JoinSet::new();
        match noise {
            Noise::Nobody => {}
            Noise::Http => {
                for at in 0..NOISY_CONNECTIONS {
                    let (bench, stop) = (Arc::clone(self), Arc::clone(&stop));
                    let counts = Arc::clone(&counts);
                    loud.spawn(async move { bench.shout(load, at, &stop, &counts).await });
                }
            }
            Noise::Kafka => {
                let (bench, stop) = (Arc::clone(self), Arc::clone(&stop));
                let counts = Arc::clone(&counts);
                loud.spawn(async move { bench.pour(load, &stop, &counts).await });
            }
        }
        let mut posting = JoinSet::new();
        for at in 0..CONNECTIONS {
            let (bench, name) = (Arc::clone(self), format!("{name}-{at}"));
            posting.spawn(async move { bench.post(load, &name).await });
        }
        let (mut posted_ms, mut answered) = (vec![], HashMap::new());
        let visible = self.watch(load, name, &mut posting, &mut posted_ms, &mut answered);
        let mut visible_ms = visible.await?;
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = loud.join_next().await {
            ended??;
        }
        self.check()?;
        let of = |times: &mut [f64]| [0.5, 0.99].map(|share| percentile(times, share));
        let seconds = load.seconds as f64;
        Ok(Figures {
            posted: of(&mut posted_ms),
            visible: of(&mut visible_ms),
            noisy: [0, 1].map(|at| counts[at].load(Ordering::Relaxed) as f64 / seconds),
        })
    }

    /// Posts the neighbour's events of one connection: when each was answered, and how long that
    /// took.
    async fn post(&self, load: Load, name: &str) -> anyhow::Result<Vec<(String, Instant, f64)>> {
        let mut poster = Poster::connect(&self.address, PATH, &self.keys[0]).await?;
        let mut pace = Pace::new(load.rate as f64 / CONNECTIONS as f64);
        let mut posted = vec![];
        for number in 0..load.rate * load.seconds / CONNECTIONS {
            let due = pace.next().await;
            let id = format!("{name}-{number}");
            let status = poster.post(&event(&id, number)).await?;
            anyhow::ensure!(status == 200, "the neighbour is answered {status}");
            let now = Instant::now();
            posted.push((id, now, (now - due).as_secs_f64() * 1e3));
        }
        Ok(posted)
    }

    /// Looks for the neighbour's rows until all are there: how long after its answer each was.
    async fn watch(
        &self,
        load: Load,
        name: &str,
        posting: &mut JoinSet<anyhow::Result<Vec<(String, Instant, f64)>>>,
        posted_ms: &mut Vec<f64>,
        answered: &mut HashMap<String, Instant>,
    ) -> anyhow::Result<Vec<f64>> {
        let mut seen: HashMap<String, Instant> = HashMap::new();
        let began_ms = clock::now_ms() - 1_000;
        let deadline = Deadline::after(Duration::from_secs(load.seconds) + PATIENCE);
        let mut newest_ms = began_ms;
        loop {
            while let Some(posted) = posting.try_join_next() {
                for (id, at, ms) in posted?? {
                    posted_ms.push(ms);
                    answered.insert(id, at);
                }
            }
            for (id, at_ms) in self.rows(name, newest_ms).await {
                newest_ms = newest_ms.max(at_ms - 2_000);
                seen.entry(id).or_insert_with(Instant::now);
            }
            let is_all = posting.is_empty() && answered.keys().all(|id| seen.contains_key(id));
            if is_all {
                break;
            }
            anyhow::ensure!(!deadline.has_passed(), "not all rows were seen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let after = |(id, at): (&String, &Instant)| {
            let seen = seen[id].saturating_duration_since(*at);
            seen.as_secs_f64() * 1e3
        };
        Ok(answered.iter().map(after).collect())
    }

    /// Rows of a part that the log took since, and when.
    async fn rows(&self, name: &str, since_ms: i64) -> Vec<(String, i64)> {
        let sql = format!(
            "SELECT event_id AS id, toUnixTimestamp64Milli(_appended_at) AS at_ms FROM events \
             WHERE tenant = 'acme' AND startsWith(event_id, '{name}-') \
             AND _appended_at >= fromUnixTimestamp64Milli({since_ms}, 'UTC')"
        );
        let rows: Vec<Value> = self
            .installation
            .server
            .rows(&sql)
            .await
            .unwrap_or_default();
        let read = |row: &Value| Some((row["id"].as_str()?.to_owned(), row["at_ms"].as_i64()?));
        rows.iter().filter_map(read).collect()
    }

    /// Posts as the noisy one until it is told to stop.
    async fn shout(
        &self,
        load: Load,
        at: u64,
        stop: &AtomicBool,
        [taken, refused]: &[AtomicU64; 2],
    ) -> anyhow::Result<()> {
        let mut poster = Poster::connect(&self.address, PATH, &self.keys[1]).await?;
        let per_second = (load.limit * load.times) as f64 / (BATCH * NOISY_CONNECTIONS) as f64;
        let mut pace = Pace::new(per_second);
        let events = (0..BATCH).map(|number| event(&format!("loud-{at}-{number}"), number));
        let body = events.collect::<Vec<_>>().join("\n");
        while !stop.load(Ordering::Relaxed) {
            pace.next().await;
            match poster.post(&body).await? {
                200 => taken.fetch_add(BATCH, Ordering::Relaxed),
                _ => refused.fetch_add(BATCH, Ordering::Relaxed),
            };
        }
        Ok(())
    }

    /// Writes as a producer of the noisy one's own until it is told to stop; what the broker does
    /// not take in time is not offered again.
    async fn pour(
        &self,
        load: Load,
        stop: &AtomicBool,
        [taken, refused]: &[AtomicU64; 2],
    ) -> anyhow::Result<()> {
        const AT_ONCE: usize = 32;
        let per_request = BATCH * 10;
        let mut pace = Pace::new((load.limit * load.times) as f64 / per_request as f64);
        let (mut sending, mut number) = (JoinSet::new(), 0);
        while !stop.load(Ordering::Relaxed) {
            pace.next().await;
            while let Some(sent) = sending.try_join_next() {
                let is_taken: anyhow::Result<()> = sent?;
                let count = if is_taken.is_ok() { taken } else { refused };
                count.fetch_add(per_request, Ordering::Relaxed);
            }
            if sending.len() >= AT_ONCE {
                refused.fetch_add(per_request, Ordering::Relaxed);
                continue;
            }
            let mut batch = benches::trades::Batch::default();
            let at = schemas::time::EventTime::from_us(clock::now_us());
            (number..number + per_request).for_each(|number| batch.push(number, at));
            number += per_request;
            let (publisher, tenant) = (self.loud.clone(), self.noisy.clone());
            sending.spawn(async move { publish_each(&publisher, &tenant, batch.records()).await });
        }
        Ok(())
    }
}

fn own_key(key: &str) -> ApiKey {
    ApiKey {
        name: "bench".into(),
        kind: KeyKind::Secret,
        hash: api::access::secret::hash(key),
        scopes: [Scope::Ingest].into(),
        origins: vec![],
        expires_at_ms: None,
        events_per_second: None,
    }
}

/// An event of about [`EVENT_BYTES`] bytes.
fn event(id: &str, number: u64) -> String {
    let event = json!({
        "event_id": id, "event_type": "custom_event", "name": "order",
        "timestamp": clock::now_ms(), "subject": format!("shop-{}", number % 40),
        "source": {"service": "shop"}, "context": {"tags": {"side": "buy"}},
        "metrics": {"price": 12.5, "size": 3}, "title": "x".repeat(80),
    });
    event.to_string()
}

/// Has the broker slow the client `loud` beyond so many bytes a second.
async fn bound_bytes(brokers: &str, bytes_per_second: u64) -> anyhow::Result<()> {
    let library = fetch::kafka(&Cache::of_user()?, &|text| eprintln!("{text}")).await?;
    let output = Command::new("java")
        .arg("-cp")
        .arg(library.join("*"))
        .args(["kafka.admin.ConfigCommand", "--bootstrap-server", brokers])
        .args([
            "--alter",
            "--entity-type",
            "clients",
            "--entity-name",
            "loud",
        ])
        .arg("--add-config")
        .arg(format!("producer_byte_rate={bytes_per_second}"))
        .output()?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    Ok(())
}

impl Figures {
    fn medians(all: &[Self]) -> Self {
        let of = |value: &dyn Fn(&Self) -> f64| {
            let mut values: Vec<f64> = all.iter().map(value).collect();
            percentile(&mut values, 0.5)
        };
        Self {
            posted: [0, 1].map(|at| of(&|figures| figures.posted[at])),
            visible: [0, 1].map(|at| of(&|figures| figures.visible[at])),
            noisy: [0, 1].map(|at| of(&|figures| figures.noisy[at])),
        }
    }

    fn print(&self, name: &str) {
        let ([p50, p99], [row50, row99]) = (self.posted, self.visible);
        println!(
            "{name}: answered after p50 {p50:.1} ms, p99 {p99:.1} ms; a row {row50:.0} ms later, \
             p99 {row99:.0} ms; the noisy one: {:.0} events/s went in, {:.0} did not",
            self.noisy[0], self.noisy[1]
        );
    }
}
