//! The tables' side: the rows that a reader sees, and the windows that were taken back.

use serde::Deserialize;

use super::ReconcileError;
use super::entry::Entry;
use super::extent::Extents;
use super::spill::Buckets;
use crate::clickhouse::retention;
use crate::clickhouse::row_binary::Walk;
use crate::clickhouse::server::Server;
use crate::clickhouse::table::Table;

/// What a table's retention makes of its rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Horizon {
    /// How many days rows stay; `None` for ever.
    pub days: Option<u32>,
    /// Rows that were appended before may be gone.
    pub at_ms: i64,
}

/// Reads a tenant's rows of a table.
///
/// # Errors
/// When the server breaks off, or answers something else.
pub async fn read(
    server: &Server,
    extents: &Extents,
    table: Table,
    buckets: &mut Buckets,
) -> Result<(), ReconcileError> {
    let Some(extent) = extents.extents.first() else {
        return Ok(());
    };
    let (columns, name) = (table.column_list(), table.name());
    // A tenant's id holds letters, digits and hyphens alone.
    let tenant = &extent.origin.tenant;
    let seen = format!("SELECT {columns} FROM {name} WHERE tenant = '{tenant}'");
    read_all(server, &seen, extents, table, buckets).await?;
    if table == Table::Metrics {
        // With `final` the server hides what was taken back.
        let taken_back = format!("{seen} AND deleted = 1 SETTINGS final = 0");
        read_all(server, &taken_back, extents, table, buckets).await?;
    }
    Ok(())
}

async fn read_all(
    server: &Server,
    sql: &str,
    extents: &Extents,
    table: Table,
    buckets: &mut Buckets,
) -> Result<(), ReconcileError> {
    let mut answer = server.stream(sql)?;
    // What a piece ends with is the beginning of the row that the next one goes on with.
    let mut rest = Vec::new();
    while let Some(piece) = answer.next().await? {
        rest.extend_from_slice(&piece);
        let (mut walk, mut cells) = (Walk::new(&rest), Vec::new());
        while walk.row(table.columns(), &mut cells).is_some() {
            buckets.push(&Entry::of(table, &cells, extents))?;
        }
        let read = walk.position();
        rest.drain(..read);
    }
    match rest.is_empty() {
        true => Ok(()),
        false => Err(ReconcileError::Answer {
            table: table.name(),
        }),
    }
}

/// Asks the server for the tables' retention and the time.
///
/// # Errors
/// When the server does not answer in time, or refuses.
pub async fn horizons(server: &Server) -> Result<[Horizon; Table::ALL.len()], ReconcileError> {
    #[derive(Deserialize)]
    struct Now {
        now_ms: i64,
    }
    let now = server
        .rows::<Now>("SELECT toUnixTimestamp64Milli(now64(3)) AS now_ms")
        .await?;
    let now_ms = now.first().map_or(0, |now| now.now_ms);
    let mut horizons = [Horizon {
        days: None,
        at_ms: i64::MIN,
    }; Table::ALL.len()];
    for table in Table::ALL {
        if let Some(days) = retention::read(server, table).await? {
            let at_ms = now_ms - i64::from(days) * 86_400_000;
            horizons[table as usize] = Horizon {
                days: Some(days),
                at_ms,
            };
        }
    }
    Ok(horizons)
}
