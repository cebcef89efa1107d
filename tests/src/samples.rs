//! Records of every kind, plain ones to be changed by a test.

use std::collections::BTreeMap;

use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::metric::{self, MetricHead};
use schemas::time::{EventTime, Span, Width};

/// A trade that happened just now, number `id` of its market.
pub fn trade(id: i64) -> Event {
    let now = EventTime::from_us(runtime::clock::now_us());
    Event {
        event_id: format!("coinbase:BTC-USD:trade:{id}"),
        event_type: EventType::Trade,
        name: None,
        occurred_at: now,
        received_at: now,
        severity: Severity::Info,
        source: Source {
            service: "coinbase".into(),
            ..Source::default()
        },
        subject: format!("coinbase:P{}-USD", id % 50),
        sequence: Some(id),
        title: None,
        trace_id: None,
        user_id: None,
        tags: BTreeMap::from([("side".into(), "buy".into())]),
        metrics: BTreeMap::from([
            ("price".into(), Decimal::from_int(id)),
            ("size".into(), Decimal::ONE),
        ]),
        payload: None,
    }
}

/// The key and value of an event's record.
pub fn record(event: &Event) -> (Vec<u8>, Vec<u8>) {
    let mut value = vec![];
    event.encode(&mut value);
    (event.subject.clone().into_bytes(), value)
}

/// What differs between the metrics of a test.
#[derive(Clone, Copy, Debug)]
pub struct Fired<'a> {
    /// The market.
    pub subject: &'a str,
    /// The window's start, in seconds.
    pub start_s: i64,
    /// Which firing it is.
    pub revision: i64,
    /// Whether the window is taken back.
    pub deleted: bool,
    /// What the meter computed.
    pub values: &'a [(&'a str, Option<Decimal>)],
}

/// The key and value of the record of a candle of one second.
///
/// # Panics
/// Never: a second is a width.
pub fn candle(fired: &Fired<'_>) -> (Vec<u8>, Vec<u8>) {
    let group = format!("subject={}", fired.subject);
    let start = EventTime::from_ms(fired.start_s * 1_000);
    let head = MetricHead {
        meter: "candles",
        meter_version: 1,
        group: &group,
        window: Span::starting(start, Width::from_ms(1_000).unwrap()),
        window_ms: 1_000,
        is_final: true,
        revision: fired.revision,
        deleted: fired.deleted,
        partial: false,
        overflow: fired.values.iter().any(|(_, value)| value.is_none()),
        event_count: 3,
    };
    let mut value = vec![];
    let labels = [("subject", fired.subject)];
    metric::encode(
        &mut value,
        &head,
        labels.into_iter(),
        fired.values.iter().copied(),
    );
    (group.into_bytes(), value)
}
