//! What became of events at the door, counted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use runtime::telemetry::{Metric, Metrics};
use schemas::ids::TenantId;

use crate::ingest::{Outcome, Prepared};
use crate::limits::Limit;

const EVENTS: Metric = Metric {
    name: "pulse_ingest_events_total",
    doc: "Events that came over HTTP, by tenant and outcome: accepted, stored, duplicate, rejected or unavailable.",
};
const LIMITED: Metric = Metric {
    name: "pulse_ingest_limited_total",
    doc: "Requests, and parts of requests, that met a limit, by tenant and limit.",
};

/// All of this part's metrics.
pub const METRICS: &[Metric] = &[EVENTS, LIMITED];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OutcomeLabels {
    tenant: String,
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct LimitLabels {
    tenant: String,
    limit: &'static str,
}

/// The counters.
pub(super) struct Figures {
    events: Family<OutcomeLabels, Counter>,
    limited: Family<LimitLabels, Counter>,
}

impl Figures {
    /// Registers them.
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            events: metrics.counters(&EVENTS),
            limited: metrics.counters(&LIMITED),
        }
    }

    /// Counts what became of a request's events.
    pub(super) fn count(&self, tenant: &TenantId, prepared: &Prepared) {
        const OUTCOMES: [&str; 5] = ["accepted", "stored", "duplicate", "rejected", "unavailable"];
        let mut counts = [0; OUTCOMES.len()];
        for index in 0..prepared.len() {
            let at = match prepared.outcome(index) {
                Outcome::Accepted => 0,
                Outcome::Stored => 1,
                Outcome::Duplicate => 2,
                Outcome::Rejected(_) => 3,
                Outcome::Unavailable => 4,
            };
            counts[at] += 1;
        }
        for (outcome, count) in OUTCOMES.into_iter().zip(counts) {
            if count > 0 {
                let tenant = tenant.to_string();
                let labels = OutcomeLabels { tenant, outcome };
                self.events.get_or_create(&labels).inc_by(count);
            }
        }
    }

    /// Counts a limit that was met.
    pub(super) fn limited(&self, tenant: &TenantId, limit: Limit) {
        let labels = LimitLabels {
            tenant: tenant.to_string(),
            limit: limit.as_str(),
        };
        self.limited.get_or_create(&labels).inc();
    }
}
