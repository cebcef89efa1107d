//! Speaking to ClickHouse for one tenant: each question has its place, its limits and its end.
//!
//! Whoever drops a [`Session`] or an [`Answer`] closes the connection that its question went over,
//! and the server gives the question up.

use std::fmt::Write;

use ::clickhouse::query::{BytesCursor, Query};
use ::clickhouse::{Client, Compression};
use bytes::{Bytes, BytesMut};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use runtime::clickhouse::ClickHouseConfig;
use runtime::clock::Deadline;
use runtime::http;
use schemas::ids::TenantId;
use serde::de::DeserializeOwned;

use super::config::QueryConfig;
use super::failure::QueryError;
use super::places::{Place, Places};
use super::tenant_query::{Table, TenantQuery, Value};

/// Below the server's own limit for an idle connection, so that none is used that it just closed.
const IDLE_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// Bytes of a small answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A ClickHouse server, our user there, and the places for questions. Cheap to clone; all clones
/// share connections and places.
#[derive(Clone)]
pub struct Server {
    client: Client,
    database: String,
    config: QueryConfig,
    places: Places,
}

/// One tenant's turn: questions one after the other, together within the time of one.
pub struct Session {
    server: Server,
    tenant: TenantId,
    deadline: Deadline,
    _place: Place,
}

/// An answer, line by line.
pub struct Answer {
    cursor: BytesCursor,
    deadline: Deadline,
    name: &'static str,
    buffer: BytesMut,
    /// How far the buffer was searched for the end of a line.
    searched: usize,
    is_over: bool,
}

impl Server {
    /// The server of this configuration. Nothing is sent yet.
    ///
    /// # Errors
    /// When the certificate authorities cannot be read.
    pub fn new(clickhouse: &ClickHouseConfig, config: QueryConfig) -> Result<Self, QueryError> {
        let connector = http::connector(clickhouse.ca.as_deref());
        let connector = connector.map_err(|error| QueryError::Settings {
            reason: error.to_string(),
        })?;
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_WAIT)
            .build(connector);
        let mut client = Client::with_http_client(http)
            .with_url(&clickhouse.url)
            .with_user(&clickhouse.user)
            .with_database(&clickhouse.database)
            .with_compression(Compression::None);
        if let Some(password) = &clickhouse.password {
            client = client.with_password(password.reveal());
        }
        for (name, value) in fixed_settings(&config) {
            client = client.with_setting(name, value);
        }
        Ok(Self {
            client,
            database: clickhouse.database.clone(),
            config,
            places: Places::new(config.concurrent_max, config.tenant_concurrent_max),
        })
    }

    /// A tenant's turn, waiting a little for a place.
    ///
    /// # Errors
    /// When none becomes free in time.
    pub async fn session(&self, tenant: &TenantId) -> Result<Session, QueryError> {
        let place = self.places.take(tenant).await?;
        Ok(Session {
            server: self.clone(),
            tenant: tenant.clone(),
            deadline: Deadline::after(self.config.time_max),
            _place: place,
        })
    }
}

/// What holds for each question, whoever asks.
fn fixed_settings(config: &QueryConfig) -> [(&'static str, String); 14] {
    let on = || "1".to_owned();
    [
        // 2 and not 1, since the settings below come with the question.
        ("readonly", "2".to_owned()),
        ("cancel_http_readonly_queries_on_client_close", on()),
        // Where a row is to be seen once, the question says FINAL itself; see `Table`.
        ("final", "0".to_owned()),
        ("do_not_merge_across_partitions_select_final", on()),
        ("max_memory_usage", config.memory_max_bytes.to_string()),
        ("max_rows_to_read", config.rows_read_max.to_string()),
        ("read_overflow_mode", "throw".to_owned()),
        ("timeout_overflow_mode", "throw".to_owned()),
        ("max_result_rows", "1000000".to_owned()),
        ("result_overflow_mode", "throw".to_owned()),
        ("output_format_json_quote_64bit_integers", "0".to_owned()),
        ("output_format_json_quote_decimals", "0".to_owned()),
        ("output_format_decimal_trailing_zeros", "0".to_owned()),
        ("output_format_json_escape_forward_slashes", "0".to_owned()),
    ]
}

impl Session {
    /// Begins a question about the rows of the tenant whose turn it is.
    pub fn query(&self, name: &'static str) -> TenantQuery {
        TenantQuery::of(&self.tenant, name)
    }

    /// Whose turn it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// By when all has to be answered.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Asks, and gives all of a small answer: each row an object with the columns' names.
    ///
    /// # Errors
    /// When the server does not answer in time, or refuses, or answers something else.
    pub async fn rows<T: DeserializeOwned>(
        &self,
        query: &TenantQuery,
    ) -> Result<Vec<T>, QueryError> {
        let mut answer = self.ask(query)?;
        let (mut rows, mut byte_count) = (vec![], 0);
        while let Some(line) = answer.next().await? {
            byte_count += line.len();
            if byte_count > ANSWER_BYTES_MAX {
                return Err(QueryError::TooMuch {
                    reason: format!(
                        "{} answers more than {ANSWER_BYTES_MAX} bytes",
                        query.name()
                    ),
                });
            }
            rows.push(answer.row(&line)?);
        }
        Ok(rows)
    }

    /// Asks, and gives the answer row by row.
    ///
    /// # Errors
    /// When the question cannot be sent; other failures show while the answer is read.
    pub fn ask(&self, query: &TenantQuery) -> Result<Answer, QueryError> {
        let Server {
            client, database, ..
        } = &self.server;
        let left = self.deadline.left();
        if left.is_zero() {
            return Err(QueryError::TimedOut);
        }
        let id = query_id(query)?;
        // The server gives up by itself where nobody can tell it that nobody waits any more.
        let seconds = left.as_secs() + 1;
        let client = client
            .clone()
            .with_setting("query_id", id)
            .with_setting("max_execution_time", seconds.to_string())
            .with_setting(
                "additional_table_filters",
                filters(database, query.tenant()),
            );
        let question = client.query_raw(query.text());
        let question = question.param("tenant", query.tenant().as_str());
        let question = (0..).zip(query.values()).fold(question, with_value);
        Ok(Answer {
            cursor: question.fetch_bytes("JSONEachRow")?,
            deadline: self.deadline,
            name: query.name(),
            buffer: BytesMut::new(),
            searched: 0,
            is_over: false,
        })
    }
}

fn with_value(question: Query, (at, value): (usize, &Value)) -> Query {
    let name = format!("p{at}");
    match value {
        Value::Text(text) => question.param(&name, text),
        Value::Texts(texts) => question.param(&name, texts),
        Value::Whole(number) => question.param(&name, number),
        Value::Decimal(number) => question.param(&name, number.to_string()),
    }
}

/// Rows of others are not there for this question, should its text ever forget whose it is about.
///
/// A tenant's id has no character that means anything inside a text.
fn filters(database: &str, tenant: &TenantId) -> String {
    let filter = |table| format!("'{database}.{table}': 'tenant = \\'{tenant}\\''");
    format!("{{{}}}", Table::NAMES.map(filter).join(", "))
}

/// Whose question it is, what it is, and bits that no other has.
fn query_id(query: &TenantQuery) -> Result<String, QueryError> {
    let mut bits = [0_u8; 16];
    getrandom::fill(&mut bits).map_err(|error| QueryError::Settings {
        reason: error.to_string(),
    })?;
    let mut id = format!("pulse-{}-{}-", query.tenant(), query.name());
    for byte in bits {
        write!(id, "{byte:02x}").expect("a string takes all that is written");
    }
    Ok(id)
}

impl Answer {
    /// The next row's line; `None` at the end.
    ///
    /// # Errors
    /// When the server refuses, breaks off, or does not answer in time.
    pub async fn next(&mut self) -> Result<Option<Bytes>, QueryError> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            if self.is_over {
                let rest = std::mem::take(&mut self.buffer).freeze();
                self.searched = 0;
                return Ok(Some(rest).filter(|rest| !rest.is_empty()));
            }
            let piece = tokio::time::timeout(self.deadline.left(), self.cursor.next()).await;
            match piece.map_err(|_| QueryError::TimedOut)?? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => self.is_over = true,
            }
        }
    }

    /// Reads a row of this answer.
    ///
    /// # Errors
    /// When the line is not as expected.
    pub fn row<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, QueryError> {
        serde_json::from_slice(line).map_err(|error| QueryError::Answer {
            reason: format!("a row of {} is not as expected: {error}", self.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_filter_names_every_table() {
        let tenant = "acme-1".parse().unwrap();
        insta::assert_snapshot!(filters("pulse", &tenant), @r"{'pulse.events': 'tenant = \'acme-1\'', 'pulse.metrics': 'tenant = \'acme-1\'', 'pulse.late': 'tenant = \'acme-1\'', 'pulse.dead_letters': 'tenant = \'acme-1\''}");
    }

    #[test]
    fn an_id_tells_whose_question_it_is_and_comes_once() {
        let query = TenantQuery::of(&"acme".parse().unwrap(), "search");
        let (one, other) = (query_id(&query).unwrap(), query_id(&query).unwrap());
        assert!(one.starts_with("pulse-acme-search-") && one.len() == 18 + 32);
        assert_ne!(one, other);
    }
}
