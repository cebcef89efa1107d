//! The examples of `docs/examples`, run as they are: what they write is counted and shown.

use std::path::Path;
use std::process::Command;

use schemas::control::Limits;
use schemas::meter::Meter;
use tests::registry::Registry;
use tests::{Installation, python, tables};

use super::{repository, with_confluent_kafka};

/// Counts and adds up what the examples write.
fn sales() -> Meter {
    let meter = serde_json::json!({
        "filter": { "event_type": "custom_event" },
        "value": "metrics.amount",
        "group_by": ["subject"],
        "aggregates": [
            { "name": "count", "function": "count" },
            { "name": "amount", "function": "sum" },
        ],
        "windows": [{ "kind": "tumbling", "width_ms": 1_000 }],
    });
    serde_json::from_value(meter).unwrap()
}

fn run(program: &Path, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program:?}: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_examples_write_is_counted_and_shown() {
    let python = with_confluent_kafka().await;
    let registry = Registry::start().await;
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("demo", Limits::default(), &[("sales", sales())])
        .await;
    installation.role("pulse-metrics", "0", &[]).await;
    installation.role("pulse-clickhouse", "0", &[]).await;

    let brokers = installation.stack.kafka.brokers();
    let arguments = [&brokers, &registry.url(), "pulse.demo.events"];
    let script = repository("docs/examples/producer.py");
    python::run_script(&python, &script, &arguments);
    run(env!("CARGO_BIN_EXE_example-producer").as_ref(), &arguments);

    tables::until_count(&installation, &tenant, "events", 2).await;
    let rows = tables::rows(
        &installation,
        "SELECT event_id, subject, name, service, tags, toString(metrics['amount']) AS amount \
         FROM events WHERE tenant = 'demo' ORDER BY event_id",
    );
    let rows = rows.await.into_iter().map(|row| row.to_string() + "\n");
    let rows: String = rows.collect();
    assert_eq!(
        rows,
        r#"{"amount":"19.9","event_id":"order-1041-paid","name":"order_paid","service":"checkout","subject":"shop:berlin","tags":{"currency":"EUR"}}
{"amount":"19.9","event_id":"order-1042-paid","name":"order_paid","service":"checkout","subject":"shop:hamburg","tags":{"currency":"EUR"}}
"#
    );
    installation.until_counted(&[&tenant]).await;
    tables::until_count(&installation, &tenant, "metrics", 2).await;
    tables::until_count(&installation, &tenant, "dead_letters", 0).await;
}
