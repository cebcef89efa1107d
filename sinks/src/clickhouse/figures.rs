//! What the sink counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use runtime::telemetry::{Metric, Metrics};

use super::table::Table;

const ROWS: Metric = Metric {
    name: "pulse_clickhouse_rows_total",
    doc: "Rows that ClickHouse confirmed, by table; rows that were inserted again count again.",
};
const INSERTS: Metric = Metric {
    name: "pulse_clickhouse_inserts_total",
    doc: "Inserts that ClickHouse confirmed, by table.",
};
const FAILURES: Metric = Metric {
    name: "pulse_clickhouse_insert_failures_total",
    doc: "Attempts to insert that failed and were repeated, by table.",
};
const HALVED: Metric = Metric {
    name: "pulse_clickhouse_halved_total",
    doc: "Times that rows were refused as one insert and were cut in halves, by table.",
};
const SECONDS: Metric = Metric {
    name: "pulse_clickhouse_insert_seconds",
    doc: "How long a confirmed insert took, from its first attempt.",
};
const REFUSED: Metric = Metric {
    name: "pulse_clickhouse_refused_events_total",
    doc: "Events without a row because nobody may use them; the metrics step writes their dead letters.",
};
const UNREADABLE: Metric = Metric {
    name: "pulse_clickhouse_unreadable_total",
    doc: "Records of metrics, late or dead-letters that became rows of `dead_letters`. Alarm when it grows.",
};
const SKIPPED: Metric = Metric {
    name: "pulse_clickhouse_skipped_offsets_total",
    doc: "Offsets that left the log before they were read. Alarm when it grows.",
};
const PENDING: Metric = Metric {
    name: "pulse_clickhouse_pending_rows",
    doc: "Rows that were read and were not sent yet.",
};

/// All of this part's metrics.
pub const METRICS: &[Metric] = &[
    ROWS, INSERTS, FAILURES, HALVED, SECONDS, REFUSED, UNREADABLE, SKIPPED, PENDING,
];

/// Which table a figure is of.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct TableLabel {
    table: &'static str,
}

impl From<Table> for TableLabel {
    fn from(table: Table) -> Self {
        Self {
            table: table.name(),
        }
    }
}

/// The sink's counters. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Figures {
    pub(super) rows: Family<TableLabel, Counter>,
    pub(super) inserts: Family<TableLabel, Counter>,
    pub(super) failures: Family<TableLabel, Counter>,
    pub(super) halved: Family<TableLabel, Counter>,
    pub(super) seconds: Histogram,
    pub(super) refused: Counter,
    pub(super) unreadable: Counter,
    pub(super) skipped: Counter,
    pub(super) pending: Gauge,
}

impl Figures {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let bounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        Self {
            rows: metrics.counters(&ROWS),
            inserts: metrics.counters(&INSERTS),
            failures: metrics.counters(&FAILURES),
            halved: metrics.counters(&HALVED),
            seconds: metrics.histogram(&SECONDS, &bounds),
            refused: metrics.counter(&REFUSED),
            unreadable: metrics.counter(&UNREADABLE),
            skipped: metrics.counter(&SKIPPED),
            pending: metrics.gauge(&PENDING),
        }
    }
}
