//! What ClickHouse shows a reader, and what reconciliation says of it.

use std::time::Duration;

use runtime::clickhouse::ClickHouseConfig;
use schemas::control::Limits;
use schemas::ids::TenantId;
use serde_json::Value;
use sinks::clickhouse::server::Server;
use sinks::reconcile::{Reconciliation, Report};

use crate::{Installation, eventually};

const WAIT: Duration = Duration::from_secs(30);

/// Where the tables are, as the sink sees them.
pub fn config(installation: &Installation) -> ClickHouseConfig {
    let clickhouse = &installation.stack.clickhouse;
    ClickHouseConfig {
        url: clickhouse.url(),
        user: clickhouse.writer().user.clone(),
        password: Some(clickhouse.writer().password.clone()),
        ca: None,
        database: "pulse".into(),
    }
}

/// A connection to the tables.
///
/// # Panics
/// Never: there is nothing to refuse in the settings.
pub fn server(installation: &Installation) -> Server {
    Server::new(&config(installation), WAIT).unwrap()
}

/// The rows of a query, each an object, seen as a reader sees them: with `final`.
///
/// # Panics
/// When ClickHouse refuses.
pub async fn rows(installation: &Installation, sql: &str) -> Vec<Value> {
    let sql = format!("{sql} SETTINGS final = 1");
    server(installation)
        .rows(&sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The one number that a query gives.
///
/// # Panics
/// When ClickHouse refuses, or the answer is no number.
pub async fn number(installation: &Installation, expression: &str) -> u64 {
    let rows = rows(installation, &format!("SELECT {expression} AS n")).await;
    rows[0]["n"]
        .as_u64()
        .unwrap_or_else(|| panic!("{expression}: {rows:?}"))
}

/// Waits until a table shows so many rows of a tenant.
///
/// # Panics
/// When it never does.
pub async fn until_count(installation: &Installation, tenant: &TenantId, table: &str, count: u64) {
    let sql = format!("SELECT count() AS n FROM {table} FINAL WHERE tenant = '{tenant}'");
    let server = server(installation);
    eventually(&format!("{count} rows in {table}"), async || {
        let rows = server
            .rows::<Value>(&sql)
            .await
            .map_err(|error| error.to_string())?;
        match rows[0]["n"].as_u64() {
            Some(n) if n == count => Ok(()),
            n => Err(format!("{n:?}")),
        }
    })
    .await;
}

/// Compares log and tables of these tenants.
///
/// # Panics
/// When there is no report.
pub async fn reconcile(installation: &Installation, tenants: &[(&TenantId, Limits)]) -> Report {
    let mut reconciliation = Reconciliation::new(
        installation.kafka(),
        config(installation),
        installation.control(),
    );
    // Several buckets, files and all, also for the few rows of a test.
    reconciliation.row_count_max = 1_000;
    let tenants = tenants
        .iter()
        .map(|(tenant, limits)| ((*tenant).clone(), limits.dates().into()));
    reconciliation.run(&tenants.collect()).await.unwrap()
}

/// Reconciles and fails with the report when anything differs.
///
/// # Panics
/// When anything differs.
pub async fn assert_equal(installation: &Installation, tenants: &[(&TenantId, Limits)]) -> Report {
    let report = reconcile(installation, tenants).await;
    let text = serde_json::to_string_pretty(&report).unwrap();
    assert!(report.is_equal(), "{text}");
    report
}
