//! Sessions: the same whatever the order, as long as they may be, and taken back where they merge.

use std::collections::BTreeMap;

use fastrand::Rng;
use processors::metrics::{Definitions, NamedMeter};
use schemas::control::Limits;
use schemas::event::Event;
use schemas::ids::Stream;
use schemas::meter::{Aggregate, Function, Meter, Operand, Window};
use schemas::metric::MetricView;

use crate::line::{BEGIN_MS, Line, MINUTE_MS, trade};

const USER: &str = "coinbase:BTC-USD";
const GAP_MS: i64 = 10_000;

fn definitions(length_max_ms: i64) -> Definitions {
    let first = Aggregate::new("first", Function::First, Operand::Value);
    let last = Aggregate::new("last", Function::Last, Operand::Value);
    let meter = Meter {
        windows: vec![Window::Session {
            gap_ms: GAP_MS,
            length_max_ms,
        }],
        aggregates: vec![first, last],
        ..schemas::meter::candles()
    };
    assert_eq!(meter.faults(), Vec::<String>::new());
    Definitions {
        limits: Limits::default(),
        direct_producers: false,
        meters: vec![NamedMeter {
            id: "visits".into(),
            version: 1,
            meter,
        }],
    }
}

/// An event at a moment after the beginning; its price is the moment too.
fn at(ms: i64) -> Event {
    trade(USER, ms as u64, BEGIN_MS + ms, ms, 1)
}

/// By start: end, events, first and last, each in milliseconds since the beginning.
type Sessions = BTreeMap<i64, (i64, u64, i64, i64)>;

/// The sessions that a reader sees, and how many rows were taken back.
fn seen(line: &Line) -> (Sessions, usize) {
    let (mut sessions, mut taken_back) = (Sessions::new(), 0);
    for (stream, _, value) in &line.puts {
        let view = match stream {
            Stream::Metrics => MetricView::decode(value.as_ref().unwrap()).unwrap(),
            _ => continue,
        };
        assert_eq!(view.window_ms, GAP_MS);
        let since = |us: i64| us / 1_000 - BEGIN_MS;
        let start_ms = since(view.window_start.as_us());
        if view.deleted {
            assert!(sessions.remove(&start_ms).is_some(), "what had fired");
            taken_back += 1;
            continue;
        }
        let price = |name| (view.values.get(name).unwrap().units() / 10_i128.pow(18)) as i64;
        let end_ms = since(view.window_end.unwrap().as_us());
        let session = (end_ms, view.event_count, price("first"), price("last"));
        sessions.insert(start_ms, session);
    }
    (sessions, taken_back)
}

/// Events each 20 ms after its own moment, or after those before it.
fn run(length_max_ms: i64, moments_ms: &[i64]) -> (Sessions, usize) {
    let mut line = Line::under(definitions(length_max_ms));
    let mut now_ms = BEGIN_MS;
    for ms in moments_ms {
        now_ms = now_ms.max(BEGIN_MS + ms + 20);
        line.feed(now_ms, &at(*ms));
    }
    line.tick(now_ms + 10 * MINUTE_MS);
    assert_eq!(line.counts().counted, moments_ms.len() as u64);
    seen(&line)
}

#[track_caller]
fn check(moments_ms: &[i64], expect: &[(i64, (i64, u64, i64, i64))], taken_back: usize) {
    let got = run(86_400_000, moments_ms);
    assert_eq!(got, (expect.iter().copied().collect(), taken_back));
}

#[test]
fn a_session_is_what_follows_by_less_than_the_gap() {
    check(&[0, 9_999], &[(0, (19_999, 2, 0, 9_999))], 0);
    let apart = [
        (0, (10_000, 1, 0, 0)),
        (10_000, (20_000, 1, 10_000, 10_000)),
    ];
    check(&[0, 10_000], &apart, 0);
}

#[test]
fn what_begins_earlier_or_merges_takes_its_old_rows_back() {
    // 40,000 lets the session at 20,000 fire; then comes one before it.
    let late = [
        (15_000, (30_000, 2, 15_000, 20_000)),
        (40_000, (50_000, 1, 40_000, 40_000)),
    ];
    check(&[20_000, 40_000, 15_000], &late, 1);
    // Two have fired, and one between them makes them one.
    let merged = [
        (0, (28_000, 3, 0, 18_000)),
        (60_000, (70_000, 1, 60_000, 60_000)),
    ];
    check(&[0, 18_000, 60_000, 9_000], &merged, 1);
    // None has fired yet: nobody was told of the second.
    check(&[9_900, 0], &[(0, (19_900, 2, 0, 9_900))], 0);
}

#[test]
fn no_session_is_longer_than_it_may_be() {
    let moments: Vec<i64> = (0..100).map(|at| at * 1_000).collect();
    let (sessions, taken_back) = run(30_000, &moments);
    let starts: Vec<i64> = sessions.keys().copied().collect();
    assert_eq!((starts, taken_back), (vec![0, 30_000, 60_000, 90_000], 0));
    assert_eq!(sessions[&0], (30_000, 30, 0, 29_000));
    assert_eq!(sessions[&90_000], (109_000, 10, 90_000, 99_000));
}

#[test]
fn any_order_within_the_lateness_gives_the_same_sessions() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    for _ in 0..40 {
        let mut ms = 0;
        let mut moments: Vec<i64> = (0..200)
            .map(|_| {
                ms += [100, 3_000, 9_999, 10_000, 14_000][random.usize(0..5)] + random.i64(0..2);
                ms
            })
            .collect();
        let length_max_ms = [20_000, 300_000, 86_400_000][random.usize(0..3)];
        let in_order = run(length_max_ms, &moments).0;
        let counted: u64 = in_order.values().map(|(_, count, ..)| count).sum();
        assert_eq!(counted, 200);
        for few in moments.chunks_mut(6) {
            random.shuffle(few);
        }
        assert_eq!(run(length_max_ms, &moments).0, in_order);
    }
}
