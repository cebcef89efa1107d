//! Brings a whole installation up on this machine, watches it, and takes it down.
//!
//! In: what to stream, and a data folder. Out: Kafka, ClickHouse and every role as a process of its
//! own, a tenant with its feed and meters, and a run file that tells all other commands about it.
//!
//! What can never happen: two of these work in one folder; a process of ours outlives this one;
//! data
//! of one source (the exchange, the simulator, a recording) gets into a tenant that holds
//! another's;
//! a definition that the user changed or deleted is written over.
//!
//! Read in this order: [`feed`], [`recording`], [`reach`], [`plan`], [`define`]; then [`ledger`],
//! [`member`], [`crew`], [`servers`], [`roles`], [`run`]; and [`detach`], [`down`].

pub mod feed;
pub mod recording;

pub mod reach;

pub mod define;
pub mod plan;

pub mod crew;
pub mod ledger;
pub mod member;

pub mod roles;
pub mod servers;

pub mod detach;
pub mod down;
pub mod run;

pub use feed::FeedChoice;
pub use run::{Ended, UpArgs, up};
