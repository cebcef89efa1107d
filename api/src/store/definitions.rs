//! Definitions in a transaction: looked up, written with their outbox rows, deleted.

use runtime::clock;
use runtime::control;
use rusqlite::{Connection, OptionalExtension, params};
use schemas::control::{ControlKey, Definition, Kind};
use schemas::ids::TenantId;
use schemas::time::EventTime;

use super::StoreError;

/// A definition as the store has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its key on the topic.
    pub key: ControlKey,
    /// Grows with each change.
    pub version: i64,
    /// When it was made, in microseconds since 1970; of one that was deleted and made again, the
    /// latter.
    pub created_at_us: i64,
    /// When it was changed.
    pub changed_at_us: i64,
    /// Its text; absent once it was deleted.
    pub body: Option<String>,
    /// The number of its last change in the outbox.
    pub(super) outbox_number: i64,
}

impl Row {
    /// What it says; `None` once it was deleted.
    ///
    /// # Errors
    /// When its text is no definition to this release.
    pub fn definition(&self) -> Result<Option<Definition>, StoreError> {
        let body = self.body.as_deref();
        let read = body.map(|body| Definition::read(self.key.kind, body));
        let broken = |error| StoreError::Row(format!("{}: {error}", self.key));
        read.transpose().map_err(broken)
    }
}

/// What a row is ordered by in a list over all tenants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// The tenant, or nothing for a place before all.
    pub tenant: String,
    /// The id.
    pub id: String,
}

/// One transaction: what it looks up is of one moment, and what it writes is true together.
pub struct Change<'a> {
    sql: &'a Connection,
    now_us: i64,
    last_number: i64,
}

const COLUMNS: &str =
    "tenant, kind, id, version, created_at_us, changed_at_us, body, outbox_number";

impl<'a> Change<'a> {
    pub(super) fn of(sql: &'a Connection) -> Self {
        Self {
            sql,
            now_us: clock::now_us(),
            last_number: 0,
        }
    }

    /// The highest number in the outbox that what was asked for hangs on.
    pub(super) fn last_number(&self) -> i64 {
        self.last_number
    }

    pub(super) fn sql(&self) -> &'a Connection {
        self.sql
    }

    /// When the transaction began, in microseconds since 1970.
    pub fn now_us(&self) -> i64 {
        self.now_us
    }

    /// What is or was under a key; a deleted definition has no body.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn row(&self, key: &ControlKey) -> Result<Option<Row>, StoreError> {
        let select = format!(
            "SELECT {COLUMNS} FROM definitions WHERE tenant = $1 AND kind = $2 AND id = $3"
        );
        let names = params![key.tenant.as_str(), key.kind.as_str(), key.id];
        let mut statement = self.sql.prepare(&select)?;
        let found = statement.query_row(names, read).optional()?;
        found.transpose()
    }

    /// What is in force under a key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn live(&self, key: &ControlKey) -> Result<Option<Row>, StoreError> {
        Ok(self.row(key)?.filter(|row| row.body.is_some()))
    }

    /// A tenant's definitions of a kind by id, at most `count`, behind the id `after`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(
        &self,
        tenant: &TenantId,
        kind: Kind,
        after: &str,
        count: u32,
    ) -> Result<Vec<Row>, StoreError> {
        let select = format!(
            "SELECT {COLUMNS} FROM definitions WHERE tenant = $1 AND kind = $2 AND id > $3 \
             AND body IS NOT NULL ORDER BY id LIMIT $4"
        );
        self.rows(
            &select,
            params![tenant.as_str(), kind.as_str(), after, count],
        )
    }

    /// All tenants' definitions of a kind by tenant and id, at most `count`, behind `after`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list_all(&self, kind: Kind, after: &Place, count: u32) -> Result<Vec<Row>, StoreError> {
        let select = format!(
            "SELECT {COLUMNS} FROM definitions WHERE kind = $1 AND body IS NOT NULL \
             AND (tenant > $2 OR (tenant = $2 AND id > $3)) ORDER BY tenant, id LIMIT $4"
        );
        self.rows(
            &select,
            params![kind.as_str(), after.tenant, after.id, count],
        )
    }

    /// Every definition that is or was, for comparing with the topic.
    pub(super) fn every_row(&self) -> Result<Vec<Row>, StoreError> {
        let select = format!("SELECT {COLUMNS} FROM definitions ORDER BY tenant, kind, id");
        self.rows(&select, params![])
    }

    fn rows(&self, select: &str, by: &[&dyn rusqlite::ToSql]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.sql.prepare(select)?;
        let found = statement.query_map(by, read)?;
        found.map(|row| row?).collect()
    }

    /// How many definitions of a kind a tenant has.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn live_count(&self, tenant: &TenantId, kind: Kind) -> Result<i64, StoreError> {
        let select = "SELECT COUNT(*) FROM definitions WHERE tenant = $1 AND kind = $2 \
                      AND body IS NOT NULL";
        self.count(select, tenant, kind)
    }

    /// How many ids of a kind a tenant has ever used.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn ever_count(&self, tenant: &TenantId, kind: Kind) -> Result<i64, StoreError> {
        let select = "SELECT COUNT(*) FROM definitions WHERE tenant = $1 AND kind = $2";
        self.count(select, tenant, kind)
    }

    fn count(&self, select: &str, tenant: &TenantId, kind: Kind) -> Result<i64, StoreError> {
        let names = params![tenant.as_str(), kind.as_str()];
        Ok(self.sql.query_row(select, names, |row| row.get(0))?)
    }

    /// Defines something, unless it is so already word for word; gives what is then in force.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put(&mut self, key: &ControlKey, definition: &Definition) -> Result<Row, StoreError> {
        debug_assert_eq!(key.kind, definition.kind(), "a key names its kind");
        let (held, body) = (self.row(key)?, definition.body());
        if let Some(row) = held.filter(|row| row.body.as_ref() == Some(&body)) {
            // It may be so since a moment ago, and not on the topic yet.
            self.last_number = self.last_number.max(row.outbox_number);
            return Ok(row);
        }
        self.write(key, 0, Some(body))
    }

    /// Defines something where nothing ever was under its key; true when it did.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_if_new(
        &mut self,
        key: &ControlKey,
        definition: &Definition,
    ) -> Result<bool, StoreError> {
        if let Some(row) = self.row(key)? {
            self.last_number = self.last_number.max(row.outbox_number);
            return Ok(false);
        }
        self.put(key, definition)?;
        Ok(true)
    }

    /// True while a row's last change is not known to be on the topic.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_pending(&self, row: &Row) -> Result<bool, StoreError> {
        let select = "SELECT COUNT(*) FROM outbox WHERE number = $1";
        let number = row.outbox_number;
        let count: i64 = self.sql.query_row(select, [number], |row| row.get(0))?;
        Ok(count > 0)
    }

    /// Deletes what is in force under a key; gives what it was, or `None` where nothing is.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn delete(&mut self, key: &ControlKey) -> Result<Option<Row>, StoreError> {
        let Some(row) = self.row(key)? else {
            return Ok(None);
        };
        if row.body.is_none() {
            self.last_number = self.last_number.max(row.outbox_number);
            return Ok(None);
        }
        self.write(key, 0, None)?;
        Ok(Some(row))
    }

    /// Writes a definition, or its deletion, under the next version above `floor` and all that were
    /// before, and into the outbox.
    pub(super) fn write(
        &mut self,
        key: &ControlKey,
        floor: i64,
        body: Option<String>,
    ) -> Result<Row, StoreError> {
        let held = self.row(key)?;
        let was_live = held.as_ref().is_some_and(|row| row.body.is_some());
        let created_at_us = held.as_ref().filter(|_| was_live || body.is_none());
        let row = Row {
            key: key.clone(),
            version: held.as_ref().map_or(0, |row| row.version).max(floor) + 1,
            created_at_us: created_at_us.map_or(self.now_us, |row| row.created_at_us),
            changed_at_us: self.now_us,
            body,
            outbox_number: self.next_number()?,
        };
        self.save(&row)?;
        let insert = "INSERT INTO outbox (number, tenant, kind, id, version, changed_at_us, body) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7)";
        self.sql.prepare(insert)?.execute(params![
            row.outbox_number,
            key.tenant.as_str(),
            key.kind.as_str(),
            key.id,
            row.version,
            row.changed_at_us,
            row.body,
        ])?;
        self.last_number = row.outbox_number;
        Ok(row)
    }

    /// Writes a row as it is, and nothing into the outbox.
    pub(super) fn save(&mut self, row: &Row) -> Result<(), StoreError> {
        let insert = "INSERT INTO definitions (tenant, kind, id, version, created_at_us, \
                      changed_at_us, body, outbox_number) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                      ON CONFLICT (tenant, kind, id) DO UPDATE SET version = excluded.version, \
                      created_at_us = excluded.created_at_us, \
                      changed_at_us = excluded.changed_at_us, body = excluded.body, \
                      outbox_number = excluded.outbox_number";
        self.sql.prepare(insert)?.execute(params![
            row.key.tenant.as_str(),
            row.key.kind.as_str(),
            row.key.id,
            row.version,
            row.created_at_us,
            row.changed_at_us,
            row.body,
            row.outbox_number,
        ])?;
        Ok(())
    }

    fn next_number(&self) -> Result<i64, StoreError> {
        let update = "UPDATE figures SET value = value + 1 WHERE name = 'outbox_number' \
                      RETURNING value";
        Ok(self.sql.query_row(update, [], |row| row.get(0))?)
    }
}

/// A row of [`COLUMNS`]. What is in a row that is no key of ours is the error within.
fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<Row, StoreError>> {
    let (tenant, kind, id): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let Ok(key) = key(&tenant, &kind, &id) else {
        let text = format!("{tenant}/{kind}/{id}");
        return Ok(Err(StoreError::Row(text)));
    };
    Ok(Ok(Row {
        key,
        version: row.get(3)?,
        created_at_us: row.get(4)?,
        changed_at_us: row.get(5)?,
        body: row.get(6)?,
        outbox_number: row.get(7)?,
    }))
}

/// The key of three columns.
fn key(tenant: &str, kind: &str, id: &str) -> Result<ControlKey, StoreError> {
    let text = format!("{tenant}/{kind}/{id}");
    text.parse().map_err(|_| StoreError::Row(text))
}

/// A row of the outbox, as it goes to the topic, behind its number.
pub(super) fn read_outbox(
    row: &rusqlite::Row<'_>,
) -> rusqlite::Result<Result<(i64, control::Change), StoreError>> {
    let (tenant, kind, id): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let key = match key(&tenant, &kind, &id) {
        Ok(key) => key,
        Err(error) => return Ok(Err(error)),
    };
    let change = control::Change {
        key,
        version: row.get(4)?,
        changed_at: EventTime::from_us(row.get(5)?),
        body: row.get(6)?,
    };
    Ok(Ok((row.get(0)?, change)))
}
