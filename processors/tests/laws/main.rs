//! The laws of a step, and those of time, each on the step alone: no shell, no broker.
//!
//! The simulation meets all of them by chance; here each is looked for on purpose.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod line;
mod sessions;
mod sketches;
mod state;
mod time;
mod totals;
