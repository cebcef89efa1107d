//! How long rows stay, counted from their append to the log and never from event time.

use serde::Deserialize;

use super::failure::ServerError;
use super::server::Server;
use super::settings::Retention;
use super::table::Table;

/// What stands before the days in a table's definition.
const TTL: &str = "TTL toDateTime(_appended_at) + toIntervalDay(";

/// Makes the tables' retention what is configured; a table that has it already is left alone.
///
/// # Errors
/// When the server does not answer in time, or refuses.
pub async fn apply(server: &Server, retention: &Retention) -> Result<(), ServerError> {
    for table in Table::ALL {
        let days = retention.days(table);
        if read(server, table).await? != Some(days) {
            let name = table.name();
            server
                .execute(&format!("ALTER TABLE {name} MODIFY {TTL}{days})"))
                .await?;
            tracing::info!(table = name, days, "retention changed");
        }
    }
    Ok(())
}

/// How many days a table keeps its rows, as the server has it; `None` for ever.
///
/// # Errors
/// When the server does not answer in time, or refuses.
pub async fn read(server: &Server, table: Table) -> Result<Option<u32>, ServerError> {
    #[derive(Deserialize)]
    struct Definition {
        create_table_query: String,
    }
    let sql = format!(
        "SELECT create_table_query FROM system.tables \
         WHERE database = currentDatabase() AND name = '{}'",
        table.name()
    );
    let definitions = server.rows::<Definition>(&sql).await?;
    Ok(definitions
        .first()
        .and_then(|definition| days_in(&definition.create_table_query)))
}

fn days_in(definition: &str) -> Option<u32> {
    let (_, rest) = definition.split_once(TTL)?;
    let (days, _) = rest.split_once(')')?;
    days.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::migrations;

    #[test]
    fn the_migrations_say_what_the_settings_default_to() {
        let retention = Retention::default_days();
        for table in Table::ALL {
            let head = format!("CREATE TABLE IF NOT EXISTS {}\n", table.name());
            let migration = migrations::ALL
                .into_iter()
                .find(|m| m.sql.contains(&head))
                .unwrap();
            assert_eq!(
                days_in(migration.sql),
                Some(retention.days(table)),
                "{}",
                table.name()
            );
        }
    }

    #[test]
    fn a_table_without_retention_has_none() {
        assert_eq!(days_in("CREATE TABLE pulse.events ORDER BY tenant"), None);
        assert_eq!(
            days_in("TTL toDateTime(_appended_at) + toIntervalDay(7) SETTINGS"),
            Some(7)
        );
    }
}
