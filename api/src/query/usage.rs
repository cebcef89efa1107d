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
use super::server::Session;
use super::tenant_query::Table;

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
    /// What the tenant is accounted for in this month: its rows.
    ///
    /// # Errors
    /// When the server does not answer in time, refuses, or there is no place.
    pub async fn usage(&self, tenant: &TenantId) -> Result<Usage, QueryError> {
        let session = self.server.session(tenant).await?;
        self.usages.of(&session, tenant).await
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
    /// What the tenant is accounted for in this month, UTC.
    ///
    /// An identity belongs to the month in which the log first took it, and its row is that first
    /// one, so a month that is over does not change any more.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(super) async fn of(
        &self,
        session: &Session,
        tenant: &TenantId,
    ) -> Result<Usage, QueryError> {
        let now = jiff::Timestamp::from_millisecond(clock::now_ms()).unwrap_or_default();
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let month = format!("{:04}-{:02}", today.year(), today.month());
        let began = clock::monotonic();
        if let Some((usage, until)) = self.kept().get(tenant)
            && *until > began
            && usage.month == month
        {
            return Ok(usage.clone());
        }
        let mut query = session.query("usage");
        query.push("SELECT count() AS n").rows_of(Table::Events);
        query
            .push(" AND _appended_at >= ")
            .instant(start_of(today.first_of_month()));
        let usage = Usage {
            month,
            events: one(session.rows(&query).await?)?,
            as_of: now.to_string(),
        };
        let until = clock::monotonic() + (began.elapsed() * AGAIN_FOR).min(AGAIN_FOR_MAX);
        let mut kept = self.kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(tenant.clone(), (usage.clone(), until));
        Ok(usage)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, (Usage, Instant)>> {
        // A map is never half changed: poisoning cannot have left it wrong.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_of(day: jiff::civil::Date) -> EventTime {
    let midnight = day.to_zoned(jiff::tz::TimeZone::UTC);
    EventTime::from_ms(midnight.map_or(0, |at| at.timestamp().as_millisecond()))
}
