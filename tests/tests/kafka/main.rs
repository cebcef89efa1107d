//! `runtime::kafka` and `runtime::control` against a real broker: what they promise, they keep.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod admin;
mod broker;
mod control;
mod groups;
mod outages;
mod publishing;
mod reading;
mod security;
mod shared;
mod transactions;
