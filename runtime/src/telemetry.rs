//! Logs, traces and metrics of a process.
//!
//! Metrics live in a registry that is handed to the parts; there is no global one. Each is declared
//! as a [`Metric`], so that `docs/metrics.md` can be compared with the declarations by a test.

use std::fmt::Debug;
use std::hash::Hash;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Environment, Key, Settings};

mod losses;
mod process;
mod traces;

pub use traces::TARGET;
pub(crate) use traces::Traces;

const FILTER: Key = Key {
    name: "PULSE_LOG",
    default: Some("info"),
    doc: "What is logged: a level, or `target=level` parts separated by commas.",
};
const FORMAT: Key = Key {
    name: "PULSE_LOG_FORMAT",
    default: Some("text"),
    doc: "`text` for people, `json` for machines.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[FILTER, FORMAT, traces::ENDPOINT];

/// What is logged and how it looks, and where spans go.
#[derive(Clone, Debug)]
pub struct LogConfig {
    filter: String,
    format: Format,
    /// The collector of spans, where there is one.
    pub(crate) collector: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Text,
    Json,
}

impl Settings for LogConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let filter = env.text(&FILTER);
        let filter = filter.and_then(|filter| match EnvFilter::try_new(&filter) {
            Ok(_) => Some(filter),
            Err(error) => env.refuse(&FILTER, format!("{error}")),
        });
        let format = env.text(&FORMAT).and_then(|format| match format.as_str() {
            "text" => Some(Format::Text),
            "json" => Some(Format::Json),
            _ => env.refuse(&FORMAT, "must be text or json"),
        });
        let collector = traces::read_endpoint(env);
        Some(Self {
            filter: filter?,
            format: format?,
            collector: collector?,
        })
    }
}

/// Begins to log to standard error. A second call changes nothing.
pub fn log_to_stderr(config: &LogConfig) {
    log_and_trace(config, None);
}

/// Begins to log to standard error, and to make spans for a collector.
pub(crate) fn log_and_trace(config: &LogConfig, traces: Option<&Traces>) {
    let filter = EnvFilter::new(&config.filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        Format::Text => lines
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .with_filter(filter)
            .boxed(),
        Format::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let mut layers = vec![lines];
    layers.extend(traces.map(Traces::layer));
    let begun = tracing_subscriber::registry().with(layers).try_init();
    // Tests start several parts in one process; the first one's settings hold.
    drop(begun);
}

/// A metric as it is declared and documented.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name as Prometheus shows it, `pulse_…`; a counter's ends in `_total`.
    pub name: &'static str,
    /// What it counts or measures, in one sentence.
    pub doc: &'static str,
}

/// A process's metrics. Cheap to clone; all clones are one registry.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// A registry with the process's own figures: memory, CPU, threads, open files.
    pub fn of_process() -> Self {
        let metrics = Self::default();
        metrics.with(|registry| registry.register_collector(Box::new(process::Figures)));
        metrics
    }

    /// Registers a counter.
    pub fn counter(&self, metric: &Metric) -> Counter {
        let counter = Counter::default();
        self.register(counter_name(metric), metric, counter.clone());
        counter
    }

    /// Registers a gauge.
    pub fn gauge(&self, metric: &Metric) -> Gauge {
        let gauge = Gauge::default();
        self.register(metric.name, metric, gauge.clone());
        gauge
    }

    /// Registers a histogram with these bucket bounds.
    pub fn histogram(&self, metric: &Metric, bounds: &[f64]) -> Histogram {
        let histogram = Histogram::new(bounds.iter().copied());
        self.register(metric.name, metric, histogram.clone());
        histogram
    }

    /// Registers counters that differ in their labels. The caller bounds how many there can be.
    pub fn counters<L: Labels>(&self, metric: &Metric) -> Family<L, Counter> {
        let family = Family::default();
        self.register(counter_name(metric), metric, family.clone());
        family
    }

    /// Registers gauges that differ in their labels. The caller bounds how many there can be.
    pub fn gauges<L: Labels>(&self, metric: &Metric) -> Family<L, Gauge> {
        let family = Family::default();
        self.register(metric.name, metric, family.clone());
        family
    }

    /// All metrics as Prometheus reads them.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut text, &registry).expect("writing to a string does not fail");
        text
    }

    fn register(
        &self,
        name: &'static str,
        metric: &Metric,
        value: impl prometheus_client::registry::Metric,
    ) {
        // The encoder puts the full stop there itself.
        let doc = metric.doc.trim_end_matches('.');
        self.with(|registry| registry.register(name, doc, value));
    }

    fn with(&self, change: impl FnOnce(&mut Registry)) {
        change(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A set of labels: few, and each with few values.
pub trait Labels: EncodeLabelSet + Clone + Hash + Eq + Debug + Send + Sync + 'static {}

impl<L: EncodeLabelSet + Clone + Hash + Eq + Debug + Send + Sync + 'static> Labels for L {}

/// The encoder appends `_total` to a counter's name.
fn counter_name(metric: &Metric) -> &'static str {
    metric
        .name
        .strip_suffix("_total")
        .expect("a counter's name ends in _total")
}

/// Every metric of this crate, by part; other crates add their own to the documentation's test.
pub fn table() -> Vec<(&'static str, &'static [Metric])> {
    vec![
        ("Every process", process::METRICS),
        ("Control", crate::control::METRICS),
    ]
}

/// Metrics as a Markdown table, one row each, as `docs/metrics.md` holds them.
pub fn markdown(metrics: &[Metric]) -> String {
    let mut text = String::from("| metric | meaning |\n|---|---|\n");
    for metric in metrics {
        text.push_str(&format!("| `{}` | {} |\n", metric.name, metric.doc));
    }
    text
}

#[cfg(test)]
mod tests;
