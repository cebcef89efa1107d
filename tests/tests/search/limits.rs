//! What a question may take, and how it ends.

use std::time::Duration;

use api::problem::ApiError;
use api::query::QueryConfig;
use api::query::failure::QueryError;
use api::query::server::Session;
use api::query::tenant_query::{Table, TenantQuery};
use serde_json::{Value, json};
use tests::{eventually, tables};

use crate::{Desk, event};

/// A question that takes two seconds for each row.
fn slow(session: &Session) -> TenantQuery {
    let mut query = session.query("slow");
    query.push("SELECT sleepEachRow(2) AS n");
    query.rows_of(Table::EventsAsInserted);
    query.push(" SETTINGS max_block_size = 1, max_threads = 1");
    query
}

async fn running(desk: &Desk) -> Vec<Value> {
    let sql = "SELECT query_id FROM system.processes WHERE query_id LIKE 'pulse-acme-slow-%'";
    tables::rows(&desk.installation, sql).await
}

async fn until_running(desk: &Desk, count: usize) {
    eventually("the server says so", async || {
        let running = running(desk).await;
        match running.len() == count {
            true => Ok(()),
            false => Err(format!("{running:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_takes_his_question_along() {
    let desk = Desk::open().await;
    let acme = desk.client("acme").await;
    let events: Vec<_> = (0..100).map(|n| event(&n.to_string(), 5_000)).collect();
    desk.publish(&acme, &events, 100).await;
    let state = desk.state.clone();
    let tenant = acme.tenant.clone();
    let asking = tokio::spawn(async move {
        let session = state.server().session(&tenant).await.unwrap();
        session.rows::<Value>(&slow(&session)).await
    });
    until_running(&desk, 1).await;
    asking.abort();
    until_running(&desk, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_ends_with_its_time_here_and_there() {
    let config = QueryConfig {
        time_max: Duration::from_millis(500),
        ..QueryConfig::default()
    };
    let desk = Desk::within(config).await;
    let acme = desk.client("acme").await;
    let events: Vec<_> = (0..100).map(|n| event(&n.to_string(), 5_000)).collect();
    desk.publish(&acme, &events, 100).await;
    let session = desk.state.server().session(&acme.tenant).await.unwrap();
    let error = session.rows::<Value>(&slow(&session)).await.unwrap_err();
    assert_eq!(error, QueryError::TimedOut);
    assert_eq!(ApiError::from(error).status(), 504);
    until_running(&desk, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_each_tenants_own_and_come_back() {
    let config = QueryConfig {
        tenant_concurrent_max: 1,
        ..QueryConfig::default()
    };
    let desk = Desk::within(config).await;
    let (acme, other) = (desk.client("acme").await, desk.client("other").await);
    let held = desk.state.server().session(&acme.tenant).await.unwrap();
    let path = "/api/v1/ingestion/events/search";
    let answer = acme.answer("GET", path, "").await;
    assert!(answer.starts_with("HTTP/1.0 429 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert_eq!(other.get(path, &[]).await.0, 200);
    drop(held);
    assert_eq!(acme.get(path, &[]).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_refused_and_a_server_that_is_away_is_told() {
    let config = QueryConfig {
        rows_read_max: 50,
        ..QueryConfig::default()
    };
    let desk = Desk::within(config).await;
    let acme = desk.client("acme").await;
    let events: Vec<_> = (0..100).map(|n| event(&n.to_string(), 5_000)).collect();
    desk.publish(&acme, &events, 100).await;
    let path = "/api/v1/ingestion/events/search";
    let (status, body) = acme.get(path, &[("text", "x")]).await;
    assert_eq!(
        (status, &body["type"]),
        (422, &json!("urn:pulse:problem:too_much"))
    );
    assert!(!body.to_string().contains("events"), "{body}");

    desk.installation.stack.clickhouse.kill9().await;
    let answer = acme.answer("GET", path, "").await;
    assert!(answer.starts_with("HTTP/1.0 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(!answer.contains("127.0.0.1"), "{answer}");
}
