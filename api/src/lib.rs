//! HTTP: events come in, definitions are changed, what is known is read.
//!
//! In: requests with a key. Out: records on a tenant's `events`, records on `pulse.control`,
//! answers from ClickHouse.
//!
//! What can never happen: a tenant is taken from anywhere but the credential; an answer of 200 says
//! an event is safe that no broker has acknowledged; ClickHouse is written to; anybody but
//! [`store`] writes `pulse.control`.
//!
//! Read in this order: [`problem`], [`server`], [`access`], [`routes`]; then [`ingest`] with
//! [`body`], [`limits`], [`otlp`] and [`disk_log`]; then [`store`] and [`manage`]; then [`query`]
//! and [`usage`], [`registry`], [`openapi`]; and the two programs, [`gateway`] and [`service`].

pub mod problem;
pub mod server;

pub mod access;
pub mod routes;
pub mod system;

pub mod body;
pub mod disk_log;
pub mod ingest;
pub mod intake;
pub mod limits;
pub mod notices;
pub mod otlp;

pub mod manage;
pub mod store;

pub mod query;
pub mod registry;
pub mod usage;

pub mod openapi;

pub mod reports;

pub mod gateway;
pub mod service;

use runtime::config::Key;
use runtime::telemetry::Metric;

/// Every setting of this package, by part.
pub fn settings() -> Vec<(&'static str, &'static [Key])> {
    vec![
        ("Gateway", gateway::KEYS),
        ("API", service::KEYS),
        ("Ingest", intake::KEYS),
        ("Disk log", disk_log::KEYS),
        ("Reports of own requests", reports::KEYS),
        ("Control store", store::KEYS),
        ("Queries", query::config::KEYS),
        ("Usage", usage::KEYS),
    ]
}

/// Every metric of this package, by part.
pub fn metrics() -> Vec<(&'static str, &'static [Metric])> {
    vec![
        ("Ingest", intake::METRICS),
        ("Disk log", disk_log::METRICS),
        ("Reports of own requests", reports::METRICS),
        ("Control store", store::METRICS),
    ]
}
