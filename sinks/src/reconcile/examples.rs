//! Which rows the examples are about, in words: looked up where each of them lies.

use std::time::Duration;

use runtime::kafka::{Isolation, KafkaConfig, Partition, Reader, Start};
use runtime::step::Incoming;
use schemas::origin::OriginKey;
use serde::Deserialize;

use super::ReconcileError;
use super::extent::Extents;
use super::log::LENIENT;
use super::report::{Place, TenantReport};
use crate::clickhouse::rows::{self, Row};
use crate::clickhouse::server::Server;
use crate::clickhouse::table::Table;

/// How many rows that claim one place are named.
const SAME_PLACE_MAX: usize = 3;

/// How long one record may take to come.
const READ_WAIT: Duration = Duration::from_secs(10);

/// Fills in the examples' identities, from the record, or from the row where there is no record,
/// and puts them in their order.
pub(super) async fn name_keys(
    report: &mut TenantReport,
    kafka: &KafkaConfig,
    extents: &Extents,
    server: &Server,
) -> Result<(), ReconcileError> {
    for (table, report) in Table::ALL.into_iter().zip(&mut report.tables) {
        for example in &mut report.examples {
            example.identity = match (&example.record, &example.row) {
                (Some(place), _) => {
                    let (kafka, extents, place) = (kafka.clone(), extents.clone(), place.clone());
                    let read = move || of_record(&kafka, &extents, &place);
                    tokio::task::spawn_blocking(read)
                        .await
                        .expect("reading does not panic")?
                }
                (None, Some(place)) => of_row(server, table, extents, place).await?,
                (None, None) => String::new(),
            };
        }
        // Rows come in no order of their own: one state of things makes one report.
        report
            .examples
            .sort_by(|one, other| one.identity.cmp(&other.identity));
    }
    Ok(())
}

fn of_record(
    kafka: &KafkaConfig,
    extents: &Extents,
    place: &Place,
) -> Result<String, ReconcileError> {
    let index = extents.index(&place.topic, place.partition);
    let Some(extent) = index.and_then(|index| extents.get(index)) else {
        return Ok(String::new());
    };
    let span = (
        Partition::new(&place.topic, place.partition),
        Start::At(place.offset),
    );
    let reader = Reader::open(kafka, "pulse-reconcile", Isolation::Committed, &[span])?;
    // Who wrote it makes no difference here.
    let key = OriginKey::new([0; 16]);
    let mut identity = String::new();
    reader.read_until(&[place.offset + 1], READ_WAIT, |_, record| {
        if record.offset() != place.offset {
            return;
        }
        let record = Incoming::of(record, &key);
        if let Ok(row) = rows::read(&extent.origin, &record, &LENIENT) {
            identity = in_words(&row);
        }
    })?;
    Ok(identity)
}

fn in_words(row: &Row<'_>) -> String {
    match row {
        Row::Event(event) => format!(
            "{} {} {} {}",
            event.event_type.as_str(),
            event.subject.as_str(),
            event.occurred_at,
            event.event_id.as_str()
        ),
        Row::Metric(metric) => format!(
            "{} {} {} {} ms {}",
            metric.meter.as_str(),
            metric.meter_version,
            metric.group.as_str(),
            metric.window_ms,
            metric.window_start
        ),
        Row::Late(late) => format!("late event {}", late.event_id.as_str()),
        Row::DeadLetter(letter) => format!("dead letter from {}", letter.source.as_str()),
        Row::Unreadable(error) => format!("unreadable: {error}"),
    }
}

async fn of_row(
    server: &Server,
    table: Table,
    extents: &Extents,
    place: &Place,
) -> Result<String, ReconcileError> {
    #[derive(Deserialize)]
    struct Found {
        identity: String,
    }
    let Some(extent) = extents.extents.first() else {
        return Ok(String::new());
    };
    let columns: Vec<_> = table
        .identity()
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    let (columns, name, tenant) = (columns.join(", "), table.name(), &extent.origin.tenant);
    let sql = format!(
        "SELECT toString(tuple({columns})) AS identity FROM {name} \
         WHERE tenant = '{tenant}' AND _partition = {} AND _offset = {} LIMIT {SAME_PLACE_MAX}",
        place.partition, place.offset
    );
    let found = server.rows::<Found>(&sql).await?;
    // A row that was made up may claim another one's place.
    let identities: Vec<_> = found.into_iter().map(|found| found.identity).collect();
    Ok(identities.join(" or "))
}
