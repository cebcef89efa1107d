//! What ClickHouse refuses as one insert goes in parts, and what it refuses alone is named.

use schemas::control::Limits;
use schemas::event::Event;
use schemas::ids::{Stream, TenantId};
use serde_json::Value;
use tests::samples::{self, Fired};
use tests::{Installation, eventually, tables};

use crate::{SINK, publish, start};

/// Large events, 40 MB of them: one block, and more than a query may have below.
const LARGE_COUNT: i64 = 800;
const PAYLOAD_BYTES: usize = 50_000;
const QUERY_BYTES_MAX: u64 = 60_000_000;

fn large(id: i64) -> Event {
    let letters = (0..PAYLOAD_BYTES - 2).map(|_| fastrand::alphanumeric());
    Event {
        payload: Some(format!("\"{}\"", letters.collect::<String>())),
        ..samples::trade(id)
    }
}

/// Starts ClickHouse again, from now on with so much memory for one query.
async fn restart_with(installation: &mut Installation, bytes_max: u64) {
    let clickhouse = &mut installation.stack.clickhouse;
    clickhouse.kill9().await;
    let path = clickhouse.folder().join("users.xml");
    let users = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = users.split_once("<profiles>\n    <default>").unwrap();
    let (_, after) = rest.split_once("</default>").unwrap();
    let limit = format!("<max_memory_usage>{bytes_max}</max_memory_usage>");
    let users = format!("{before}<profiles>\n    <default>{limit}</default>{after}");
    std::fs::write(&path, users).unwrap();
    clickhouse.restart().await.unwrap();
}

/// Waits until the check of the inserts is in this state, and gives its reason.
async fn until_inserts(installation: &Installation, state: &str) -> String {
    eventually(&format!("inserts are {state}"), async || {
        let health = installation.health(SINK).await?;
        let check = &health["checks"]["inserts"];
        match check["state"] == state {
            true => Ok(check["reason"].as_str().unwrap_or_default().to_owned()),
            false => Err(health.to_string()),
        }
    })
    .await
}

async fn until_failed(installation: &Installation, table: &str) {
    eventually(&format!("an insert into {table} failed"), async || {
        let name = "pulse_clickhouse_insert_failures_total";
        let label = format!("table=\"{table}\"");
        match installation.figure_if_any(SINK, name, &label).await? {
            Some(count) if count > 0.0 => Ok(()),
            count => Err(format!("{count:?}")),
        }
    })
    .await;
}

async fn halved_count(installation: &Installation) -> f64 {
    let name = "pulse_clickhouse_halved_total";
    let count = installation.figure_if_any(SINK, name, "table=\"events\"");
    count.await.unwrap().unwrap_or(0.0)
}

/// The sink holds all of these events in one block, which no round has taken yet: both that may be
/// on their way wait for a ClickHouse that is away.
async fn gather_in_one_block(installation: &Installation, tenant: &TenantId, events: &[Event]) {
    installation.stack.clickhouse.kill9().await;
    publish(installation, tenant, &[samples::trade(-1)]).await;
    until_failed(installation, "events").await;
    let candle = samples::candle(&Fired {
        subject: "coinbase:BTC-USD",
        start_s: 1_800_000_000,
        revision: 0,
        deleted: false,
        values: &[],
    });
    let topic = tenant.topic(Stream::Metrics).to_string();
    installation.publish(&topic, &[candle]).await;
    until_failed(installation, "metrics").await;
    for chunk in events.chunks(100) {
        publish(installation, tenant, chunk).await;
    }
    eventually("all is gathered", async || {
        let name = "pulse_clickhouse_pending_rows";
        let count = installation.figure(SINK, name, "").await?;
        match count == events.len() as f64 {
            true => Ok(()),
            false => Err(format!("{count} rows")),
        }
    })
    .await;
}

/// Every event that was published is there, once, and as it was.
async fn check(installation: &Installation, tenant: &TenantId, count: u64) {
    tables::until_count(installation, tenant, "events", count).await;
    let report = tables::assert_equal(installation, &[(tenant, Limits::default())]).await;
    let events = &report.tenants[0].tables[0];
    assert_eq!((events.log_count, events.equal_count), (count, count));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_too_much_for_the_servers_memory_goes_in_parts() {
    let mut installation = start().await;
    let tenant = installation.tenant("large", Limits::default(), &[]).await;
    let events: Vec<_> = (0..LARGE_COUNT).map(large).collect();
    gather_in_one_block(&installation, &tenant, &events).await;
    restart_with(&mut installation, QUERY_BYTES_MAX).await;
    let count = LARGE_COUNT.unsigned_abs() + 1;
    tables::until_count(&installation, &tenant, "events", count).await;
    let reason = until_inserts(&installation, "warning").await;
    assert!(
        reason.contains(&format!("insert into events: {LARGE_COUNT} rows as one"))
            && reason.contains("code 241"),
        "{reason}"
    );
    let halved = halved_count(&installation).await;
    assert!(
        (1.0..LARGE_COUNT as f64 / 2.0).contains(&halved),
        "{halved}"
    );
    // With memory again, whole blocks go in, and nobody need be told of anything.
    restart_with(&mut installation, 0).await;
    check(&installation, &tenant, count).await;
    publish(&installation, &tenant, &[samples::trade(LARGE_COUNT)]).await;
    check(&installation, &tenant, count + 1).await;
    until_inserts(&installation, "ready").await;
    assert_eq!(halved_count(&installation).await, halved);
    installation.stop(SINK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_refused_alone_is_named_and_goes_in_once_it_may() {
    const COUNT: i64 = 100;
    let mut installation = start().await;
    let tenant = installation.tenant("row", Limits::default(), &[]).await;
    let events: Vec<_> = (0..COUNT).map(samples::trade).collect();
    let server = tables::server(&installation);
    let add = "ALTER TABLE events ADD CONSTRAINT no_seven CHECK sequence != 7";
    server.execute(add).await.unwrap();
    publish(&installation, &tenant, &events).await;
    let reason = until_inserts(&installation, "not_ready").await;
    assert!(reason.contains("code 469"), "{reason}");
    server
        .execute("ALTER TABLE events DROP CONSTRAINT no_seven")
        .await
        .unwrap();
    check(&installation, &tenant, COUNT.unsigned_abs()).await;
    let sql = "SELECT _topic, _partition, _offset FROM events WHERE sequence = 7";
    let row = &tables::rows(&installation, sql).await[0];
    let text = |name: &str| match &row[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let place = format!(
        "{}[{}] at {} alone",
        text("_topic"),
        text("_partition"),
        text("_offset")
    );
    assert!(reason.contains(&place), "{reason} does not name {place}");
    publish(&installation, &tenant, &[samples::trade(COUNT)]).await;
    check(&installation, &tenant, COUNT.unsigned_abs() + 1).await;
    until_inserts(&installation, "ready").await;
    installation.stop(SINK).await;
}
