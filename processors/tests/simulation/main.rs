//! Step and shell without a broker, from one seed: workers that crash at every point, transactions
//! that abort or end unseen, rebalances, zombies, ticks, definitions that change, disorder and
//! repeats; and what is committed equals what a naive computation says.
//!
//! What the workers commit for meters of two steps is then fed to the second step, with crashes of
//! its own, and must add up to all events that were counted (`totals`).
//!
//! `plan` says what comes in, `broker` and `log` are the world, `cluster` and `run` let workers go
//! about in it, `oracle` says what must come out, `check` compares.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod broker;
mod check;
mod cluster;
mod exact;
mod facts;
mod log;
mod oracle;
mod plan;
mod reading;
mod run;
mod totals;
mod traced;

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use runtime::config::{Environment, Key};
use runtime::testing::is_soak;

use plan::Plan;
use run::{Course, run};

const SEEDS: Key = Key {
    name: "PULSE_SEEDS",
    default: None,
    doc: "The seeds to simulate, as first..end, instead of the usual ones.",
};

/// Seeds of the usual tests, and of the long ones.
const SHORT: u64 = 320;
const LONG: u64 = 10_000;

fn seeds() -> std::ops::Range<u64> {
    let mut env = Environment::of_process();
    let chosen: Option<String> = env.optional(&SEEDS).flatten();
    match chosen {
        Some(seeds) => {
            let (first, end) = seeds.split_once("..").expect("PULSE_SEEDS is first..end");
            first.parse().expect("a seed")..end.parse().expect("a seed")
        }
        None => 0..if is_soak() { LONG } else { SHORT },
    }
}

fn simulate(seed: u64, course: Course) {
    let plan = Rc::new(Plan::new(seed));
    let cluster = run(&plan, course);
    check::check(&plan, &cluster);
    cluster.end();
}

#[test]
fn whatever_happens_the_committed_output_is_what_the_records_say() {
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let thread_count = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            for course in [Course::Smooth, Course::Rough] {
                let run = AssertUnwindSafe(|| simulate(seed, course));
                if let Err(fault) = std::panic::catch_unwind(run) {
                    eprintln!(
                        "seed {seed} fails in a {course:?} run; again: PULSE_SEEDS={seed}..{} \
                         cargo test -p processors --test simulation",
                        seed + 1
                    );
                    // The others need not go on to the end.
                    next.store(seeds.end, Ordering::Relaxed);
                    std::panic::resume_unwind(fault);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..thread_count {
            scope.spawn(work);
        }
    });
    if seeds.end - seeds.start >= SHORT {
        totals::assert_looked_at_enough();
    }
}
