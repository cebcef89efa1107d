//! The page of a search: stretch by stretch, from its end backwards.

use std::mem;
use std::time::Duration;

use runtime::clock;
use schemas::time::EventTime;

use super::Search;
use super::cursor::Position;
use super::found::{self, FoundEvent, Row};
use crate::problem::ApiError;
use crate::query::failure::QueryError;
use crate::query::range::LENGTH_MAX_MS;
use crate::query::server::Session;
use crate::query::tenant_query::{Table, TenantQuery};

/// Bytes of rows in a page; one that comes to it is shorter, and goes on with its cursor.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The stretch that is looked at first, and how much longer each next one is.
const FIRST_MS: i64 = 4_000;
const GROWTH: i64 = 8;
/// How much longer where a look took long: its stretch lies in a large part of the table, which
/// costs nearly as much for a minute as for a day.
const GROWTH_AFTER_LONG: i64 = 512;
const LONG: Duration = Duration::from_millis(100);

impl Search {
    /// The events of the page, and what the next one begins behind, if there is one.
    pub(super) async fn page(
        &self,
        session: &Session,
    ) -> Result<(Vec<FoundEvent>, Option<Position>), ApiError> {
        let mut page = Page::default();
        let mut after = self.after.clone();
        // An index leads to what has an id of its own, however long ago it was.
        let mut stretch_ms = match self.filter.names_an_id() {
            true => LENGTH_MAX_MS,
            false => FIRST_MS,
        };
        // Little happens in what is still to come.
        let now = EventTime::from_ms(clock::now_ms());
        while after.occurred_at > self.range.from {
            let from = after.occurred_at.min(now).plus_ms(-stretch_ms);
            let from = from.max(self.range.from);
            let began = clock::monotonic();
            let held_count = page.events.len();
            let wanted = self.limit + 1 - held_count;
            match self.look(session, from, &after, wanted, &mut page).await {
                Ok(Looked::All) => {
                    after = Position::before(from);
                    let growth = match began.elapsed() > LONG {
                        true => GROWTH_AFTER_LONG,
                        false => GROWTH,
                    };
                    stretch_ms = stretch_ms.saturating_mul(growth).min(LENGTH_MAX_MS);
                }
                Ok(Looked::Until(position)) => after = position,
                // What was looked through to its end counts, and the next page goes on from there.
                Err(QueryError::TimedOut) if after != self.after => {
                    page.events.truncate(held_count);
                    return Ok((page.into_events(), Some(after)));
                }
                Err(error) => return Err(error.into()),
            }
            if page.events.len() > self.limit {
                page.events.truncate(self.limit);
                let last = page.events.last().map(|(position, _)| position.clone());
                return Ok((page.into_events(), last));
            }
            if page.byte_count > PAGE_BYTES_MAX {
                return Ok((page.into_events(), Some(after)));
            }
        }
        Ok((page.into_events(), None))
    }

    /// Looks through `[from, …)` for events behind `after`, up to `wanted`.
    async fn look(
        &self,
        session: &Session,
        from: EventTime,
        after: &Position,
        wanted: usize,
        page: &mut Page,
    ) -> Result<Looked, QueryError> {
        let query = self.question(session, from, after, wanted);
        let mut answer = session.ask(&query)?;
        let mut held: Option<Row> = None;
        let mut match_count = 0;
        while let Some(line) = answer.next().await? {
            let row: Row = answer.row(&line)?;
            match_count += usize::from(row.is_match());
            page.byte_count += line.len();
            held = Some(match held.take() {
                Some(best) if best.is_same(&row) => best.or_newer(row),
                Some(best) => {
                    let position = best.position();
                    page.take(best);
                    if page.byte_count > PAGE_BYTES_MAX {
                        return Ok(Looked::Until(position));
                    }
                    row
                }
                None => row,
            });
        }
        let last = held.map(|best| {
            let position = best.position();
            page.take(best);
            position
        });
        // All that match lie among those found, unless there were as many as were wanted.
        match last {
            Some(position) if match_count >= wanted => Ok(Looked::Until(position)),
            _ => Ok(Looked::All),
        }
    }

    fn question(
        &self,
        session: &Session,
        from: EventTime,
        after: &Position,
        wanted: usize,
    ) -> TenantQuery {
        let mut query = session.query("search");
        query.push("SELECT (1");
        self.filter.write(&mut query);
        query.push(") AS is_match, ").push(found::COLUMNS);
        query.rows_of(Table::EventsAsInserted);
        within(&mut query, from, after);
        query.push(" AND (event_type, subject, occurred_at, event_id) IN (");
        query.push("SELECT event_type, subject, occurred_at, event_id");
        query.rows_of(Table::EventsAsInserted);
        within(&mut query, from, after);
        self.filter.write(&mut query);
        query.push(NEWEST_FIRST).push(" LIMIT ");
        query.value(i64::try_from(wanted).unwrap_or(i64::MAX));
        query.push(")").push(NEWEST_FIRST);
        query
    }
}

const NEWEST_FIRST: &str =
    " ORDER BY occurred_at DESC, event_type DESC, subject DESC, event_id DESC";

/// Appends the condition of a stretch: from an instant on, and behind a position.
fn within(query: &mut TenantQuery, from: EventTime, after: &Position) {
    query.push(" AND occurred_at >= ").instant(from);
    // The same instant again: indexes know nothing of tuples.
    query
        .push(" AND occurred_at <= ")
        .instant(after.occurred_at);
    query.push(" AND (occurred_at, event_type, subject, event_id) < (");
    query.instant(after.occurred_at);
    query.push(", ").value(after.event_type.as_str());
    query.push(", ").value(after.subject.as_str());
    query.push(", ").value(after.event_id.as_str()).push(")");
}

/// How far a look came.
enum Looked {
    /// To the start of the stretch.
    All,
    /// To this event.
    Until(Position),
}

/// What was found so far.
#[derive(Default)]
struct Page {
    events: Vec<(Position, FoundEvent)>,
    byte_count: usize,
}

impl Page {
    /// Takes the row that counts of an identity.
    fn take(&mut self, row: Row) {
        if row.is_match() {
            self.events.push((row.position(), row.event()));
        }
    }

    fn into_events(mut self) -> Vec<FoundEvent> {
        let events = mem::take(&mut self.events);
        events.into_iter().map(|(_, event)| event).collect()
    }
}
