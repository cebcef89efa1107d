//! Sketches in a step: windows that merge, any order, and errors that are within the promise.

use std::collections::BTreeMap;

use fastrand::Rng;
use schemas::control::Limits;
use schemas::decimal::Decimal;
use schemas::event::Event;
use schemas::ids::Stream;
use schemas::metric::MetricView;
use schemas::sketch::Sketch;

use crate::line::{BEGIN_MS, Line, MINUTE_MS, trade, with_sketches};

/// By width and start: each sketch by its name, and the values.
type Fired = BTreeMap<(i64, i64), (BTreeMap<String, Sketch>, BTreeMap<String, Decimal>)>;

const MARKET: &str = "coinbase:BTC-USD";

/// Trades of ten minutes, whose prices spread over five powers of ten.
fn market(random: &mut Rng) -> Vec<Event> {
    let one = |id: u64| {
        let price = random.i64(1..10) * 10_i64.pow(random.u32(0..5)) + random.i64(0..10);
        trade(MARKET, id, BEGIN_MS + id as i64 * 100, price, 1)
    };
    (0..6_000).map(one).collect()
}

fn occurred_ms(event: &Event) -> i64 {
    event.occurred_at.as_us() / 1_000
}

/// What is fired in the end, whatever order the events come in.
fn run(events: &[Event]) -> Fired {
    let mut line = Line::under(with_sketches(Limits::default()));
    let mut now_ms = BEGIN_MS;
    for event in events {
        now_ms = now_ms.max(occurred_ms(event) + 20);
        line.feed(now_ms, event);
    }
    line.tick(now_ms + 10 * MINUTE_MS);
    let mut fired = Fired::new();
    for (stream, _, value) in &line.puts {
        let view = match stream {
            Stream::Metrics => MetricView::decode(value.as_ref().unwrap()).unwrap(),
            _ => continue,
        };
        if view.meter != "sketched" {
            assert!(view.sketches.is_empty(), "candles have no sketches");
            continue;
        }
        let sketches = view.sketches.iter();
        let sketches = sketches
            .map(|(name, bytes)| (name.as_str().to_owned(), Sketch::decode(bytes).unwrap()));
        let values = view.values.iter();
        let values = values.map(|(name, value)| (name.as_str().to_owned(), value.unwrap()));
        let key = (view.window_ms, view.window_start.as_us() / 1_000);
        fired.insert(key, (sketches.collect(), values.collect()));
    }
    fired
}

#[test]
fn sixty_seconds_merge_into_exactly_the_minute_and_five_minutes_into_five() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let fired = run(&market(&mut Rng::with_seed(seed)));
    for (from_ms, width_ms) in [(1_000, MINUTE_MS), (MINUTE_MS, 5 * MINUTE_MS)] {
        for ((_, start_ms), (whole, values)) in fired.iter().filter(|(key, _)| key.0 == width_ms) {
            let inside = *start_ms..start_ms + width_ms;
            let parts = fired
                .iter()
                .filter(|(key, _)| key.0 == from_ms && inside.contains(&key.1));
            let mut merged: BTreeMap<String, Sketch> = BTreeMap::new();
            for (_, (sketches, _)) in parts {
                for (name, sketch) in sketches {
                    merged
                        .entry(name.clone())
                        .and_modify(|all| all.merge(sketch))
                        .or_insert_with(|| sketch.clone());
                }
            }
            assert_eq!(merged, *whole, "{width_ms} ms from {start_ms}");
            let Sketch::Quantiles(prices) = &merged["p50"] else {
                panic!("quantiles are of numbers");
            };
            let q = "0.99".parse().unwrap();
            assert_eq!(
                prices.quantile(q),
                Some(values["p99"]),
                "two share a sketch"
            );
        }
    }
}

#[test]
fn any_order_within_the_lateness_gives_the_same_bytes() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut events = market(&mut random);
    let in_order = run(&events);
    for few in events.chunks_mut(700) {
        random.shuffle(few);
    }
    assert_eq!(run(&events), in_order);
}

#[test]
fn quantiles_are_within_their_error_and_counts_are_exact_while_they_are_few() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let events = market(&mut Rng::with_seed(seed));
    for ((width_ms, start_ms), (_, values)) in run(&events) {
        let inside = start_ms..start_ms + width_ms;
        let inside = events
            .iter()
            .filter(|event| inside.contains(&occurred_ms(event)));
        let mut prices: Vec<i128> = inside.map(|event| event.metrics["price"].units()).collect();
        prices.sort_unstable();
        for (name, percent) in [("p50", 50), ("p99", 99)] {
            let exact = prices[(prices.len() - 1) * percent / 100];
            let error = (values[name].units() - exact).abs();
            assert!(
                error <= exact / 128,
                "{name} of {width_ms} ms from {start_ms}"
            );
        }
        let (count, exact) = (values["ids"], prices.len() as i64);
        if exact <= 1_024 {
            assert_eq!(count, Decimal::from_int(exact));
            continue;
        }
        // Six times the standard error.
        let error = (count.to_f64() - exact as f64).abs() / exact as f64;
        assert!(error < 6.0 * 0.0115, "{count} of {exact}");
    }
}
