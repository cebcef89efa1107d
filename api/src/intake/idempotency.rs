//! Which requests were acknowledged under which `Idempotency-Key`, for as long as this process and
//! its memory of them last.
//!
//! It is only ever a courtesy: a repeat that is not remembered is accepted again, and the identity
//! of its events makes the processor drop it. So nothing here needs to survive a restart.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use http::HeaderMap;
use schemas::ids::TenantId;

use crate::problem::{ApiError, FieldFault};

/// Requests remembered.
const REMEMBERED_MAX: usize = 100_000;
/// Of them of one tenant: who sends many forgets his own earlier.
const REMEMBERED_OF_TENANT_MAX: usize = 20_000;
/// For how long.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Characters in a key.
const KEY_LENGTH_MAX: usize = 255;

/// SHA-256 of a decoded body.
pub type BodyHash = [u8; 32];

/// What is remembered of the requests under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// Nothing, or an attempt whose outcome nobody knows.
    Unknown,
    /// The same body was acknowledged; these of its events were not taken then.
    Acknowledged {
        /// Their places.
        rejected: Places,
    },
}

/// Places of events in a request: one bit for each up to the last, since many requests are
/// remembered and all events of one may be rejected but one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places(Arc<[u8]>);

impl Places {
    /// These, in ascending order.
    pub fn of(indexes: &[u32]) -> Self {
        let bits = indexes.last().map_or(0, |last| *last as usize + 1);
        let mut bytes = vec![0_u8; bits.div_ceil(8)];
        for index in indexes {
            bytes[*index as usize / 8] |= 1 << (index % 8);
        }
        Self(bytes.into())
    }

    /// True for one of them.
    pub fn contains(&self, index: usize) -> bool {
        let byte = self.0.get(index / 8);
        byte.is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }
}

/// The requests of all tenants.
#[derive(Default)]
pub struct Memory {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    tenants: HashMap<TenantId, Tenant>,
    count: usize,
}

#[derive(Default)]
struct Tenant {
    requests: HashMap<Box<str>, Request>,
    /// By when they came, the first first; each key once.
    by_age: VecDeque<(Duration, Box<str>)>,
}

struct Request {
    body: BodyHash,
    /// Of an acknowledged one: what it did not take.
    rejected: Option<Places>,
}

impl Memory {
    /// What is remembered of this key; from now on it is of this body.
    ///
    /// `now` only ever grows; it is any clock's.
    ///
    /// # Errors
    /// 422 when the key came with another body.
    pub fn look(
        &self,
        tenant: &TenantId,
        key: &str,
        body: &BodyHash,
        now: Duration,
    ) -> Result<Seen, ApiError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.forget_older(tenant, now);
        let own = held.tenants.entry(tenant.clone()).or_default();
        if let Some(request) = own.requests.get(key) {
            if request.body != *body {
                let reason = "this Idempotency-Key came with another body: a key is for one body";
                let fault = FieldFault::new("", reason);
                return Err(ApiError::unprocessable(reason, [fault]));
            }
            return Ok(match &request.rejected {
                Some(rejected) => Seen::Acknowledged {
                    rejected: rejected.clone(),
                },
                None => Seen::Unknown,
            });
        }
        let request = Request {
            body: *body,
            rejected: None,
        };
        own.requests.insert(key.into(), request);
        own.by_age.push_back((now, key.into()));
        held.count += 1;
        Ok(Seen::Unknown)
    }

    /// Every event of a request was acknowledged but those that were `rejected`.
    pub fn acknowledge(&self, tenant: &TenantId, key: &str, rejected: Places) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.tenants.get_mut(tenant);
        if let Some(request) = own.and_then(|own| own.requests.get_mut(key)) {
            request.rejected = Some(rejected);
        }
    }
}

impl Held {
    /// Makes room for one more of this tenant.
    fn forget_older(&mut self, tenant: &TenantId, now: Duration) {
        if let Some(own) = self.tenants.get_mut(tenant) {
            let is_over = |(at, _): &(Duration, _)| now.saturating_sub(*at) > REMEMBERED_FOR;
            while own.by_age.len() >= REMEMBERED_OF_TENANT_MAX
                || own.by_age.front().is_some_and(is_over)
            {
                self.count -= own.forget_oldest();
            }
        }
        if self.count >= REMEMBERED_MAX {
            // Whoever has most can spare most.
            let most = self
                .tenants
                .values_mut()
                .max_by_key(|tenant| tenant.by_age.len());
            if let Some(most) = most {
                self.count -= most.forget_oldest();
            }
            self.tenants.retain(|_, tenant| !tenant.by_age.is_empty());
        }
    }
}

impl Tenant {
    fn forget_oldest(&mut self) -> usize {
        match self.by_age.pop_front() {
            Some((_, key)) => {
                self.requests.remove(&key);
                1
            }
            None => 0,
        }
    }
}

/// The request's `Idempotency-Key`, where it has one.
///
/// # Errors
/// 400 when it is empty, too long or not made of visible ASCII characters.
pub fn key_of(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let is_sound = |text: &&str| {
        (1..=KEY_LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|b| (0x20..0x7f).contains(&b))
    };
    match value.to_str().ok().filter(is_sound) {
        Some(text) => Ok(Some(text)),
        None => Err(ApiError::bad_request(
            "an Idempotency-Key is 1 to 255 visible ASCII characters",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn tenant(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    #[test]
    fn a_repeat_of_what_was_acknowledged_is_known_and_of_what_was_not_is_not() {
        let (memory, acme) = (Memory::default(), tenant("acme"));
        let look = |body: u8| memory.look(&acme, "k", &[body; 32], MINUTE);
        assert_eq!(look(1).unwrap(), Seen::Unknown);
        assert_eq!(look(1).unwrap(), Seen::Unknown, "its outcome is unknown");
        let rejected = Places::of(&[3, 5, 9_999]);
        assert_eq!(rejected.0.len(), 1_250);
        let places: Vec<usize> = (0..20_000).filter(|at| rejected.contains(*at)).collect();
        assert_eq!(places, [3, 5, 9_999]);
        memory.acknowledge(&acme, "k", rejected.clone());
        assert_eq!(look(1).unwrap(), Seen::Acknowledged { rejected });
        assert_eq!(look(2).unwrap_err().status(), 422);
        let other = memory.look(&tenant("other"), "k", &[2; 32], MINUTE);
        assert_eq!(
            other.unwrap(),
            Seen::Unknown,
            "another tenant's key is another"
        );
    }

    #[test]
    fn a_day_later_it_is_forgotten() {
        let (memory, acme) = (Memory::default(), tenant("acme"));
        memory.look(&acme, "k", &[1; 32], MINUTE).unwrap();
        memory
            .look(&acme, "k", &[2; 32], REMEMBERED_FOR)
            .unwrap_err();
        let later = MINUTE + REMEMBERED_FOR + Duration::from_millis(1);
        memory.look(&acme, "k", &[2; 32], later).unwrap();
    }

    #[test]
    fn memory_has_a_bound_and_who_sends_many_forgets_his_own() {
        let (memory, quiet, noisy) = (Memory::default(), tenant("quiet"), tenant("noisy"));
        memory.look(&quiet, "k", &[1; 32], MINUTE).unwrap();
        for at in 0..=REMEMBERED_OF_TENANT_MAX {
            memory
                .look(&noisy, &format!("k{at}"), &[1; 32], MINUTE)
                .unwrap();
        }
        memory
            .look(&noisy, "k0", &[2; 32], MINUTE)
            .expect("it was forgotten");
        memory
            .look(&quiet, "k", &[2; 32], MINUTE)
            .expect_err("it was not");
        for id in 0..6 {
            let many = tenant(&format!("many-{id}"));
            for at in 0..REMEMBERED_OF_TENANT_MAX {
                memory
                    .look(&many, &format!("k{at}"), &[1; 32], MINUTE)
                    .unwrap();
            }
        }
        let held = memory.held.lock().unwrap();
        let count: usize = held.tenants.values().map(|own| own.requests.len()).sum();
        assert_eq!(count, held.count);
        assert!(count <= REMEMBERED_MAX, "{count}");
    }

    #[test]
    fn keys_are_short_and_visible() {
        let check = |value: &[u8], expect: Option<Option<&str>>| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", value.try_into().unwrap());
            assert_eq!(key_of(&headers).ok(), expect);
        };
        check(b"a1", Some(Some("a1")));
        check(b"", None);
        check(&[b'a'; 256], None);
        check(b"\xe9", None);
        assert_eq!(key_of(&HeaderMap::new()).unwrap(), None);
    }
}
