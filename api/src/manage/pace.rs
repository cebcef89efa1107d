//! How often a tenant may ask these routes: each change is a record that every process reads, and
//! all tenants' go through one store, so one who asks in a loop would be felt by the others.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::Method;
use schemas::ids::TenantId;

use super::too_many;
use crate::access::Caller;
use crate::problem::ApiError;

/// What a change takes of the bucket, of which a look takes one: it is written, published, and read
/// by every process.
const CHANGE: NonZeroU32 = NonZeroU32::new(10).expect("10 is not 0");

/// A bucket for each tenant. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Pace {
    tenants: Arc<DefaultKeyedRateLimiter<TenantId>>,
}

impl Pace {
    /// So many changes a minute, or ten times as many looks, all at once or spread.
    pub fn new(changes_per_minute: u32) -> Self {
        let per_minute = NonZeroU32::new(changes_per_minute).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_minute(per_minute.saturating_mul(CHANGE));
        Self {
            tenants: Arc::new(RateLimiter::keyed(quota)),
        }
    }

    fn take(&self, tenant: &TenantId, method: &Method) -> Result<(), ApiError> {
        let weight = match *method {
            Method::GET => NonZeroU32::MIN,
            _ => CHANGE,
        };
        match self.tenants.check_key_n(tenant, weight) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(early)) => {
                let wait = early.wait_time_from(DefaultClock::default().now());
                Err(too_many(wait, "the tenant asks more often than it may"))
            }
            Err(_) => unreachable!("a bucket holds one change at least"),
        }
    }
}

/// Refuses a tenant that asks too often, before anything is read of its body.
pub async fn keep(State(pace): State<Pace>, request: Request, next: Next) -> Response {
    let taken = match request.extensions().get::<Caller>() {
        Some(caller) => pace.take(&caller.tenant, request.method()),
        // Whoever registers has none; those are counted together.
        None => Ok(()),
    };
    match taken {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_asks_too_often_waits_alone() {
        let pace = Pace::new(3);
        let (acme, other): (TenantId, TenantId) = ("acme".parse().unwrap(), "b".parse().unwrap());
        let taken = |tenant, method| pace.take(tenant, &method).map_err(|error| error.status());
        assert_eq!(taken(&acme, Method::PUT), Ok(()));
        assert_eq!(taken(&acme, Method::DELETE), Ok(()));
        for _ in 0..10 {
            assert_eq!(taken(&acme, Method::GET), Ok(()));
        }
        assert_eq!(
            taken(&acme, Method::POST),
            Err(http::StatusCode::TOO_MANY_REQUESTS)
        );
        assert_eq!(taken(&other, Method::POST), Ok(()));
    }
}
