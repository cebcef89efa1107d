//! HTTP: events come in, definitions are changed, what is known is read.
//!
//! In: requests with a key. Out: records on a tenant's `events`, records on `pulse.control`, answers
//! from ClickHouse.
//!
//! What can never happen: a tenant is taken from anywhere but the credential; an answer of 200 says
//! an event is safe that no broker has acknowledged; ClickHouse is written to; anybody but
//! [`store`] writes `pulse.control`.
//!
//! Read in this order: [`problem`], [`server`], [`access`], [`routes`]; then [`ingest`] with
//! [`body`], [`limits`], [`otlp`] and [`disk_log`]; then [`store`] and [`manage`]; then [`query`],
//! [`registry`], [`openapi`]; and the two programs, [`gateway`] and [`service`].

pub mod problem;
pub mod server;

pub mod access;
pub mod routes;

pub mod body;
pub mod disk_log;
pub mod ingest;
pub mod limits;
pub mod otlp;

pub mod manage;
pub mod store;

pub mod query;
pub mod registry;

pub mod openapi;

pub mod gateway;
pub mod service;
