//! A trade that is served again much later changes no candle of any length: it is a duplicate while
//! its identity is remembered, and late from then on.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::collections::BTreeMap;

use processors::metrics::{Definitions, MetricsStep, NamedMeter};
use runtime::step::{Counts, Incoming, Output, Place, Step};
use schemas::control::Limits;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::ids::Stream;
use schemas::meter::built_in;
use schemas::time::{BrokerTime, EventTime};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const START_MS: i64 = 1_790_000_000_000;
const AFTER_MS: [i64; 3] = [11 * MINUTE_MS, 2 * HOUR_MS, 20 * HOUR_MS];

/// What comes after the trade that will be served again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Course {
    /// The market goes on, and so does its clock.
    Goes,
    /// The market falls silent; another one goes on.
    Silent,
    /// The market goes on, and all of it is served within a minute of the broker's clock.
    Fast,
}

/// A record of the input: a trade of a subject, and when it is appended.
struct Arrival {
    subject: &'static str,
    trade_id: i64,
    occurred_ms: i64,
    appended_ms: i64,
}

impl Course {
    /// A trade every 20 s for 21 hours.
    fn arrivals(self) -> Vec<Arrival> {
        let trades = (0..21 * HOUR_MS).step_by(20_000).zip(1..);
        let arrivals = trades.map(|(after_ms, trade_id)| Arrival {
            subject: match (self, after_ms) {
                (Self::Silent, MINUTE_MS..) => "coinbase:ETH-USD",
                _ => "coinbase:BTC-USD",
            },
            trade_id,
            occurred_ms: START_MS + after_ms,
            appended_ms: match self {
                Self::Goes | Self::Silent => START_MS + after_ms + 30,
                Self::Fast => START_MS + 22 * HOUR_MS + after_ms / (22 * 60),
            },
        });
        arrivals.collect()
    }
}

fn encoded(arrival: &Arrival) -> Vec<u8> {
    let event = Event {
        event_id: format!("{}:trade:{}", arrival.subject, arrival.trade_id),
        event_type: EventType::Trade,
        name: None,
        occurred_at: EventTime::from_ms(arrival.occurred_ms),
        received_at: EventTime::from_ms(arrival.occurred_ms),
        severity: Severity::Info,
        source: Source::default(),
        subject: arrival.subject.to_owned(),
        sequence: Some(arrival.trade_id),
        title: None,
        trace_id: None,
        user_id: None,
        tags: BTreeMap::new(),
        metrics: BTreeMap::from([
            (
                "price".into(),
                (100 + arrival.trade_id % 7).to_string().parse().unwrap(),
            ),
            ("size".into(), "0.25".parse().unwrap()),
        ]),
        payload: None,
    };
    let mut bytes = vec![];
    event.encode(&mut bytes);
    bytes
}

type Written = (Stream, Vec<u8>, Vec<u8>);

/// Everything that comes out for others, but for what is late, and the counts; with `repeats`, the
/// third trade comes again at each of [`AFTER_MS`].
fn run(course: Course, repeats: bool) -> (Vec<Written>, Counts) {
    let place = Place {
        tenant: "demo".parse().unwrap(),
        partition: 0,
    };
    let mut step = MetricsStep::new(&place, 1);
    let meters = built_in().into_iter().map(|(id, meter)| NamedMeter {
        id: id.into(),
        version: 1,
        meter,
    });
    let mut out = Output::default();
    step.redefine(
        &Definitions {
            limits: Limits::default(),
            meters: meters.collect(),
        },
        &mut out,
    );
    let arrivals = course.arrivals();
    let mut offset: i64 = 0;
    let mut observe = |step: &mut MetricsStep, arrival: &Arrival, appended_ms, out: &mut Output| {
        let appended_at = BrokerTime::from_ms(appended_ms);
        step.advance(appended_at, out);
        let record = Incoming {
            offset,
            appended_at,
            key: Some(arrival.subject.as_bytes()),
            value: Some(&encoded(arrival)),
        };
        step.observe(&record, out);
        offset += 1;
    };
    for arrival in &arrivals {
        observe(&mut step, arrival, arrival.appended_ms, &mut out);
        let after_ms = arrival.occurred_ms - arrivals[2].occurred_ms;
        if repeats && AFTER_MS.contains(&after_ms) {
            observe(&mut step, &arrivals[2], arrival.appended_ms, &mut out);
        }
    }
    step.advance(BrokerTime::from_ms(START_MS + 30 * HOUR_MS), &mut out);
    let written = out.iter().filter(|record| record.stream != Stream::Late);
    let written = written.map(|record| {
        let value = record.value.expect("these streams have no tombstones");
        (record.stream, record.key.to_vec(), value.to_vec())
    });
    (written.collect(), step.counts())
}

#[test]
fn a_trade_served_again_much_later_changes_no_candle_of_any_length() {
    for course in [Course::Goes, Course::Silent, Course::Fast] {
        let (expect, counts) = run(course, false);
        assert!(
            counts.late == 0 && counts.duplicate == 0,
            "{course:?}: {counts:?}"
        );
        assert!(expect.len() > 4_000, "{course:?}: {} records", expect.len());
        let (got, with_repeats) = run(course, true);
        let differ = expect.iter().zip(&got).position(|(a, b)| a != b);
        assert_eq!((differ, got.len()), (None, expect.len()), "{course:?}");
        assert_eq!(with_repeats.counted, counts.counted, "{course:?}");
        let dropped = with_repeats.late + with_repeats.duplicate;
        assert_eq!(
            dropped,
            AFTER_MS.len() as u64,
            "{course:?}: {with_repeats:?}"
        );
    }
}
