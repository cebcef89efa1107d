//! Which row a record becomes: pure, and the same for the sink and for reconciliation.

use std::sync::Arc;

use runtime::step::Incoming;
use schemas::dead_letter::DeadLetter;
use schemas::event::EventView;
use schemas::ids::{Stream, TenantId, Topic};
use schemas::late::Late;
use schemas::metric::MetricView;
use schemas::murmur2::partition_of;
use schemas::refusal::{DateLimits, Refusal, read_event};
use schemas::wire::{DecodeError, Text};

use super::cells::{Cells, Distinct};
use super::table::Table;

/// The streams of a tenant that this sink reads.
pub const STREAMS: [Stream; 4] = [
    Stream::Events,
    Stream::Metrics,
    Stream::Late,
    Stream::DeadLetters,
];

/// The partition that records come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Whose records they are.
    pub tenant: TenantId,
    /// What they are.
    pub stream: Stream,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// How many partitions the topic has.
    pub partition_count: i32,
}

impl Origin {
    /// The partition `partition` of `topic`, which has `partition_count` of them; `None` for a
    /// topic that has no table.
    pub fn of(topic: &Arc<str>, partition: i32, partition_count: i32) -> Option<Self> {
        let Topic { tenant, stream } = topic.parse().ok()?;
        STREAMS.contains(&stream).then(|| Self {
            tenant,
            stream,
            topic: Arc::clone(topic),
            partition,
            partition_count,
        })
    }
}

/// What a record becomes.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    /// A row of `events`.
    Event(EventView<'a>),
    /// A row of `metrics`.
    Metric(MetricView<'a>),
    /// A row of `late`.
    Late(Late<'a>),
    /// A row of `dead_letters`.
    DeadLetter(DeadLetter<'a>),
    /// A row of `dead_letters` that this sink makes: the record could not be read, and nobody
    /// before it can have said so.
    Unreadable(Unreadable),
}

/// Why a record of `metrics`, `late` or `dead-letters` has no row in its own table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are not what the topic holds.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// A window that has not fired has no place on `metrics`.
    #[error("the window is not final: open windows belong on metrics.open")]
    NotFinal,
    /// The revision decides which row counts.
    #[error("revision {found} is negative")]
    Revision {
        /// What stood there.
        found: i64,
    },
}

impl Unreadable {
    /// A stable word for counters and rows.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Decode(error) => error.reason(),
            Self::NotFinal => "not_final",
            Self::Revision { .. } => "invalid_field",
        }
    }
}

/// Reads a record.
///
/// # Errors
/// An event that nobody may use: it has no row here, since the metrics step writes its dead letter.
#[inline]
pub fn read<'a>(
    origin: &Origin,
    record: &Incoming<'a>,
    dates: &DateLimits,
) -> Result<Row<'a>, Refusal> {
    let value = record.value.unwrap_or_default();
    Ok(match origin.stream {
        Stream::Events => {
            let (event, _) = read_event(record.value, record.appended_at, dates)?;
            let expected = partition_of(event.subject.as_bytes(), origin.partition_count);
            if expected != origin.partition {
                return Err(Refusal::WrongPartition { expected });
            }
            Row::Event(event)
        }
        Stream::Metrics => read_metric(value).map_or_else(Row::Unreadable, Row::Metric),
        Stream::Late => Late::decode(value).map_or_else(unreadable, Row::Late),
        _ => DeadLetter::decode(value).map_or_else(unreadable, Row::DeadLetter),
    })
}

fn read_metric(value: &[u8]) -> Result<MetricView<'_>, Unreadable> {
    let metric = MetricView::decode(value)?;
    if !metric.is_final {
        return Err(Unreadable::NotFinal);
    }
    match metric.revision {
        0.. => Ok(metric),
        found => Err(Unreadable::Revision { found }),
    }
}

fn unreadable<'a>(error: DecodeError) -> Row<'a> {
    Row::Unreadable(error.into())
}

impl Row<'_> {
    /// Which table it belongs to.
    #[inline]
    pub fn table(&self) -> Table {
        match self {
            Self::Event(_) => Table::Events,
            Self::Metric(_) => Table::Metrics,
            Self::Late(_) => Table::Late,
            Self::DeadLetter(_) | Self::Unreadable(_) => Table::DeadLetters,
        }
    }

    /// Writes the row's cells.
    #[inline]
    pub fn write(&self, origin: &Origin, record: &Incoming<'_>, cells: &mut impl Cells) {
        cells.text(origin.tenant.as_str().as_bytes());
        match self {
            Self::Event(event) => write_event(event, cells),
            Self::Metric(metric) => write_metric(metric, cells),
            Self::Late(late) => write_late(late, cells),
            Self::DeadLetter(letter) => write_dead_letter(letter, cells),
            Self::Unreadable(error) => write_unreadable(*error, origin, record, cells),
        }
        cells.text(origin.topic.as_bytes());
        cells.fixed(origin.partition.to_le_bytes());
        cells.fixed(record.offset.to_le_bytes());
        cells.fixed(record.appended_at.as_ms().to_le_bytes());
    }
}

/// An absent text is an empty one.
#[inline]
fn optional<'a>(text: Option<Text<'a>>) -> &'a [u8] {
    text.map_or(&[], Text::as_bytes)
}

#[inline]
fn write_event(event: &EventView<'_>, cells: &mut impl Cells) {
    cells.text(event.event_type.as_bytes());
    cells.text(event.subject.as_bytes());
    cells.fixed(event.occurred_at.as_us().to_le_bytes());
    cells.text(event.event_id.as_bytes());
    cells.text(optional(event.name));
    cells.fixed(event.received_at.as_us().to_le_bytes());
    cells.fixed([event.severity as u8]);
    cells.text(event.service.as_bytes());
    cells.text(optional(event.host));
    cells.text(optional(event.method));
    cells.text(optional(event.endpoint));
    cells.text(optional(event.version));
    cells.nullable_fixed(event.sequence.map(i64::to_le_bytes));
    cells.text(optional(event.title));
    cells.text(optional(event.trace_id));
    cells.text(optional(event.user_id));
    match Distinct::of(|| event.tags.iter()) {
        Distinct::AsWritten => cells.text_map(event.tags.len(), event.tags.iter()),
        Distinct::Sorted(items) => cells.text_map(items.len(), items.into_iter()),
    }
    match Distinct::of(|| event.metrics.iter()) {
        Distinct::AsWritten => cells.decimal_map(event.metrics.len(), event.metrics.iter()),
        Distinct::Sorted(items) => cells.decimal_map(items.len(), items.into_iter()),
    }
    cells.text(optional(event.payload));
}

#[inline]
fn write_metric(metric: &MetricView<'_>, cells: &mut impl Cells) {
    cells.text(metric.meter.as_bytes());
    cells.fixed(metric.meter_version.to_le_bytes());
    cells.text(metric.group.as_bytes());
    cells.fixed(metric.window_ms.to_le_bytes());
    cells.fixed(metric.window_start.as_us().to_le_bytes());
    let window_end = metric.window_end.map(|end| end.as_us().to_le_bytes());
    cells.nullable_fixed(window_end);
    match Distinct::of(|| metric.labels.iter()) {
        Distinct::AsWritten => cells.text_map(metric.labels.len(), metric.labels.iter()),
        Distinct::Sorted(items) => cells.text_map(items.len(), items.into_iter()),
    }
    cells.fixed(metric.revision.to_le_bytes());
    cells.fixed([u8::from(metric.deleted)]);
    cells.fixed([u8::from(metric.partial)]);
    cells.fixed([u8::from(metric.overflow)]);
    cells.fixed(metric.event_count.to_le_bytes());
    match Distinct::of(|| metric.values.iter()) {
        Distinct::AsWritten => {
            cells.nullable_decimal_map(metric.values.len(), metric.values.iter());
        }
        Distinct::Sorted(items) => cells.nullable_decimal_map(items.len(), items.into_iter()),
    }
    match Distinct::of(|| metric.sketches.iter()) {
        Distinct::AsWritten => cells.bytes_map(metric.sketches.len(), metric.sketches.iter()),
        Distinct::Sorted(items) => cells.bytes_map(items.len(), items.into_iter()),
    }
}

fn write_late(late: &Late<'_>, cells: &mut impl Cells) {
    cells.text(late.topic.as_bytes());
    cells.fixed(late.partition.to_le_bytes());
    cells.fixed(late.offset.to_le_bytes());
    cells.fixed(late.appended_at.as_ms().to_le_bytes());
    cells.text(late.event_id.as_bytes());
    cells.text(late.event_type.as_bytes());
    cells.text(late.subject.as_bytes());
    cells.fixed(late.occurred_at.as_us().to_le_bytes());
    cells.fixed(late.limit_at.as_us().to_le_bytes());
    cells.text(late.event);
}

fn write_dead_letter(letter: &DeadLetter<'_>, cells: &mut impl Cells) {
    cells.text(letter.source.as_bytes());
    cells.nullable_fixed(letter.partition.map(i32::to_le_bytes));
    cells.nullable_fixed(letter.offset.map(i64::to_le_bytes));
    cells.fixed(letter.appended_at.as_ms().to_le_bytes());
    cells.text(letter.reason.as_bytes());
    cells.text(letter.detail.as_bytes());
    cells.fixed(letter.replay_count.to_le_bytes());
    cells.nullable_text(letter.key);
    cells.nullable_text(letter.value);
}

#[cold]
fn write_unreadable(
    error: Unreadable,
    origin: &Origin,
    record: &Incoming<'_>,
    cells: &mut impl Cells,
) {
    cells.text(origin.topic.as_bytes());
    cells.nullable_fixed(Some(origin.partition.to_le_bytes()));
    cells.nullable_fixed(Some(record.offset.to_le_bytes()));
    cells.fixed(record.appended_at.as_ms().to_le_bytes());
    cells.text(error.reason().as_bytes());
    cells.text(error.to_string().as_bytes());
    cells.fixed(0i32.to_le_bytes());
    cells.nullable_text(record.key);
    cells.nullable_text(record.value);
}

#[cfg(test)]
mod tests;
