//! What the tests of every package stand on: how they wait, and whether they run whole.
//!
//! A test waits for what must come about, within [`PATIENCE`], or asserts again and again what must
//! stay true. It never lets a span pass and hopes: nothing else in a test sleeps.

use std::fmt::Display;
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::{Environment, Key};

/// Longer than any step of a test takes, on a machine that builds something else meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The interval between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The interval between two looks at what must stay as it is.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

const SOAK: Key = Key {
    name: "PULSE_SOAK",
    default: Some("0"),
    doc: "Runs the tests that have a short form whole, unless it is `0`.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[SOAK];

/// True when tests that have a short form are to run whole.
pub fn is_soak() -> bool {
    let soak = Environment::of_process().text(&SOAK);
    soak.is_some_and(|soak| soak != "0")
}

/// Looks until `look` gives something, and fails with what it said last when it never does.
///
/// # Panics
/// When [`PATIENCE`] runs out.
pub async fn eventually<T, E: Display>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Deadline::after(PATIENCE);
    loop {
        match look().await {
            Ok(found) => return found,
            Err(last) => assert!(!deadline.has_passed(), "{what}: {last}"),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Looks until `is_so`, for clients that block.
///
/// # Panics
/// When [`PATIENCE`] runs out.
#[track_caller]
pub fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Deadline::after(PATIENCE);
    while !is_so() {
        assert!(!deadline.has_passed(), "not within {PATIENCE:?}");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Looks again and again for `span`, and fails as soon as `look` does.
///
/// # Panics
/// When one look fails.
pub async fn throughout<E: Display>(
    what: &str,
    span: Duration,
    mut look: impl AsyncFnMut() -> Result<(), E>,
) {
    let deadline = Deadline::after(span);
    let mut looks = tokio::time::interval(WATCH_INTERVAL);
    while !deadline.has_passed() {
        looks.tick().await;
        if let Err(fault) = look().await {
            panic!("{what}: {fault}, {:?} before the end", deadline.left());
        }
    }
}
