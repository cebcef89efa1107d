//! The process's own figures, read from /proc when somebody asks.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Metric;

const CPU: Metric = Metric {
    name: "process_cpu_seconds_total",
    doc: "CPU time that the process has used, in user and system mode.",
};
const MEMORY: Metric = Metric {
    name: "process_resident_memory_bytes",
    doc: "Memory that the process occupies.",
};
const MEMORY_MAX: Metric = Metric {
    name: "process_resident_memory_max_bytes",
    doc: "The most memory that the process ever occupied.",
};
const THREADS: Metric = Metric {
    name: "process_threads",
    doc: "Threads of the process.",
};
const FILES: Metric = Metric {
    name: "process_open_fds",
    doc: "Files and sockets that the process holds open.",
};

pub(super) const METRICS: &[Metric] = &[CPU, MEMORY, MEMORY_MAX, THREADS, FILES];

/// The kernel's ticks per second in `/proc/*/stat`; 100 on every Linux that people run.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Figures;

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |name| field(&status, name).map(|count| count * 1_024);
        let files = std::fs::read_dir("/proc/self/fd")
            .map(|entries| entries.count() as u64)
            .ok();
        if let Some(seconds) = cpu_seconds() {
            let counter = ConstCounter::new(seconds);
            let name = CPU.name.trim_end_matches("_total");
            let metric = encoder.encode_descriptor(name, doc(&CPU), None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let gauges = [
            (MEMORY, kilobytes("VmRSS:")),
            (MEMORY_MAX, kilobytes("VmHWM:")),
            (THREADS, field(&status, "Threads:")),
            (FILES, files),
        ];
        for (declared, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(
                declared.name,
                doc(&declared),
                None,
                gauge.metric_type(),
            )?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

fn doc(metric: &Metric) -> &'static str {
    metric.doc.trim_end_matches('.')
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    Some((ticks(11)? + ticks(12)?) as f64 / TICKS_PER_SECOND)
}
