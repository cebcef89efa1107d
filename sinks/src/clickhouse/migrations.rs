//! The schema, as numbered files that are applied in order, each once and for ever.
//!
//! ClickHouse has no lock that a crash would release, so two processes that start at once both
//! apply what is missing, and every statement is one that changes nothing the second time
//! (`IF NOT EXISTS`; a test holds each file to it). The journal says what was applied, with a
//! checksum, so that a file that was changed afterwards, or a database that a newer program made,
//! is refused with its name instead of being written to.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::failure::ServerError;
use super::server::Server;

/// A numbered file of the schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Migration {
    /// Its place in the order, from 1.
    pub number: u32,
    /// What it makes.
    pub name: &'static str,
    /// Its statements, each ended by a semicolon at the end of a line.
    pub sql: &'static str,
}

macro_rules! migration {
    ($number:literal, $file:literal, $name:literal) => {
        Migration {
            number: $number,
            name: $name,
            sql: include_str!(concat!(
                "../../../schemas/clickhouse/",
                $file,
                "_",
                $name,
                ".sql"
            )),
        }
    };
}

/// The schema of this program.
pub const ALL: [Migration; 8] = [
    migration!(1, "0001", "events"),
    migration!(2, "0002", "metrics"),
    migration!(3, "0003", "late"),
    migration!(4, "0004", "dead_letters"),
    migration!(5, "0005", "candles"),
    migration!(6, "0006", "metric_details"),
    migration!(7, "0007", "search"),
    migration!(8, "0008", "appended"),
];

const JOURNAL: &str = "
CREATE TABLE IF NOT EXISTS migrations
(
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (number, checksum)
COMMENT 'Which files of the schema were applied'";

/// Why the schema is not as this program needs it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MigrationError {
    /// The server did not answer, or refused a statement.
    #[error("migration {number}: {error}")]
    Server {
        /// Which file; 0 is the journal.
        number: u32,
        /// What the server said.
        error: ServerError,
    },
    /// A newer program was here: this one does not know what it would write to.
    #[error(
        "database is at migration {found} ({name}), and this program knows {known} of them: \
             use the program that made it, or a newer one"
    )]
    Newer {
        /// The journal's last number.
        found: u32,
        /// Its name.
        name: String,
        /// The last number that this program knows.
        known: u32,
    },
    /// A file is not the one that was applied.
    #[error(
        "migration {number} ({name}) was changed after it was applied: \
             put the file back, and make the change a new migration"
    )]
    Changed {
        /// Which file.
        number: u32,
        /// Its name.
        name: String,
    },
}

/// A line of the journal.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
struct Applied {
    number: u32,
    name: String,
    checksum: String,
}

impl Migration {
    fn checksum(&self) -> String {
        Sha256::digest(self.sql)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The file's statements, without the comments between them.
    fn statements(&self) -> impl Iterator<Item = &'static str> {
        self.sql
            .split(";\n")
            .map(str::trim)
            .filter(|statement| !statement.is_empty())
    }
}

/// Applies what is missing, and says how many files that were.
///
/// # Errors
/// When the database is not one that this program may write to, or the server fails.
pub async fn apply(server: &Server) -> Result<usize, MigrationError> {
    let failed = |number: u32| move |error: ServerError| MigrationError::Server { number, error };
    server.create_database().await.map_err(failed(0))?;
    server.execute(JOURNAL).await.map_err(failed(0))?;
    let journal = "SELECT number, name, checksum FROM migrations FINAL ORDER BY number, checksum";
    let applied = server.rows(journal).await.map_err(failed(0))?;
    let missing = missing(&applied, &ALL)?;
    for migration in &missing {
        let failed = failed(migration.number);
        for statement in migration.statements() {
            server.execute(statement).await.map_err(&failed)?;
        }
        let Migration { number, name, .. } = migration;
        let checksum = migration.checksum();
        let line = format!(
            "INSERT INTO migrations (number, name, checksum) VALUES ({number}, '{name}', '{checksum}')"
        );
        server.execute(&line).await.map_err(&failed)?;
        tracing::info!(number, name, "migration applied");
    }
    Ok(missing.len())
}

/// What is still to be applied.
fn missing(applied: &[Applied], known: &[Migration]) -> Result<Vec<Migration>, MigrationError> {
    for line in applied {
        let Some(migration) = known
            .iter()
            .find(|migration| migration.number == line.number)
        else {
            let last = applied.last().expect("the line is one of them");
            return Err(MigrationError::Newer {
                found: last.number,
                name: last.name.clone(),
                known: known.last().map_or(0, |migration| migration.number),
            });
        };
        if migration.checksum() != line.checksum {
            let name = migration.name.to_owned();
            return Err(MigrationError::Changed {
                number: line.number,
                name,
            });
        }
    }
    let is_missing = |migration: &&Migration| applied.iter().all(|a| a.number != migration.number);
    Ok(known.iter().filter(is_missing).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(count: usize) -> Vec<Applied> {
        let line = |migration: &Migration| Applied {
            number: migration.number,
            name: migration.name.into(),
            checksum: migration.checksum(),
        };
        ALL[..count].iter().map(line).collect()
    }

    #[test]
    fn only_what_is_missing_is_applied() {
        assert_eq!(missing(&[], &ALL).unwrap(), ALL);
        assert_eq!(missing(&journal(2), &ALL).unwrap(), ALL[2..]);
        assert_eq!(missing(&journal(ALL.len()), &ALL).unwrap(), []);
        // A hole, as two processes may leave it that were both killed.
        assert_eq!(
            missing(&journal(3)[1..], &ALL).unwrap(),
            [&ALL[..1], &ALL[3..]].concat()
        );
    }

    #[test]
    fn a_newer_database_is_left_alone() {
        let error = missing(&journal(5), &ALL[..3]).unwrap_err();
        let expect = MigrationError::Newer {
            found: 5,
            name: "candles".into(),
            known: 3,
        };
        assert_eq!(error, expect);
        assert!(
            error
                .to_string()
                .starts_with("database is at migration 5 (candles), and this")
        );
    }

    #[test]
    fn a_changed_file_is_named() {
        let changed = [Migration {
            sql: "SELECT 1;\n",
            ..ALL[0]
        }];
        let error = missing(&journal(1), &changed).unwrap_err();
        assert_eq!(
            error,
            MigrationError::Changed {
                number: 1,
                name: "events".into()
            }
        );
        // Two programs that disagree about a file both see it.
        let mut both = journal(1);
        both.push(Applied {
            checksum: "other".into(),
            ..both[0].clone()
        });
        assert!(matches!(
            missing(&both, &ALL),
            Err(MigrationError::Changed { number: 1, .. })
        ));
    }

    #[test]
    fn every_statement_can_be_run_twice() {
        for migration in ALL {
            assert!(migration.sql.ends_with(";\n"), "{}", migration.name);
            assert!(migration.statements().count() > 0, "{}", migration.name);
            for statement in migration.statements() {
                let code = statement.lines().filter(|line| !line.starts_with("--"));
                let code = code.collect::<Vec<_>>().join("\n");
                let is_idempotent = [
                    "IF NOT EXISTS",
                    "IF EXISTS",
                    "MODIFY QUERY",
                    "MODIFY COLUMN",
                ]
                .iter()
                .any(|words| code.contains(words));
                assert!(is_idempotent, "{}: {code}", migration.name);
            }
        }
    }

    #[test]
    fn the_files_are_the_list() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/clickhouse");
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().file_name());
        let mut files: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
        files.sort();
        let listed = ALL.map(|m| format!("{:04}_{}.sql", m.number, m.name));
        assert_eq!(files, listed);
        assert!(
            ALL.iter()
                .zip(1..)
                .all(|(migration, number)| migration.number == number)
        );
    }
}
