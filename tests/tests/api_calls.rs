//! The built-in meter of API calls, from events to what a reader of ClickHouse computes from it.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::collections::{BTreeMap, BTreeSet};

use schemas::control::Limits;
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Source};
use schemas::ids::Stream;
use schemas::meter::built_in;
use schemas::metric::MetricView;
use tests::{Installation, samples, tables, topic};

const BEGIN_US: i64 = 1_790_000_000_000_000;
/// Service and endpoint.
const ROUTES: [(&str, &str); 3] = [
    ("shop", "/orders/{id}"),
    ("shop", "/orders"),
    ("auth", "/login"),
];

/// Calls of five minutes; every seventh fails, and the latencies spread over three powers of ten.
fn calls(seed: u64) -> Vec<Event> {
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let call = |id: i64| {
        let (service, endpoint) = ROUTES[random.usize(0..ROUTES.len())];
        let ms = Decimal::from_units(random.i128(1..1_000) * 10_i128.pow(random.u32(16..19)));
        let status = if id % 7 == 0 { "503" } else { "200" };
        Event {
            event_id: format!("call-{id}"),
            event_type: EventType::ApiCall,
            occurred_at: schemas::time::EventTime::from_us(BEGIN_US + id * 50_000),
            source: Source {
                service: service.into(),
                endpoint: Some(endpoint.into()),
                ..Source::default()
            },
            subject: format!("{service} {endpoint}"),
            tags: [("status_code".to_owned(), status.to_owned())].into(),
            metrics: [("duration_ms".to_owned(), ms.unwrap())].into(),
            ..samples::trade(id)
        }
    };
    (0..6_000).map(call).collect()
}

/// How many windows have fired.
fn fired_count(installation: &Installation, topic: &str) -> u64 {
    let records = topic::read(&installation.kafka(), topic).into_iter();
    let windows = records.map(|record| {
        let value = record.value.unwrap();
        let metric = MetricView::decode(&value).unwrap();
        assert_eq!(metric.meter, "api");
        let group = metric.group.as_str().to_owned();
        (group, metric.window_ms, metric.window_start)
    });
    windows.collect::<BTreeSet<_>>().len() as u64
}

/// The latencies of the calls that pass, in units, in order.
fn sorted<'a>(calls: impl Iterator<Item = &'a Event>) -> Vec<i128> {
    let mut units: Vec<i128> = calls
        .map(|call| call.metrics["duration_ms"].units())
        .collect();
    units.sort_unstable();
    units
}

#[track_caller]
fn assert_close(found_ms: f64, sorted: &[i128], percent: usize) {
    let exact = sorted[(sorted.len() - 1) * percent / 100] as f64 / 1e18;
    let error = (found_ms - exact).abs() / exact;
    assert!(error < 0.0079, "p{percent}: {found_ms} of {exact}");
}

/// The statement of docs/meters.md that merges the p95 of services, without its time.
fn documented() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/meters.md");
    let page = std::fs::read_to_string(path).unwrap();
    let from = page.find("SELECT\n    service,").unwrap();
    let statement = &page[from..from + page[from..].find("```").unwrap()];
    let time = "\n        AND window_start >= now() - INTERVAL 1 HOUR";
    assert!(statement.contains(time));
    statement.replace(time, "").replace("'demo'", "'acme'")
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_latencies_are_those_of_the_calls_also_when_windows_are_merged() {
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("acme", Limits::default(), &built_in())
        .await;
    let settings = [("PULSE_FLUSH_INTERVAL_MS", "200")];
    installation.role("pulse-metrics", "0", &settings).await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    let calls = calls(4);
    let events = tenant.topic(Stream::Events).to_string();
    for part in calls.chunks(2_000) {
        let records: Vec<_> = part.iter().map(samples::record).collect();
        installation.publish(&events, &records).await;
        installation.kill_and_restart("pulse-metrics-0").await;
    }
    installation.until_counted(&[&tenant]).await;
    let fired = fired_count(&installation, &tenant.topic(Stream::Metrics).to_string());
    tables::until_count(&installation, &tenant, "metrics", fired).await;

    let sql = "SELECT labels['source.service'] AS service, labels['source.endpoint'] AS endpoint, \
               toInt64(toUnixTimestamp64Micro(window_start)) AS start, \
               toUInt64(values['requests']) AS requests, toUInt64(values['errors']) AS errors, \
               toString(values['error_rate']) AS rate, toFloat64(values['p95']) AS p95 \
               FROM metrics WHERE tenant = 'acme' AND window_ms = 60000";
    let rows = tables::rows(&installation, sql).await;
    assert!(rows.len() > 12, "{rows:?}");
    let mut requests = 0;
    for row in &rows {
        let (service, endpoint) = (row["service"].as_str(), row["endpoint"].as_str());
        let start_us = row["start"].as_i64().unwrap();
        let own = || {
            calls.iter().filter(|call| {
                let since_us = call.occurred_at.as_us() - start_us;
                Some(&*call.source.service) == service
                    && call.source.endpoint.as_deref() == endpoint
                    && (0..60_000_000).contains(&since_us)
            })
        };
        let failed = own()
            .filter(|call| call.tags["status_code"] == "503")
            .count() as u64;
        let all = own().count() as u64;
        assert_eq!(row["requests"].as_u64(), Some(all), "{row}");
        assert_eq!(row["errors"].as_u64(), Some(failed), "{row}");
        let rate = failed as f64 / all as f64;
        let found: f64 = row["rate"].as_str().unwrap().parse().unwrap();
        assert!((found - rate).abs() < 1e-15, "{row}: {rate}");
        assert_close(row["p95"].as_f64().unwrap(), &sorted(own()), 95);
        requests += all;
    }
    assert_eq!(requests, 6_000);

    let merged = tables::rows(&installation, &documented()).await;
    let merged: BTreeMap<&str, f64> = merged
        .iter()
        .map(|row| {
            (
                row["service"].as_str().unwrap(),
                row["p95_ms"].as_f64().unwrap(),
            )
        })
        .collect();
    assert_eq!(merged.keys().copied().collect::<Vec<_>>(), ["auth", "shop"]);
    for (service, p95_ms) in merged {
        let own = calls.iter().filter(|call| call.source.service == service);
        assert_close(p95_ms, &sorted(own), 95);
    }
    tables::assert_equal(&installation, &[(&tenant, Limits::default())]).await;
    installation.stop_all().await;
}
