//! The store's tables, as numbered steps that are applied once each, in order, at start.
//!
//! The SQL is what PostgreSQL takes as well. A step is never changed once it was released; what
//! should be otherwise is another step.

use std::path::Path;

use runtime::clock;
use rusqlite::{Connection, TransactionBehavior, params};

use super::OpenError;

/// A step.
struct Migration {
    number: i64,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 2] = [
    Migration {
        number: 1,
        sql: include_str!("migrations/001_definitions.sql"),
    },
    Migration {
        number: 2,
        sql: include_str!("migrations/002_usage.sql"),
    },
];

/// Which steps were applied, and when.
const LEDGER: &str = "CREATE TABLE IF NOT EXISTS migrations (
    number BIGINT NOT NULL PRIMARY KEY,
    applied_at_us BIGINT NOT NULL
)";

/// The last step that is known here.
fn last_known() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.number)
}

/// Applies the steps that the file lacks, all of them or none.
pub(super) fn apply(connection: &mut Connection, folder: &Path) -> Result<(), OpenError> {
    let unusable = |error: rusqlite::Error| OpenError::unusable(folder, &error);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(unusable)?;
    transaction.execute_batch(LEDGER).map_err(unusable)?;
    let found = last_applied(&transaction).map_err(unusable)?;
    if found > last_known() {
        return Err(OpenError::Newer {
            folder: folder.display().to_string(),
            found,
            known: last_known(),
        });
    }
    for migration in MIGRATIONS.iter().filter(|step| step.number > found) {
        transaction.execute_batch(migration.sql).map_err(unusable)?;
        let applied = params![migration.number, clock::now_us()];
        let insert = "INSERT INTO migrations (number, applied_at_us) VALUES ($1, $2)";
        transaction.execute(insert, applied).map_err(unusable)?;
    }
    transaction.commit().map_err(unusable)
}

/// The last step that was applied; an error when this is no store of ours.
pub(super) fn last_applied(connection: &Connection) -> rusqlite::Result<i64> {
    let select = "SELECT COALESCE(MAX(number), 0) FROM migrations";
    connection.query_row(select, [], |row| row.get(0))
}

/// True when this release can work with a file whose last step is this one.
pub(super) fn is_known(last_applied: i64) -> bool {
    (1..=last_known()).contains(&last_applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_without_a_gap_and_applied_once() {
        let numbers: Vec<i64> = MIGRATIONS.iter().map(|step| step.number).collect();
        let expect: Vec<i64> = (1..=last_known()).collect();
        assert_eq!(numbers, expect);

        let mut connection = Connection::open_in_memory().unwrap();
        for _ in 0..2 {
            apply(&mut connection, Path::new("here")).unwrap();
            assert_eq!(last_applied(&connection).unwrap(), last_known());
        }
    }

    #[test]
    fn a_later_releases_file_is_refused_and_left_as_it_is() {
        let mut connection = Connection::open_in_memory().unwrap();
        apply(&mut connection, Path::new("here")).unwrap();
        let later = last_known() + 1;
        let insert = "INSERT INTO migrations (number, applied_at_us) VALUES ($1, 0)";
        connection.execute(insert, [later]).unwrap();
        let error = apply(&mut connection, Path::new("here")).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found, .. } if found == later));
    }
}
