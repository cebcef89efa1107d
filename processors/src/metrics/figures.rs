//! The metrics process in figures, from committed state.

use std::collections::{BTreeMap, BTreeSet};

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
const DEFINITIONS: Metric = Metric {
    name: "pulse_definitions_offset",
    doc: "Control offset whose definitions are in force; `pulse_control_offset` may be ahead for the \
          time of a commit.",
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
    DEFINITIONS,
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
    definitions: Gauge,
    /// Whose figures are shown.
    tenants: BTreeSet<TenantId>,
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
            definitions: metrics.gauge(&DEFINITIONS),
            tenants: BTreeSet::new(),
        }
    }

    pub(super) fn show(&mut self, report: &Report) {
        let mut sums: BTreeMap<&TenantId, Sum> = BTreeMap::new();
        for (place, partition) in &report.partitions {
            let sum = sums.entry(&place.tenant).or_default();
            sum.counts = sum.counts.plus(partition.counts);
            sum.holdings = sum.holdings.plus(partition.holdings);
            sum.behind += u64::from(!partition.is_caught_up);
        }
        for (tenant, sum) in &sums {
            self.show_tenant(tenant, sum);
        }
        // Whoever has the partitions now shows them: a sum over all processes counts nothing twice.
        let tenants = sums.into_keys().cloned().collect();
        for gone in std::mem::replace(&mut self.tenants, tenants).difference(&self.tenants) {
            self.hide_tenant(gone);
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
        self.definitions.set(report.control_at.unwrap_or_default());
    }

    fn show_tenant(&self, tenant: &TenantId, sum: &Sum) {
        let counts = sum.counts;
        let fates = [
            counts.observed,
            counts.counted,
            counts.late,
            counts.duplicate,
            counts.dead_lettered,
        ];
        for (fate, count) in FATES.into_iter().zip(fates) {
            set(&self.records.get_or_create(&fate_of(tenant, fate)), count);
        }
        let held = sum.holdings;
        let values = [
            held.windows,
            held.open_short_windows,
            held.subjects,
            held.ids,
            sum.behind,
        ];
        for (gauge, value) in self.by_tenant().into_iter().zip(values) {
            set(&gauge.get_or_create(&label_of(tenant)), value);
        }
    }

    fn hide_tenant(&self, tenant: &TenantId) {
        for fate in FATES {
            self.records.remove(&fate_of(tenant, fate));
        }
        for gauge in self.by_tenant() {
            gauge.remove(&label_of(tenant));
        }
    }

    fn by_tenant(&self) -> [&ByTenant; 5] {
        [
            &self.windows,
            &self.open_short_windows,
            &self.subjects,
            &self.ids,
            &self.behind,
        ]
    }
}

/// What becomes of a record; the first is their sum.
const FATES: [&str; 5] = ["in", "counted", "late", "duplicate", "dead_lettered"];

fn fate_of(tenant: &TenantId, fate: &'static str) -> FateLabel {
    FateLabel {
        tenant: tenant.to_string(),
        fate,
    }
}

fn label_of(tenant: &TenantId) -> TenantLabel {
    TenantLabel {
        tenant: tenant.to_string(),
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use runtime::step::Place;
    use runtime::task::PartitionReport;
    use schemas::time::BrokerTime;

    use super::*;

    fn report(tenants: &[&str]) -> Report {
        let partition = |tenant: &&str| {
            let place = Place {
                tenant: tenant.parse().unwrap(),
                partition: 0,
            };
            let counts = Counts {
                observed: 7,
                ..Counts::default()
            };
            let report = PartitionReport {
                position: 7,
                clock: BrokerTime::from_ms(1),
                counts,
                holdings: Holdings::default(),
                is_caught_up: true,
            };
            (place, report)
        };
        Report {
            partitions: tenants.iter().map(partition).collect(),
            ..Report::default()
        }
    }

    #[test]
    fn a_tenant_whose_partitions_went_is_shown_no_more() {
        let metrics = Metrics::default();
        let mut figures = Figures::register(&metrics);
        let shows = |tenant: &str| metrics.encode().contains(&format!("tenant=\"{tenant}\""));
        figures.show(&report(&["acme", "other"]));
        assert!(shows("acme") && shows("other"));
        figures.show(&report(&["other"]));
        assert!(!shows("acme") && shows("other"));
        figures.show(&report(&["acme"]));
        assert!(shows("acme") && !shows("other"));
    }
}
