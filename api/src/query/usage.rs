//! What a tenant is accounted for: the identities that its log took in a month, which are its rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runtime::clock;
use schemas::ids::TenantId;
use schemas::time::EventTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::QueryState;
use super::failure::QueryError;
use crate::problem::ApiError;
use crate::usage::ledger::{CountError, Used};

/// What a tenant is accounted for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
pub struct Usage {
    /// The month, UTC, by when the log took the events.
    #[schema(example = "2026-11")]
    pub month: String,
    /// Its events, each identity once: the tenant's rows.
    pub events: u64,
    /// When they were counted, RFC 3339. A count is used again for twenty times as long as it took,
    /// a minute at most.
    pub as_of: String,
}

impl QueryState {
    /// What the tenant has used of the month that holds `now_ms`, counted now.
    ///
    /// # Errors
    /// When the server does not answer in time, refuses, or there is no place.
    pub async fn used(
        &self,
        tenant: &TenantId,
        future_max_ms: i64,
        now_ms: i64,
    ) -> Result<Used, CountError> {
        let (ledger, server) = (&self.ledger, &self.server);
        ledger.used(server, tenant, future_max_ms, now_ms).await
    }

    /// The same in short, counted a moment ago where that costs much.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn usage(
        &self,
        tenant: &TenantId,
        future_max_ms: i64,
    ) -> Result<Usage, CountError> {
        let (now_ms, began) = (clock::now_ms(), clock::monotonic());
        let as_of = EventTime::from_ms(now_ms).to_string();
        if let Some(usage) = self.usages.at(tenant, began, &as_of[..7]) {
            return Ok(usage);
        }
        let used = self.used(tenant, future_max_ms, now_ms).await?;
        let usage = Usage {
            month: used.month.to_string(),
            events: used.events,
            as_of,
        };
        self.usages.keep(tenant, usage.clone(), began);
        Ok(usage)
    }
}

impl From<CountError> for ApiError {
    fn from(error: CountError) -> Self {
        match error {
            CountError::Rows(error) => error.into(),
            CountError::Store(error) => error.into(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Number {
    n: u64,
}

/// The one number of an answer.
pub(super) fn one(numbers: Vec<Number>) -> Result<u64, QueryError> {
    match numbers.as_slice() {
        [Number { n }] => Ok(*n),
        _ => Err(QueryError::Answer {
            reason: "a count is not one row".into(),
        }),
    }
}

/// Counts that are used again for a while. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Usages(Arc<Mutex<HashMap<TenantId, (Usage, Instant)>>>);

/// How much longer a count is used than it took.
const AGAIN_FOR: u32 = 20;
/// How long it is used at most.
const AGAIN_FOR_MAX: Duration = Duration::from_secs(60);
/// Counts that are kept.
const KEPT_MAX: usize = 10_000;

impl Usages {
    fn at(&self, tenant: &TenantId, now: Instant, month: &str) -> Option<Usage> {
        let kept = self.kept();
        let (usage, until) = kept.get(tenant)?;
        (*until > now && usage.month == month).then(|| usage.clone())
    }

    fn keep(&self, tenant: &TenantId, usage: Usage, began: Instant) {
        let until = clock::monotonic() + (began.elapsed() * AGAIN_FOR).min(AGAIN_FOR_MAX);
        let mut kept = self.kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(tenant.clone(), (usage, until));
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, (Usage, Instant)>> {
        // A map is never half changed: poisoning cannot have left it wrong.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
