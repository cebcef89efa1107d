//! The servers under the whole line go away and come back, under load: nothing is lost, doubled or
//! late, every process lives on, and meanwhile everybody says what is the matter.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use pulse::installation::{DataFolder, Entry, EntryState, ProcessId, RunFile, RunState};
use pulse::simulator::{MarketOptions, Simulator, SimulatorOptions, Source, Speed};
use pulse::stack::binary;
use runtime::clock;
use runtime::config::Environment;
use schemas::control::{Channel, Definition, Exchange, Feed, Limits};
use schemas::ids::{Stream, TenantId};
use schemas::meter::built_in;
use serde_json::Value;
use tests::trades::{self, Candle, CandleKey, Trade};
use tests::{Installation, eventually, tables, topic};

/// How long a server is away: longer than a session and a transaction may last.
const AWAY: Duration = Duration::from_secs(30);

/// How long the market is open: through both outages.
const OPEN: Duration = Duration::from_secs(85);

const SHORT_MS: [i64; 2] = [1_000, 60_000];
const LONG_MS: [i64; 3] = [300_000, 3_600_000, 86_400_000];
const ROLES: [&str; 3] = ["pulse-metrics-0", "pulse-clickhouse-0", "pulse-coinbase-0"];

/// The line on a simulated market, which keeps its own record of what it traded.
struct Line {
    installation: Installation,
    simulator: Simulator,
    tenant: TenantId,
    /// Where `pulse status` looks.
    folder: DataFolder,
}

impl Line {
    async fn start() -> Self {
        let mut installation = Installation::start().await;
        let products: Vec<String> = ["BTC", "ETH", "SOL", "XRP"]
            .map(|coin| format!("{coin}-USD"))
            .into();
        let market = MarketOptions {
            products: products.clone(),
            duration: Some(OPEN),
            trades_per_second: 50.0,
            changes_per_second: 20.0,
            ..MarketOptions::default()
        };
        let options = SimulatorOptions::new(Source::Market(market), Speed::Times(1.0));
        let simulator = Simulator::start(options).await.unwrap();
        let tenant = installation
            .tenant("outage", Limits::default(), &built_in())
            .await;
        installation.role("pulse-metrics", "0", &[]).await;
        installation.role("pulse-clickhouse", "0", &[]).await;
        let url = simulator.url(Exchange::CoinbaseExchange);
        let urls = [("PULSE_COINBASE_EXCHANGE_URL", url.as_str())];
        installation.role("pulse-coinbase", "0", &urls).await;
        let feed = Feed {
            exchange: Exchange::CoinbaseExchange,
            products,
            channels: vec![Channel::Quotes, Channel::Trades],
            enabled: true,
        };
        installation
            .define(&tenant, "market", Definition::Feed(feed))
            .await;
        let folder = run_file(&installation);
        Self {
            installation,
            simulator,
            tenant,
            folder,
        }
    }

    fn topic(&self, stream: Stream) -> String {
        self.tenant.topic(stream).to_string()
    }

    /// Windows have fired, so every part is at work.
    async fn until_flowing(&self) {
        eventually("candles have fired", async || {
            let fired = topic::read(&self.installation.kafka(), &self.topic(Stream::Metrics));
            match fired.len() {
                0 => Err("none"),
                _ => Ok(()),
            }
        })
        .await;
    }

    /// Waits until the check of a role says that its server is away.
    async fn until_unready(&self, role: &str, check: &str) {
        eventually(&format!("{role} is not ready"), async || {
            let health = self.installation.health(role).await?;
            let is_named = health["checks"][check]["state"] == "not_ready";
            match is_named && health["ready"] == false {
                true => Ok(()),
                false => Err(health.to_string()),
            }
        })
        .await;
    }

    /// Waits until `pulse status` says of exactly these processes that they cannot work.
    async fn until_status(&self, unwell: &[&str]) -> Value {
        eventually(&format!("the status names {unwell:?}"), async || {
            let status = self.status().await;
            let processes = status["processes"].as_array().unwrap();
            let named: Vec<_> = processes
                .iter()
                .filter(|process| process["health"] != "ready")
                .map(|process| process["name"].as_str().unwrap())
                .collect();
            match named == unwell && status["healthy"] == unwell.is_empty() {
                true => Ok(status),
                false => Err(status.to_string()),
            }
        })
        .await
    }

    async fn status(&self) -> Value {
        let mut command = Command::new(binary("pulse").unwrap());
        command
            .args(["status", "--json", "--data"])
            .arg(self.folder.path())
            .envs(self.installation.stack.environment());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }

    async fn until_all_ready(&self) {
        for role in ROLES {
            self.installation.until_ready(role).await;
        }
        self.until_status(&[]).await;
    }

    async fn kafka_goes_away(&mut self) {
        let began = Instant::now();
        self.installation.stack.kafka.kill9().await;
        for role in ROLES {
            self.until_unready(role, "kafka").await;
        }
        let unwell = [
            "kafka",
            "pulse-metrics",
            "pulse-clickhouse",
            "pulse-coinbase",
        ];
        let status = self.until_status(&unwell).await;
        assert!(status["lag"].is_null(), "{status}");
        tokio::time::sleep(AWAY.saturating_sub(began.elapsed())).await;
        self.installation.stack.kafka.restart().await.unwrap();
        self.until_all_ready().await;
    }

    async fn clickhouse_goes_away(&mut self) {
        let began = Instant::now();
        self.installation.stack.clickhouse.kill9().await;
        self.until_unready("pulse-clickhouse-0", "clickhouse").await;
        self.until_status(&["clickhouse", "pulse-clickhouse"]).await;
        tokio::time::sleep(AWAY.saturating_sub(began.elapsed())).await;
        self.installation.stack.clickhouse.restart().await.unwrap();
        self.until_all_ready().await;
    }

    /// What the simulator says that it traded.
    fn truth(&self) -> Vec<Trade> {
        let trades = self.simulator.truth().trades().into_iter();
        let mut trades: Vec<_> = trades
            .map(|trade| Trade {
                subject: format!("coinbase:{}", trade.product),
                at_us: trade.occurred_at.as_us(),
                id: trade.trade_id,
                price: trade.price.units(),
                size: trade.size.units(),
            })
            .collect();
        trades.sort_by(|a, b| (&a.subject, a.id).cmp(&(&b.subject, b.id)));
        trades
    }

    async fn until_drained(&self) {
        self.simulator.finished().await;
        eventually("every trade is on the log", async || {
            let expect = self.truth().len();
            let found = trades::on_log(&self.installation.kafka(), &self.tenant).len();
            match found == expect {
                true => Ok(()),
                false => Err(format!("{found} of {expect}")),
            }
        })
        .await;
        eventually("every event is counted, no short window open", async || {
            let figure = async |name: &str, label: &str| {
                let role = "pulse-metrics-0";
                self.installation.figure(role, name, label).await
            };
            let counted = figure("pulse_records", "\"in\"").await?;
            let open = figure("pulse_open_short_windows", "outage").await?;
            let events = topic::read(&self.installation.kafka(), &self.topic(Stream::Events));
            match counted as usize == events.len() && open == 0.0 {
                true => Ok(()),
                false => {
                    let log = self.installation.roles["pulse-metrics-0"]
                        .process
                        .log_tail(20);
                    Err(format!("{counted} of {}, {open} open\n{log}", events.len()))
                }
            }
        })
        .await;
    }

    async fn check(&self) {
        let truth = self.truth();
        let on_log = trades::on_log(&self.installation.kafka(), &self.tenant);
        assert_eq!(on_log.into_values().collect::<Vec<_>>(), truth);
        let candles = |stream| {
            let records = topic::read(&self.installation.kafka(), &self.topic(stream));
            records.into_iter().map(|record| record.value.unwrap())
        };
        let fired = trades::latest(candles(Stream::Metrics));
        let (short, long): (BTreeMap<_, _>, BTreeMap<_, _>) = fired
            .into_iter()
            .partition(|(key, _)| SHORT_MS.contains(&key.1));
        trades::assert_same("short", &short, &trades::candles(&truth, &SHORT_MS));
        let open = candles(Stream::MetricsOpen).map(|value| trades::decode(&value));
        let mut last: BTreeMap<CandleKey, Candle> =
            open.map(|(key, _, candle)| (key, candle)).collect();
        last.retain(|key, _| LONG_MS.contains(&key.1));
        last.extend(long);
        trades::assert_same("long", &last, &trades::candles(&truth, &LONG_MS));
        let late = self
            .installation
            .figure("pulse-metrics-0", "pulse_records", "\"late\"")
            .await;
        assert_eq!(late, Ok(0.0));
        tables::assert_equal(&self.installation, &[(&self.tenant, Limits::default())]).await;
    }

    async fn end(mut self) {
        self.installation.stop_all().await;
        self.simulator.stop().await;
    }
}

/// What `pulse up` would write, so that `pulse status` finds these processes and not others: one
/// that ended and was started again would be none of them.
fn run_file(installation: &Installation) -> DataFolder {
    let path = installation.stack.folder().join("data");
    let mut none = Environment::of::<String, String>([]);
    let folder = DataFolder::find(Some(&path), &mut none).unwrap();
    folder.make().unwrap();
    let mut run = RunFile::begin(clock::now_ms()).unwrap();
    run.state = RunState::Running;
    let stack = &installation.stack;
    let servers = [
        ("kafka", stack.kafka.brokers()),
        ("clickhouse", stack.clickhouse.url()),
    ];
    run.processes = servers.map(|(name, address)| entry(name, address)).into();
    for role in ROLES {
        let (name, process) = (role.trim_end_matches("-0"), &installation.roles[role]);
        run.processes.push(Entry {
            process: Some(ProcessId::of(process.process.pid()).unwrap()),
            health: Some(process.listen.clone()),
            state: EntryState::Running,
            ..entry(name, process.listen.clone())
        });
    }
    run.write(&folder).unwrap();
    folder
}

/// A server that is not of `pulse up`.
fn entry(name: &str, address: String) -> Entry {
    Entry {
        name: name.into(),
        process: None,
        address,
        health: None,
        log: None,
        state: EntryState::External,
        restart_count: 0,
        reason: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_and_clickhouse_each_away_for_30_s() {
    let mut line = Line::start().await;
    line.until_flowing().await;
    line.until_all_ready().await;
    line.kafka_goes_away().await;
    line.clickhouse_goes_away().await;
    line.until_drained().await;
    line.check().await;
    line.end().await;
}
