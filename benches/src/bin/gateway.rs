//! `pulse-gateway` under wrk, on the same cores: authenticated, limited, validated, acknowledged by
//! every in-sync replica, one outcome for each event.
//!
//! `gateway [--runs N] [--seconds N] [--warm N] [--only LOAD] [--others FOLDER]
//! [--beside NAME=VALUE,…]`; a load is `100x64` for instance: 100 events a request over 64
//! connections. With `--others`, what `benches/gateways.sh` has built is measured in turn with
//! ours, on the same broker; with `--beside`, a second gateway of ours with these settings.
//!
//! A broker compiles itself while it runs, and uses up to six times as much CPU until it has: so
//! each engine drives the first load for `--warm` seconds before anything is measured.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use benches::installation::{Installation, Role};
use benches::{Args, percentile, process};
use pulse::stack::{Launch, Port, PortWish, Process};
use runtime::clock;
use runtime::clock::Deadline;
use schemas::access::{ApiKey, KeyKind, Scope};
use schemas::control::Definition;

/// Events a request and connections.
const LOADS: [(usize, usize); 4] = [(100, 64), (1, 512), (1, 64), (1, 1_000)];
/// Bytes of one event as JSON.
const EVENT_BYTES: usize = 300;
/// Different bodies; each is sent again and again.
const BODIES: usize = 64;
const READY_MAX: Duration = Duration::from_secs(60);

/// A program that takes events.
struct Engine {
    name: &'static str,
    url: String,
    pid: u32,
    /// How it wants its events: field names and what is around them differ.
    shape: Shape,
    _held: Held,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Ours,
    Ceiling,
}

enum Held {
    Role(Role),
    Process(
        Process,
        #[expect(dead_code, reason = "it is ours while it is held")] Port,
    ),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::read();
    let (runs, seconds) = (args.count("runs", 3), args.count("seconds", 10));
    let warm = args.count("warm", 20);
    let bench = Installation::start(vec![], Duration::from_millis(5)).await?;
    let key = api::access::secret::generate(KeyKind::Secret)?;
    bench
        .define("bench", &Definition::Key(own_key(&key)))
        .await?;
    let mut engines = vec![ours(&bench, "ours", &[]).await?];
    if let Some(settings) = args.text("beside") {
        let settings: Vec<_> = settings
            .split(',')
            .filter_map(|s| s.split_once('='))
            .collect();
        engines.push(ours(&bench, "beside", &settings).await?);
    }
    if let Some(folder) = args.text("others") {
        engines.extend(others(&bench, Path::new(folder)).await?);
    }
    let broker = bench.stack.kafka.pid();
    let wrk = |(batch, connections), seconds| Wrk {
        batch,
        connections,
        seconds,
        key: &key,
    };
    for engine in &engines {
        wrk(LOADS[0], warm).drive(&bench, engine, broker)?;
    }
    for (batch, connections) in LOADS {
        let load = format!("{batch}x{connections}");
        if args.text("only").is_some_and(|only| only != load) {
            continue;
        }
        let mut taken: Vec<Vec<Figures>> = engines.iter().map(|_| vec![]).collect();
        for _ in 0..runs {
            for (engine, taken) in engines.iter().zip(&mut taken) {
                let wrk = wrk((batch, connections), seconds);
                let figures = wrk.drive(&bench, engine, broker)?;
                figures.print(&format!("{load} {}", engine.name));
                taken.push(figures);
            }
        }
        let ours = median(&taken[0], |f| f.events_per_second);
        for (engine, taken) in engines.iter().zip(&taken) {
            println!(
                "{load} {}: median {:.0} events/s, {:.2} µs of CPU each, p50 {:.1} ms, p99 {:.1} ms; ours is {:.2} x",
                engine.name,
                median(taken, |f| f.events_per_second),
                median(taken, |f| f.cpu_us),
                median(taken, |f| f.p50_ms),
                median(taken, |f| f.p99_ms),
                ours / median(taken, |f| f.events_per_second),
            );
        }
    }
    Ok(())
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

async fn ours(
    bench: &Installation,
    name: &'static str,
    settings: &[(&str, &str)],
) -> anyhow::Result<Engine> {
    let port = Port::claim(PortWish::Any)?;
    let address = port.address();
    drop(port);
    let listen = [("PULSE_GATEWAY_LISTEN", address.as_str())];
    let role = bench.launch_with("pulse-gateway", &[&listen, settings].concat())?;
    let engine = Engine {
        name,
        url: format!("http://{address}/api/v1/ingestion/events/batch"),
        pid: role.process.pid(),
        shape: Shape::Ours,
        _held: Held::Role(role),
    };
    answering(&address, &engine).await?;
    Ok(engine)
}

/// The ceiling and Bento, where they were built.
async fn others(bench: &Installation, folder: &Path) -> anyhow::Result<Vec<Engine>> {
    let mut engines = vec![];
    let brokers = bench.stack.kafka.brokers();
    let topic = bench.tenant.topic(schemas::ids::Stream::Events).to_string();
    for (name, shape) in [("ceiling", Shape::Ceiling), ("bento", Shape::Ours)] {
        let program = folder.join(name);
        anyhow::ensure!(program.is_file(), "{} is not built", program.display());
        let port = Port::claim(PortWish::Any)?;
        let address = port.address();
        let log = bench.stack.folder().join(format!("{name}.log"));
        let launch = Launch::new(&program, log);
        let launch = match shape {
            Shape::Ceiling => launch.args([
                "--listen",
                &address,
                "--topic",
                &topic,
                "--brokers",
                &brokers,
            ]),
            Shape::Ours => launch
                .arg("-c")
                .arg(folder.join("bento.yaml"))
                .env("LISTEN", &address)
                .env("TOPIC", &topic)
                .env("BROKERS", &brokers),
        };
        let process = launch.spawn()?;
        let engine = Engine {
            name,
            url: format!("http://{address}/"),
            pid: process.pid(),
            shape,
            _held: Held::Process(process, port),
        };
        answering(&address, &engine).await?;
        engines.push(engine);
    }
    Ok(engines)
}

async fn answering(address: &str, engine: &Engine) -> anyhow::Result<()> {
    let deadline = Deadline::after(READY_MAX);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        match &engine._held {
            Held::Role(role) => role.check()?,
            Held::Process(process, _) => {
                anyhow::ensure!(process.is_running(), "{}", process.last_words());
            }
        }
        anyhow::ensure!(!deadline.has_passed(), "{} does not listen", engine.name);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// One load.
struct Wrk<'a> {
    batch: usize,
    connections: usize,
    seconds: u64,
    key: &'a str,
}

/// What one run gave.
struct Figures {
    events_per_second: f64,
    cpu_us: f64,
    broker_us: f64,
    p50_ms: f64,
    p99_ms: f64,
    megabytes: f64,
    bad: f64,
}

impl Wrk<'_> {
    fn drive(&self, bench: &Installation, engine: &Engine, broker: u32) -> anyhow::Result<Figures> {
        let script = self.script(bench.stack.folder(), engine)?;
        let used = |pid| process::cpu_seconds(Some(pid));
        let before = [used(engine.pid), used(broker)];
        let output = Command::new("wrk")
            .args([
                "-t1",
                &format!("-c{}", self.connections),
                &format!("-d{}s", self.seconds),
            ])
            .args(["--timeout", "20s", "-s"])
            .arg(&script)
            .arg(&engine.url)
            .output()
            .context("wrk is a Debian package")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("FIGURES "));
        let line = line.with_context(|| format!("wrk said {text:?} {output:?}"))?;
        let numbers: Vec<f64> = line.split(' ').filter_map(|n| n.parse().ok()).collect();
        let [p50_ms, p99_ms, requests, wall, bad] = numbers[..] else {
            anyhow::bail!("wrk said {line:?}");
        };
        let events = requests * self.batch as f64;
        let cpu = |at: usize, pid| (used(pid) - before[at]) / events * 1e6;
        Ok(Figures {
            events_per_second: events / wall,
            cpu_us: cpu(0, engine.pid),
            broker_us: cpu(1, broker),
            p50_ms,
            p99_ms,
            megabytes: process::peak_megabytes(Some(engine.pid)),
            bad,
        })
    }

    fn script(&self, folder: &Path, engine: &Engine) -> anyhow::Result<PathBuf> {
        let mut script = String::from("local b = {}\n");
        for body in 0..BODIES {
            let lines: Vec<_> = (0..self.batch)
                .map(|at| event(engine.shape, body * self.batch + at))
                .collect();
            script += &format!("b[{}] = [==[{}]==]\n", body + 1, lines.join("\n"));
        }
        script += &format!(
            "local k = 0\nwrk.method = 'POST'\n\
             wrk.headers['Content-Type'] = 'application/x-ndjson'\n\
             wrk.headers['X-API-Key'] = '{}'\n\
             function request() k = k % {BODIES} + 1 return wrk.format(nil, nil, nil, b[k]) end\n\
             function done(s, l, r) io.write(string.format('FIGURES %.3f %.3f %.0f %.3f %d\\n', \
             l:percentile(50)/1e3, l:percentile(99)/1e3, s.requests, s.duration/1e6, \
             s.errors.status+s.errors.timeout+s.errors.connect+s.errors.read)) end\n",
            self.key
        );
        let path = folder.join(format!("{}-{}.lua", engine.name, self.batch));
        std::fs::write(&path, script)?;
        Ok(path)
    }
}

/// An event of [`EVENT_BYTES`] bytes.
fn event(shape: Shape, at: usize) -> String {
    let at_ms = clock::now_ms();
    let (product, size) = (at % 400, 1 + at % 9_999_999);
    let side = ["sell", "buy"][at % 2];
    let price = format!("{}.{:02}", 16_000 + at % 999, at % 100);
    let with = |note: &str| match shape {
        Shape::Ours => format!(
            "{{\"event_id\":\"{at:024x}\",\"event_type\":\"custom_event\",\"name\":\"order\",\
             \"timestamp\":{at_ms},\"subject\":\"P{product:03}-USD\",\
             \"source\":{{\"service\":\"exchange\"}},\"context\":{{\"tags\":{{\"side\":\"{side}\"}}}},\
             \"metrics\":{{\"price\":{price},\"size\":0.{size:08}}},\"title\":\"{note}\"}}"
        ),
        Shape::Ceiling => format!(
            "{{\"event_id\":\"{at:024x}\",\"occurred_at\":{at_ms},\"product\":\"P{product:03}-USD\",\
             \"side\":\"{side}\",\"price\":\"{price}\",\"size\":\"0.{size:08}\",\
             \"trade_id\":{},\"source\":\"exchange-feed-eu-west-1\",\"note\":\"{note}\"}}",
            1_000_000_000 + at
        ),
    };
    let missing = EVENT_BYTES.saturating_sub(with("").len());
    with(&"x".repeat(missing))
}

fn median(figures: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(of).collect();
    percentile(&mut values, 0.5)
}

impl Figures {
    fn print(&self, name: &str) {
        println!(
            "{name}: {:.0} events/s; {:.2} µs of CPU each, the broker's {:.2}; p50 {:.2} ms, p99 {:.2} ms; {:.0} MB; {} bad answers",
            self.events_per_second,
            self.cpu_us,
            self.broker_us,
            self.p50_ms,
            self.p99_ms,
            self.megabytes,
            self.bad,
        );
    }
}
