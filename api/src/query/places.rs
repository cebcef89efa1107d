//! How many questions there may be at the same time, for each tenant and in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemas::ids::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a question waits for its place.
const WAIT: Duration = Duration::from_secs(1);

/// Who has a place. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Places {
    all: Arc<Semaphore>,
    /// Of tenants that have a place or wait for one.
    by_tenant: Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>,
    tenant_max: usize,
    wait: Duration,
}

/// A question's place; it is free again when this is dropped.
#[derive(Debug)]
#[must_use = "the place is free again when this is dropped"]
pub struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_tenant: OwnedSemaphorePermit,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoPlace {
    /// The tenant asks too much at the same time.
    #[error("the tenant has as many questions under way as it may")]
    Tenant,
    /// All tenants together do.
    #[error("there are as many questions under way as there may be")]
    All,
}

impl Places {
    /// Places for `max` questions, `tenant_max` of each tenant.
    pub fn new(max: usize, tenant_max: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(max)),
            by_tenant: Arc::default(),
            tenant_max,
            wait: WAIT,
        }
    }

    /// A place for a question of `tenant`, waiting a little for one.
    ///
    /// The tenant's own comes first, so that who waits for that holds none of all.
    ///
    /// # Errors
    /// When none becomes free in time.
    pub async fn take(&self, tenant: &TenantId) -> Result<Place, NoPlace> {
        let own = self.of(tenant);
        let taken = tokio::time::timeout(self.wait, own.acquire_owned()).await;
        let of_tenant = taken
            .map_err(|_| NoPlace::Tenant)?
            .expect("the semaphore is never closed");
        let taken = tokio::time::timeout(self.wait, Arc::clone(&self.all).acquire_owned()).await;
        let of_all = taken
            .map_err(|_| NoPlace::All)?
            .expect("the semaphore is never closed");
        Ok(Place {
            _of_all: of_all,
            _of_tenant: of_tenant,
        })
    }

    fn of(&self, tenant: &TenantId) -> Arc<Semaphore> {
        // A map is never half changed: poisoning cannot have left it wrong.
        let mut held = self
            .by_tenant
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A permit holds its semaphore, so one that the map alone holds is nobody's.
        held.retain(|_, places| Arc::strong_count(places) > 1);
        let new = || Arc::new(Semaphore::new(self.tenant_max));
        Arc::clone(held.entry(tenant.clone()).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    fn places(max: usize, tenant_max: usize) -> Places {
        Places {
            wait: Duration::from_millis(1),
            ..Places::new(max, tenant_max)
        }
    }

    #[tokio::test]
    async fn a_tenant_takes_its_own_places_and_not_its_neighbours() {
        let places = places(3, 2);
        let (acme, other) = (tenant("acme"), tenant("other"));
        let first = places.take(&acme).await.unwrap();
        let _second = places.take(&acme).await.unwrap();
        assert_eq!(places.take(&acme).await.unwrap_err(), NoPlace::Tenant);
        let _third = places.take(&other).await.unwrap();
        assert_eq!(places.take(&other).await.unwrap_err(), NoPlace::All);
        drop(first);
        let _again = places.take(&acme).await.unwrap();
    }

    #[tokio::test]
    async fn who_has_no_question_is_forgotten() {
        let places = places(8, 2);
        for n in 0..1_000 {
            let _place = places.take(&tenant(&format!("t{n}"))).await.unwrap();
        }
        assert!(places.by_tenant.lock().unwrap().len() <= 2);
    }
}
