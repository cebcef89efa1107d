//! Whether ClickHouse holds exactly what the log says: every row, contents included.
//!
//! In: the tenants to look at. Out: a [`Report`] that names what is missing, extra or different.
//!
//! 1. The ends of all partitions are fixed, and the sink's committed positions must pass them
//!    ([`extent`]).
//! 2. The log is read from the first offset that it still holds, and each record becomes the row
//!    that the sink would have made of it, by the same function. Rows of one identity are reduced
//!    to the one with the highest version; a later one of the same version covers nothing
//!    ([`log`]).
//! 3. The tables are read as any reader reads them, with `final` ([`rows`]).
//! 4. Both sides are compared key by key ([`compare`]). Each side's rows are kept as hashes in
//!    buckets on disk ([`spill`]), and a bucket at a time is in memory, so that memory stays
//!    bounded however long the log is.
//!
//! What cannot be judged is named instead: rows that are older than the table's retention, and rows
//! from before the log's beginning. Rows that came after the ends are the next call's business.
//!
//! Nothing here writes anything but its own temporary files. Counting events (`in = counted +
//! late + duplicate + dead-lettered`) is a check of its own, on the metrics step's state: it
//! belongs into [`TenantReport`], beside the tables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use runtime::clickhouse::ClickHouseConfig;
use runtime::clock;
use runtime::control::ControlConfig;
use runtime::fate::Fate;
use runtime::kafka::KafkaConfig;
use runtime::kafka::admin::{Admin, AdminError};
use runtime::kafka::reader::ReadError;
use schemas::ids::TenantId;
use schemas::origin::OriginKey;
use schemas::refusal::EventRules;

use crate::clickhouse::failure::ServerError;
use crate::clickhouse::server::Server;
use crate::clickhouse::table::Table;

pub mod extent;

pub mod entry;
pub mod spill;

pub mod log;
pub mod rows;

pub mod compare;

mod examples;
pub mod report;

use compare::Comparison;
use extent::Extents;
pub use report::{Fault, Report, TableReport, TenantReport};

/// How a reconciliation is done.
#[derive(Clone, Debug)]
pub struct Reconciliation {
    /// Where the log is.
    pub kafka: KafkaConfig,
    /// Where the tables are.
    pub clickhouse: ClickHouseConfig,
    /// What tells which events are our own.
    pub control: ControlConfig,
    /// How long the sink, the log or the server may make no progress.
    pub patience: Duration,
    /// Where temporary files go.
    pub folder: PathBuf,
    /// How many rows of each side are in memory at once.
    pub row_count_max: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The cluster did not answer.
    #[error(transparent)]
    Cluster(#[from] AdminError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// ClickHouse did not answer.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The sink stands still before the ends.
    #[error(
        "the sink stands at {committed} of {end} in {topic}[{partition}], without progress for \
             {wait_ms} ms: is pulse-clickhouse running?"
    )]
    Behind {
        /// The topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Where the sink is.
        committed: i64,
        /// Where it should be.
        end: i64,
        /// How long it made no progress.
        wait_ms: u64,
    },
    /// A table answers something that is no row.
    #[error("{table} answers something that is no row of it")]
    Answer {
        /// Which table.
        table: &'static str,
    },
    /// The temporary files.
    #[error("temporary file: {0}")]
    Spill(#[from] std::io::Error),
}

impl ReconcileError {
    /// Whether the same call may succeed later.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Cluster(error) => error.fate(),
            Self::Log(error) => error.fate(),
            Self::Server(error) => error.fate(),
            Self::Behind { .. } => Fate::Retry,
            Self::Answer { .. } | Self::Spill(_) => Fate::Halt,
        }
    }
}

impl Reconciliation {
    /// With what suits most machines.
    pub fn new(kafka: KafkaConfig, clickhouse: ClickHouseConfig, control: ControlConfig) -> Self {
        Self {
            kafka,
            clickhouse,
            control,
            patience: Duration::from_secs(60),
            folder: std::env::temp_dir(),
            row_count_max: 1_000_000,
        }
    }

    /// Compares log and tables of these tenants, whose events are held to these rules.
    ///
    /// # Errors
    /// When there is no report to give; differences are no error, they are what it says.
    pub async fn run(
        &self,
        tenants: &BTreeMap<TenantId, EventRules>,
    ) -> Result<Report, ReconcileError> {
        let server = Server::new(&self.clickhouse, self.patience)?;
        let mut report = Report {
            at_ms: clock::now_ms(),
            tenants: Vec::new(),
        };
        for (tenant, rules) in tenants {
            report
                .tenants
                .push(self.tenant(&server, tenant, *rules).await?);
        }
        Ok(report)
    }

    async fn tenant(
        &self,
        server: &Server,
        tenant: &TenantId,
        rules: EventRules,
    ) -> Result<TenantReport, ReconcileError> {
        let admin = Admin::new(&self.kafka)?;
        let extents = Extents::fix(&admin, tenant)?;
        extents.wait_for_sink(&admin, self.patience).await?;
        let bucket_count = extents
            .record_count()
            .div_ceil(self.row_count_max.max(1))
            .max(1);
        let logged = self
            .read_log(
                &extents,
                (rules, self.control.origin_key(tenant)),
                bucket_count,
            )
            .await?;
        let mut shown = spill::Buckets::new(bucket_count, &self.folder)?;
        for table in Table::ALL {
            rows::read(server, &extents, table, &mut shown).await?;
        }
        let horizons = rows::horizons(server).await?;
        let newest = extents.ends_now(&admin)?;
        let mut comparison = Comparison::new(&extents, horizons, newest);
        let mut entries = logged.entries;
        for bucket in 0..bucket_count {
            comparison.bucket(entries.read(bucket)?, shown.read(bucket)?);
        }
        let mut report = comparison.finish(tenant, logged.refused_count);
        examples::name_keys(&mut report, &self.kafka, &extents, server).await?;
        Ok(report)
    }

    async fn read_log(
        &self,
        extents: &Extents,
        (rules, key): (EventRules, OriginKey),
        bucket_count: usize,
    ) -> Result<log::Logged, ReconcileError> {
        let (kafka, extents, patience) = (self.kafka.clone(), extents.clone(), self.patience);
        let entries = spill::Buckets::new(bucket_count, &self.folder)?;
        let read = move || log::read(&kafka, &extents, (&rules, &key), entries, patience);
        tokio::task::spawn_blocking(read)
            .await
            .expect("reading the log does not panic")
    }
}
