//! What the metrics step holds, weighed: windows, and remembered identities.
//!
//! A program of its own, since an allocator that counts is slower.
//!
//! `memory [--windows N]`

use benches::Args;
use benches::step::{Bench, START_MS};
use runtime::step::{Output, Step};

fn main() {
    windows(Args::read().count("windows", 1_000_000));
    identities();
}

/// What windows weigh, once by many subjects and once by a long past.
fn windows(windows: u64) {
    let flat = weigh(|| {
        let mut bench = Bench::new(true);
        bench.fill(windows / 5, 0, START_MS);
        bench
    });
    tell_memory("5 windows for each of many subjects", &flat);
    let deep = weigh(|| {
        // Two minutes of 1 s windows stay for corrections.
        let mut bench = Bench::new(true);
        let markets = windows / 124;
        for second in 0..120_u64 {
            bench.fill(markets, second * markets, START_MS + second as i64 * 1_000);
            // As often as the process does it.
            if second % 2 == 1 {
                bench.flush();
            }
        }
        bench
    });
    tell_memory("124 windows for each of few subjects", &deep);
}

struct Weight {
    windows: f64,
    ids: f64,
    bytes: f64,
}

/// What a step holds after a flush, and the memory that is taken for it.
fn weigh(make: impl FnOnce() -> Bench) -> Weight {
    let mut held = None;
    let info = allocation_counter::measure(|| {
        let mut bench = make();
        bench.flush();
        bench.out = Output::default();
        held = Some(bench);
    });
    let bench = held.expect("made above");
    let holdings = bench.step.holdings();
    Weight {
        windows: holdings.windows as f64,
        ids: holdings.ids as f64,
        bytes: info.bytes_current as f64,
    }
}

fn tell_memory(what: &str, weight: &Weight) {
    println!(
        "memory, {what}: {:.0} windows and {:.0} identities take {:.1} MB, {:.0} MB per million \
         windows with all of it",
        weight.windows,
        weight.ids,
        weight.bytes / 1e6,
        weight.bytes / weight.windows
    );
}

/// What a remembered identity weighs, by how many a subject has in 30 s.
fn identities() {
    for each in [1, 10, 100, 350, 1_000, 10_000] {
        let markets = (1_000_000 / each / 4).max(1);
        let rest = weigh(|| {
            let mut bench = Bench::new(false);
            bench.fill(markets, 0, START_MS);
            bench
        });
        let all = weigh(|| {
            let mut bench = Bench::new(false);
            for n in 0..each * 4 {
                let at_ms = START_MS + (n * 120_000 / (each * 4)) as i64;
                bench.fill(markets, n * markets, at_ms);
            }
            bench
        });
        println!(
            "memory, {each} identities a subject and 30 s: {:.1} bytes for each of {:.0}",
            (all.bytes - rest.bytes) / (all.ids - rest.ids),
            all.ids
        );
    }
}
