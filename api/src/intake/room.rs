//! Memory for bodies: all requests together have a bound, and one tenant at most half of it.
//!
//! A small body that says how long it is needs no place: connections have a number of their own.
//! What a compressed body will take is not known before it was read; a place for twenty times its
//! length is more than honest bodies need, and one that takes more ends at the largest size.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use http::{HeaderMap, header};
use schemas::ids::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::ApiError;

/// What one unit stands for.
const UNIT_BYTES: u64 = 64 * 1_024;
/// All bodies, and what is made of them.
const UNITS: u32 = 1_280;
/// Of one tenant.
const UNITS_OF_TENANT: u32 = UNITS / 2;
/// The largest body and the records made of it.
const UNITS_LARGEST: u32 = 320;
/// What a compressed body is taken to become.
const RATIO: u64 = 20;
/// How long a request waits for a place.
const WAIT: Duration = Duration::from_secs(5);

/// All places.
pub(super) struct Room {
    all: Arc<Semaphore>,
    tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

/// A place, for as long as the request lives; nothing for one that needs none.
#[derive(Debug)]
pub(super) struct Place {
    _held: Option<[OwnedSemaphorePermit; 2]>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(UNITS as usize)),
            tenants: Mutex::default(),
        }
    }
}

impl Room {
    /// A place for a request's body, once there is one.
    ///
    /// # Errors
    /// 503 when there is none for 5 s.
    pub(super) async fn place(
        &self,
        tenant: &TenantId,
        headers: &HeaderMap,
    ) -> Result<Place, ApiError> {
        self.place_within(tenant, headers, WAIT).await
    }

    async fn place_within(
        &self,
        tenant: &TenantId,
        headers: &HeaderMap,
        wait: Duration,
    ) -> Result<Place, ApiError> {
        let units = units(headers);
        if units <= 1 {
            return Ok(Place { _held: None });
        }
        let own = self.of(tenant);
        let acquire = async {
            // His own first: who waits for himself keeps nobody waiting.
            let own = own.acquire_many_owned(units).await;
            let all = Arc::clone(&self.all).acquire_many_owned(units).await;
            [own, all].map(|permit| permit.expect("the semaphores are never closed"))
        };
        match tokio::time::timeout(wait, acquire).await {
            Ok(held) => Ok(Place { _held: Some(held) }),
            Err(_) => Err(ApiError::unavailable(
                "too many large bodies are on their way",
                Duration::from_secs(1),
            )),
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
            .or_insert_with(|| Arc::new(Semaphore::new(UNITS_OF_TENANT as usize)));
        Arc::clone(own)
    }
}

fn units(headers: &HeaderMap) -> u32 {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let is_compressed = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity");
    let bytes = match (length, is_compressed) {
        (None, _) => return UNITS_LARGEST,
        (Some(length), false) => length.saturating_mul(2),
        (Some(length), true) => length.saturating_mul(RATIO),
    };
    let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
    units.min(UNITS_LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(length: Option<u64>, encoding: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_place_is_as_large_as_the_body_may_become() {
        assert_eq!(units(&headers(Some(30_000), None)), 1);
        assert_eq!(units(&headers(Some(1_000_000), None)), 31);
        assert_eq!(units(&headers(Some(3_000), Some("gzip"))), 1);
        assert_eq!(units(&headers(Some(1_000_000), Some("zstd"))), 306);
        assert_eq!(units(&headers(Some(2_000_000), Some("br"))), UNITS_LARGEST);
        assert_eq!(units(&headers(None, None)), UNITS_LARGEST);
        assert_eq!(units(&headers(Some(u64::MAX), Some("br"))), UNITS_LARGEST);
    }

    #[tokio::test]
    async fn one_tenant_leaves_half_of_it_to_the_others() {
        let room = Room::default();
        let [noisy, quiet] = ["noisy", "quiet"].map(|id| id.parse::<TenantId>().unwrap());
        let large = headers(None, None);
        let _first = room.place(&noisy, &large).await.unwrap();
        let second = room.place(&noisy, &large).await.unwrap();
        let none = room.place_within(&noisy, &large, Duration::ZERO).await;
        let error = none.unwrap_err();
        assert_eq!(error.status(), 503);
        room.place(&noisy, &headers(Some(1_000), None))
            .await
            .unwrap();
        room.place(&quiet, &large).await.unwrap();
        drop(second);
        room.place(&noisy, &large).await.unwrap();
    }
}
