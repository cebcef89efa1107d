//! The disk log in figures, and how it is.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use runtime::health::Condition;
use runtime::telemetry::{Metric, Metrics};

use super::settings::DiskLogConfig;
use super::shelf::Depth;
use super::writer::AppendError;

/// The name of the log's check of health.
pub(super) const CHECK: &str = "disk_log";

const BYTES: Metric = Metric {
    name: "pulse_disk_log_bytes",
    doc: "Bytes that the disk log takes on the disk; its bound is `PULSE_DISK_LOG_BYTES_MAX`.",
};
const ENTRIES: Metric = Metric {
    name: "pulse_disk_log_entries",
    doc: "Events in the disk log that wait for the brokers.",
};
const OLDEST: Metric = Metric {
    name: "pulse_disk_log_oldest_seconds",
    doc: "How long the oldest event has waited in the disk log; 0 when none waits.",
};
const APPENDED: Metric = Metric {
    name: "pulse_disk_log_appended_total",
    doc: "Events that were stored in the disk log.",
};
const DRAINED: Metric = Metric {
    name: "pulse_disk_log_drained_total",
    doc: "Events that left the disk log: published, or gone (their topic refuses them for good).",
};
const DAMAGED: Metric = Metric {
    name: "pulse_disk_log_damaged_total",
    doc: "Events in the disk log that the disk damaged and that are lost. Alarm when it grows.",
};
const REFUSED: Metric = Metric {
    name: "pulse_disk_log_refused_total",
    doc: "Requests that the disk log did not take: full, or failed (the disk has a fault).",
};

/// All of the disk log's metrics.
pub const METRICS: &[Metric] = &[BYTES, ENTRIES, OLDEST, APPENDED, DRAINED, DAMAGED, REFUSED];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct FateLabel {
    fate: &'static str,
}

#[derive(Clone)]
pub(super) struct Figures {
    bytes: Gauge,
    entries: Gauge,
    oldest: Gauge,
    appended: Counter,
    drained: Family<FateLabel, Counter>,
    damaged: Counter,
    refused: Family<FateLabel, Counter>,
}

impl Figures {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let figures = Self {
            bytes: metrics.gauge(&BYTES),
            entries: metrics.gauge(&ENTRIES),
            oldest: metrics.gauge(&OLDEST),
            appended: metrics.counter(&APPENDED),
            drained: metrics.counters(&DRAINED),
            damaged: metrics.counter(&DAMAGED),
            refused: metrics.counters(&REFUSED),
        };
        // A rate needs a start.
        for fate in ["published", "gone"] {
            figures.drained(fate, 0);
        }
        for fate in ["full", "failed"] {
            drop(figures.refused.get_or_create(&FateLabel { fate }));
        }
        figures
    }

    pub(super) fn show(&self, depth: &Depth, now_ms: i64) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.bytes.set(gauge(depth.used_bytes));
        self.entries.set(gauge(depth.entry_count));
        let oldest_at_ms = depth.oldest_at_ms.unwrap_or(now_ms);
        self.oldest.set((now_ms - oldest_at_ms).max(0) / 1_000);
    }

    pub(super) fn appended(&self, count: u64) {
        self.appended.inc_by(count);
    }

    pub(super) fn drained(&self, fate: &'static str, count: u64) {
        self.drained
            .get_or_create(&FateLabel { fate })
            .inc_by(count);
    }

    pub(super) fn damaged(&self, count: u64) {
        self.damaged.inc_by(count);
    }

    pub(super) fn refused(&self, error: &AppendError) {
        let fate = match error {
            AppendError::Full | AppendError::TooLarge { .. } => "full",
            AppendError::Failed(_) => "failed",
        };
        self.refused.get_or_create(&FateLabel { fate }).inc();
    }
}

/// How the log is: a gateway that can store nothing is to get no requests.
pub(super) fn condition(depth: &Depth, config: &DiskLogConfig) -> Condition {
    if let Some(failure) = &depth.failure {
        let reason = format!("events cannot be stored: {failure}");
        // While the brokers take all, nothing needs to be stored.
        return match depth.entry_count {
            0 => Condition::Warning(reason),
            1.. => Condition::NotReady(reason),
        };
    }
    match (depth.is_full, depth.entry_count) {
        (true, 1..) => Condition::NotReady(format!(
            "full: {} bytes of at most {}, or the disk is; the brokers do not take what waits",
            depth.used_bytes, config.bytes_max
        )),
        (true, 0) => Condition::Warning("the disk has no room for events".into()),
        (false, 1..) => Condition::Warning("events wait on this disk for the brokers".into()),
        (false, 0) => Condition::Ready,
    }
}
