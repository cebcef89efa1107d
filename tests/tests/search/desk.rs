//! The routes of the query part behind their keys, as pulse-api serves them.

use std::collections::BTreeSet;
use std::fmt::Write;

use api::access::{Keyring, secret};
use api::query::{self, QueryConfig, QueryState};
use api::{routes, server};
use runtime::clickhouse::ClickHouseConfig;
use runtime::config::Secret;
use runtime::control::{ControlConfig, ControlView};
use runtime::service::Service;
use schemas::access::{ApiKey, KeyKind, Scope};
use schemas::control::{Definition, Limits};
use schemas::event::Event;
use schemas::ids::{Stream, TenantId};
use serde_json::Value;
use tests::{Installation, PATIENCE, eventually, samples, tables};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An installation with its sink, and the routes.
pub(crate) struct Desk {
    pub(crate) installation: Installation,
    pub(crate) state: QueryState,
    service: Service,
    address: String,
}

/// Somebody with a key.
pub(crate) struct Client {
    pub(crate) tenant: TenantId,
    pub(crate) key: String,
    address: String,
}

impl Desk {
    pub(crate) async fn open() -> Self {
        // What is asked here may take long on a machine that builds something else meanwhile.
        let config = QueryConfig {
            time_max: PATIENCE,
            ..QueryConfig::default()
        };
        Self::within(config).await
    }

    pub(crate) async fn within(config: QueryConfig) -> Self {
        let mut installation = Installation::start().await;
        installation.role("pulse-clickhouse", "0", &[]).await;
        let service = Service::detached("pulse-test");
        let control = ControlConfig::new(Secret::new("a secret of the tests alone"));
        let view = ControlView::open(&installation.kafka(), &control, &service).await;
        let keyring = Keyring::default();
        let following = keyring.clone();
        tokio::spawn(following.follow(view.unwrap().unwrap(), service.shutdown.clone()));
        let state = QueryState::new(&reader(&installation), config).unwrap();
        let router = routes::router(query::routes(state.clone()), &keyring);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (bounds, shutdown) = (server::Bounds::default(), service.shutdown.clone());
        tokio::spawn(server::serve(listener, router, bounds, shutdown));
        Self {
            installation,
            state,
            service,
            address,
        }
    }

    /// A tenant of that name with a key that may read.
    pub(crate) async fn client(&self, tenant: &str) -> Client {
        let tenant = self
            .installation
            .tenant(tenant, Limits::default(), &[])
            .await;
        self.key(&tenant, &[Scope::Read]).await
    }

    /// A key of the tenant's, once it is in force.
    pub(crate) async fn key(&self, tenant: &TenantId, scopes: &[Scope]) -> Client {
        let key = secret::generate(KeyKind::Secret).unwrap();
        let definition = ApiKey {
            name: "test".into(),
            kind: KeyKind::Secret,
            hash: secret::hash(&key),
            scopes: scopes.iter().copied().collect::<BTreeSet<_>>(),
            origins: vec![],
            expires_at_ms: None,
            events_per_second: None,
        };
        let id = format!("k{}", secret::hash(&key));
        let definition = Definition::Key(definition);
        self.installation
            .define(tenant, &id[..20], definition)
            .await;
        let client = Client {
            tenant: tenant.clone(),
            key,
            address: self.address.clone(),
        };
        eventually("the key is in force", async || {
            match client
                .get("/api/v1/ingestion/events/search?limit=0", &[])
                .await
            {
                (401, told) => Err(told.to_string()),
                _ => Ok(()),
            }
        })
        .await;
        client
    }

    /// Publishes a tenant's events and waits until they are rows, each identity once.
    pub(crate) async fn publish(&self, client: &Client, events: &[Event], rows: u64) {
        self.send(client, events).await;
        tables::until_count(&self.installation, &client.tenant, "events", rows).await;
    }

    pub(crate) async fn send(&self, client: &Client, events: &[Event]) {
        let topic = client.tenant.topic(Stream::Events).to_string();
        for chunk in events.chunks(1_000) {
            let records: Vec<_> = chunk.iter().map(samples::record).collect();
            self.installation.publish(&topic, &records).await;
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.service.shutdown.request();
    }
}

/// Where the tables are, as somebody who may read alone sees them.
fn reader(installation: &Installation) -> ClickHouseConfig {
    let reader = installation.stack.clickhouse.reader();
    ClickHouseConfig {
        user: reader.user.clone(),
        password: Some(reader.password.clone()),
        ..tables::config(installation)
    }
}

impl Client {
    /// Searches by `GET` and gives what was answered.
    pub(crate) async fn search(&self, parameters: &[(&str, &str)]) -> Value {
        let (status, body) = self
            .get("/api/v1/ingestion/events/search", parameters)
            .await;
        assert_eq!(status, 200, "{parameters:?}: {body}");
        body
    }

    /// The ids that a search finds, in its order.
    pub(crate) async fn ids(&self, parameters: &[(&str, &str)]) -> Vec<String> {
        ids(&self.search(parameters).await)
    }

    pub(crate) async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
        let mut path = path.to_owned();
        for (name, value) in parameters {
            path.push(if path.contains('?') { '&' } else { '?' });
            write!(path, "{}={}", escaped(name), escaped(value)).unwrap();
        }
        self.ask("GET", &path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", path, &body.to_string()).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let answer = self.answer(method, path, body).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"));
        (status, body)
    }

    /// The whole answer as it came.
    pub(crate) async fn answer(&self, method: &str, path: &str, body: &str) -> String {
        let (key, length) = (&self.key, body.len());
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: test\r\nX-API-Key: {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(&self.address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = tokio::time::timeout(PATIENCE, ask).await;
        answer.expect("an answer in time").unwrap()
    }
}

/// The ids of a page.
pub(crate) fn ids(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().unwrap();
    let id = |event: &Value| event["event_id"].as_str().unwrap().to_owned();
    events.iter().map(id).collect()
}

pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => escaped.push(char::from(byte)),
            false => write!(escaped, "%{byte:02X}").unwrap(),
        }
    }
    escaped
}
