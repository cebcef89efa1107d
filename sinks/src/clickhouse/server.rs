//! Speaking to ClickHouse over HTTP: statements, answers and inserts, each with a deadline.

use std::time::Duration;

use ::clickhouse::query::BytesCursor;
use ::clickhouse::{Client, Compression};
use bytes::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use runtime::clickhouse::ClickHouseConfig;
use runtime::http;
use serde::de::DeserializeOwned;

use super::failure::ServerError;
use super::table::Table;

/// Below the server's own limit for an idle connection, so that none is used that it just closed.
const IDLE_WAIT: Duration = Duration::from_secs(2);

/// How long one piece of a body may take to leave.
const SEND_WAIT: Duration = Duration::from_secs(20);

/// A ClickHouse server and our user there. Cheap to clone; all clones share connections.
#[derive(Clone)]
pub struct Server {
    client: Client,
    database: String,
    wait: Duration,
}

/// An insert that can be sent again and again: the same bytes under the same token.
#[derive(Clone, Debug)]
pub struct Insert {
    /// Which table.
    pub table: Table,
    /// What makes the server drop the bytes when it has them already.
    pub token: String,
    /// A block of rows, compressed.
    pub frames: Vec<Bytes>,
}

impl Server {
    /// The server of this configuration; each statement may take `wait`.
    ///
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When the certificate authorities cannot be read.
    pub fn new(config: &ClickHouseConfig, wait: Duration) -> Result<Self, ServerError> {
        let connector = http::connector(config.ca.as_deref());
        let connector = connector.map_err(|error| ServerError::Settings {
            reason: error.to_string(),
        })?;
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_WAIT)
            .build(connector);
        let mut client = Client::with_http_client(http)
            .with_url(&config.url)
            .with_user(&config.user)
            .with_compression(Compression::None);
        if let Some(password) = &config.password {
            client = client.with_password(password.reveal());
        }
        Ok(Self {
            client,
            database: config.database.clone(),
            wait,
        })
    }

    /// The database that holds the tables.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Makes the database, unless it is there.
    ///
    /// # Errors
    /// When the server does not answer in time, or refuses.
    pub async fn create_database(&self) -> Result<(), ServerError> {
        // Not inside the database: it may not be there yet.
        let sql = format!("CREATE DATABASE IF NOT EXISTS `{}`", self.database);
        self.timed(self.client.query_raw(&sql).execute()).await
    }

    /// Runs a statement that answers nothing.
    ///
    /// # Errors
    /// When the server does not answer in time, or refuses.
    pub async fn execute(&self, sql: &str) -> Result<(), ServerError> {
        let client = self.client.clone().with_database(&self.database);
        self.timed(client.query_raw(sql).execute()).await
    }

    /// Runs a query with a small answer, each row an object with the columns' names.
    ///
    /// # Errors
    /// When the server does not answer in time, or refuses, or answers something else.
    pub async fn rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>, ServerError> {
        let client = self
            .client
            .clone()
            .with_database(&self.database)
            .with_setting("output_format_json_quote_64bit_integers", "0");
        let mut cursor = client.query_raw(sql).fetch_bytes("JSONEachRow")?;
        let answer = self.timed(cursor.collect()).await?;
        let lines = answer
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let unreadable = |error: serde_json::Error| ServerError::Answer {
            reason: format!("a row is not as expected: {error}"),
        };
        lines
            .map(|line| serde_json::from_slice(line).map_err(unreadable))
            .collect()
    }

    /// Runs a query with a large answer, as `RowBinary`.
    ///
    /// # Errors
    /// When the query cannot be sent; other failures show while the answer is read.
    pub fn stream(&self, sql: &str) -> Result<Answer, ServerError> {
        let client = self
            .client
            .clone()
            .with_database(&self.database)
            .with_compression(Compression::Lz4)
            // Readers see one row for each identity; a month's rows never merge with another's.
            .with_setting("final", "1")
            .with_setting("do_not_merge_across_partitions_select_final", "1");
        let cursor = client.query_raw(sql).fetch_bytes("RowBinary")?;
        Ok(Answer {
            cursor,
            wait: self.wait,
        })
    }

    /// Sends an insert. Success means that its rows are in the table.
    ///
    /// # Errors
    /// The rows may be in the table or not: send the same again.
    pub async fn insert(&self, insert: &Insert) -> Result<(), ServerError> {
        let (table, columns) = (insert.table.name(), insert.table.column_list());
        let mut request = self
            .client
            .clone()
            .with_database(&self.database)
            .with_setting("decompress", "1")
            .with_setting("async_insert", "0")
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", &insert.token)
            // The table's own merges do it, once for many inserts; readers use `final`.
            .with_setting("optimize_on_insert", "0")
            .with_setting("max_partitions_per_insert_block", "0")
            .with_setting("wait_end_of_query", "1")
            .insert_formatted_with(format!("INSERT INTO {table} ({columns}) FORMAT Native"))
            .with_timeouts(Some(SEND_WAIT), Some(self.wait));
        for frame in &insert.frames {
            request.send(frame.clone()).await?;
        }
        Ok(request.end().await?)
    }

    async fn timed<T>(
        &self,
        act: impl Future<Output = ::clickhouse::error::Result<T>>,
    ) -> Result<T, ServerError> {
        match tokio::time::timeout(self.wait, act).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ServerError::TimedOut),
        }
    }
}

/// A query's answer, piece by piece.
pub struct Answer {
    cursor: BytesCursor,
    wait: Duration,
}

impl Answer {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the server broke off, or the next piece did not come in time.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ServerError> {
        match tokio::time::timeout(self.wait, self.cursor.next()).await {
            Ok(piece) => Ok(piece?),
            Err(_) => Err(ServerError::TimedOut),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn config(ca: Option<&std::path::Path>) -> ClickHouseConfig {
        ClickHouseConfig {
            url: "https://127.0.0.1:1".into(),
            user: "default".into(),
            password: None,
            ca: ca.map(Into::into),
            database: "pulse".into(),
        }
    }

    #[tokio::test]
    async fn an_authorities_file_without_certificates_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"no certificate\n").unwrap();
        let refused = Server::new(&config(Some(file.path())), Duration::from_secs(1));
        assert!(matches!(refused.err(), Some(ServerError::Settings { .. })));
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_cause() {
        let server = Server::new(&config(None), Duration::from_secs(10)).unwrap();
        let Err(ServerError::Unreachable { reason }) = server.execute("SELECT 1").await else {
            panic!("nothing listens on port 1");
        };
        assert!(reason.contains("refused"), "{reason}");
    }
}
