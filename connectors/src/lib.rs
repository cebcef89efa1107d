//! Exchanges become events: a connector reads a market's public feed and writes it to the log.
//!
//! In: frames of a websocket, feeds from `pulse.control`. Out: `trade`, `quote`, `gap` and
//! `system_event` records on each tenant's `events`, depth on `books`, and frames that cannot be
//! read on `dead-letters`.
//!
//! What a frame means is decided without I/O, a clock or a task ([`translate`] and all above it),
//! so recorded frames give the same events on any machine. An event's identity is a function of
//! what the exchange said, so frames that come twice are events that come twice, which the
//! processors know how to count once.
//!
//! What can never happen here: a number is never a float, a frame is never dropped without being
//! counted, and no connector knows what a window or an alert is.
//!
//! Read in this order: [`subscription`], [`exchange`], [`coinbase`], [`series`], [`mapping`],
//! [`market`], [`translate`]; then what does I/O: [`websocket`], [`delivery`], [`resume`],
//! [`connection`].

pub mod subscription;

pub mod coinbase;
pub mod exchange;

pub mod mapping;
pub mod series;

mod again;
pub mod market;
pub mod translate;

pub mod delivery;
pub mod resume;
pub mod websocket;

pub mod connection;

pub mod telemetry;
