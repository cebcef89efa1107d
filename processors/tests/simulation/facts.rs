//! What a step has put out, as values that can be compared.

use runtime::step::{Outgoing, Place};
use schemas::dead_letter::DeadLetter;
use schemas::ids::Stream;
use schemas::late::Late;
use schemas::metric::MetricView;
use schemas::sketch::Sketch;

use crate::exact::Buckets;

/// A record for others. Whatever a reader could see of it is in here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fact {
    /// A window, fired or open.
    Metric(Metric),
    /// An event that came too late.
    Late {
        offset: i64,
        appended_ms: i64,
        event_id: String,
        subject: String,
        occurred_us: i64,
        limit_us: i64,
        event: Vec<u8>,
    },
    /// A record that nobody may use.
    Dead {
        offset: i64,
        appended_ms: i64,
        reason: String,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    },
}

/// A window's result.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Metric {
    pub(crate) is_final: bool,
    pub(crate) window: WindowId,
    pub(crate) revision: i64,
    pub(crate) deleted: bool,
    pub(crate) window_end_us: Option<i64>,
    pub(crate) partial: bool,
    pub(crate) overflow: bool,
    pub(crate) event_count: u64,
    pub(crate) values: Vec<(String, Option<i128>)>,
    pub(crate) sketches: Vec<(String, Buckets)>,
}

/// Which window it is: a row's identity in ClickHouse.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct WindowId {
    pub(crate) meter: String,
    pub(crate) version: i64,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) width_ms: i64,
    pub(crate) start_us: i64,
}

impl Fact {
    /// Reads a record of one of the streams for others, and checks where it lies.
    pub(crate) fn read(place: &Place, record: &Outgoing<'_>) -> Self {
        let value = record.value.expect("no stream for others has tombstones");
        assert_eq!(record.partition, None, "the key says where it lies");
        match record.stream {
            Stream::Metrics => Self::Metric(metric(record.key, value, true)),
            Stream::MetricsOpen => Self::Metric(metric(record.key, value, false)),
            Stream::Late => {
                let late = Late::decode(value).unwrap();
                assert_eq!(
                    (late.topic.as_str(), late.partition),
                    (&*topic(place), place.partition)
                );
                assert_eq!(late.subject.as_bytes(), record.key);
                Self::Late {
                    offset: late.offset,
                    appended_ms: late.appended_at.as_ms(),
                    event_id: late.event_id.as_str().to_owned(),
                    subject: late.subject.as_str().to_owned(),
                    occurred_us: late.occurred_at.as_us(),
                    limit_us: late.limit_at.as_us(),
                    event: late.event.to_vec(),
                }
            }
            Stream::DeadLetters => {
                let letter = DeadLetter::decode(value).unwrap();
                let (topic, partition) = (topic(place), place.partition);
                assert_eq!(
                    (letter.source.as_str(), letter.partition),
                    (&*topic, Some(partition))
                );
                let offset = letter.offset.expect("it lies somewhere");
                assert_eq!(
                    record.key,
                    format!("{topic}/{partition}/{offset}").as_bytes()
                );
                assert_eq!(letter.replay_count, 0);
                Self::Dead {
                    offset,
                    appended_ms: letter.appended_at.as_ms(),
                    reason: letter.reason.as_str().to_owned(),
                    key: letter.key.map(<[u8]>::to_vec),
                    value: letter.value.map(<[u8]>::to_vec),
                }
            }
            stream => panic!("the step writes to {stream:?}"),
        }
    }
}

fn topic(place: &Place) -> String {
    place.tenant.topic(Stream::Events).to_string()
}

/// Reads a window's record.
pub(crate) fn metric(key: &[u8], value: &[u8], is_final: bool) -> Metric {
    let view = MetricView::decode(value).unwrap();
    assert_eq!(
        view.is_final, is_final,
        "the stream says whether it is final"
    );
    assert_eq!(
        key,
        format!("{}/{}", view.meter.as_str(), view.group.as_str()).as_bytes()
    );
    let text = |(name, value): (schemas::wire::Text<'_>, schemas::wire::Text<'_>)| {
        (name.as_str().to_owned(), value.as_str().to_owned())
    };
    let labels: Vec<(String, String)> = view.labels.iter().map(text).collect();
    assert_eq!(view.group.as_str(), group(&labels));
    let units = |value: Option<schemas::decimal::Decimal>| value.map(|value| value.units());
    Metric {
        is_final,
        window: WindowId {
            meter: view.meter.as_str().to_owned(),
            version: view.meter_version,
            labels,
            width_ms: view.window_ms,
            start_us: view.window_start.as_us(),
        },
        revision: view.revision,
        deleted: view.deleted,
        window_end_us: view.window_end.map(|end| end.as_us()),
        partial: view.partial,
        overflow: view.overflow,
        event_count: view.event_count,
        values: view
            .values
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), units(value)))
            .collect(),
        sketches: view
            .sketches
            .iter()
            .map(|(name, bytes)| (name.as_str().to_owned(), buckets(bytes)))
            .collect(),
    }
}

/// What a reader of a sketch sees.
fn buckets(bytes: &[u8]) -> Buckets {
    match Sketch::decode(bytes).unwrap() {
        Sketch::Quantiles(quantiles) => quantiles.buckets().collect(),
        Sketch::Distinct(distinct) => {
            assert!(distinct.is_exact(), "no plan has so many texts");
            assert_eq!(bytes.len() as u64, 1 + 8 * distinct.count());
            vec![(0, distinct.count())]
        }
    }
}

/// The canonical text of a group.
fn group(labels: &[(String, String)]) -> String {
    let escaped = |value: &str| {
        value
            .chars()
            .flat_map(|c| [matches!(c, ',' | '=' | '\\').then_some('\\'), Some(c)])
            .flatten()
            .collect::<String>()
    };
    let label = |(name, value): &(String, String)| format!("{name}={}", escaped(value));
    labels.iter().map(label).collect::<Vec<_>>().join(",")
}
