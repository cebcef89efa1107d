//! A process from its first line to its last: settings, logs, health port, work, drain.
//!
//! `main` of each program is one line, `service::main("pulse-metrics", run)`. Nothing is opened
//! before every setting was accepted, and the health port is bound before the work begins, so a
//! process that cannot be watched does not start.

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::config::{ConfigError, Environment, Key, Settings};
use crate::health::Health;
use crate::telemetry::{LogConfig, Metrics, Traces, log_and_trace};

mod port;
mod server;
mod shutdown;

pub use shutdown::Shutdown;

const LISTEN: Key = Key {
    name: "PULSE_LISTEN",
    default: Some("127.0.0.1:9101"),
    doc: "Where this process serves `/health/live`, `/health/ready` and `/metrics`.",
};
const INSTANCE: Key = Key {
    name: "PULSE_INSTANCE",
    default: Some("0"),
    doc: "This process's name among those of its kind; the same after a restart.",
};
const DRAIN: Key = Key {
    name: "PULSE_DRAIN_MS",
    default: Some("10000"),
    doc: "How long a process may take to end its work in order once it is told to stop.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[LISTEN, INSTANCE, DRAIN];

/// The exit code of a process whose settings cannot be used (`EX_CONFIG`).
const EXIT_CONFIG: u8 = 78;

/// What every process is told.
#[derive(Clone, Debug)]
struct ProcessConfig {
    listen: SocketAddr,
    instance: String,
    drain: Duration,
    log: LogConfig,
}

impl Settings for ProcessConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let listen = env.parse(&LISTEN);
        let instance = read_instance(env);
        let drain_ms = env.number(&DRAIN, 100..=600_000);
        let log = LogConfig::read(env);
        Some(Self {
            listen: listen?,
            instance: instance?,
            drain: Duration::from_millis(drain_ms?),
            log: log?,
        })
    }
}

/// It becomes part of group members' and transactions' names.
fn read_instance(env: &mut Environment) -> Option<String> {
    let instance = env.text(&INSTANCE)?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    match instance.len() <= 64 && instance.bytes().all(is_plain) {
        true => Some(instance),
        false => env.refuse(
            &INSTANCE,
            "must be up to 64 letters, digits, `-`, `_` or `.`",
        ),
    }
}

/// What a process's work is handed besides its settings. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// The program's name, `pulse-metrics` for instance.
    pub name: &'static str,
    /// This process's name among those of its kind; the same after a restart.
    pub instance: String,
    /// Tells when to stop.
    pub shutdown: Shutdown,
    /// Where parts say how they are.
    pub health: Health,
    /// Where parts register what they count.
    pub metrics: Metrics,
}

impl Service {
    /// A service that nobody signals or watches: for tests, and for parts inside another program.
    pub fn detached(name: &'static str) -> Self {
        Self {
            name,
            instance: "0".into(),
            shutdown: Shutdown::default(),
            health: Health::default(),
            metrics: Metrics::default(),
        }
    }

    /// `pulse-metrics-0`: the name of this process to Kafka, the same after a restart.
    pub fn member(&self) -> String {
        format!("{}-{}", self.name, self.instance)
    }
}

/// Runs a program: reads its settings, serves its health, runs `run` until it returns or a signal
/// comes, and then gives it [`PULSE_DRAIN_MS`](KEYS) to end in order.
///
/// `run` must return soon after [`Service::shutdown`] is requested; on return everything that it
/// began is done or given up in order.
pub fn main<C, F, W>(name: &'static str, run: F) -> ExitCode
where
    C: Settings,
    F: FnOnce(C, Service) -> W,
    W: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (process, config) = match read::<C>(Environment::of_process()) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{name}: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let traces = match traces(name, &process, runtime.handle()) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("{name}: spans cannot be exported: {error:#}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    log_and_trace(&process.log, traces.as_ref());
    log_panics();
    let ended = runtime.block_on(supervise(name, process, config, run));
    if let Some(traces) = traces {
        traces.end();
    }
    // A blocking task that does not end must not hold the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ended");
            ExitCode::FAILURE
        }
    }
}

fn traces(
    name: &'static str,
    process: &ProcessConfig,
    runtime: &Handle,
) -> anyhow::Result<Option<Traces>> {
    let collector = process.log.collector.as_deref();
    let open = |endpoint| Traces::open(endpoint, name, &process.instance, runtime);
    collector.map(open).transpose()
}

fn read<C: Settings>(mut env: Environment) -> Result<(ProcessConfig, C), ConfigError> {
    let process = ProcessConfig::read(&mut env);
    let config = C::read(&mut env);
    env.finish(process.zip(config))
}

async fn supervise<C, F, W>(
    name: &'static str,
    process: ProcessConfig,
    config: C,
    run: F,
) -> anyhow::Result<()>
where
    F: FnOnce(C, Service) -> W,
    W: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind(process.listen)
        .await
        .map_err(|error| anyhow::anyhow!("{} at {}: {error}", LISTEN.name, process.listen))?;
    let service = Service {
        name,
        instance: process.instance,
        shutdown: Shutdown::default(),
        health: Health::default(),
        metrics: Metrics::of_process(),
    };
    let address = listener.local_addr()?;
    tracing::info!(service = name, instance = service.instance, %address, "starts");
    let shutdown = service.shutdown.clone();
    shutdown.request_on_signal()?;
    let served = port::serve(listener, service.health.clone(), service.metrics.clone());
    let served = tokio::spawn(served);
    let mut work = tokio::spawn(run(config, service));
    let ended = tokio::select! {
        ended = &mut work => ended,
        () = shutdown.requested() => {
            tracing::info!(service = name, "drains");
            match tokio::time::timeout(process.drain, &mut work).await {
                Ok(ended) => ended,
                Err(_) => anyhow::bail!("work did not end within {:?}", process.drain),
            }
        }
    };
    served.abort();
    tracing::info!(service = name, "ends");
    ended.map_err(|error| anyhow::anyhow!("work ended abruptly: {error}"))?
}

/// A panic ends its task or thread; its message belongs in the log as everything else.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        tracing::error!(place, message, "panicked");
    }));
}

#[cfg(test)]
mod tests;
