//! Every role of ours outside containers, as the file says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use pulse::simulator::{MarketOptions, Simulator, SimulatorOptions, Source, Speed};
use pulse::stack::{Launch, Port, PortWish, Process, TestStack, binary};
use runtime::clickhouse::ClickHouseConfig;
use serde_json::Value;
use sinks::clickhouse::server::Server;
use tests::eventually;

use super::dashboards;
use super::file::{self, Role};

const GRACE: Duration = Duration::from_secs(15);

/// Where a role's address and port of the file are on this machine.
struct Place {
    stack: TestStack,
    simulator: Simulator,
    /// What a user would have put into `.env`.
    variables: BTreeMap<&'static str, String>,
    /// Ports in the place of those that the file names.
    ports: [Port; 3],
}

impl Place {
    async fn start() -> Self {
        let stack = TestStack::start().await.unwrap();
        let market = Source::Market(MarketOptions::default());
        let options = SimulatorOptions::new(market, Speed::Times(1.0));
        let simulator = Simulator::start(options).await.unwrap();
        let password = stack.clickhouse.writer().password.reveal().to_owned();
        let control = "a secret of this test alone".to_owned();
        let variables = [
            ("PULSE_CLICKHOUSE_PASSWORD", password),
            ("PULSE_CONTROL_SECRET", control),
        ];
        Self {
            stack,
            simulator,
            variables: variables.into(),
            ports: std::array::from_fn(|_| Port::claim(PortWish::Any).unwrap()),
        }
    }

    /// What is another here than in a container, and nothing else.
    fn replacements(&self) -> Vec<(&'static str, String)> {
        let simulator = self.simulator.address();
        let [api, operator, gateway] = &self.ports;
        vec![
            ("0.0.0.0:8080", api.address()),
            ("0.0.0.0:8082", operator.address()),
            ("http://api:8082", format!("http://{}", operator.address())),
            ("0.0.0.0:8081", gateway.address()),
            ("kafka:9092", self.stack.kafka.brokers()),
            ("http://clickhouse:8123", self.stack.clickhouse.url()),
            (
                "wss://ws-feed.exchange.coinbase.com",
                format!("ws://{simulator}/exchange"),
            ),
            (
                "wss://advanced-trade-ws.coinbase.com",
                format!("ws://{simulator}/advanced"),
            ),
        ]
    }

    /// The role's environment here. What was replaced is struck off `unused`.
    fn environment(
        &self,
        role: &Role,
        listen: &str,
        unused: &mut BTreeSet<&'static str>,
    ) -> BTreeMap<String, String> {
        let mut environment = role.environment.clone();
        for (name, value) in &mut environment {
            *value = file::filled_in(value, &self.variables);
            for (from, to) in self.replacements() {
                if value.contains(from) {
                    unused.remove(from);
                    *value = value.replace(from, &to);
                }
            }
            // Each service has a volume of its own there.
            if value.starts_with("/data/") {
                let own = self.stack.folder().join(format!("{}.data", role.name));
                *value = value.replace("/data", &own.to_string_lossy());
            }
            if name == "PULSE_LISTEN" {
                assert_eq!(value, "0.0.0.0:9101");
                listen.clone_into(value);
            }
        }
        environment
    }

    /// The role in an environment that is exactly this one.
    fn launch(&self, role: &Role, environment: &BTreeMap<String, String>) -> Launch {
        let folder = self.stack.folder().join(&role.name);
        std::fs::create_dir_all(&folder).unwrap();
        let program = binary(&role.command[0]).unwrap();
        Launch::new(
            "env",
            self.stack.folder().join(format!("{}.log", role.name)),
        )
        .arg("-i")
        .args(
            environment
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        )
        .arg(program)
        .args(&role.command[1..])
        .folder(folder)
    }
}

struct Running {
    role: Role,
    process: Process,
    listen: String,
    _port: Port,
}

/// Runs the role's health check as an engine would; true for healthy.
fn check(role: &Role, listen: &str, folder: &Path) -> Result<(), String> {
    let test = role.health.as_ref().unwrap();
    let arguments = test[1..]
        .iter()
        .map(|argument| argument.replace("127.0.0.1:9101", listen));
    assert!(
        test.iter().any(|argument| argument == "127.0.0.1:9101"),
        "{test:?}"
    );
    let mut command = std::process::Command::new(binary(&test[0]).unwrap());
    let output = command
        .args(arguments)
        .env_clear()
        .current_dir(folder)
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => Ok(()),
        code => Err(format!(
            "{code:?}: {}",
            String::from_utf8_lossy(&output.stdout)
        )),
    }
}

async fn start(place: &Place, role: Role, unused: &mut BTreeSet<&'static str>) -> Running {
    let port = Port::claim(PortWish::Any).unwrap();
    let listen = port.address();
    let environment = place.environment(&role, &listen, unused);
    let folder = place.stack.folder();
    let before = check(&role, &listen, folder);
    assert!(before.is_err(), "{}: healthy before it runs", role.name);
    let process = place.launch(&role, &environment).spawn().unwrap();
    eventually(&format!("{} is healthy", role.name), async || {
        assert!(process.is_running(), "{}", process.last_words());
        check(&role, &listen, folder)
    })
    .await;
    Running {
        role,
        process,
        listen,
        _port: port,
    }
}

/// Runs what ends by itself and gives what it said.
async fn run(place: &Place, role: &Role, unused: &mut BTreeSet<&'static str>) -> String {
    let environment = place.environment(role, "127.0.0.1:0", unused);
    let process = place.launch(role, &environment).spawn().unwrap();
    let status = process.exited().await;
    assert!(status.success(), "{}", process.last_words());
    process.log_tail(100)
}

/// The rows of a query as Grafana's user sees them.
async fn rows(place: &Place, sql: &str) -> Result<Vec<Value>, String> {
    let reader = place.stack.clickhouse.reader();
    let config = ClickHouseConfig {
        url: place.stack.clickhouse.url(),
        user: reader.user.clone(),
        password: Some(reader.password.clone()),
        ca: None,
        database: "pulse".into(),
    };
    let server = Server::new(&config, Duration::from_secs(30)).unwrap();
    server.rows(sql).await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_work_as_the_file_starts_them() {
    let place = Place::start().await;
    let compose = file::compose();
    let mut unused: BTreeSet<&str> = place.replacements().iter().map(|(from, _)| *from).collect();
    let mut running = vec![];
    for role in file::roles(&compose) {
        if role.health.is_some() {
            running.push(start(&place, role, &mut unused).await);
            continue;
        }
        let first = run(&place, &role, &mut unused).await;
        assert!(first.contains("made  demo/tenant/self"), "{first}");
        let second = run(&place, &role, &mut unused).await;
        assert!(
            second.contains("found demo/tenant/self") && !second.contains("made"),
            "{second}"
        );
    }
    assert_eq!(
        unused,
        BTreeSet::new(),
        "the file has no such address any more"
    );
    assert_eq!(running.len(), 5);

    // The candles of both markets come out at the other end.
    eventually("candles of both markets", async || {
        let sql = "SELECT DISTINCT product FROM candles WHERE tenant = 'demo' ORDER BY product";
        let found = rows(&place, sql).await?;
        match found.len() {
            2 => Ok(()),
            _ => Err(format!("{found:?}")),
        }
    })
    .await;
    for (title, sql) in dashboards::queries() {
        let found = rows(&place, &sql)
            .await
            .unwrap_or_else(|error| panic!("{title}: {error}"));
        if title == "Price" {
            assert!(!found.is_empty(), "{title}: no rows");
        }
    }

    for Running {
        role,
        process,
        listen,
        ..
    } in running
    {
        check(&role, &listen, place.stack.folder()).unwrap();
        let status = process.stop(GRACE).await;
        assert!(status.success(), "{}: {}", role.name, process.last_words());
        // Its file system is read-only in the container.
        let folder = place.stack.folder().join(&role.name);
        let left = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(left, 0, "{} wrote where it stands", role.name);
    }
    place.simulator.stop().await;
}
