//! What the outcome hangs on beside the events: a tenant's limits and meters.

use schemas::control::Limits;
use schemas::meter::Meter;
use serde::{Deserialize, Serialize};

/// A tenant's limits and meters, as of one place of `pulse.control`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Definitions {
    /// Limits of the tenant's streams.
    pub limits: Limits,
    /// The meters in force, by id.
    pub meters: Vec<NamedMeter>,
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
