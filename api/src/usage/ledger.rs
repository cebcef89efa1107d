//! What is counted for good of each tenant, and what it has used by all that is known.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use schemas::ids::TenantId;
use schemas::usage::Month;

use super::count::{self, Counted, Since};
use super::{DAY_MS, HOUR_MS};
use crate::query::failure::QueryError;
use crate::query::server::Server;
use crate::store::usage::Sealed;
use crate::store::{Store, StoreError};

/// How long hours are kept: what a year's comparison needs.
const KEPT_MS: i64 = 400 * DAY_MS;

/// What is counted for good. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Ledger {
    /// Where it is kept; without it nothing is counted for good.
    store: Option<Store>,
    held: Arc<Mutex<HashMap<TenantId, Sealed>>>,
}

/// What a tenant has used of a month.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Used {
    /// Which.
    pub month: Month,
    /// Its events, each identity once.
    pub events: u64,
    /// The same by day, in milliseconds since 1970; a day without any is not there.
    pub days: BTreeMap<i64, u64>,
    /// The log's clock up to which they are counted, in milliseconds since 1970.
    pub counted_to_ms: i64,
    /// What is behind the part that is counted for good.
    pub open: Counted,
}

/// Why a tenant was not counted.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The rows cannot be read.
    #[error(transparent)]
    Rows(#[from] QueryError),
    /// What was counted before cannot be read or kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ledger {
    /// What this store keeps.
    pub fn of(store: Store) -> Self {
        Self {
            store: Some(store),
            held: Arc::default(),
        }
    }

    /// What a tenant has used of the month that holds `now_ms`.
    ///
    /// # Errors
    /// When rows or what was counted before cannot be read.
    pub async fn used(
        &self,
        server: &Server,
        tenant: &TenantId,
        future_max_ms: i64,
        now_ms: i64,
    ) -> Result<Used, CountError> {
        let month = Month::holding(now_ms);
        let sealed = self.sealed(tenant, month).await?;
        let since = Since {
            tenant,
            from_ms: sealed.to_ms,
            future_max_ms,
        };
        let open = count::count(server, since, now_ms).await?;
        Ok(used(month, &sealed, open))
    }

    /// Keeps the slices before `to_ms` for good.
    ///
    /// # Errors
    /// When they cannot be kept.
    pub async fn seal(
        &self,
        tenant: &TenantId,
        open: &Counted,
        to_ms: i64,
    ) -> Result<(), StoreError> {
        let held = self.lock().get(tenant).cloned();
        let (Some(store), Some(mut sealed)) = (&self.store, held) else {
            return Ok(());
        };
        if to_ms <= sealed.to_ms {
            return Ok(());
        }
        let mut hours = BTreeMap::new();
        for (slice_ms, events) in open.slices.range(..to_ms) {
            let hour_ms = slice_ms.div_euclid(HOUR_MS) * HOUR_MS;
            *hours.entry(hour_ms).or_default() += events;
        }
        for (hour_ms, events) in &hours {
            *sealed.hours.entry(*hour_ms).or_default() += events;
        }
        sealed.to_ms = to_ms;
        let named = tenant.clone();
        let seal = move |change: &mut crate::store::Change<'_>| {
            change.seal_usage(&named, to_ms, &hours, to_ms - KEPT_MS)
        };
        let ((), _nothing_published) = store.commit(seal).await?;
        self.lock().insert(tenant.clone(), sealed);
        Ok(())
    }

    /// What is counted for good, of this month and behind it.
    async fn sealed(&self, tenant: &TenantId, month: Month) -> Result<Sealed, StoreError> {
        let start_ms = month.start_ms();
        if let Some(sealed) = self.lock().get_mut(tenant)
            && sealed.to_ms >= start_ms
        {
            sealed.hours = sealed.hours.split_off(&start_ms);
            return Ok(sealed.clone());
        }
        let kept = match &self.store {
            None => None,
            Some(store) => {
                let named = tenant.clone();
                let look =
                    move |change: &crate::store::Change<'_>| change.sealed_usage(&named, start_ms);
                store.read(look).await?
            }
        };
        // What is older than the month before is of no use to this one: nobody counted for long.
        let from_ms = start_ms - 31 * DAY_MS;
        let sealed = kept.filter(|kept| kept.to_ms >= from_ms).unwrap_or(Sealed {
            to_ms: start_ms,
            hours: BTreeMap::new(),
        });
        self.lock().insert(tenant.clone(), sealed.clone());
        Ok(sealed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Sealed>> {
        // A map is never half changed: poisoning cannot have left it wrong.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn used(month: Month, sealed: &Sealed, open: Counted) -> Used {
    let (start_ms, end_ms) = (month.start_ms(), month.end_ms());
    let mut days = BTreeMap::new();
    let all = sealed.hours.iter().chain(&open.slices);
    for (at_ms, events) in all.filter(|(at_ms, _)| (start_ms..end_ms).contains(*at_ms)) {
        *days.entry(at_ms.div_euclid(DAY_MS) * DAY_MS).or_default() += events;
    }
    let newest_ms = open.newest_ms.unwrap_or(sealed.to_ms);
    Used {
        month,
        events: days.values().sum(),
        days,
        counted_to_ms: newest_ms.clamp(start_ms, end_ms),
        open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_what_is_sealed_of_it_and_what_is_open() {
        let month = Month::holding(1_795_000_000_000);
        let start_ms = month.start_ms();
        let sealed = Sealed {
            to_ms: start_ms + HOUR_MS,
            hours: [(start_ms - HOUR_MS, 1_000), (start_ms, 10)].into(),
        };
        let open = Counted {
            slices: [
                (start_ms - 300_000, 500),
                (start_ms + HOUR_MS, 5),
                (start_ms + DAY_MS, 7),
                (month.end_ms(), 100),
            ]
            .into(),
            newest_ms: Some(start_ms + DAY_MS + 3),
        };
        let used = used(month, &sealed, open);
        assert_eq!(used.events, 22);
        assert_eq!(used.days, [(start_ms, 15), (start_ms + DAY_MS, 7)].into());
        assert_eq!(used.counted_to_ms, start_ms + DAY_MS + 3);
    }
}
