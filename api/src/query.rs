//! Reading ClickHouse, for one tenant at a time: search, statistics, previews of meters.
//!
//! In: a caller's question. Out: rows of that caller's tenant, and of no other: a question cannot
//! be made without its tenant ([`tenant_query`]), and the server leaves other rows out even where
//! its text forgot to. What comes from outside is never part of a text.
//!
//! Each question has a place ([`places`]), a bound on time, rows and memory ([`config`]), and ends
//! when whoever asked leaves ([`server`]). What the server says when it refuses is in the log and
//! not in the answer ([`failure`]).

pub mod config;
pub(crate) mod docs;
pub mod failure;
pub mod given;
pub mod places;
pub mod preview;
pub mod range;
pub mod search;
pub mod server;
pub mod statistics;
pub mod tenant_query;
pub mod usage;

use axum::routing::{get, post};
use http::Method;
use runtime::clickhouse::ClickHouseConfig;
use utoipa::OpenApi;

use crate::routes::{Served, served};
use crate::usage::{Ledger, route as usage_route};
use failure::QueryError;
use server::Server;

pub use config::{KEYS, QueryConfig};

/// What the routes of this part share. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct QueryState {
    server: Server,
    ledger: Ledger,
    usages: usage::Usages,
    minutes: statistics::Minutes,
}

impl QueryState {
    /// Reads from this server, within these limits. Nothing is sent yet.
    ///
    /// # Errors
    /// When the certificate authorities cannot be read.
    pub fn new(clickhouse: &ClickHouseConfig, config: QueryConfig) -> Result<Self, QueryError> {
        Ok(Self {
            server: Server::new(clickhouse, config)?,
            ledger: Ledger::default(),
            usages: usage::Usages::default(),
            minutes: statistics::Minutes::default(),
        })
    }

    /// The same with what is counted for good.
    #[must_use]
    pub fn with_ledger(self, ledger: Ledger) -> Self {
        Self { ledger, ..self }
    }

    /// The way to the server, for questions that have no route.
    pub fn server(&self) -> &Server {
        &self.server
    }
}

/// The routes of this part.
pub fn routes(state: QueryState) -> Vec<Served> {
    const SEARCH: &str = "/api/v1/ingestion/events/search";
    vec![
        served(
            Method::GET,
            SEARCH,
            get(search::get_search).with_state(state.clone()),
        ),
        served(
            Method::POST,
            SEARCH,
            post(search::post_search).with_state(state.clone()),
        ),
        served(
            Method::GET,
            "/api/v1/ingestion/statistics",
            get(statistics::get_statistics).with_state(state.clone()),
        ),
        served(
            Method::POST,
            "/api/v1/meters/preview",
            post(preview::route::post_preview).with_state(state.clone()),
        ),
        served(
            Method::GET,
            "/api/v1/usage",
            get(usage_route::get_usage).with_state(state),
        ),
    ]
}

/// What the routes of this part take and answer.
#[derive(OpenApi)]
#[openapi(paths(
    search::get_search,
    search::post_search,
    statistics::get_statistics,
    preview::route::post_preview,
    usage_route::get_usage
))]
pub struct Docs;
