//! Which part of the log is judged: from what it still holds to where it ended when asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::clock::Deadline;
use runtime::kafka::admin::{Admin, AdminError};
use runtime::kafka::{Isolation, Partition};
use schemas::ids::TenantId;

use super::ReconcileError;
use crate::clickhouse::GROUP;
use crate::clickhouse::rows::{Origin, STREAMS};

/// How long the cluster may take over one question.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How often the sink is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The part of a partition that is judged.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Where its records come from.
    pub origin: Origin,
    /// The first offset that the log still holds.
    pub start: i64,
    /// The offset after the last record that is judged.
    pub end: i64,
}

/// A tenant's partitions.
#[derive(Clone, Debug)]
pub struct Extents {
    /// All of them, by topic and number.
    pub extents: Vec<Extent>,
    by_place: HashMap<(Arc<str>, i32), u32>,
}

impl Extents {
    /// Fixes the extents of a tenant's topics; those that do not exist have none.
    pub(super) fn fix(admin: &Admin, tenant: &TenantId) -> Result<Self, ReconcileError> {
        let counts = admin.topics(ANSWER_WAIT)?;
        let mut origins = Vec::new();
        for stream in STREAMS {
            let topic: Arc<str> = tenant.topic(stream).to_string().into();
            let count = counts.get(&*topic).copied().unwrap_or(0);
            origins.extend((0..count).filter_map(|number| Origin::of(&topic, number, count)));
        }
        let partitions: Vec<_> = origins.iter().map(partition).collect();
        let edges = match partitions.is_empty() {
            true => Vec::new(),
            false => admin.watermarks(&partitions, Isolation::Committed, ANSWER_WAIT)?,
        };
        let extent = |(origin, edges): (Origin, runtime::kafka::Watermarks)| Extent {
            origin,
            start: edges.low,
            end: edges.high,
        };
        Ok(Self::new(
            origins.into_iter().zip(edges).map(extent).collect(),
        ))
    }

    /// Chosen extents.
    pub fn new(extents: Vec<Extent>) -> Self {
        let place = |(index, extent): (usize, &Extent)| {
            let index = u32::try_from(index).expect("a tenant has a few dozen partitions");
            (
                (Arc::clone(&extent.origin.topic), extent.origin.partition),
                index,
            )
        };
        let by_place = extents.iter().enumerate().map(place).collect();
        Self { extents, by_place }
    }

    /// The index of a partition; `None` for one that is not the tenant's.
    pub fn index(&self, topic: &str, partition: i32) -> Option<u32> {
        self.by_place.get(&(topic.into(), partition)).copied()
    }

    /// The extent of an index.
    pub fn get(&self, index: u32) -> Option<&Extent> {
        self.extents.get(usize::try_from(index).ok()?)
    }

    /// How many records there are at most.
    pub fn record_count(&self) -> usize {
        let count = |extent: &Extent| usize::try_from(extent.end - extent.start).unwrap_or(0);
        self.extents.iter().map(count).sum()
    }

    /// The partitions, in their order.
    pub fn partitions(&self) -> Vec<Partition> {
        self.extents
            .iter()
            .map(|extent| partition(&extent.origin))
            .collect()
    }

    /// Where the partitions end by now: nothing that lies further can be in a table.
    pub(super) fn ends_now(&self, admin: &Admin) -> Result<Vec<i64>, ReconcileError> {
        let partitions = self.partitions();
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let edges = admin.watermarks(&partitions, Isolation::Committed, ANSWER_WAIT)?;
        Ok(edges.into_iter().map(|edges| edges.high).collect())
    }

    /// Returns once the sink's committed positions have passed all ends.
    pub(super) async fn wait_for_sink(
        &self,
        admin: &Admin,
        patience: Duration,
    ) -> Result<(), ReconcileError> {
        let partitions = self.partitions();
        let (mut best, mut deadline) = (-1, Deadline::after(patience));
        loop {
            let committed = self.committed(admin, &partitions)?;
            let pairs = || committed.iter().zip(&self.extents);
            let Some((at, extent)) = pairs().find(|(at, extent)| **at < extent.end) else {
                return Ok(());
            };
            let sum = committed.iter().sum::<i64>();
            if sum > best {
                (best, deadline) = (sum, Deadline::after(patience));
            }
            if deadline.has_passed() {
                return Err(ReconcileError::Behind {
                    topic: extent.origin.topic.to_string(),
                    partition: extent.origin.partition,
                    committed: *at,
                    end: extent.end,
                    wait_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
                });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Where the sink is; a partition that it never committed stands where the log begins.
    fn committed(&self, admin: &Admin, partitions: &[Partition]) -> Result<Vec<i64>, AdminError> {
        let committed = admin.committed(GROUP, partitions, ANSWER_WAIT)?;
        let at = |(committed, extent): (Option<runtime::kafka::Committed>, &Extent)| {
            committed.map_or(extent.start, |committed| committed.offset)
        };
        Ok(committed.into_iter().zip(&self.extents).map(at).collect())
    }
}

fn partition(origin: &Origin) -> Partition {
    Partition {
        topic: Arc::clone(&origin.topic),
        number: origin.partition,
    }
}
