//! The sketches of a preview's windows, made here of what the stream's are made of.
//!
//! A quantile's sketch is made of buckets and their counts, which the server counts by the same
//! whole numbers as `schemas::sketch`; a distinct count's of texts, each told once for its pane,
//! since the hash by which the stream counts them is none of the server's.

use std::collections::HashMap;

use schemas::meter::{Aggregate, Function, Meter, Operand, Window};
use schemas::sketch::{Distinct, Quantiles, Sketch, text_hash};
use schemas::time::EventTime;
use serde::Deserialize;

use super::cells::{Number, gate, gates};
use super::{Row, in_sessions, samples};
use crate::query::failure::QueryError;
use crate::query::range::Range;
use crate::query::server::Session;
use crate::query::tenant_query::TenantQuery;

/// Buckets and texts of all panes and groups that one preview is made of.
const PIECES_MAX: usize = 2_000_000;
/// How often these go into a sketch: an overlapping window's go into several.
const UPDATES_MAX: i64 = 20_000_000;
/// So many before others have their turn.
const UPDATES_AT_ONCE: i64 = 10_000;

/// The sketches of a meter's windows of one length.
pub(super) struct Sketches {
    /// Those of a window without numbers and texts.
    empty: Vec<Sketch>,
    by_window: HashMap<(i64, Vec<String>), Vec<Sketch>>,
}

impl Sketches {
    /// Those of a window, in the meter's order.
    pub(super) fn take(&mut self, row: &Row) -> Vec<Sketch> {
        let key = (row.start_us, row.labels.clone());
        let found = self.by_window.remove(&key);
        found.unwrap_or_else(|| self.empty.clone())
    }
}

/// What goes into a sketch of a pane: so many values of a bucket, or a text.
#[derive(Deserialize)]
struct Piece {
    pane_us: i64,
    labels: Vec<String>,
    #[serde(default)]
    bucket: i16,
    #[serde(default)]
    text: String,
    n: u64,
}

/// The sketches of these windows.
///
/// # Errors
/// When the server does not answer in time or refuses, or there is too much to sketch.
pub(super) async fn of_windows(
    session: &Session,
    meter: &Meter,
    window: Window,
    range: Range,
    rows: &[Row],
) -> Result<Sketches, QueryError> {
    let firsts = meter.sketches();
    let empty: Vec<Sketch> = firsts.iter().map(|first| empty(first)).collect();
    let mut sketches = Sketches {
        by_window: HashMap::new(),
        empty,
    };
    let Some(first_us) = rows.iter().map(|row| row.start_us).min() else {
        return Ok(sketches);
    };
    let windows = rows.iter().map(|row| (row.start_us, row.labels.clone()));
    let filled = windows.map(|key| (key, sketches.empty.clone()));
    sketches.by_window = filled.collect();
    // Older windows are not shown.
    let range = Range {
        from: range.from.max(EventTime::from_us(first_us)),
        ..range
    };
    let (hop_us, panes) = match window {
        // A session's pieces have its own start already.
        Window::Session { .. } => (0, 1),
        _ => (
            window.pane_ms() * 1_000,
            window.width_ms() / window.pane_ms(),
        ),
    };
    let (mut left, mut work) = (PIECES_MAX, Work::default());
    for (at, first) in firsts.into_iter().enumerate() {
        let question = question(session, meter, window, first, range);
        let mut answer = session.ask(&question)?;
        while let Some(line) = answer.next().await? {
            left = left.checked_sub(1).ok_or_else(too_much)?;
            work.add(panes).await?;
            let piece: Piece = answer.row(&line)?;
            let mut key = (piece.pane_us, piece.labels);
            for pane in 0..panes {
                key.0 = piece.pane_us - pane * hop_us;
                if let Some(own) = sketches.by_window.get_mut(&key) {
                    put(&mut own[at], piece.bucket, piece.n, &piece.text)?;
                }
            }
        }
    }
    Ok(sketches)
}

/// Pieces that were put into sketches, each into those of all its windows.
#[derive(Default)]
struct Work {
    done: i64,
    rested_at: i64,
}

impl Work {
    async fn add(&mut self, count: i64) -> Result<(), QueryError> {
        self.done += count;
        if self.done > UPDATES_MAX {
            return Err(too_much());
        }
        if self.done - self.rested_at > UPDATES_AT_ONCE {
            self.rested_at = self.done;
            // Others want to go on as well, and this question's time may be over.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

fn too_much() -> QueryError {
    QueryError::TooMuch {
        reason: format!("a preview's quantiles and distinct counts are of {PIECES_MAX} pieces"),
    }
}

fn empty(first: &Aggregate) -> Sketch {
    match first.function {
        Function::Distinct => Sketch::Distinct(Distinct::default()),
        _ => Sketch::Quantiles(Quantiles::default()),
    }
}

fn put(sketch: &mut Sketch, bucket: i16, count: u64, text: &str) -> Result<(), QueryError> {
    match sketch {
        Sketch::Distinct(distinct) => distinct.add(text_hash(text.as_bytes())),
        Sketch::Quantiles(quantiles) => {
            let added = quantiles.add_bucket(bucket, count);
            added.map_err(|error| QueryError::Answer {
                reason: error.to_string(),
            })?;
        }
    }
    Ok(())
}

/// What goes into a sketch, by pane and group.
fn question(
    session: &Session,
    meter: &Meter,
    window: Window,
    first: &Aggregate,
    range: Range,
) -> TenantQuery {
    let mut query = session.query("preview_sketch");
    let text = match &first.of {
        Operand::Field(field) => Some(field),
        _ => None,
    };
    match (text, Number::of(first)) {
        (Some(_), _) => query.push("SELECT pane_us, labels, text, count() AS n FROM ("),
        (None, Number::Value) => bucket(&mut query, "value"),
        (None, Number::Weight) => bucket(&mut query, "weight"),
    };
    match window {
        Window::Session {
            gap_ms,
            length_max_ms,
        } => {
            query.push(
                "SELECT * EXCEPT (pane_us), start_us AS pane_us FROM (SELECT *, \
                 min(at_us) OVER (PARTITION BY pane_us, labels, session) AS start_us FROM (",
            );
            in_sessions(&mut query, meter, (gap_ms, length_max_ms), range, text);
            query.push("))");
        }
        _ => samples(&mut query, meter, window.pane_ms() * 1_000, range, text),
    }
    query.push(") WHERE ");
    match (text, Number::of(first)) {
        (Some(_), _) => query.push("has_text"),
        (None, Number::Value) => query.push("isNotNull(value)"),
        (None, Number::Weight) => query.push("isNotNull(weight)"),
    };
    if let Some(gate) = gate(&gates(meter), first) {
        query.push(" AND ").numbered("g", gate);
    }
    match text {
        Some(_) => query.push(" GROUP BY pane_us, labels, text"),
        None => query.push(") GROUP BY pane_us, labels, bucket"),
    }
    .push(" LIMIT ")
    .value(PIECES_MAX as i64 + 1);
    query
}

/// Appends how many values each bucket has, as far as the samples: what `schemas::sketch` computes
/// of a value's highest bit and the six below it. A logarithm of a number that is as good as a
/// power of two may be one off.
fn bucket<'a>(query: &'a mut TenantQuery, number: &'static str) -> &'a mut TenantQuery {
    query.push("SELECT pane_us, labels, bucket, count() AS n FROM (SELECT pane_us, labels, ");
    query.push("abs(assumeNotNull(");
    query.push(number).push(
        ")) AS magnitude, toInt16(floor(log2(toFloat64(greatest(magnitude, 1))))) AS near, \
         toInt16(multiIf(magnitude < bitShiftLeft(toUInt128(1), toUInt8(near)), near - 1, \
         magnitude >= bitShiftLeft(toUInt128(1), toUInt8(near + 1)), near + 1, near)) AS exponent, \
         bitShiftLeft(bitShiftRight(magnitude, toUInt8(greatest(exponent - 6, 0))), \
         toUInt8(greatest(6 - exponent, 0))) AS head, \
         toInt16(if(magnitude = 0, 0, sign(assumeNotNull(",
    );
    query
        .push(number)
        .push(")) * (exponent * 64 + toInt16(head) - 63))) AS bucket FROM (")
}
