//! The servers under the whole line go away and come back, under load: nothing is lost, doubled or
//! late, every process lives on, and meanwhile everybody says what is the matter.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use pulse::installation::{DataFolder, Entry, EntryState, ProcessId, RunFile, RunState};
use pulse::simulator::{MarketOptions, Simulator, SimulatorOptions, Source, Speed};
use pulse::stack::binary;
use runtime::clock;
use runtime::config::Environment;
use schemas::control::{Channel, Exchange, Limits};
use schemas::ids::{Stream, TenantId};
use schemas::meter::built_in;
use serde_json::Value;
use tests::trades::{self, Trade};
use tests::{Installation, eventually, market, tables, throughout, topic};

/// How long a server is away: longer than a session and a transaction may last.
const AWAY: Duration = Duration::from_secs(30);

/// How long the market is open: until everybody is back from the second outage, which is checked;
/// on a busy machine that is after 85 s.
const OPEN: Duration = Duration::from_secs(120);

const ROLES: [&str; 3] = ["pulse-metrics-0", "pulse-clickhouse-0", CONNECTOR];

const CONNECTOR: &str = "pulse-coinbase-0";

/// How it shows that a server is away.
struct Outage {
    /// The check that says so, of each of these roles.
    check: &'static str,
    roles: &'static [&'static str],
    /// Whom the status names.
    unwell: &'static [&'static str],
}

const KAFKA_AWAY: Outage = Outage {
    check: "kafka",
    roles: &ROLES,
    unwell: &[
        "kafka",
        "pulse-metrics",
        "pulse-clickhouse",
        "pulse-coinbase",
    ],
};

const CLICKHOUSE_AWAY: Outage = Outage {
    check: "clickhouse",
    roles: &["pulse-clickhouse-0"],
    unwell: &["clickhouse", "pulse-clickhouse"],
};

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
        let exchange = Exchange::CoinbaseExchange;
        installation.coinbase(&[(exchange, &simulator)]).await;
        let channels = [Channel::Quotes, Channel::Trades];
        installation
            .feed(&tenant, exchange, &products, &channels)
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

    /// Says what is wrong unless this role's check says that its server is away.
    async fn is_unready(&self, role: &str, check: &str) -> Result<(), String> {
        let health = self.installation.health(role).await?;
        let is_named = health["checks"][check]["state"] == "not_ready";
        match is_named && health["ready"] == false {
            true => Ok(()),
            false => Err(format!("{role} is ready without {check}: {health}")),
        }
    }

    /// Says what is wrong unless `pulse status` says of exactly these processes that they cannot
    /// work.
    async fn is_status(&self, unwell: &[&str]) -> Result<Value, String> {
        let status = self.status().await;
        let processes = status["processes"].as_array().unwrap();
        let named: Vec<_> = processes
            .iter()
            .filter(|process| process["health"] != "ready")
            .map(|process| process["name"].as_str().unwrap())
            .collect();
        match named == unwell && status["healthy"] == unwell.is_empty() {
            true => Ok(status),
            false => Err(format!("the status names {named:?}: {status}")),
        }
    }

    /// Says what is wrong unless the market goes on, on the one connection that was ever made.
    async fn is_trading(&self) -> Result<(), String> {
        let figure = |name| {
            self.installation
                .figure(CONNECTOR, name, "coinbase_exchange")
        };
        let connected = figure("pulse_connector_connected").await?;
        let connections = figure("pulse_connector_connections_total").await?;
        let market = self.simulator.status();
        match (connected, connections, market.finished) {
            (1.0, 1.0, false) => Ok(()),
            _ => Err(format!(
                "connected {connected}, {connections} connections, {market:?}"
            )),
        }
    }

    /// Everybody notices that a server is away, and says so until [`AWAY`] is over, while the
    /// market goes on.
    async fn stays_away(&self, outage: &Outage) {
        let began = Instant::now();
        let look = async || {
            self.is_trading().await?;
            for role in outage.roles {
                self.is_unready(role, outage.check).await?;
            }
            let status = self.is_status(outage.unwell).await?;
            match status["lag"].is_null() == (outage.check == "kafka") {
                true => Ok(()),
                false => Err(format!("lag: {status}")),
            }
        };
        eventually("the outage is seen", look).await;
        let rest = AWAY.saturating_sub(began.elapsed());
        throughout("the outage is told of", rest, look).await;
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
        eventually("nobody is unwell", async || self.is_status(&[]).await).await;
    }

    async fn kafka_goes_away(&mut self) {
        self.installation.stack.kafka.kill9().await;
        self.stays_away(&KAFKA_AWAY).await;
        self.installation.stack.kafka.restart().await.unwrap();
        self.until_all_ready().await;
        assert_eq!(self.is_trading().await, Ok(()));
    }

    async fn clickhouse_goes_away(&mut self) {
        self.installation.stack.clickhouse.kill9().await;
        self.stays_away(&CLICKHOUSE_AWAY).await;
        self.installation.stack.clickhouse.restart().await.unwrap();
        self.until_all_ready().await;
        assert_eq!(self.is_trading().await, Ok(()));
    }

    /// What the simulator says that it traded.
    fn truth(&self) -> Vec<Trade> {
        market::truth(self.simulator.truth())
            .into_values()
            .collect()
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
        self.installation.until_counted(&[&self.tenant]).await;
    }

    async fn check(&self) {
        let truth = self.truth();
        let on_log = trades::on_log(&self.installation.kafka(), &self.tenant);
        assert_eq!(on_log.into_values().collect::<Vec<_>>(), truth);
        trades::assert_candles(&self.installation.kafka(), &self.tenant, &truth);
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
    let external = |(name, address)| Entry::external(name, address);
    run.processes = servers.map(external).into();
    for role in ROLES {
        let (name, process) = (role.trim_end_matches("-0"), &installation.roles[role]);
        run.processes.push(Entry {
            process: Some(ProcessId::of(process.process.pid()).unwrap()),
            health: Some(process.listen.clone()),
            state: EntryState::Running,
            ..Entry::external(name, process.listen.clone())
        });
    }
    run.write(&folder).unwrap();
    folder
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
