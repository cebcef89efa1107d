//! The log's side: the rows that the sink should have made of it.

use std::time::Duration;

use runtime::kafka::{Isolation, KafkaConfig, Reader, Start};
use runtime::step::Incoming;
use schemas::origin::OriginKey;
use schemas::refusal::{DateLimits, EventRules, Refusal};

use super::ReconcileError;
use super::entry::{Entry, Mark};
use super::extent::Extents;
use super::spill::Buckets;
use crate::clickhouse::row_binary::{RowBytes, Walk};
use crate::clickhouse::rows::{self, Origin};

/// What hangs on definitions that may have changed since is not refused.
pub(super) const LENIENT: EventRules = EventRules {
    dates: DateLimits {
        future_max_ms: i64::MAX,
        past_max_ms: i64::MAX,
    },
    direct_producers: false,
};

/// What the log holds.
#[derive(Debug)]
pub struct Logged {
    /// Each row, also those that a later one covers.
    pub entries: Buckets,
    /// Events that nobody may use, and that have no row.
    pub refused_count: u64,
}

/// Reads all extents.
///
/// # Errors
/// When the log cannot be read, or the temporary file not written.
pub fn read(
    kafka: &KafkaConfig,
    extents: &Extents,
    (rules, key): (&EventRules, &OriginKey),
    entries: Buckets,
    patience: Duration,
) -> Result<Logged, ReconcileError> {
    let mut logged = Logged {
        entries,
        refused_count: 0,
    };
    // A partition that holds nothing has nothing to be read up to, not even a mark.
    let full: Vec<_> = extents
        .extents
        .iter()
        .filter(|extent| extent.end > extent.start)
        .collect();
    if full.is_empty() {
        return Ok(logged);
    }
    let spans: Vec<_> = full
        .iter()
        .map(|extent| {
            let partition = runtime::kafka::Partition {
                topic: extent.origin.topic.clone(),
                number: extent.origin.partition,
            };
            (partition, Start::At(extent.start))
        })
        .collect();
    let reader = Reader::open(kafka, "pulse-reconcile", Isolation::Committed, &spans)?;
    let ends: Vec<_> = full.iter().map(|extent| extent.end).collect();
    let mut row = RowBytes::default();
    let mut written = Ok(());
    reader.read_until(&ends, patience, |index, record| {
        let extent = full[index];
        if record.offset() >= extent.end || written.is_err() {
            return;
        }
        let record = Incoming::of(record, key);
        match entry(&extent.origin, &record, rules, extents, &mut row) {
            Some(entry) => written = logged.entries.push(&entry),
            None => logged.refused_count += 1,
        }
    })?;
    written?;
    Ok(logged)
}

/// The entry of a record; `None` for an event that has no row.
fn entry(
    origin: &Origin,
    record: &Incoming<'_>,
    rules: &EventRules,
    extents: &Extents,
    bytes: &mut RowBytes,
) -> Option<Entry> {
    let (row, is_disputed) = match rows::read(origin, record, rules) {
        Ok(row) => (row, false),
        Err(
            Refusal::Future { .. }
            | Refusal::Past { .. }
            | Refusal::Reserved { .. }
            | Refusal::Payload,
        ) => (rows::read(origin, record, &LENIENT).ok()?, true),
        Err(_) => return None,
    };
    bytes.clear();
    row.write(origin, record, bytes);
    let mut cells = Vec::with_capacity(row.table().columns().len());
    Walk::new(bytes.as_slice())
        .row(row.table().columns(), &mut cells)
        .expect("a row that was just written is whole");
    let mut entry = Entry::of(row.table(), &cells, extents);
    if is_disputed {
        entry.mark = Mark::Disputed;
    }
    Some(entry)
}
