//! The second step in figures, from committed state.

use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use runtime::step::{Counts, Holdings};
use runtime::task::Report;
use runtime::telemetry::{Metric, Metrics};
use schemas::ids::TenantId;

const PARTIALS: Metric = Metric {
    name: "pulse_partials",
    doc: "Records of `metrics.partials`: counted, late or dead_lettered; `in` is their sum.",
};
const GROUPS: Metric = Metric {
    name: "pulse_groups",
    doc: "Groups, with a clock each, of meters whose groups do not hold the subject.",
};
const GROUP_WINDOWS: Metric = Metric {
    name: "pulse_group_windows",
    doc: "Windows of such groups, fired or not.",
};
const BEHIND: Metric = Metric {
    name: "pulse_partials_behind",
    doc: "Partitions of `metrics.partials` that have records to read, or output to commit.",
};
const WAITING: Metric = Metric {
    name: "pulse_partials_waiting",
    doc: "Partitions of `metrics.partials` that are owned and not at work.",
};

/// Every metric of this part.
pub const METRICS: &[Metric] = &[PARTIALS, GROUPS, GROUP_WINDOWS, BEHIND, WAITING];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct TenantLabel {
    tenant: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct FateLabel {
    tenant: String,
    fate: &'static str,
}

type ByTenant = Family<TenantLabel, Gauge>;

/// What becomes of a record; the first is their sum.
const FATES: [&str; 4] = ["in", "counted", "late", "dead_lettered"];

/// What the process shows of its second step.
pub(in crate::metrics) struct TotalFigures {
    partials: Family<FateLabel, Gauge>,
    groups: ByTenant,
    windows: ByTenant,
    behind: ByTenant,
    waiting: Gauge,
    /// Whose figures are shown.
    tenants: BTreeSet<TenantId>,
}

impl TotalFigures {
    pub(in crate::metrics) fn register(metrics: &Metrics) -> Self {
        Self {
            partials: metrics.gauges(&PARTIALS),
            groups: metrics.gauges(&GROUPS),
            windows: metrics.gauges(&GROUP_WINDOWS),
            behind: metrics.gauges(&BEHIND),
            waiting: metrics.gauge(&WAITING),
            tenants: BTreeSet::new(),
        }
    }

    pub(in crate::metrics) fn show(&mut self, report: &Report) {
        let mut sums: BTreeMap<&TenantId, (Counts, Holdings, u64)> = BTreeMap::new();
        for (place, partition) in &report.partitions {
            let sum = sums.entry(&place.tenant).or_default();
            sum.0 = sum.0.plus(partition.counts);
            sum.1 = sum.1.plus(partition.holdings);
            sum.2 += u64::from(!partition.is_caught_up);
        }
        // Most tenants have no such meter, and nothing to show.
        sums.retain(|_, (counts, ..)| counts.observed > 0);
        for (tenant, (counts, holdings, behind)) in &sums {
            let fates = [
                counts.observed,
                counts.counted,
                counts.late,
                counts.dead_lettered,
            ];
            for (fate, count) in FATES.into_iter().zip(fates) {
                set(&self.partials.get_or_create(&fate_of(tenant, fate)), count);
            }
            let values = [holdings.subjects, holdings.windows, *behind];
            for (gauge, value) in self.by_tenant().into_iter().zip(values) {
                set(&gauge.get_or_create(&label_of(tenant)), value);
            }
        }
        // Whoever has the partitions now shows them: a sum over all processes counts nothing twice.
        let tenants = sums.into_keys().cloned().collect();
        for gone in std::mem::replace(&mut self.tenants, tenants).difference(&self.tenants) {
            for fate in FATES {
                self.partials.remove(&fate_of(gone, fate));
            }
            for gauge in self.by_tenant() {
                gauge.remove(&label_of(gone));
            }
        }
        set(&self.waiting, report.waiting.len() as u64);
    }

    fn by_tenant(&self) -> [&ByTenant; 3] {
        [&self.groups, &self.windows, &self.behind]
    }
}

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
