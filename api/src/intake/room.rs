//! Memory for bodies: all requests together have a bound, and one tenant at most half of it.
//!
//! A request has a place of its own, which grows with what it holds: with the bytes that have come,
//! and not with those that it announces, so whoever is slow holds little. The first 64 KiB of each
//! are free: connections have a number of their own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use schemas::ids::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::Space;
use crate::problem::ApiError;

/// What one unit stands for.
const UNIT_BYTES: usize = 64 * 1_024;
/// All bodies, and what is made of them.
const UNITS: usize = 1_280;
/// Of one tenant: more than the largest body takes.
const UNITS_OF_TENANT: usize = UNITS / 2;
/// How long a request waits for more.
const WAIT: Duration = Duration::from_secs(5);

/// All places.
pub(super) struct Room {
    all: Arc<Semaphore>,
    tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

/// A request's place, for as long as it lives.
pub(super) struct Place<'r> {
    room: &'r Room,
    tenant: TenantId,
    /// The tenant's units, and everybody's.
    held: Option<[OwnedSemaphorePermit; 2]>,
    wait: Duration,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(UNITS)),
            tenants: Mutex::default(),
        }
    }
}

impl Room {
    /// A place that takes nothing yet.
    pub(super) fn place(&self, tenant: &TenantId) -> Place<'_> {
        Place {
            room: self,
            tenant: tenant.clone(),
            held: None,
            wait: WAIT,
        }
    }

    fn of(&self, tenant: &TenantId) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever holds nothing needs no entry.
        if tenants.len() >= 1_024 {
            tenants.retain(|_, own| Arc::strong_count(own) > 1);
        }
        let own = tenants
            .entry(tenant.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(UNITS_OF_TENANT)));
        Arc::clone(own)
    }
}

impl Place<'_> {
    /// The request holds so many bytes, once there is room for them.
    ///
    /// # Errors
    /// 503 when there is none for 5 s.
    pub(super) async fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let units = bytes.div_ceil(UNIT_BYTES).saturating_sub(1);
        let held = self.held.as_ref().map_or(0, |[own, _]| own.num_permits());
        let Some(more) = units.checked_sub(held).filter(|more| *more > 0) else {
            return Ok(());
        };
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let own = self.room.of(&self.tenant);
        let all = Arc::clone(&self.room.all);
        let acquire = async {
            // His own first: who waits for himself keeps nobody waiting.
            let own = own.acquire_many_owned(more).await;
            let all = all.acquire_many_owned(more).await;
            [own, all].map(|permit| permit.expect("the semaphores are never closed"))
        };
        let Ok(new) = tokio::time::timeout(self.wait, acquire).await else {
            let reason = "too many large bodies are on their way";
            return Err(ApiError::unavailable(reason, Duration::from_secs(1)));
        };
        match &mut self.held {
            None => self.held = Some(new),
            Some(held) => {
                for (held, new) in held.iter_mut().zip(new) {
                    held.merge(new);
                }
            }
        }
        Ok(())
    }
}

impl Space for Place<'_> {
    /// A body becomes records of about its size; one that came compressed has a window as well.
    async fn make(&mut self, bytes: usize, is_compressed: bool) -> Result<(), ApiError> {
        let times = if is_compressed { 3 } else { 2 };
        self.grow(bytes.saturating_mul(times)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 10_000_000;

    fn tenants() -> [TenantId; 3] {
        ["noisy", "quiet", "third"].map(|id| id.parse().unwrap())
    }

    /// A place that has grown by steps to a body of this many bytes; `None` where there is no room.
    async fn grown<'r>(room: &'r Room, tenant: &TenantId, bytes: usize) -> Option<Place<'r>> {
        let mut place = room.place(tenant);
        place.wait = Duration::ZERO;
        for part in 1..=10 {
            if let Err(error) = place.make(bytes * part / 10, true).await {
                assert_eq!(error.status(), 503);
                return None;
            }
        }
        Some(place)
    }

    #[tokio::test]
    async fn one_tenant_leaves_half_of_it_to_the_others() {
        let room = Room::default();
        let [noisy, quiet, third] = tenants();
        let first = grown(&room, &noisy, LARGEST).await;
        assert!(first.is_some());
        assert!(grown(&room, &noisy, LARGEST).await.is_none());
        // What it had got by then is free again.
        let more = grown(&room, &noisy, LARGEST / 4).await;
        assert!(more.is_some());
        let other = grown(&room, &quiet, LARGEST).await;
        assert!(other.is_some());
        assert!(grown(&room, &third, LARGEST).await.is_none());
        assert!(grown(&room, &third, 20_000).await.is_some());
        drop(first);
        assert!(grown(&room, &third, LARGEST).await.is_some());
    }

    #[tokio::test]
    async fn who_has_sent_little_holds_little() {
        let room = Room::default();
        let [noisy, quiet, _] = tenants();
        let mut slow = vec![];
        for _ in 0..100 {
            slow.push(grown(&room, &noisy, 30_000).await.unwrap());
        }
        assert!(grown(&room, &quiet, LARGEST).await.is_some());
        assert!(grown(&room, &noisy, LARGEST / 2).await.is_some());
        drop(slow);
        assert_eq!(room.all.available_permits(), UNITS);
    }
}
