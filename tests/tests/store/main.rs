//! The control store and the routes on it, on a real broker: what is answered is on the topic, what
//! was committed is never lost, and what is another tenant's does not exist.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod desk;

mod definitions;
mod isolation;
mod keys;
mod killed;
mod operator;
mod outages;
mod processes;
mod registration;
mod restore;
mod take_over;
mod upgrade;
