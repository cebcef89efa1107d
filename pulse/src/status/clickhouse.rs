//! What ClickHouse says of itself.

use std::time::Duration;

use serde::Deserialize;
use sinks::clickhouse::failure::ServerError;
use sinks::clickhouse::server::Server;

use crate::installation::Access;
use crate::installation::access::AccessError;

/// How long it may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Why ClickHouse says nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseAway {
    /// Nobody says where it is.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// It does not answer, or refuses.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It answers something that no ClickHouse would.
    #[error("it answers something else")]
    Answer,
}

/// A client for short questions.
///
/// # Errors
/// When nobody says where the server is, or its certificates cannot be used.
pub fn client(access: &Access) -> Result<Server, ClickHouseAway> {
    Ok(Server::new(&access.clickhouse()?, ANSWER_MAX)?)
}

/// The server's version.
///
/// # Errors
/// When it does not answer in time.
pub async fn version(access: &Access) -> Result<String, ClickHouseAway> {
    #[derive(Deserialize)]
    struct Row {
        version: String,
    }
    // Our database need not be there yet, and is not asked for.
    let mut config = access.clickhouse()?;
    config.database = "default".into();
    let server = Server::new(&config, ANSWER_MAX)?;
    let rows: Vec<Row> = server.rows("SELECT version() AS version").await?;
    rows.into_iter()
        .next()
        .map(|row| row.version)
        .ok_or(ClickHouseAway::Answer)
}
