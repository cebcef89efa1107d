//! Changes on their way: written with their definitions, taken from the front once they are on the
//! topic.

use runtime::control;
use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::definitions::read_outbox;

/// Rows that are published together.
const HEAD_MAX: u32 = 100;

/// How the store stands when it is opened.
pub(super) struct Start {
    /// The number up to which the outbox is on the topic.
    pub(super) published: i64,
    /// Whether the topic was taken over.
    pub(super) is_taken_over: bool,
}

/// The front of the outbox.
pub(super) struct Head {
    /// The next changes, each behind its number, in order.
    pub(super) changes: Vec<(i64, control::Change)>,
    /// The last number that was ever given.
    pub(super) last_number: i64,
    /// How many rows there are in all.
    pub(super) count: i64,
}

const TAKEN_OVER: &str = "taken_over_at_us";

/// How it stands.
pub(super) fn start(sql: &mut Connection) -> Result<Start, StoreError> {
    let head = head(sql)?;
    let first = head.changes.first().map(|(number, _)| number - 1);
    Ok(Start {
        published: first.unwrap_or(head.last_number),
        is_taken_over: figure(sql, TAKEN_OVER)?.is_some(),
    })
}

/// The front of the outbox.
pub(super) fn head(sql: &Connection) -> Result<Head, StoreError> {
    let select = "SELECT number, tenant, kind, id, version, changed_at_us, body FROM outbox \
                  ORDER BY number LIMIT $1";
    let mut statement = sql.prepare(select)?;
    let rows = statement.query_map(params![HEAD_MAX], read_outbox)?;
    let changes = rows
        .map(|row| row?)
        .collect::<Result<Vec<_>, StoreError>>()?;
    let count = sql.query_row("SELECT COUNT(*) FROM outbox", [], |row| row.get(0))?;
    Ok(Head {
        changes,
        last_number: figure(sql, "outbox_number")?.unwrap_or(0),
        count,
    })
}

/// Forgets what is on the topic.
pub(super) fn forget(sql: &Connection, up_to: i64) -> Result<(), StoreError> {
    sql.execute("DELETE FROM outbox WHERE number <= $1", [up_to])?;
    Ok(())
}

/// Notes that the topic was taken over.
pub(super) fn note_taken_over(sql: &Connection, at_us: i64) -> Result<(), StoreError> {
    let insert = "INSERT INTO figures (name, value) VALUES ($1, $2)";
    sql.execute(insert, params![TAKEN_OVER, at_us])?;
    Ok(())
}

fn figure(sql: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    let select = "SELECT value FROM figures WHERE name = $1";
    Ok(sql.query_row(select, [name], |row| row.get(0)).optional()?)
}
