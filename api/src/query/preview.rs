//! What a meter would show: its windows over the last events, computed from their rows.
//!
//! The filter, the groups and the sums are SQL with values beside it. Whatever is divided, rooted
//! or rounded is what `schemas::total` makes of exact sums, as in the stream, so a number here is
//! the stream's to the last digit; and quantiles and distinct counts are read from the stream's own
//! sketches, made of the same numbers and texts ([`sketches`]). What differs is which events are
//! there: the stream leaves out those that were late, and here every row counts.

mod cells;
mod condition;
pub(super) mod route;
mod sketches;

use std::collections::BTreeMap;

use schemas::decimal::Decimal;
use schemas::ids::TenantId;
use schemas::meter::{Field, Meter, Window, push_label};
use schemas::sketch::Sketch;
use schemas::time::EventTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::QueryState;
use super::failure::QueryError;
use super::range::{Range, RangeTold};
use super::server::Session;
use super::tenant_query::{Table, TenantQuery};
use cells::Cells;

/// Windows of one preview.
pub const WINDOWS_MAX: usize = 1_000;

/// What a meter would show.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct Preview {
    /// Always true: these are not windows of the stream, which leaves late events out.
    pub preview: bool,
    /// The stretch whose events were looked at.
    pub range: RangeTold,
    /// The windows, each of the meter's lengths in turn, the newest first.
    pub windows: Vec<PreviewWindow>,
    /// True when there are more than these 1,000 windows.
    pub truncated: bool,
}

/// A window of a preview.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct PreviewWindow {
    /// Its length, in milliseconds; of a session its gap.
    pub window_ms: i64,
    /// Its first instant, RFC 3339.
    pub start: String,
    /// First instant behind it, RFC 3339.
    pub end: String,
    /// Its group, as the stream calls it.
    pub group: String,
    /// The group's fields.
    pub labels: BTreeMap<String, String>,
    /// Events in it.
    pub event_count: u64,
    /// The meter's aggregates, exact decimals as texts; null where no event had the number, or
    /// where the result is out of range.
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    pub values: BTreeMap<String, Option<Decimal>>,
    /// True where a result is out of range.
    pub overflow: bool,
    /// True where the window begins before the stretch that was looked at, or ends behind it.
    pub partial: bool,
}

#[derive(Debug, Deserialize)]
struct Row {
    start_us: i64,
    /// Of a session: when its last event was.
    #[serde(default)]
    last_us: Option<i64>,
    labels: Vec<String>,
    /// A text for each cell; null where no event had the number.
    cells: Vec<Option<String>>,
}

impl QueryState {
    /// A meter's windows over the events of `range`, as they would be; at most [`WINDOWS_MAX`].
    ///
    /// The meter has no faults: whoever calls this has looked.
    ///
    /// # Errors
    /// When the server does not answer in time, refuses, or there is no place.
    pub async fn preview(
        &self,
        tenant: &TenantId,
        meter: &Meter,
        range: Range,
    ) -> Result<Preview, QueryError> {
        let session = self.server.session(tenant).await?;
        let cells = Cells::of(meter);
        let mut windows = vec![];
        for window in &meter.windows {
            let room = WINDOWS_MAX + 1 - windows.len();
            let query = question(&session, meter, *window, &cells, range, room);
            let rows = session.rows::<Row>(&query).await?;
            let mut sketches = sketches::of_windows(&session, meter, *window, range, &rows).await?;
            for row in rows {
                let sketches = sketches.take(&row);
                windows.push(read(meter, *window, &cells, range, (row, &sketches))?);
            }
            if windows.len() > WINDOWS_MAX {
                break;
            }
        }
        let truncated = windows.len() > WINDOWS_MAX;
        windows.truncate(WINDOWS_MAX);
        Ok(Preview {
            preview: true,
            range: range.into(),
            windows,
            truncated,
        })
    }
}

fn question(
    session: &Session,
    meter: &Meter,
    window: Window,
    cells: &Cells,
    range: Range,
    room: usize,
) -> TenantQuery {
    let mut query = session.query("preview");
    let hop_us = window.pane_ms() * 1_000;
    match window {
        Window::Tumbling { .. } => {
            query.push("SELECT pane_us AS start_us, labels, ");
            cells.write(&mut query, cells::Stage::Whole);
            query.push(" FROM (");
            samples(&mut query, meter, hop_us, range, None);
            query.push(")");
        }
        // Each event goes into its pane once, and panes into all windows that hold them.
        Window::Hopping { width_ms, hop_ms } => {
            query.push("SELECT start_us, labels, ");
            cells.write(&mut query, cells::Stage::Merged);
            query.push(" FROM (SELECT * , arrayJoin(arrayMap(at -> pane_us - at * ");
            query.value(hop_us).push(", range(");
            query
                .value(width_ms / hop_ms)
                .push("))) AS start_us FROM (");
            query.push("SELECT pane_us, labels, ");
            cells.write(&mut query, cells::Stage::Parts);
            query.push(" FROM (");
            samples(&mut query, meter, hop_us, range, None);
            query.push(") GROUP BY pane_us, labels))");
        }
        Window::Session {
            gap_ms,
            length_max_ms,
        } => sessions(&mut query, meter, cells, (gap_ms, length_max_ms), range),
    }
    if !matches!(window, Window::Session { .. }) {
        query.push(" GROUP BY start_us, labels");
    }
    query.push(" ORDER BY start_us DESC, labels LIMIT ");
    query.value(i64::try_from(room).unwrap_or(i64::MAX));
    query
}

/// Appends a question for a meter's sessions.
fn sessions(
    query: &mut TenantQuery,
    meter: &Meter,
    cells: &Cells,
    lengths_ms: (i64, i64),
    range: Range,
) {
    query.push("SELECT min(at_us) AS start_us, max(at_us) AS last_us, labels, ");
    cells.write(query, cells::Stage::Whole);
    query.push(" FROM (");
    in_sessions(query, meter, lengths_ms, range, None);
    query.push(") GROUP BY pane_us, session, labels");
}

/// Appends a question for the same samples with the number of each one's session: how many have
/// begun up to it, in each stretch that no session leaves. `lengths_ms` are a session's gap and its
/// greatest length.
fn in_sessions(
    query: &mut TenantQuery,
    meter: &Meter,
    (gap_ms, length_max_ms): (i64, i64),
    range: Range,
    text: Option<&Field>,
) {
    // Events of one instant are peers, so they have one number, whichever of them is first.
    query.push(
        "SELECT *, sum(begins) OVER (PARTITION BY pane_us, labels ORDER BY at_us \
         RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS session FROM (SELECT *, \
         at_us - max(at_us) OVER (PARTITION BY pane_us, labels ORDER BY at_us \
         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) >= ",
    );
    query.value(gap_ms * 1_000).push(" AS begins FROM (");
    samples(query, meter, length_max_ms * 1_000, range, text);
    query.push("))");
}

/// Appends a question for the events that the meter counts, as samples of its windows, with a text
/// of each where it is asked for.
fn samples(
    query: &mut TenantQuery,
    meter: &Meter,
    pane_us: i64,
    range: Range,
    text: Option<&Field>,
) {
    query.push(
        "SELECT toUnixTimestamp64Micro(occurred_at) AS at_us, \
         ifNull(sequence, -9223372036854775808) AS order_in_instant, \
         at_us - positiveModulo(at_us, ",
    );
    query.value(pane_us).push(") AS pane_us, [");
    for (at, field) in meter.group_by.iter().enumerate() {
        query.push(if at == 0 { "" } else { ", " });
        condition::text(query, field);
    }
    query.push("] AS labels");
    number(query, meter.value.as_ref());
    query.push(" AS value");
    number(query, meter.weight.as_ref());
    query.push(" AS weight");
    for (at, conditions) in cells::gates(meter).into_iter().enumerate() {
        query.push(", ");
        condition::all_of(query, conditions);
        query.push(" AS ").numbered("g", at);
    }
    if let Some(field) = text {
        query.push(", ");
        condition::text(query, field);
        query.push(" AS text, ");
        condition::presence(query, field);
        query.push(" AS has_text");
    }
    query.rows_of(Table::Events);
    query.push(" AND occurred_at >= ").instant(range.from);
    query.push(" AND occurred_at < ").instant(range.to);
    condition::write(query, &meter.filter);
}

/// Appends a number in units of 10⁻¹⁸, null where the event has none.
fn number(query: &mut TenantQuery, field: Option<&Field>) {
    let Some(Field::Metric(name)) = field else {
        query.push(", CAST(NULL AS Nullable(Int128))");
        return;
    };
    query
        .push(", if(mapContains(metrics, ")
        .value(name.as_str());
    query
        .push("), reinterpretAsInt128(metrics[")
        .value(name.as_str());
    query.push("]), NULL)");
}

fn read(
    meter: &Meter,
    window: Window,
    cells: &Cells,
    range: Range,
    (row, sketches): (Row, &[Sketch]),
) -> Result<PreviewWindow, QueryError> {
    let results = cells
        .results(meter, &row.cells, sketches)
        .ok_or_else(|| QueryError::Answer {
            reason: "a cell of a preview is no number".into(),
        })?;
    let start = EventTime::from_us(row.start_us);
    let (end, first) = match (window, row.last_us) {
        (Window::Session { length_max_ms, .. }, Some(last_us)) => {
            let cut_us = length_max_ms * 1_000;
            let cut = row.start_us.div_euclid(cut_us) * cut_us + cut_us;
            let end = EventTime::from_us(last_us).plus_ms(window.width_ms());
            // An event before the stretch could belong to it.
            let first = start.plus_ms(-window.width_ms());
            (end.min(EventTime::from_us(cut)), first)
        }
        _ => (start.plus_ms(window.width_ms()), start),
    };
    let names: Vec<String> = meter.group_by.iter().map(Field::to_string).collect();
    let mut group = String::new();
    for (name, value) in names.iter().zip(&row.labels) {
        push_label(&mut group, name, value);
    }
    let names_of_values = meter
        .aggregates
        .iter()
        .map(|aggregate| aggregate.name.clone());
    Ok(PreviewWindow {
        window_ms: window.width_ms(),
        start: start.to_string(),
        end: end.to_string(),
        group,
        labels: names.into_iter().zip(row.labels).collect(),
        event_count: results.event_count,
        values: names_of_values.zip(results.values).collect(),
        overflow: results.overflow,
        partial: first < range.from || end > range.to,
    })
}
