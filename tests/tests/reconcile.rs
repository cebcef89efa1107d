//! Reconciliation can fail: whatever was deleted, changed or invented by hand is found and named.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::time::Duration;

use schemas::control::Limits;
use schemas::decimal::Decimal;
use schemas::ids::{Stream, TenantId};
use sinks::reconcile::{Fault, ReconcileError, Reconciliation, Report, TableReport};
use tests::samples::{self, Fired};
use tests::{Installation, tables};

const LIMITS: fn() -> Limits = Limits::default;

/// 5,000 events and 100 windows of a tenant, all in ClickHouse.
async fn filled() -> (Installation, TenantId) {
    let mut installation = Installation::start().await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    let tenant = installation.tenant("demo", LIMITS(), &[]).await;
    let events: Vec<_> = (0..5_000).map(samples::trade).collect();
    let records: Vec<_> = events.iter().map(samples::record).collect();
    installation
        .publish(&tenant.topic(Stream::Events).to_string(), &records)
        .await;
    let values = [("open", Some(Decimal::ONE))];
    let candle = |second: i64| Fired {
        subject: "coinbase:BTC-USD",
        start_s: 1_800_000_000 + second,
        revision: 2,
        deleted: false,
        values: &values,
    };
    let candles: Vec<_> = (0..100)
        .map(|second| samples::candle(&candle(second)))
        .collect();
    installation
        .publish(&tenant.topic(Stream::Metrics).to_string(), &candles)
        .await;
    tables::until_count(&installation, &tenant, "events", 5_000).await;
    tables::until_count(&installation, &tenant, "metrics", 100).await;
    (installation, tenant)
}

async fn execute(installation: &Installation, sql: &str) {
    tables::server(installation).execute(sql).await.unwrap();
}

async fn reconcile(installation: &Installation, tenant: &TenantId) -> Report {
    tables::reconcile(installation, &[(tenant, LIMITS())]).await
}

fn events(report: &Report) -> &TableReport {
    &report.tenants[0].tables[0]
}

fn metrics(report: &Report) -> &TableReport {
    &report.tenants[0].tables[1]
}

async fn a_deleted_row_is_missing(installation: &Installation, tenant: &TenantId) {
    let gone = "coinbase:BTC-USD:trade:77";
    let sql = format!("DELETE FROM events WHERE event_id = '{gone}' SETTINGS mutations_sync = 2");
    execute(installation, &sql).await;
    let report = reconcile(installation, tenant).await;
    assert_eq!(
        (events(&report).missing_count, events(&report).equal_count),
        (1, 4_999)
    );
    assert!(!report.is_equal());
    let example = &events(&report).examples[0];
    assert_eq!(
        (example.fault, example.row.is_none()),
        (Fault::Missing, true)
    );
    assert!(example.identity.ends_with(gone), "{}", example.identity);
}

/// The contents, and nothing else.
async fn a_changed_row_is_different(installation: &Installation, tenant: &TenantId) {
    let sql =
        "ALTER TABLE metrics UPDATE values = map('open', toDecimal128('1.000000000000000001', 18))
        WHERE window_start = toDateTime64(1800000042, 6, 'UTC') SETTINGS mutations_sync = 2";
    execute(installation, sql).await;
    let report = reconcile(installation, tenant).await;
    assert_eq!(
        (
            metrics(&report).different_count,
            metrics(&report).equal_count
        ),
        (1, 99)
    );
    let example = &metrics(&report).examples[0];
    assert_eq!(example.fault, Fault::Different);
    assert!(
        example.identity.contains("2027-01-15T08:00:42Z"),
        "{}",
        example.identity
    );
}

/// A copy of a row under another id, and one from a place that no log has.
async fn invented_rows_are_extra(installation: &Installation, tenant: &TenantId) {
    let copy = |id: &str, offset: &str| {
        format!(
            "INSERT INTO events SELECT * REPLACE ('{id}' AS event_id, {offset} AS _offset)
            FROM events WHERE events.event_id = 'coinbase:BTC-USD:trade:1' LIMIT 1"
        )
    };
    execute(installation, &copy("invented", "_offset")).await;
    execute(installation, &copy("from beyond", "1000000000")).await;
    let report = reconcile(installation, tenant).await;
    assert_eq!(
        (events(&report).extra_count, events(&report).equal_count),
        (2, 4_999)
    );
    let extra = |id: &str| {
        let mut found = events(&report)
            .examples
            .iter()
            .filter(|e| e.fault == Fault::Extra);
        found.any(|example| example.identity.contains(id))
    };
    assert!(
        extra("invented") && extra("from beyond"),
        "{:?}",
        events(&report).examples
    );
    // A second row under an old id with a later offset covers nothing, here as in the table.
    execute(
        installation,
        &copy("coinbase:BTC-USD:trade:1", "_offset + 1000"),
    )
    .await;
    let again = reconcile(installation, tenant).await;
    assert_eq!(events(&again), events(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_deleted_changed_or_invented_is_found() {
    let (installation, tenant) = filled().await;
    let report = reconcile(&installation, &tenant).await;
    assert!(report.is_equal(), "{report:?}");
    assert_eq!(events(&report).equal_count, 5_000);
    assert_eq!(metrics(&report).equal_count, 100);
    a_deleted_row_is_missing(&installation, &tenant).await;
    a_changed_row_is_different(&installation, &tenant).await;
    invented_rows_are_extra(&installation, &tenant).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_stands_still_is_told_from_rows_that_are_missing() {
    let (mut installation, tenant) = filled().await;
    installation.stop("pulse-clickhouse-0").await;
    let records = [samples::record(&samples::trade(5_000))];
    installation
        .publish(&tenant.topic(Stream::Events).to_string(), &records)
        .await;
    let mut reconciliation = Reconciliation::new(
        installation.kafka(),
        tables::config(&installation),
        installation.control(),
    );
    reconciliation.patience = Duration::from_secs(2);
    let tenants = [(tenant.clone(), LIMITS().dates().into())].into();
    match reconciliation.run(&tenants).await {
        Err(ReconcileError::Behind {
            topic,
            committed,
            end,
            ..
        }) => {
            assert_eq!((topic.as_str(), end - committed), ("pulse.demo.events", 1));
        }
        other => panic!("{other:?}"),
    }
    installation.role("pulse-clickhouse", "0", &[]).await;
    let report = tables::assert_equal(&installation, &[(&tenant, LIMITS())]).await;
    assert_eq!(events(&report).equal_count, 5_001);
}
