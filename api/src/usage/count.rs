//! How many events came since an instant, each identity once, by when the log took it first.
//!
//! No `FINAL`: that would merge all of a tenant's rows to tell of the newest. What was appended
//! since an instant may repeat what was appended before it. An event is appended `future_max`
//! before its own time at the earliest, so all rows of an identity that is dated behind
//! `since - LOOKBACK` lie behind `since - LOOKBACK - future_max`, and one question for the rows
//! from there on sees them all.
//! Those that are dated further back, which are few or somebody's history, are looked up by their
//! key.

use std::collections::BTreeMap;

use schemas::ids::TenantId;
use schemas::time::EventTime;
use serde::Deserialize;

use super::{HOUR_MS, SLICE_MS};
use crate::query::failure::QueryError;
use crate::query::server::{Server, Session};
use crate::query::tenant_query::{Table, TenantQuery};

/// How far back of what is counted an event may be dated to be counted with the newest.
const LOOKBACK_MS: i64 = 15 * 60_000;
/// What is longer is counted in parts, by how much came in each hour.
const SHORT_MS: i64 = 2 * HOUR_MS;
/// Rows of a part, roughly: one hour is never parted.
const PART_ROWS: u64 = 4_000_000;

/// What was counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counted {
    /// Events by slice, in milliseconds since 1970; a slice without any is not there.
    pub slices: BTreeMap<i64, u64>,
    /// When the log took the newest row that was seen.
    pub newest_ms: Option<i64>,
}

/// Whose events, and since when.
#[derive(Clone, Copy, Debug)]
pub struct Since<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// A slice's start, in milliseconds since 1970.
    pub from_ms: i64,
    /// How far ahead of its append an event may be dated.
    pub future_max_ms: i64,
}

impl Counted {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.slices.values().sum()
    }

    fn add(&mut self, other: Self) {
        for (slice_ms, count) in other.slices {
            *self.slices.entry(slice_ms).or_default() += count;
        }
        self.newest_ms = self.newest_ms.max(other.newest_ms);
    }
}

#[derive(Deserialize)]
struct Slice {
    slice_ms: i64,
    n: u64,
    newest_ms: i64,
}

#[derive(Deserialize)]
struct Hour {
    hour_ms: i64,
    n: u64,
}

/// Half-open, by when the log took a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    from_ms: i64,
    to_ms: Option<i64>,
}

/// Counts what came since.
///
/// # Errors
/// When the server does not answer in time, refuses, or there is no place.
pub async fn count(server: &Server, since: Since<'_>, now_ms: i64) -> Result<Counted, QueryError> {
    let mut counted = Counted::default();
    for part in parts(server, since, now_ms).await? {
        let session = server.session(since.tenant).await?;
        let limit_ms = part.from_ms - LOOKBACK_MS;
        let recent = recent(&session, since, part, limit_ms);
        counted.add(gathered(session.rows(&recent).await?));
        let dated_back = dated_back(&session, part, limit_ms);
        counted.add(gathered(session.rows(&dated_back).await?));
    }
    Ok(counted)
}

fn gathered(slices: Vec<Slice>) -> Counted {
    Counted {
        newest_ms: slices.iter().map(|slice| slice.newest_ms).max(),
        slices: slices.into_iter().map(|s| (s.slice_ms, s.n)).collect(),
    }
}

/// The parts in which to count.
async fn parts(server: &Server, since: Since<'_>, now_ms: i64) -> Result<Vec<Part>, QueryError> {
    let whole = Part {
        from_ms: since.from_ms,
        to_ms: None,
    };
    if now_ms - since.from_ms <= SHORT_MS {
        return Ok(vec![whole]);
    }
    let session = server.session(since.tenant).await?;
    let mut query = session.query("usage_hours");
    query
        .push("SELECT intDiv(toUnixTimestamp64Milli(_appended_at), 3600000) * 3600000 AS hour_ms,");
    query.push(" count() AS n").rows_of(Table::EventsAsInserted);
    appended(&mut query, whole);
    query.push(" GROUP BY hour_ms ORDER BY hour_ms");
    let hours = session.rows::<Hour>(&query).await?;
    Ok(parted(since.from_ms, &hours))
}

/// Whole hours together, as long as they have few rows.
fn parted(from_ms: i64, hours: &[Hour]) -> Vec<Part> {
    let (mut parts, mut start_ms, mut rows) = (vec![], from_ms, 0);
    for hour in hours {
        if rows > 0 && rows + hour.n > PART_ROWS && hour.hour_ms > start_ms {
            parts.push(Part {
                from_ms: start_ms,
                to_ms: Some(hour.hour_ms),
            });
            (start_ms, rows) = (hour.hour_ms, 0);
        }
        rows += hour.n;
    }
    parts.push(Part {
        from_ms: start_ms,
        to_ms: None,
    });
    parts
}

/// Identities that are dated behind `limit_ms`, by the first of all their rows.
fn recent(session: &Session, since: Since<'_>, part: Part, limit_ms: i64) -> TenantQuery {
    let mut query = by_slice(session, "usage");
    query.rows_of(Table::EventsAsInserted);
    let with_repeats = Part {
        from_ms: limit_ms - since.future_max_ms,
        ..part
    };
    appended(&mut query, with_repeats);
    query.push(" AND occurred_at >= ").instant(at(limit_ms));
    first_in(&mut query, part);
    query
}

/// The others: which of the part's are dated so, and then all rows of those.
fn dated_back(session: &Session, part: Part, limit_ms: i64) -> TenantQuery {
    let mut query = by_slice(session, "usage_back");
    query.rows_of(Table::EventsAsInserted);
    query.push(" AND occurred_at < ").instant(at(limit_ms));
    query.push(
        " AND (event_type, subject, occurred_at, event_id) IN \
         (SELECT event_type, subject, occurred_at, event_id",
    );
    query.rows_of(Table::EventsAsInserted);
    appended(&mut query, part);
    query.push(" AND occurred_at < ").instant(at(limit_ms));
    query.push(")");
    first_in(&mut query, part);
    query
}

fn by_slice(session: &Session, name: &'static str) -> TenantQuery {
    let mut query = session.query(name);
    query.push("SELECT intDiv(first_ms, ").value(SLICE_MS);
    query.push(") * ").value(SLICE_MS);
    query.push(
        " AS slice_ms, count() AS n, max(last_ms) AS newest_ms FROM \
         (SELECT toUnixTimestamp64Milli(min(_appended_at)) AS first_ms, \
         toUnixTimestamp64Milli(max(_appended_at)) AS last_ms",
    );
    query
}

/// Rows of one identity have 128 bits in common: whole keys would take many times the memory.
fn first_in(query: &mut TenantQuery, part: Part) {
    query.push(
        " GROUP BY sipHash128(event_type, subject, occurred_at, event_id) HAVING first_ms >= ",
    );
    query.value(part.from_ms);
    if let Some(to_ms) = part.to_ms {
        query.push(" AND first_ms < ").value(to_ms);
    }
    query.push(") GROUP BY slice_ms");
}

fn appended(query: &mut TenantQuery, part: Part) {
    // In the column's own unit, so that its index is used.
    query.push(" AND _appended_at >= fromUnixTimestamp64Milli(");
    query.value(part.from_ms).push(", 'UTC')");
    if let Some(to_ms) = part.to_ms {
        query.push(" AND _appended_at < fromUnixTimestamp64Milli(");
        query.value(to_ms).push(", 'UTC')");
    }
}

fn at(ms: i64) -> EventTime {
    EventTime::from_ms(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_go_together_while_they_have_few_rows_and_none_is_left_out() {
        let hours = |rows: &[u64]| -> Vec<Hour> {
            let hour = |(at, n): (i64, &u64)| Hour {
                hour_ms: at * HOUR_MS,
                n: *n,
            };
            (10..).zip(rows).map(hour).collect()
        };
        let check = |rows: &[u64], starts: &[i64]| {
            let parts = parted(10 * HOUR_MS, &hours(rows));
            let got: Vec<i64> = parts.iter().map(|part| part.from_ms / HOUR_MS).collect();
            assert_eq!(got, starts, "{rows:?}");
            for (one, next) in parts.iter().zip(&parts[1..]) {
                assert_eq!(one.to_ms, Some(next.from_ms));
            }
            assert_eq!(parts.last().unwrap().to_ms, None);
        };
        check(&[], &[10]);
        check(&[1, 1, 1], &[10]);
        check(&[PART_ROWS, 1, PART_ROWS], &[10, 11, 12]);
        check(&[9 * PART_ROWS], &[10]);
        check(&[1, PART_ROWS - 1, 1], &[10, 12]);
    }
}
