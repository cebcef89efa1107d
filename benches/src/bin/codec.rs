//! What it costs to read and write one trade event, beside `apache-avro` on the same bytes.
//!
//! `cargo run --release -p benches --bin codec [-- PART OF A NAME]`

use std::hint::black_box;
use std::time::Instant;

use apache_avro::types::Value;
use schemas::decimal::Decimal;
use schemas::event::{self, EventHead, EventView, Severity};
use schemas::time::EventTime;
use schemas::wire::SchemaId;

/// Different events, so that no branch predictor learns one by heart; together they fit the
/// second-level cache.
const EVENTS: usize = 1_024;
/// Runs of each measurement; the median is what counts.
const RUNS: usize = 21;

struct Trade {
    event_id: String,
    at: EventTime,
    sequence: i64,
    side: &'static str,
    price: Decimal,
    size: Decimal,
}

fn main() {
    let trades = trades(fastrand::Rng::with_seed(7));
    let records: Vec<Vec<u8>> = trades.iter().map(written).collect();
    let size = records.iter().map(Vec::len).sum::<usize>() / EVENTS;
    println!("trade event of {size} bytes on average, medians of {RUNS} runs");
    ours(&trades, &records);
    apache(&records);
    decimals(&trades);
}

fn ours(trades: &[Trade], records: &[Vec<u8>]) {
    measure("decode", 100, records, |record| {
        black_box(EventView::decode(black_box(record)).is_ok());
    });
    measure(
        "decode, then read price, size and product",
        100,
        records,
        |record| {
            let event = EventView::decode(black_box(record)).expect("written above");
            black_box((
                event.metrics.get("price"),
                event.metrics.get("size"),
                event.tags.get("product_id"),
            ));
        },
    );
    let mut out = Vec::new();
    measure("encode", 100, trades, |trade| {
        out.clear();
        write(black_box(trade), &mut out);
        black_box(&out);
    });
}

fn apache(records: &[Vec<u8>]) {
    let schema = apache_avro::Schema::parse_str(SchemaId::Event.json()).expect("released");
    let read = |record: &Vec<u8>| -> Value {
        let mut body = &record[5..];
        apache_avro::from_avro_datum(&schema, &mut body, None).expect("written above")
    };
    measure("apache-avro: decode", 2, records, |record| {
        black_box(read(black_box(record)));
    });
    let values: Vec<Value> = records.iter().map(read).collect();
    measure(
        "apache-avro: encode (with a clone of the value)",
        2,
        &values,
        |value| {
            let value = black_box(value).clone();
            black_box(apache_avro::to_avro_datum(&schema, value).expect("read above"));
        },
    );
    measure("apache-avro: that clone", 2, &values, |value| {
        black_box(black_box(value).clone());
    });
}

fn decimals(trades: &[Trade]) {
    measure("product: price x size", 200, trades, |trade| {
        black_box(black_box(trade.price).product(black_box(trade.size)));
    });
    measure("product, narrow", 200, trades, |trade| {
        black_box(black_box(trade.price).product_narrow(black_box(trade.size)));
    });
    let texts: Vec<String> = trades.iter().map(|trade| trade.price.to_string()).collect();
    measure("parse a price", 100, &texts, |text| {
        black_box(black_box(text).parse::<Decimal>().is_ok());
    });
}

/// Prints the median time of `act` over all items, `rounds` times in each run.
fn measure<T>(name: &str, rounds: usize, items: &[T], mut act: impl FnMut(&T)) {
    if !std::env::args().skip(1).all(|part| name.contains(&part)) {
        return;
    }
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..rounds {
                items.iter().for_each(&mut act);
            }
            start.elapsed().as_nanos() as f64 / (rounds * items.len()) as f64
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    println!(
        "{name:<48} {:>8.1} ns  (fastest {:.1}, slowest {:.1})",
        runs[RUNS / 2],
        runs[0],
        runs[RUNS - 1],
    );
}

fn trades(mut random: fastrand::Rng) -> Vec<Trade> {
    (0..EVENTS as i64)
        .map(|i| {
            let sequence = 1_068_571_991 + i;
            let size_max = 1 << random.u32(1..30);
            Trade {
                event_id: format!("coinbase:BTC-USD:trade:{sequence}"),
                at: EventTime::from_us(1_786_309_548_228_568 + i * 50_000 + random.i64(0..50_000)),
                sequence,
                side: if random.bool() { "buy" } else { "sell" },
                price: decimal(6_500_000 + random.i64(0..100_000), 16),
                size: decimal(1 + random.i64(0..size_max), 10),
            }
        })
        .collect()
}

/// `digits · 10^(places − 18)`.
fn decimal(digits: i64, places: u32) -> Decimal {
    Decimal::units_checked(i128::from(digits) * 10_i128.pow(places))
}

fn written(trade: &Trade) -> Vec<u8> {
    let mut out = Vec::new();
    write(trade, &mut out);
    out
}

fn write(trade: &Trade, out: &mut Vec<u8>) {
    let head = EventHead {
        event_id: &trade.event_id,
        event_type: "trade",
        name: None,
        occurred_at: trade.at,
        received_at: EventTime::from_us(trade.at.as_us() + 48_000),
        severity: Severity::Info,
        service: "coinbase",
        host: None,
        method: None,
        endpoint: None,
        version: None,
        subject: "coinbase:BTC-USD",
        sequence: Some(trade.sequence),
        title: None,
        trace_id: None,
        user_id: None,
        payload: None,
    };
    let tags = [
        ("product_id", "BTC-USD"),
        ("side", trade.side),
        ("exchange", "coinbase"),
    ];
    let metrics = [("price", trade.price), ("size", trade.size)];
    event::encode(out, &head, tags.into_iter(), metrics.into_iter());
}
