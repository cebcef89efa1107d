//! The schema and what the sink makes of it at its start.

use serde_json::json;
use tests::installation::Installation;
use tests::{eventually, tables};

const JOURNAL: &str = "SELECT number, name FROM migrations ORDER BY number";

/// Waits until the sink ended by itself, and gives what it said.
async fn last_words(installation: &Installation, role: &str) -> String {
    let process = &installation.roles[role].process;
    let status = process.exited().await;
    assert!(!status.success(), "{status}");
    process.log_tail(20)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_start_at_once_make_one_schema() {
    let mut installation = Installation::start().await;
    for instance in ["0", "1"] {
        installation.launch("pulse-clickhouse", instance, &[]);
    }
    for role in ["pulse-clickhouse-0", "pulse-clickhouse-1"] {
        installation.until_ready(role).await;
    }
    let names = [
        "events",
        "metrics",
        "late",
        "dead_letters",
        "candles",
        "metric_details",
        "search",
        "appended",
    ];
    let expect: Vec<_> = names
        .iter()
        .zip(1..)
        .map(|(name, number)| json!({"number": number, "name": name}))
        .collect();
    assert_eq!(tables::rows(&installation, JOURNAL).await, expect);
    installation.stop_all().await;
    // A later start finds all of it.
    installation.role("pulse-clickhouse", "0", &[]).await;
    assert_eq!(tables::rows(&installation, JOURNAL).await, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_program_and_a_changed_file_are_refused() {
    let mut installation = super::start().await;
    installation.stop(super::SINK).await;
    let server = tables::server(&installation);
    let journal = |number: u32, name: &str| {
        format!("INSERT INTO migrations (number, name, checksum) VALUES ({number}, '{name}', 'x')")
    };
    server.execute(&journal(99, "future")).await.unwrap();
    installation.launch("pulse-clickhouse", "0", &[]);
    let words = last_words(&installation, super::SINK).await;
    assert!(
        words.contains("database is at migration 99 (future)"),
        "{words}"
    );

    server.execute("TRUNCATE TABLE migrations").await.unwrap();
    server.execute(&journal(2, "metrics")).await.unwrap();
    installation.launch("pulse-clickhouse", "0", &[]);
    let words = last_words(&installation, super::SINK).await;
    assert!(
        words.contains("migration 2 (metrics) was changed after it was applied"),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_follows_the_settings() {
    let mut installation = super::start().await;
    let ttl = async |installation: &Installation, table: &str| {
        let sql = format!(
            "SELECT extract(create_table_query, 'toIntervalDay\\\\(([0-9]+)\\\\)') AS days
             FROM system.tables WHERE database = 'pulse' AND name = '{table}'"
        );
        tables::rows(installation, &sql).await[0]["days"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(ttl(&installation, "events").await, "90");
    installation.stop(super::SINK).await;
    let days = [
        ("PULSE_CLICKHOUSE_EVENTS_DAYS", "7"),
        ("PULSE_CLICKHOUSE_METRICS_DAYS", "3650"),
    ];
    installation.role("pulse-clickhouse", "0", &days).await;
    assert_eq!(ttl(&installation, "events").await, "7");
    assert_eq!(ttl(&installation, "metrics").await, "3650");
    assert_eq!(ttl(&installation, "late").await, "90");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_dropped_is_made_again_by_a_restart_and_filled_from_the_log() {
    let mut installation = super::start().await;
    let limits = schemas::control::Limits::default;
    let tenant = installation.tenant("dropped", limits(), &[]).await;
    super::publish(&installation, &tenant, &[tests::samples::trade(1)]).await;
    tables::until_count(&installation, &tenant, "events", 1).await;
    tables::server(&installation)
        .execute("DROP DATABASE pulse SYNC")
        .await
        .unwrap();
    super::publish(&installation, &tenant, &[tests::samples::trade(2)]).await;
    // It cannot go on, so it ends and says why; whoever supervises it starts it again.
    let words = last_words(&installation, super::SINK).await;
    assert!(words.contains("insert into events"), "{words}");
    installation.role("pulse-clickhouse", "0", &[]).await;
    tables::until_count(&installation, &tenant, "events", 1).await;
    // What had been committed is the old database's loss, and is told.
    let report = tables::reconcile(&installation, &[(&tenant, limits())]).await;
    let events = &report.tenants[0].tables[0];
    assert_eq!((events.missing_count, events.equal_count), (1, 1));
    eventually("ready again", async || {
        let body =
            tests::installation::get(&installation.roles[super::SINK].listen, "/health/ready")
                .await?;
        if body.contains("\"ready\":true") {
            Ok(())
        } else {
            Err(body)
        }
    })
    .await;
}
