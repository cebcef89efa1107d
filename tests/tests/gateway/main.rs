//! `pulse-gateway` as a process, on a real broker.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod door;
mod kills;
