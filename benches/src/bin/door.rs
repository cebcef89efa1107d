//! What it costs to take an event in at the door: from the bytes of a body to records and the
//! answer, without network, limits and broker.
//!
//! `cargo run --release -p benches --bin door [-- PART OF A NAME]`

use std::hint::black_box;

use api::ingest::{Delivery, Form, Rules, prepare};
use schemas::refusal::DateLimits;
use schemas::time::EventTime;

/// Events in a body.
const BATCH: usize = 100;
/// Different bodies; together they are larger than the second-level cache.
const BODIES: usize = 64;
/// Rounds over all bodies in a run.
const ROUNDS: usize = 5;
/// Runs of each measurement; the median is what counts.
const RUNS: usize = 21;

const RULES: Rules<'_> = Rules {
    received_at: EventTime::from_ms(1_790_000_000_000),
    dates: DateLimits {
        future_max_ms: 300_000,
        past_max_ms: 3_653 * 86_400_000,
    },
    batch_events_max: 10_000,
    idempotency: None,
};

/// Makes the event of that index.
type Shape = fn(usize, &mut fastrand::Rng) -> String;

fn main() {
    let shapes: [(&str, Shape); 4] = [
        ("trade", trade),
        ("api_call, without id", api_call),
        ("error, with escapes and payload", error),
        ("refused, with three faults", refused),
    ];
    println!("bodies of {BATCH} events, CPU time per event, medians of {RUNS} runs");
    for (shape, event) in shapes {
        let mut random = fastrand::Rng::with_seed(7);
        let bodies: Vec<Vec<String>> = (0..BODIES)
            .map(|_| (0..BATCH).map(|i| event(i, &mut random)).collect())
            .collect();
        let bytes: usize = bodies.iter().flatten().map(String::len).sum();
        println!("{shape}: {} bytes", bytes / BODIES / BATCH);
        let joined = |join: fn(&[String]) -> String| bodies.iter().map(|b| join(b)).collect();
        let lines: Vec<String> = joined(|events| events.join("\n"));
        let arrays: Vec<String> = joined(|events| format!("[{}]", events.join(",")));
        let wrapped: Vec<String> =
            joined(|events| format!("{{\"events\": [{}]}}", events.join(", ")));
        measure(&format!("{shape}: lines"), Form::Lines, &lines, BATCH);
        measure(&format!("{shape}: array"), Form::Json, &arrays, BATCH);
        measure(&format!("{shape}: object"), Form::Json, &wrapped, BATCH);
        let single: Vec<String> = bodies.into_iter().flatten().collect();
        measure(&format!("{shape}: alone"), Form::Json, &single, 1);
    }
}

/// Prints the median CPU time of an event over all bodies.
fn measure(name: &str, form: Form, bodies: &[String], batch: usize) {
    if !std::env::args().skip(1).all(|part| name.contains(&part)) {
        return;
    }
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = on_cpu_ns();
            for body in (0..ROUNDS).flat_map(|_| bodies) {
                take(form, black_box(body), batch);
            }
            (on_cpu_ns() - start) as f64 / (ROUNDS * bodies.len() * batch) as f64
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

/// Time that this thread has been on a processor, so that neighbours do not count.
fn on_cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let on_cpu = stat.split(' ').next().expect("three numbers");
    on_cpu.parse().expect("a number of nanoseconds")
}

fn take(form: Form, body: &str, batch: usize) {
    let mut prepared = prepare(form, body.as_bytes(), &RULES).expect("sound bodies");
    for record in prepared.records() {
        black_box(record);
    }
    prepared.deliver_all(Delivery::Acknowledged);
    let answer = prepared.answer();
    assert!(prepared.len() == batch && prepared.record_count().is_multiple_of(batch));
    black_box(answer);
}

fn trade(i: usize, random: &mut fastrand::Rng) -> String {
    let id = random.u64(..);
    let (product, side) = (random.u32(0..400), random.bool());
    format!(
        "{{\"event_id\":\"{id:024x}\",\"event_type\":\"trade\",\"timestamp\":{},\
         \"subject\":\"P{product:03}-USD\",\"sequence\":{},\
         \"source\":{{\"service\":\"exchange-feed-eu-west-1\"}},\
         \"context\":{{\"tags\":{{\"product\":\"P{product:03}-USD\",\"side\":\"{}\"}}}},\
         \"metrics\":{{\"price\":{}.{:02},\"size\":0.{:08}}},\"title\":\"{}\"}}",
        1_790_000_000_000 - random.i64(0..1_000_000) + i as i64,
        1_000_000_000 + random.u32(0..1_000_000),
        if side { "buy" } else { "sell" },
        16_000 + random.u32(0..999),
        random.u32(0..100),
        1 + random.u32(0..9_999_999),
        "x".repeat(12),
    )
}

fn api_call(_: usize, random: &mut fastrand::Rng) -> String {
    let endpoints = ["/cart/{id}", "/orders", "/orders/{id}/pay", "/health"];
    format!(
        "{{\"event_type\": \"api_call\", \"timestamp\": \"2026-09-21T14:13:{:02}.{:06}Z\", \
         \"source\": {{\"service\": \"checkout\", \"host\": \"web-{}\", \"method\": \"GET\", \
         \"endpoint\": \"{}\"}}, \"context\": {{\"tags\": {{\"status_code\": \"{}\"}}, \
         \"user_id\": \"u{}\"}}, \"metrics\": {{\"duration_ms\": {}.{:03}}}}}",
        random.u32(0..20),
        random.u32(0..1_000_000),
        random.u32(0..20),
        endpoints[random.usize(0..endpoints.len())],
        200 + random.u32(0..300),
        random.u32(..),
        random.u32(0..900),
        random.u32(0..1_000),
    )
}

fn error(i: usize, random: &mut fastrand::Rng) -> String {
    format!(
        "{{\"event_id\": \"{:x}\", \"event_type\": \"error_event\", \"timestamp\": {}, \
         \"severity\": \"error\", \"title\": \"cannot open \\\"{}\\\"\", \
         \"source\": {{\"service\": \"worker\", \"version\": \"1.{}\"}}, \
         \"payload\": {{\"stack\": [\"main.rs:12\\n\", \"lib.rs:{}\"], \"retry\": {}}}}}",
        random.u128(..),
        1_790_000_000 - i,
        random.u32(..),
        random.u32(0..100),
        random.u32(0..1_000),
        random.bool(),
    )
}

/// A trade that has to be read the thorough way, and cannot be used.
fn refused(i: usize, random: &mut fastrand::Rng) -> String {
    let sound = trade(i, random);
    let odd = sound
        .replace("\"price\":", "\"price\":\"")
        .replace(",\"size\"", "\",\"size\"");
    odd.replace("\"title\":", "\"titel\":")
        .replace("\"sequence\":", "\"sequence\":0.")
}
