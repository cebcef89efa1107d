//! The metrics process in figures, from committed state.

use std::collections::BTreeMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use runtime::step::{Counts, Holdings};
use runtime::task::Report;
use runtime::telemetry::{Metric, Metrics};
use schemas::ids::TenantId;

const RECORDS: Metric = Metric {
    name: "pulse_records",
    doc: "Records of `events` by fate: counted, late, duplicate or dead_lettered; `in` is their sum.",
};
const WINDOWS: Metric = Metric {
    name: "pulse_windows",
    doc: "Windows held, fired or not.",
};
const OPEN_SHORT_WINDOWS: Metric = Metric {
    name: "pulse_open_short_windows",
    doc: "Windows of at most a minute that have not fired.",
};
const SUBJECTS: Metric = Metric {
    name: "pulse_subjects",
    doc: "Subjects with a clock.",
};
const IDS: Metric = Metric {
    name: "pulse_ids",
    doc: "Event identities remembered.",
};
const BEHIND: Metric = Metric {
    name: "pulse_partitions_behind",
    doc: "Partitions that have records to read, or output to commit.",
};
const PARTITIONS: Metric = Metric {
    name: "pulse_partitions",
    doc: "Partitions at work in this process.",
};
const WAITING: Metric = Metric {
    name: "pulse_partitions_waiting",
    doc: "Partitions that are owned and not at work.",
};
const COMMITS: Metric = Metric {
    name: "pulse_commits",
    doc: "Transactions by outcome since the process started: committed, aborted or unknown.",
};
const COMMIT_MS: Metric = Metric {
    name: "pulse_commit_ms",
    doc: "How long the last commit took, in milliseconds.",
};
const RESTORES: Metric = Metric {
    name: "pulse_restores",
    doc: "Partitions restored since the process started.",
};

/// Every metric of this part.
pub const METRICS: &[Metric] = &[
    RECORDS,
    WINDOWS,
    OPEN_SHORT_WINDOWS,
    SUBJECTS,
    IDS,
    BEHIND,
    PARTITIONS,
    WAITING,
    COMMITS,
    COMMIT_MS,
    RESTORES,
];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct TenantLabel {
    tenant: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct FateLabel {
    tenant: String,
    fate: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

type ByTenant = Family<TenantLabel, Gauge>;

/// What the process shows. Gauges, since a count is state: it survives the process.
pub(super) struct Figures {
    records: Family<FateLabel, Gauge>,
    windows: ByTenant,
    open_short_windows: ByTenant,
    subjects: ByTenant,
    ids: ByTenant,
    behind: ByTenant,
    partitions: Gauge,
    waiting: Gauge,
    commits: Family<OutcomeLabel, Gauge>,
    commit_ms: Gauge,
    restores: Gauge,
}

#[derive(Default)]
struct Sum {
    counts: Counts,
    holdings: Holdings,
    behind: u64,
}

impl Figures {
    pub(super) fn register(metrics: &Metrics) -> Self {
        Self {
            records: metrics.gauges(&RECORDS),
            windows: metrics.gauges(&WINDOWS),
            open_short_windows: metrics.gauges(&OPEN_SHORT_WINDOWS),
            subjects: metrics.gauges(&SUBJECTS),
            ids: metrics.gauges(&IDS),
            behind: metrics.gauges(&BEHIND),
            partitions: metrics.gauge(&PARTITIONS),
            waiting: metrics.gauge(&WAITING),
            commits: metrics.gauges(&COMMITS),
            commit_ms: metrics.gauge(&COMMIT_MS),
            restores: metrics.gauge(&RESTORES),
        }
    }

    pub(super) fn show(&self, report: &Report) {
        let mut sums: BTreeMap<&TenantId, Sum> = BTreeMap::new();
        for (place, partition) in &report.partitions {
            let sum = sums.entry(&place.tenant).or_default();
            sum.counts = sum.counts.plus(partition.counts);
            sum.holdings = sum.holdings.plus(partition.holdings);
            sum.behind += u64::from(!partition.is_caught_up);
        }
        for (tenant, sum) in sums {
            self.show_tenant(tenant, &sum);
        }
        let outcomes = [
            ("committed", report.commit_count),
            ("aborted", report.abort_count),
            ("unknown", report.unknown_count),
        ];
        for (outcome, count) in outcomes {
            set(
                &self.commits.get_or_create(&OutcomeLabel { outcome }),
                count,
            );
        }
        set(&self.partitions, report.partitions.len() as u64);
        set(&self.waiting, report.waiting.len() as u64);
        self.commit_ms.set(report.commit_ms);
        set(&self.restores, report.restore_count);
    }

    fn show_tenant(&self, tenant: &TenantId, sum: &Sum) {
        let counts = sum.counts;
        let fates = [
            ("in", counts.observed),
            ("counted", counts.counted),
            ("late", counts.late),
            ("duplicate", counts.duplicate),
            ("dead_lettered", counts.dead_lettered),
        ];
        for (fate, count) in fates {
            let label = FateLabel {
                tenant: tenant.to_string(),
                fate,
            };
            set(&self.records.get_or_create(&label), count);
        }
        let label = TenantLabel {
            tenant: tenant.to_string(),
        };
        let held = sum.holdings;
        let gauges = [
            (&self.windows, held.windows),
            (&self.open_short_windows, held.open_short_windows),
            (&self.subjects, held.subjects),
            (&self.ids, held.ids),
            (&self.behind, sum.behind),
        ];
        for (gauge, value) in gauges {
            set(&gauge.get_or_create(&label), value);
        }
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
