//! How much a tenant may define, by its tier.

use http::StatusCode;
use schemas::control::{Definition, Kind};
use schemas::ids::TenantId;
use schemas::tier::Tier;

use crate::problem::ApiError;
use crate::store::{Change, Row};

/// Ids of one kind that a tenant may ever use: each leaves its last version in the store and on the
/// control topic for good.
const IDS_EVER_MAX: i64 = 10_000;

/// A tier's figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quotas {
    /// Meters.
    pub meters: i64,
    /// Feeds.
    pub feeds: i64,
    /// Products of all feeds together, each feed's counted by itself.
    pub products: usize,
    /// API keys.
    pub keys: i64,
}

/// What a tenant of this tier may define.
pub const fn of(tier: Tier) -> Quotas {
    match tier {
        Tier::Free => Quotas {
            meters: 20,
            feeds: 5,
            products: 10,
            keys: 20,
        },
        Tier::Team => Quotas {
            meters: 200,
            feeds: 20,
            products: 200,
            keys: 200,
        },
        Tier::Enterprise => Quotas {
            meters: 1_000,
            feeds: 100,
            products: 2_000,
            keys: 1_000,
        },
    }
}

/// Refuses one more definition of a kind where the tenant has as many as it may.
///
/// # Errors
/// 409 with the figure.
pub fn check_one_more(
    change: &Change<'_>,
    tenant: &TenantId,
    tier: Tier,
    kind: Kind,
) -> Result<(), ApiError> {
    let quotas = of(tier);
    let (name, most) = match kind {
        Kind::Meter => ("meters", quotas.meters),
        Kind::Feed => ("feeds", quotas.feeds),
        Kind::Key => ("keys", quotas.keys),
        Kind::Tenant | Kind::Usage => return Ok(()),
    };
    if change.live_count(tenant, kind)? >= most {
        let tier = tier.as_str();
        return Err(exceeded(format!(
            "a tenant of the tier {tier} has at most {most} {name}"
        )));
    }
    match change.ever_count(tenant, kind)? >= IDS_EVER_MAX {
        true => Err(exceeded(format!(
            "a tenant uses at most {IDS_EVER_MAX} ids for {name}, deleted ones counted"
        ))),
        false => Ok(()),
    }
}

/// Refuses a feed with which the tenant's feeds would have more products than they may.
///
/// # Errors
/// 409 with the figure.
pub fn check_products(
    change: &Change<'_>,
    tenant: &TenantId,
    tier: Tier,
    (id, definition): (&str, &Definition),
) -> Result<(), ApiError> {
    let Definition::Feed(feed) = definition else {
        return Ok(());
    };
    let most = of(tier).products;
    let count = u32::try_from(of(Tier::Enterprise).feeds).unwrap_or(u32::MAX);
    let others = change.list(tenant, Kind::Feed, "", count)?;
    let mut products = feed.products.len();
    for other in others.iter().filter(|row| row.key.id != id) {
        products += product_count(other)?;
    }
    match products > most {
        true => Err(exceeded(format!(
            "the feeds of a tenant of the tier {} have at most {most} products in all, and would \
             have {products}",
            tier.as_str()
        ))),
        false => Ok(()),
    }
}

fn product_count(row: &Row) -> Result<usize, ApiError> {
    match row.definition()? {
        Some(Definition::Feed(feed)) => Ok(feed.products.len()),
        _ => Ok(0),
    }
}

fn exceeded(detail: String) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "quota", detail)
}
