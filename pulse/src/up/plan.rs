//! Which tenant a feed writes for, and which other feeds must pause meanwhile.
//!
//! A tenant holds the data of one [`Origin`]: a simulated trade among real ones would make every
//! candle a lie. What a tenant holds shows by the ids of its feeds.

use std::collections::BTreeSet;

use runtime::control::Control;
use schemas::control::{ControlKey, Feed, Kind};
use schemas::ids::TenantId;

use super::feed::{Origin, numbered};

/// How many names are tried for a tenant before the user is asked for one.
const NAMES_MAX: u32 = 999;

/// Why there is no tenant for a feed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It was deleted.
    #[error("tenant {0} was deleted, and its id is not given again: choose another with --tenant")]
    Deleted(TenantId),
    /// It holds data of another origin.
    #[error(
        "tenant {tenant} holds {}, and {} does not belong there: choose another with --tenant",
        holds.in_words(), wanted.in_words()
    )]
    Mixed {
        /// The tenant.
        tenant: TenantId,
        /// What it holds.
        holds: Origin,
        /// What was to be put there.
        wanted: Origin,
    },
    /// Hundreds of replays of one name.
    #[error("{0} and {NAMES_MAX} names like it are taken: choose one with --tenant")]
    NoName(TenantId),
}

/// What is known of a tenant that exists or existed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// True when it existed once and does no more.
    pub is_deleted: bool,
    /// The ids of its feeds, of those that it once had too.
    pub feed_ids: BTreeSet<String>,
    /// True when its topic of events holds a record, or held one.
    pub has_data: bool,
}

impl Seen {
    /// What the control topic says of a tenant; `None` when it was never named there.
    pub fn of(control: &Control, tenant: &TenantId, has_data: bool) -> Option<Self> {
        let version = |key: &ControlKey| control.version(key);
        let was_defined = version(&key(tenant, Kind::Tenant, "self")) > 0;
        let fed = |origin: &&Origin| version(&key(tenant, Kind::Feed, origin.feed_id())) > 0;
        let feed_ids: BTreeSet<_> = Origin::ALL
            .iter()
            .filter(fed)
            .map(|origin| origin.feed_id().to_owned())
            .collect();
        if !was_defined && feed_ids.is_empty() {
            return None;
        }
        let is_deleted = was_defined && control.tenant(tenant).is_none();
        Some(Self {
            is_deleted,
            feed_ids,
            has_data,
        })
    }

    fn holds_other_than(&self, origin: Origin) -> Option<Origin> {
        let others = Origin::ALL.into_iter().filter(|other| *other != origin);
        others
            .into_iter()
            .find(|other| self.feed_ids.contains(other.feed_id()))
    }
}

/// The tenant for a feed: the one that is `asked` for, else the first fitting one of those whose
/// names begin with `base`.
///
/// # Errors
/// When the one that is asked for does not fit, or no name is left.
pub fn tenant(
    origin: Origin,
    asked: Option<&TenantId>,
    base: &TenantId,
    look: impl Fn(&TenantId) -> Option<Seen>,
) -> Result<TenantId, PlanError> {
    if let Some(asked) = asked {
        return match look(asked) {
            Some(seen) if seen.is_deleted => Err(PlanError::Deleted(asked.clone())),
            Some(seen) => match seen.holds_other_than(origin) {
                Some(holds) => Err(PlanError::Mixed {
                    tenant: asked.clone(),
                    holds,
                    wanted: origin,
                }),
                None => Ok(asked.clone()),
            },
            None => Ok(asked.clone()),
        };
    }
    let fits = |candidate: &TenantId| match look(candidate) {
        None => true,
        Some(seen) if seen.is_deleted || seen.holds_other_than(origin).is_some() => false,
        Some(seen) => origin != Origin::Replay || !seen.has_data,
    };
    candidates(origin, base)
        .find(fits)
        .ok_or_else(|| PlanError::NoName(base.clone()))
}

/// `demo`, `demo-sim`, `demo-sim-2` for a simulation; `name`, `name-2` for a replay.
fn candidates(origin: Origin, base: &TenantId) -> impl Iterator<Item = TenantId> {
    let second = match origin {
        Origin::Replay => base.clone(),
        _ => format!("{base}-{}", origin.as_str())
            .parse()
            .unwrap_or_else(|_| base.clone()),
    };
    std::iter::once(base.clone()).chain((1..=NAMES_MAX).map(move |n| numbered(&second, n)))
}

/// The feeds that must not run while `origin` streams for `tenant`, by themselves and enabled.
///
/// While the exchange is connected, what the simulator fed must not be fed by it.
pub fn to_pause(control: &Control, origin: Origin) -> Vec<(ControlKey, Feed)> {
    if origin != Origin::Live {
        // The connector serves that one tenant then; see `roles`.
        return Vec::new();
    }
    let mut feeds = Vec::new();
    for (tenant, held) in control.tenants() {
        for (id, feed) in &held.feeds {
            let is_simulated = [Origin::Sim, Origin::Replay]
                .iter()
                .any(|o| o.feed_id() == id);
            if is_simulated && feed.value.enabled {
                feeds.push((key(tenant, Kind::Feed, id), feed.value.clone()));
            }
        }
    }
    feeds
}

/// `tenant/kind/id`
pub fn key(tenant: &TenantId, kind: Kind, id: &str) -> ControlKey {
    ControlKey {
        tenant: tenant.clone(),
        kind,
        id: id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn id(text: &str) -> TenantId {
        text.parse().unwrap()
    }

    fn seen(feed: &str, has_data: bool) -> Seen {
        Seen {
            is_deleted: false,
            feed_ids: BTreeSet::from([feed.to_owned()]),
            has_data,
        }
    }

    #[track_caller]
    fn check(origin: Origin, asked: Option<&str>, known: &[(&str, Seen)], expect: &str) {
        let known: BTreeMap<_, _> = known.iter().map(|(name, seen)| (id(name), seen)).collect();
        let base = id(if origin == Origin::Replay {
            "file"
        } else {
            "demo"
        });
        let look = |tenant: &TenantId| known.get(tenant).map(|seen| (*seen).clone());
        let got = match tenant(origin, asked.map(id).as_ref(), &base, look) {
            Ok(tenant) => tenant.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(
            got == expect || got.contains(expect) && got.contains(' '),
            "{got}: {expect}"
        );
    }

    #[test]
    fn demonstrations_go_on_where_they_were_and_never_mix() {
        use Origin::{Live, Sim};
        check(Live, None, &[], "demo");
        check(Sim, None, &[], "demo");
        check(Sim, None, &[("demo", seen("simulator", true))], "demo");
        check(Live, None, &[("demo", seen("coinbase", true))], "demo");
        check(Sim, None, &[("demo", seen("coinbase", false))], "demo-sim");
        check(
            Live,
            None,
            &[("demo", seen("simulator", true))],
            "demo-live",
        );
        let two = [
            ("demo", seen("coinbase", true)),
            ("demo-sim", seen("replay", true)),
        ];
        check(Sim, None, &two, "demo-sim-2");
        let deleted = Seen {
            is_deleted: true,
            ..Seen::default()
        };
        check(Live, None, &[("demo", deleted)], "demo-live");
        check(Live, None, &[("demo", seen("users-own", true))], "demo");
    }

    #[test]
    fn a_replay_begins_in_a_tenant_without_data() {
        use Origin::Replay;
        check(Replay, None, &[], "file");
        check(Replay, None, &[("file", seen("replay", false))], "file");
        check(Replay, None, &[("file", seen("replay", true))], "file-2");
        let two = [
            ("file", seen("replay", true)),
            ("file-2", seen("coinbase", false)),
        ];
        check(Replay, None, &two, "file-3");
    }

    #[test]
    fn what_is_asked_for_is_taken_or_refused_with_the_reason() {
        use Origin::{Live, Replay};
        check(Replay, Some("mine"), &[], "mine");
        check(
            Replay,
            Some("mine"),
            &[("mine", seen("replay", true))],
            "mine",
        );
        let mixed = "holds live data of the exchange, and a recording does not belong";
        check(
            Replay,
            Some("mine"),
            &[("mine", seen("coinbase", true))],
            mixed,
        );
        let deleted = Seen {
            is_deleted: true,
            ..Seen::default()
        };
        check(Live, Some("mine"), &[("mine", deleted)], "was deleted");
    }
}
