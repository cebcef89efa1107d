//! What is counted for meters whose groups have events in several partitions: all samples of each
//! group, under the version that was in force where they were counted.

use std::collections::BTreeMap;

use processors::metrics::NamedMeter;
use schemas::event::Event;

use super::groups::{matches, sample, text};
use crate::exact::Sample;

/// A meter's id and version.
pub(crate) type MeterKey = (String, i64);

/// The samples of every group.
#[derive(Clone, Default)]
pub(crate) struct Spread {
    /// By meter, and the values of its group-by.
    pub(crate) samples: BTreeMap<(MeterKey, Vec<String>), Vec<Sample>>,
}

impl Spread {
    /// Counts an event, if the meter does.
    pub(super) fn count(&mut self, named: &NamedMeter, event: &Event) {
        if !matches(&named.meter, event) {
            return;
        }
        let key = (named.id.clone(), named.version);
        let group_by = named.meter.group_by.iter();
        let values = group_by.map(|field| text(field, event).unwrap_or_default());
        let group = (key, values.collect());
        let samples = self.samples.entry(group).or_default();
        samples.push(sample(&named.meter, event));
    }

    /// Takes in what another partition has.
    pub(crate) fn add(&mut self, other: &Self) {
        for (group, samples) in &other.samples {
            let own = self.samples.entry(group.clone()).or_default();
            own.extend_from_slice(samples);
        }
    }
}
