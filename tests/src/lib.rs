//! What the real tests stand on: an installation of its own, with real servers and our own programs
//! as processes.
//!
//! Nothing here is a mock. A test that kills something starts an installation of its own.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

pub mod documented;
pub mod folder;
pub mod installation;
pub mod market;
pub mod recording;
pub mod samples;
pub mod tables;
pub mod topic;
pub mod trades;

use std::time::{Duration, Instant};

use runtime::config::{Environment, Key};

pub use installation::Installation;

/// Longer than any step of a test takes, on a machine that builds something else meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(90);

const SOAK: Key = Key {
    name: "PULSE_SOAK",
    default: Some("0"),
    doc: "Runs the tests that have a short form whole, unless it is 0.",
};

/// True when tests that have a short form are to run whole.
pub fn is_soak() -> bool {
    let soak = Environment::of_process().text(&SOAK);
    soak.is_some_and(|soak| soak != "0")
}

/// Polls until `probe` gives something, and fails with what it said last when it never does.
///
/// # Panics
/// When [`PATIENCE`] runs out.
pub async fn eventually<T, E: std::fmt::Display>(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let began = Instant::now();
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(last) => assert!(began.elapsed() < PATIENCE, "{what}: {last}"),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
