//! `pulse-gateway` as a process, on a real broker.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod cold;
mod door;
mod kills;
mod lies;
mod prompt;
