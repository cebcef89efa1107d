//! The tenant that a feed writes for: chosen, made where it is not there yet, and the only one that
//! gets the data.

use std::collections::BTreeSet;
use std::time::Duration;

use runtime::control::Control;
use runtime::kafka::admin::TopicSpec;
use runtime::kafka::{Admin, Isolation, Partition};
use schemas::control::{Definition, Feed, Kind};
use schemas::ids::{Stream, TenantId};

use super::feed::Origin;
use super::plan::{self, Seen, key};
use crate::definer::Definer;
use crate::init::NewTenant;
use crate::installation::{DataFolder, secret};

/// How long the brokers may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What is to be defined.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Where the data comes from.
    pub origin: Origin,
    /// The tenant that the user named.
    pub asked: Option<TenantId>,
    /// What the tenant's name begins with otherwise.
    pub base: TenantId,
    /// The name that people read.
    pub name: String,
    /// The feed of a new tenant.
    pub feed: Feed,
}

/// Chooses the tenant, makes what is missing of it, and pauses and resumes feeds as they should be.
///
/// # Errors
/// When no tenant fits, or the brokers refuse.
pub async fn ensure(definer: &Definer, wish: &Wish) -> anyhow::Result<TenantId> {
    let admin = Admin::new(definer.kafka())?;
    admin.ensure(&[TopicSpec::control(definer.kafka())]).await?;
    let held = definer.read().await?;
    let filled = tokio::task::spawn_blocking(move || filled(&admin)).await??;
    let look = |tenant: &TenantId| Seen::of(&held, tenant, filled.contains(tenant));
    let tenant = plan::tenant(wish.origin, wish.asked.as_ref(), &wish.base, look)?;

    for (key, feed) in plan::to_pause(&held, wish.origin) {
        let paused = Definition::Feed(Feed {
            enabled: false,
            ..feed
        });
        let _ = definer.put(&key, &paused).await?;
    }
    let id = wish.origin.feed_id();
    resume(definer, &held, &tenant, wish.origin).await?;
    let mut wanted = NewTenant::new(tenant.clone(), wish.name.clone());
    wanted.feeds = vec![(id.to_owned(), wish.feed.clone())];
    definer.ensure(&wanted).await?;
    Ok(tenant)
}

/// The file that holds the tenant's key, for whoever may read the folder.
pub fn key_file(tenant: &TenantId) -> String {
    format!("{tenant}.key")
}

/// Makes a key of the tenant that may do everything, where the folder holds none yet.
///
/// # Errors
/// When it cannot be made or kept.
pub async fn ensure_key(
    definer: &Definer,
    folder: &DataFolder,
    tenant: &TenantId,
) -> anyhow::Result<()> {
    let path = folder.join(&key_file(tenant));
    if path.is_file() {
        return Ok(());
    }
    if let Some(key) = definer.make_key(tenant, "pulse up").await? {
        secret::write(&path, &key)?;
    }
    Ok(())
}

/// A simulated feed that an earlier `up` has paused goes on; what users pause of a live feed stays.
async fn resume(
    definer: &Definer,
    held: &Control,
    tenant: &TenantId,
    origin: Origin,
) -> anyhow::Result<()> {
    let key = key(tenant, Kind::Feed, origin.feed_id());
    if let (Origin::Sim | Origin::Replay, Some(Definition::Feed(feed))) =
        (origin, held.definition(&key))
        && !feed.enabled
    {
        let _ = definer
            .put(
                &key,
                &Definition::Feed(Feed {
                    enabled: true,
                    ..feed
                }),
            )
            .await?;
    }
    Ok(())
}

/// The tenants whose topic of events holds a record, or held one.
fn filled(admin: &Admin) -> anyhow::Result<BTreeSet<TenantId>> {
    let topics = admin.topics(ANSWER_MAX)?;
    let mut tenants = Vec::new();
    let mut partitions = Vec::new();
    for (name, count) in &topics {
        let Ok(topic) = name.parse::<schemas::ids::Topic>() else {
            continue;
        };
        if topic.stream == Stream::Events {
            tenants.extend((0..*count).map(|_| topic.tenant.clone()));
            partitions.extend((0..*count).map(|number| Partition::new(name, number)));
        }
    }
    let edges = admin.watermarks(&partitions, Isolation::Uncommitted, ANSWER_MAX)?;
    let pairs = tenants.into_iter().zip(edges);
    Ok(pairs
        .filter(|(_, edges)| edges.high > 0)
        .map(|(tenant, _)| tenant)
        .collect())
}
