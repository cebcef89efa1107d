//! What every process of PulseStream stands on.
//!
//! In: the environment, signals, a broker. Out: settings without faults, a process that starts,
//! tells how it is and drains, and the log as [`kafka`] gives it to those who work on it.
//!
//! What can never happen here: a record's content is not looked into, a tenant is not chosen, and
//! nothing but [`kafka`] and the hint in [`prefetch`] is unsafe, nothing but [`clock`] reads the
//! time, nothing but [`config`] reads the environment.
//!
//! Read in this order: [`fate`], [`clock`], [`config`], [`service`], [`health`], [`telemetry`],
//! [`http`], [`kafka`], [`control`], [`watchdog`], [`prefetch`], [`step`], [`task`], [`testing`].

pub mod fate;

pub mod clock;
pub mod config;

pub mod health;
pub mod service;
pub mod telemetry;

pub mod http;

pub mod clickhouse;
pub mod kafka;

pub mod control;
pub mod watchdog;

pub mod prefetch;
pub mod step;
pub mod task;

pub mod testing;
