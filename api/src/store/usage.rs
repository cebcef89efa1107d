//! What tenants have used, as far as it is counted for good, and what they were told of it.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};
use schemas::ids::TenantId;
use schemas::usage::Month;

use super::{Change, StoreError};

/// Events of a tenant that are counted for good.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sealed {
    /// Up to where, by the log's clock, in milliseconds since 1970.
    pub to_ms: i64,
    /// Events by hour, in milliseconds since 1970; an hour without any is not there.
    pub hours: BTreeMap<i64, u64>,
}

/// A share of a quota that a tenant has reached.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct QuotaNotice {
    /// Who.
    pub tenant: TenantId,
    /// In which month.
    pub month: Month,
    /// Which share.
    pub percent: u64,
    /// Of how many events.
    pub quota: u64,
}

/// When a share was found to be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reached {
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// Events that were counted then.
    pub events: u64,
    /// True when the tenant is known to have been told.
    pub is_published: bool,
}

impl Change<'_> {
    /// What is counted for good of a tenant, hours from `from_ms` on; `None` where nothing is.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn sealed_usage(
        &self,
        tenant: &TenantId,
        from_ms: i64,
    ) -> Result<Option<Sealed>, StoreError> {
        let select = "SELECT to_ms FROM usage_sealed WHERE tenant = $1";
        let to_ms = self
            .sql()
            .query_row(select, [tenant.as_str()], |row| row.get(0));
        let Some(to_ms) = to_ms.optional()? else {
            return Ok(None);
        };
        let select = "SELECT hour_ms, events FROM usage_hours WHERE tenant = $1 AND hour_ms >= $2";
        let mut statement = self.sql().prepare(select)?;
        let hour = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let rows = statement.query_map(params![tenant.as_str(), from_ms], hour)?;
        let hours =
            rows.map(|row: rusqlite::Result<(i64, i64)>| row.map(|(at, n)| (at, n.unsigned_abs())));
        Ok(Some(Sealed {
            to_ms,
            hours: hours.collect::<rusqlite::Result<_>>()?,
        }))
    }

    /// Adds events that are counted for good up to `to_ms`, and forgets hours before
    /// `keep_from_ms`.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn seal_usage(
        &mut self,
        tenant: &TenantId,
        to_ms: i64,
        hours: &BTreeMap<i64, u64>,
        keep_from_ms: i64,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO usage_hours (tenant, hour_ms, events) VALUES ($1, $2, $3) \
                      ON CONFLICT (tenant, hour_ms) DO UPDATE SET \
                      events = usage_hours.events + excluded.events";
        let mut statement = self.sql().prepare(insert)?;
        for (hour_ms, events) in hours {
            let events = i64::try_from(*events).unwrap_or(i64::MAX);
            statement.execute(params![tenant.as_str(), hour_ms, events])?;
        }
        let insert = "INSERT INTO usage_sealed (tenant, to_ms) VALUES ($1, $2) \
                      ON CONFLICT (tenant) DO UPDATE SET to_ms = excluded.to_ms";
        self.sql()
            .execute(insert, params![tenant.as_str(), to_ms])?;
        let delete = "DELETE FROM usage_hours WHERE tenant = $1 AND hour_ms < $2";
        self.sql()
            .execute(delete, params![tenant.as_str(), keep_from_ms])?;
        Ok(())
    }

    /// Notes that a share was reached, now with so many events, unless that is noted already; gives
    /// what is noted.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_quota(&mut self, notice: &QuotaNotice, events: u64) -> Result<Reached, StoreError> {
        let insert = "INSERT INTO quota_notices (tenant, month, percent, quota, events, \
                      reached_at_us, is_published) VALUES ($1, $2, $3, $4, $5, $6, 0) \
                      ON CONFLICT (tenant, month, percent, quota) DO NOTHING";
        let (tenant, month) = (notice.tenant.as_str(), notice.month.to_string());
        let percent = whole(notice.percent);
        let quota = whole(notice.quota);
        let values = params![tenant, month, percent, quota, whole(events), self.now_us()];
        self.sql().execute(insert, values)?;
        let select = "SELECT reached_at_us, events, is_published FROM quota_notices \
                      WHERE tenant = $1 AND month = $2 AND percent = $3 AND quota = $4";
        let reached = |row: &rusqlite::Row<'_>| {
            Ok(Reached {
                at_us: row.get(0)?,
                events: row.get::<_, i64>(1)?.unsigned_abs(),
                is_published: row.get::<_, i64>(2)? != 0,
            })
        };
        let by = params![tenant, month, percent, quota];
        Ok(self.sql().query_row(select, by, reached)?)
    }

    /// Notes that the tenant was told.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_quota_published(&mut self, notice: &QuotaNotice) -> Result<(), StoreError> {
        let update = "UPDATE quota_notices SET is_published = 1 \
                      WHERE tenant = $1 AND month = $2 AND percent = $3 AND quota = $4";
        let (tenant, month) = (notice.tenant.as_str(), notice.month.to_string());
        let by = params![tenant, month, whole(notice.percent), whole(notice.quota)];
        self.sql().execute(update, by)?;
        Ok(())
    }
}

/// SQL has no whole numbers without a sign.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
