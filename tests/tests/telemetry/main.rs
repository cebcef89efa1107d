//! A service with OpenTelemetry's own SDK and stock instrumentation, which is given an endpoint and
//! a header: its requests, errors and p95 are there.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::servers::Api;
use tests::{Installation, eventually, http, python, tables};

/// What a user of the SDK sets, and nothing else.
fn environment(address: &str, key: &str) -> Vec<(&'static str, String)> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("X-API-Key={key}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".into()),
        ("OTEL_METRICS_EXPORTER", "none".into()),
        ("OTEL_SERVICE_NAME", "shop".into()),
    ]
}

/// A tenant's first key.
async fn register(api: &Api) -> String {
    let tenant = json!({
        "name": "Acme",
        "slug": "acme",
        "owner_email": "ann@acme.example",
        "owner_password": "correct horse battery staple",
    });
    let path = "/api/v1/auth/register/tenant";
    let made = http::post(&api.address, path, "", &tenant).await.unwrap();
    made.json()["api_key"].as_str().unwrap().to_owned()
}

/// Runs the shop with what `opentelemetry-instrument` puts around a program, to its end.
async fn serve(environment: Vec<(&'static str, String)>) {
    let python = python::python("python-opentelemetry", include_str!("requirements.txt")).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/telemetry");
    let instrument = "from opentelemetry.instrumentation.auto_instrumentation import run; run()";
    let mut shop = Command::new(&python);
    shop.args(["-c", instrument])
        .arg(&python)
        .arg(folder.join("shop.py"))
        .envs(environment);
    let output = tokio::task::spawn_blocking(move || shop.output());
    let output = output.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    assert!(said.contains("served"), "{said}");
    assert!(!complaint.contains("Failed to export"), "{complaint}");
}

/// Requests, errors and p95 in ms of the shop's routes over all windows of 10 s.
async fn by_endpoint(installation: &Installation) -> Vec<Value> {
    let sql = "SELECT labels['source.endpoint'] AS endpoint, \
               toUInt64(sum(values['requests'])) AS requests, \
               toUInt64(sum(values['errors'])) AS errors, \
               toFloat64(max(values['p95'])) AS p95 \
               FROM metrics WHERE tenant = 'acme' AND meter = 'api' AND window_ms = 10000 \
               AND labels['source.service'] = 'shop' \
               AND startsWith(endpoint, '/') GROUP BY endpoint ORDER BY endpoint";
    tables::rows(installation, sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_stock_instrumentation_shows_its_requests_errors_and_p95() {
    let mut installation = Installation::start().await;
    installation.role("pulse-metrics", "0", &[]).await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    let api = installation.api(&[]).await;
    let key = register(&api).await;
    serve(environment(&api.address, &key)).await;

    // Each request is a span of the server's and one of the client's.
    let path = "/api/v1/ingestion/events/search?service=shop&type=api_call&limit=500";
    eventually("search finds them", async || {
        let found = http::get(&api.address, path, &key).await?.json();
        match found["events"].as_array().map(Vec::len) {
            Some(120) => Ok(()),
            count => Err(format!("{count:?} events: {found}")),
        }
    })
    .await;
    // A window closes when the broker's clock has passed it.
    let rows = eventually("the windows have closed", async || {
        let rows = by_endpoint(&installation).await;
        let requests: u64 = rows.iter().filter_map(|row| row["requests"].as_u64()).sum();
        match requests {
            60 => Ok(rows),
            _ => Err(format!("{rows:?}")),
        }
    })
    .await;
    let of = |row: &Value| {
        (
            row["endpoint"].as_str().unwrap().to_owned(),
            row["requests"].as_u64().unwrap(),
            row["errors"].as_u64().unwrap(),
        )
    };
    let expected = [
        ("/orders".to_owned(), 10, 10),
        ("/orders/<int:order>".to_owned(), 50, 0),
    ];
    assert_eq!(rows.iter().map(of).collect::<Vec<_>>(), expected);
    for row in &rows {
        let p95_ms = row["p95"].as_f64().unwrap();
        // The slowest page waits for 9 ms, and nothing took the client's 10 s.
        let least = if row["errors"] == 0 { 8.0 } else { 0.0 };
        assert!(p95_ms > least && p95_ms < 10_000.0, "{row}");
    }
    installation.stop_all().await;
}
