//! The partitions that this process reads, with what a row needs to know of each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runtime::clock::Deadline;
use runtime::control::{Control, ControlConfig, ControlView};
use runtime::kafka::Partition;
use runtime::kafka::admin::{Admin, AdminError};
use schemas::ids::{Offset, TenantId};
use schemas::origin::OriginKey;
use schemas::refusal::EventRules;

use super::rows::{Origin, STREAMS};

/// How often topics that should be there and are not are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the cluster may take to list its topics.
const LIST_WAIT: Duration = Duration::from_secs(5);

/// A partition of ours.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) partition: Partition,
    pub(super) origin: Origin,
    /// What its tenant's events are held to.
    pub(super) rules: EventRules,
    /// What tells which of them are our own.
    pub(super) origin_key: OriginKey,
    /// The position that is outside the log, until it is known where to go on.
    pub(super) hole: Option<i64>,
}

/// What should be read, by the control view, and what can be, by the cluster.
pub(super) struct Topics {
    control: ControlView,
    config: ControlConfig,
    admin: Admin,
    /// Up to where the view was followed.
    followed: Option<Offset>,
    /// Partition counts of the cluster's topics.
    counts: BTreeMap<String, i32>,
    /// When to look again, while something is missing.
    look_at: Option<Deadline>,
}

impl Topics {
    pub(super) fn new(control: ControlView, config: ControlConfig, admin: Admin) -> Self {
        Self {
            control,
            config,
            admin,
            followed: None,
            counts: BTreeMap::new(),
            look_at: None,
        }
    }

    /// The topics to read from now on, when that may have changed since the last call.
    ///
    /// Only topics that exist: the group's protocol would look for the others twice a minute.
    pub(super) fn changed(&mut self) -> Option<BTreeSet<String>> {
        let offset = self.control.offset();
        let is_time = self.look_at.is_some_and(Deadline::has_passed);
        if self.followed == Some(offset) && !is_time {
            return None;
        }
        self.followed = Some(offset);
        if let Err(error) = self.list() {
            tracing::warn!(%error, "topics cannot be listed");
            self.look_at = Some(Deadline::after(LOOK_INTERVAL));
            return None;
        }
        let wanted = wanted(&self.control.snapshot());
        let (there, missing): (BTreeSet<_>, BTreeSet<_>) = wanted
            .into_iter()
            .partition(|topic| self.counts.contains_key(topic));
        self.look_at = (!missing.is_empty()).then(|| Deadline::after(LOOK_INTERVAL));
        Some(there)
    }

    fn list(&mut self) -> Result<(), AdminError> {
        self.counts = self.admin.topics(LIST_WAIT)?;
        // A topic that is just being made has none of its partitions yet.
        self.counts.retain(|_, count| *count > 0);
        Ok(())
    }

    /// What a row needs to know of this partition; `None` when its topic or tenant is gone.
    pub(super) fn lane(&mut self, partition: &Partition) -> Option<Lane> {
        let count = *self.counts.get(&*partition.topic)?;
        let origin = Origin::of(&partition.topic, partition.number, count)?;
        let rules = self.rules(&origin.tenant)?;
        let origin_key = self.config.origin_key(&origin.tenant);
        Some(Lane {
            partition: partition.clone(),
            origin,
            rules,
            origin_key,
            hole: None,
        })
    }

    /// What a tenant's events are held to, now.
    pub(super) fn rules(&self, tenant: &TenantId) -> Option<EventRules> {
        let control = self.control.snapshot();
        let tenant = control.tenant(tenant)?.tenant.as_ref()?;
        Some(tenant.value.event_rules())
    }
}

fn wanted(control: &Control) -> BTreeSet<String> {
    let topics = |tenant: &TenantId| STREAMS.map(|stream| tenant.topic(stream).to_string());
    control
        .tenants()
        .flat_map(|(tenant, _)| topics(tenant))
        .collect()
}
