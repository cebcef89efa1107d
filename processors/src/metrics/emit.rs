//! What the step writes for others: metrics, late events and dead letters.

use schemas::dead_letter::{self, DeadLetter};
use schemas::decimal::Decimal;
use schemas::event::EventView;
use schemas::ids::Stream;
use schemas::late::Late;
use schemas::metric::{self, Detail, MetricHead};
use schemas::refusal::Refusal;
use schemas::sketch::Sketch;
use schemas::time::{EventTime, Span, Width};
use schemas::wire::Text;

use runtime::step::{Incoming, Output};

use super::layout::Layout;
use super::partial::Sum;
use super::series::{CompiledMeter, Entry, RunSpec, Series};
use super::takeover::Whole;

/// Whose window is written.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    /// The meter.
    pub(super) meter: &'a CompiledMeter,
    /// Which of its windows.
    pub(super) run: usize,
    /// The group's canonical text.
    pub(super) group: &'a str,
    /// The values of the meter's group-by.
    pub(super) values: &'a [Box<str>],
    /// The first instant behind a session.
    pub(super) session_end: Option<EventTime>,
}

/// Writes a window: fired to `metrics`, open to `metrics.open`.
pub(super) fn metric(
    out: &mut Output,
    whose: Whose<'_>,
    entry: &Entry,
    cells: &Whole,
    results: &mut Vec<Option<Decimal>>,
) {
    let Whose { meter, group, .. } = whose;
    let spec = &meter.runs[whose.run];
    let is_final = entry.has_fired();
    let stream = if is_final {
        Stream::Metrics
    } else {
        Stream::MetricsOpen
    };
    let overflow = spec.layout.results(
        (&cells.words, &cells.sketches),
        |word| cells.carry(word),
        results,
    );
    let width = Width::from_ms(spec.width_us / 1_000).expect("a meter's windows were checked");
    let head = MetricHead {
        meter: &meter.id,
        meter_version: meter.version,
        group,
        window: Span::starting(EventTime::from_us(entry.start_us), width),
        window_ms: width.as_ms(),
        is_final,
        revision: i64::from(entry.revision()),
        deleted: false,
        partial: entry.is_partial(),
        overflow,
        event_count: Layout::event_count(&cells.words),
    };
    let labels = meter.label_names.iter().zip(whose.values);
    let values = meter.meter.aggregates.iter().zip(results.iter());
    out.put(
        stream,
        None,
        |key| metric_key(key, &meter.id, group),
        |value| {
            let labels = labels.map(|(name, value)| (&**name, &**value));
            let values = values.map(|(aggregate, value)| (aggregate.name.as_str(), *value));
            // An open window is told of for its values alone.
            if (cells.sketches.is_empty() && whose.session_end.is_none()) || !is_final {
                return metric::encode(value, &head, labels, values);
            }
            let encode = |sketch: &Sketch| {
                let mut bytes = vec![];
                sketch.encode(&mut bytes);
                bytes
            };
            let sketches: Vec<Vec<u8>> = cells.sketches.iter().map(encode).collect();
            let names = meter.sketch_names.iter().map(|name| &**name);
            let detail = Detail {
                window_end: whose.session_end,
                sketches: names.zip(sketches.iter().map(Vec::as_slice)),
            };
            metric::encode_detailed(value, &head, labels, values, detail);
        },
    );
}

/// Takes a fired session back: its events are in another one from now on.
pub(super) fn retraction(
    out: &mut Output,
    (meter, spec, series): (&CompiledMeter, &RunSpec, &Series),
    entry: Entry,
) {
    let width = Width::from_ms(spec.width_us / 1_000).expect("a meter's windows were checked");
    let head = MetricHead {
        meter: &meter.id,
        meter_version: meter.version,
        group: &series.group,
        window: Span::starting(EventTime::from_us(entry.start_us), width),
        window_ms: width.as_ms(),
        is_final: true,
        revision: i64::from(entry.revision()) + 1,
        deleted: true,
        partial: entry.is_partial(),
        overflow: false,
        event_count: 0,
    };
    let labels = meter.label_names.iter().zip(series.values.iter());
    out.put(
        Stream::Metrics,
        None,
        |key| metric_key(key, &meter.id, &series.group),
        |value| {
            let labels = labels.map(|(name, value)| (&**name, &**value));
            metric::encode(value, &head, labels, [].into_iter());
        },
    );
}

/// The key of a group's metrics: `meter/group`.
pub(super) fn metric_key(key: &mut Vec<u8>, meter: &str, group: &str) {
    key.extend_from_slice(meter.as_bytes());
    key.push(b'/');
    key.extend_from_slice(group.as_bytes());
}

/// Writes an event that came too late, whole.
pub(super) fn late(
    out: &mut Output,
    (topic, partition): (&str, i32),
    record: &Incoming<'_>,
    event: &EventView<'_>,
    limit_at: EventTime,
) {
    let late = Late {
        topic: Text::new(topic),
        partition,
        offset: record.offset,
        appended_at: record.appended_at,
        event_id: event.event_id,
        event_type: event.event_type,
        subject: event.subject,
        occurred_at: event.occurred_at,
        limit_at,
        event: record.value.unwrap_or_default(),
    };
    let subject = event.subject.as_bytes();
    out.put(
        Stream::Late,
        None,
        |key| key.extend_from_slice(subject),
        |value| late.encode(value),
    );
}

/// Writes a sum that came too late, whole, with its meter, group and count.
pub(super) fn late_sum(
    out: &mut Output,
    (topic, partition): (&str, i32),
    record: &Incoming<'_>,
    (sum, group): (&Sum<'_>, &str),
    limit_at: EventTime,
) {
    let mut subject = vec![];
    metric_key(&mut subject, sum.meter, group);
    let (subject, count) = (
        String::from_utf8_lossy(&subject),
        sum.event_count.to_string(),
    );
    let late = Late {
        topic: Text::new(topic),
        partition,
        offset: record.offset,
        appended_at: record.appended_at,
        event_id: Text::new(&count),
        event_type: Text::new("partial"),
        subject: Text::new(&subject),
        occurred_at: EventTime::from_us(sum.start_us),
        limit_at,
        event: record.value.unwrap_or_default(),
    };
    out.put(
        Stream::Late,
        None,
        |key| key.extend_from_slice(subject.as_bytes()),
        |value| late.encode(value),
    );
}

/// Writes a record that nobody may use with the reason, whole as far as a letter can be.
pub(super) fn dead_letter(
    out: &mut Output,
    (topic, partition): (&str, i32),
    record: &Incoming<'_>,
    refusal: &Refusal,
) {
    let (kept_key, kept_value) = dead_letter::kept(record.key, record.value);
    let is_cut = (kept_key, kept_value) != (record.key, record.value);
    let detail = match is_cut {
        false => refusal.to_string(),
        true => format!(
            "{refusal}; the first {} bytes of its value are kept",
            kept_value.map_or(0, <[u8]>::len)
        ),
    };
    let letter = DeadLetter {
        source: Text::new(topic),
        partition: Some(partition),
        offset: Some(record.offset),
        appended_at: record.appended_at,
        reason: Text::new(refusal.reason()),
        detail: Text::new(&detail),
        replay_count: 0,
        key: kept_key,
        value: kept_value,
    };
    let key = letter.record_key();
    out.put(
        Stream::DeadLetters,
        None,
        |out| out.extend_from_slice(key.as_bytes()),
        |value| letter.encode(value),
    );
}
