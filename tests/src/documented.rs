//! Every setting and every metric of the project, and the pages that list them.
//!
//! The pages are written from the declarations (`cargo run -p tests --bin write-docs`), and a test
//! compares both, so neither can change alone.

use runtime::config::{self, Key};
use runtime::telemetry::{self, Metric};

/// Where the settings are listed.
pub const CONFIGURATION: &str = "docs/configuration.md";
/// Where the metrics are listed.
pub const METRICS: &str = "docs/metrics.md";

/// All settings, by part, in the order of the page.
pub fn keys() -> Vec<(&'static str, &'static [Key])> {
    let mut parts = pulse::init::env_file::settings();
    parts.push(("Tests", runtime::testing::KEYS));
    parts
}

/// All metrics, by part, in the order of the page.
pub fn metrics() -> Vec<(&'static str, &'static [Metric])> {
    let mut parts = telemetry::table();
    parts.extend([
        ("Coinbase", connectors::telemetry::METRICS),
        ("Metrics", processors::metrics::figures::METRICS),
        (
            "Metrics of two steps",
            processors::metrics::totals::figures::METRICS,
        ),
        ("ClickHouse sink", sinks::clickhouse::figures::METRICS),
    ]);
    parts.extend(api::metrics());
    parts
}

/// The page of settings.
pub fn configuration_page() -> String {
    let head = "# Configuration

Every process reads its settings once, from the environment, before it opens a socket.
All that is wrong with them is reported together, and the process ends with 78.
An empty variable counts as absent.
One that another setting makes meaningless, a password beside `PLAINTEXT` for instance, is refused.
A secret may be in a file that `<NAME>_FILE` names instead, and no log or message ever shows one.
`pulse up` sets what the processes that it starts need to find each other.
";
    page(head, keys(), config::markdown)
}

/// The page of metrics.
pub fn metrics_page() -> String {
    let head = "# Metrics

Every process serves these to Prometheus, at `/metrics` of the address that `PULSE_LISTEN` names.
`deploy/alerts.yml` has rules on them.
";
    page(head, metrics(), telemetry::markdown)
}

fn page<T>(
    head: &str,
    parts: Vec<(&'static str, &'static [T])>,
    table: impl Fn(&[T]) -> String,
) -> String {
    let mut text = head.to_owned();
    for (part, entries) in parts {
        text.push_str(&format!("\n## {part}\n\n{}", table(entries)));
    }
    text
}
