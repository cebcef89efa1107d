//! What the outcome hangs on beside the events: a tenant's limits and meters, and whether producers
//! of its own write to its topic.

use schemas::control::Limits;
use schemas::meter::Meter;
use schemas::refusal::EventRules;
use serde::{Deserialize, Serialize};

/// A tenant's limits and meters, as of one place of `pulse.control`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Definitions {
    /// Limits of the tenant's streams.
    pub limits: Limits,
    /// True when producers of the tenant's own write straight to Kafka.
    #[serde(default)]
    pub direct_producers: bool,
    /// The meters in force, by id.
    pub meters: Vec<NamedMeter>,
}

impl Definitions {
    /// The meters that are computed where their events lie.
    pub fn one_step(&self) -> impl Iterator<Item = &NamedMeter> {
        let meters = self.meters.iter();
        meters.filter(|named| !named.meter.is_two_step())
    }

    /// The meters whose groups have events in several partitions.
    pub fn two_step(&self) -> impl Iterator<Item = &NamedMeter> {
        let meters = self.meters.iter();
        meters.filter(|named| named.meter.is_two_step())
    }

    /// What events are held to.
    pub fn event_rules(&self) -> EventRules {
        EventRules {
            dates: self.limits.dates(),
            direct_producers: self.direct_producers,
        }
    }
}

/// A meter with its id and version; a changed meter is a new version with windows of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamedMeter {
    /// Its id.
    pub id: String,
    /// Counts its changes.
    pub version: i64,
    /// What it computes.
    pub meter: Meter,
}
