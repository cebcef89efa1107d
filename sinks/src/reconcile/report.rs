//! What a reconciliation says.

use serde::Serialize;

/// The answer of a reconciliation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// When it began, in ms since the epoch.
    pub at_ms: i64,
    /// One for each tenant that was asked for.
    pub tenants: Vec<TenantReport>,
}

/// What became of one tenant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TenantReport {
    /// Whose rows they are.
    pub tenant: String,
    /// Which part of the log was judged.
    pub extents: Vec<ExtentReport>,
    /// Events that nobody may use; they have no row.
    pub refused_event_count: u64,
    /// One for each table.
    pub tables: Vec<TableReport>,
}

/// The part of a partition that was judged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ExtentReport {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The first offset that the log still held.
    pub start: i64,
    /// The offset after the last one judged.
    pub end: i64,
}

/// What became of one table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TableReport {
    /// The table.
    pub table: &'static str,
    /// Identities in the log.
    pub log_count: u64,
    /// Rows that a reader sees.
    pub row_count: u64,
    /// Identities that are as the log says; windows that were taken back and are gone count too.
    pub equal_count: u64,
    /// Identities of the log without a row.
    pub missing_count: u64,
    /// Rows without a record.
    pub extra_count: u64,
    /// Rows that say something else than their record.
    pub different_count: u64,
    /// Identities that a reader sees more than once.
    pub doubled_count: u64,
    /// Identities that were changed after the ends; the next reconciliation judges them.
    pub newer_count: u64,
    /// Rows from before the log's beginning, which nothing can be compared with.
    pub before_log_count: u64,
    /// Events whose date is refused today and that may or may not have been taken on their day.
    pub dated_count: u64,
    /// How many days rows stay.
    pub retention_days: Option<u32>,
    /// What is older than that, and was not compared.
    pub expired: Vec<ExpiredRange>,
    /// The first faults.
    pub examples: Vec<Example>,
}

/// Records of a partition whose rows may be gone by their age.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ExpiredRange {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The lowest offset.
    pub first_offset: i64,
    /// The highest offset.
    pub last_offset: i64,
    /// How many identities.
    pub count: u64,
}

/// What can be wrong with a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The log has it and the table has not.
    Missing,
    /// The table has it and the log has not.
    Extra,
    /// They say different things.
    Different,
    /// The table shows it more than once.
    Doubled,
}

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Example {
    /// What is wrong.
    pub fault: Fault,
    /// The identity, as far as it could be read.
    pub identity: String,
    /// The record that should be shown.
    pub record: Option<Place>,
    /// The row that is shown.
    pub row: Option<Place>,
}

/// A place in the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Place {
    /// The topic; empty for one that is not the tenant's.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl Report {
    /// True when every row that can be judged is as the log says.
    pub fn is_equal(&self) -> bool {
        self.tenants
            .iter()
            .all(|tenant| tenant.tables.iter().all(TableReport::is_equal))
    }
}

impl TableReport {
    /// True when every row that can be judged is as the log says.
    pub fn is_equal(&self) -> bool {
        self.missing_count + self.extra_count + self.different_count + self.doubled_count == 0
    }

    /// A report on nothing yet.
    pub fn new(table: &'static str, retention_days: Option<u32>) -> Self {
        Self {
            table,
            log_count: 0,
            row_count: 0,
            equal_count: 0,
            missing_count: 0,
            extra_count: 0,
            different_count: 0,
            doubled_count: 0,
            newer_count: 0,
            before_log_count: 0,
            dated_count: 0,
            retention_days,
            expired: Vec::new(),
            examples: Vec::new(),
        }
    }
}
