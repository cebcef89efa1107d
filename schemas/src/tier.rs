//! What a tenant may send: a tier's figures, and what an operator has set otherwise.

use serde::{Deserialize, Serialize};

/// What a tenant has chosen or paid for.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// To try it.
    Free,
    /// A team's services.
    #[default]
    Team,
    /// No monthly quota.
    Enterprise,
}

impl Tier {
    /// All of them, from small to large.
    pub const ALL: [Self; 3] = [Self::Free, Self::Team, Self::Enterprise];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Team => "team",
            Self::Enterprise => "enterprise",
        }
    }

    /// The tier's figures.
    pub const fn ingest(self) -> IngestLimits {
        match self {
            Self::Free => IngestLimits {
                events_per_second: 100,
                burst_events: 1_000,
                bytes_per_second: 1_000_000,
                batch_events_max: 1_000,
                events_per_month: Some(1_000_000),
            },
            Self::Team => IngestLimits {
                events_per_second: 5_000,
                burst_events: 20_000,
                bytes_per_second: 20_000_000,
                batch_events_max: 10_000,
                events_per_month: Some(1_000_000_000),
            },
            Self::Enterprise => IngestLimits {
                events_per_second: 1_000_000,
                burst_events: 2_000_000,
                bytes_per_second: 1_000_000_000,
                batch_events_max: 10_000,
                events_per_month: None,
            },
        }
    }
}

/// How much a tenant may send.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IngestLimits {
    /// Events a second, in the long run.
    pub events_per_second: u32,
    /// Events at once, after a time of silence.
    pub burst_events: u32,
    /// Bytes of decoded bodies a second.
    pub bytes_per_second: u32,
    /// Events in one request.
    pub batch_events_max: u32,
    /// Events in a calendar month, UTC; without bound when absent.
    pub events_per_month: Option<u64>,
}

/// What an operator has set for a tenant instead of its tier's figures.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestOverrides {
    /// Events a second, in the long run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<u32>,
    /// Events at once, after a time of silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_events: Option<u32>,
    /// Bytes of decoded bodies a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u32>,
    /// Events in one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_events_max: Option<u32>,
    /// Events in a calendar month, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_month: Option<u64>,
}

/// Events in one request, whatever the tier.
pub const BATCH_EVENTS_MAX: u32 = 10_000;

impl IngestOverrides {
    /// The tier's figures with these in their place.
    pub fn over(&self, tier: Tier) -> IngestLimits {
        let base = tier.ingest();
        IngestLimits {
            events_per_second: self.events_per_second.unwrap_or(base.events_per_second),
            burst_events: self.burst_events.unwrap_or(base.burst_events),
            bytes_per_second: self.bytes_per_second.unwrap_or(base.bytes_per_second),
            batch_events_max: self.batch_events_max.unwrap_or(base.batch_events_max),
            events_per_month: self.events_per_month.or(base.events_per_month),
        }
    }

    /// What is wrong with them, each fault with the field's name.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        let figures = [
            ("ingest.events_per_second", self.events_per_second),
            ("ingest.burst_events", self.burst_events),
            ("ingest.bytes_per_second", self.bytes_per_second),
        ];
        for (name, figure) in figures {
            if figure == Some(0) {
                faults.push(format!("{name} is 0, and must be 1 or more, or left out"));
            }
        }
        let batch = self.batch_events_max.unwrap_or(1);
        if batch == 0 || batch > BATCH_EVENTS_MAX {
            faults.push(format!(
                "ingest.batch_events_max is {batch}, and must lie in 1..={BATCH_EVENTS_MAX}"
            ));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_stands_in_the_tiers_place_and_nothing_else_changes() {
        let set = IngestOverrides {
            burst_events: Some(7),
            ..IngestOverrides::default()
        };
        let limits = set.over(Tier::Free);
        assert_eq!(limits.burst_events, 7);
        let rest = IngestLimits {
            burst_events: Tier::Free.ingest().burst_events,
            ..limits
        };
        assert_eq!(rest, Tier::Free.ingest());
    }

    #[test]
    fn every_tiers_figures_are_ones_that_could_be_set() {
        for tier in Tier::ALL {
            let figures = tier.ingest();
            let set = IngestOverrides {
                events_per_second: Some(figures.events_per_second),
                burst_events: Some(figures.burst_events),
                bytes_per_second: Some(figures.bytes_per_second),
                batch_events_max: Some(figures.batch_events_max),
                events_per_month: figures.events_per_month,
            };
            assert_eq!(set.faults(), [""; 0], "{tier:?}");
            assert_eq!(set.over(tier), figures);
        }
        let none = IngestOverrides {
            events_per_second: Some(0),
            batch_events_max: Some(10_001),
            ..IngestOverrides::default()
        };
        assert_eq!(none.faults().len(), 2);
    }
}
