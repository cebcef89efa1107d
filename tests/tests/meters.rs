//! Meters are data: one that is added, changed and removed under load and kills holds the events
//! after the change, each once.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::collections::BTreeMap;

use schemas::control::{Definition, Kind, Limits};
use schemas::ids::{Stream, TenantId};
use schemas::meter::{Aggregate, Field, Filter, Function, Meter, Operand, Window};
use schemas::metric::MetricView;
use tests::trades::{self, Trade};
use tests::{Installation, eventually, topic};

fn counting(width_ms: i64) -> Meter {
    Meter {
        filter: Filter::default(),
        value: None,
        weight: None,
        group_by: vec![Field::Subject],
        windows: vec![Window::Tumbling { width_ms }],
        aggregates: vec![Aggregate {
            name: "events".into(),
            function: Function::Count,
            of: Operand::Value,
        }],
    }
}

/// `count` events of one market, `ms` apart.
fn events(first: i64, count: i64) -> Vec<Trade> {
    let unit = 1_000_000_000_000_000_000;
    (first..first + count)
        .map(|id| Trade {
            subject: "test:A".into(),
            at_us: 1_790_000_000_000_000 + id * 50_000,
            id,
            price: unit,
            size: unit,
        })
        .collect()
}

async fn publish(installation: &Installation, tenant: &TenantId, trades: &[Trade]) {
    let records: Vec<_> = trades.iter().map(trades::record).collect();
    installation
        .publish(&tenant.topic(Stream::Events).to_string(), &records)
        .await;
}

/// Events in the latest revision of each window, by meter, version and start.
fn counted(installation: &Installation, tenant: &TenantId) -> BTreeMap<(String, i64, i64), u64> {
    let topic = tenant.topic(Stream::Metrics).to_string();
    let mut counted = BTreeMap::new();
    for record in topic::read(&installation.kafka(), &topic) {
        let value = record.value.unwrap();
        let metric = MetricView::decode(&value).unwrap();
        let meter = metric.meter.as_str().to_owned();
        let key = (meter, metric.meter_version, metric.window_start.as_us());
        counted.insert(key, metric.event_count);
    }
    counted
}

fn sum(counted: &BTreeMap<(String, i64, i64), u64>, meter: &str, version: i64) -> u64 {
    let of = counted
        .iter()
        .filter(|((m, v, _), _)| m == meter && *v == version);
    of.map(|(_, count)| count).sum()
}

/// Waits until the worker has the definitions, by a tenant that is defined after them.
async fn until_followed(installation: &Installation) {
    let offset = topic::read(&installation.kafka(), schemas::ids::CONTROL_TOPIC)
        .last()
        .map_or(0, |record| record.offset + 1);
    eventually("the definitions are followed", async || {
        let reached = installation
            .figure("pulse-metrics-0", "pulse_control_offset", "")
            .await?;
        match reached as i64 >= offset {
            true => Ok(()),
            false => Err(format!("{reached} of {offset}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_meter_holds_the_events_after_the_change_each_once() {
    let mut installation = Installation::start().await;
    let kept = counting(1_000);
    let tenant = installation
        .tenant("acme", Limits::default(), &[("kept", kept)])
        .await;
    installation
        .role("pulse-metrics", "0", &[("PULSE_FLUSH_INTERVAL_MS", "100")])
        .await;
    let parts: Vec<Vec<Trade>> = (0..4).map(|n| events(n * 400, 400)).collect();

    publish(&installation, &tenant, &parts[0]).await;
    installation.until_counted(&[&tenant]).await;
    installation
        .define(&tenant, "added", Definition::Meter(counting(2_000)))
        .await;
    until_followed(&installation).await;
    installation.kill_and_restart("pulse-metrics-0").await;
    publish(&installation, &tenant, &parts[1]).await;
    installation.until_counted(&[&tenant]).await;
    installation
        .define(&tenant, "added", Definition::Meter(counting(4_000)))
        .await;
    until_followed(&installation).await;
    publish(&installation, &tenant, &parts[2]).await;
    installation.kill_and_restart("pulse-metrics-0").await;
    installation.until_counted(&[&tenant]).await;
    installation.undefine(&tenant, Kind::Meter, "added").await;
    until_followed(&installation).await;
    installation.kill_and_restart("pulse-metrics-0").await;
    publish(&installation, &tenant, &parts[3]).await;
    installation.until_counted(&[&tenant]).await;

    let counted = counted(&installation, &tenant);
    assert_eq!(sum(&counted, "kept", 1), 1_600);
    // Its parts begin at whole multiples of its windows, so every window of it fired.
    assert_eq!(sum(&counted, "added", 1), 400);
    assert_eq!(sum(&counted, "added", 2), 400);
    let versions = counted.keys().filter(|(meter, _, _)| meter == "added");
    assert_eq!(versions.map(|(_, version, _)| *version).max(), Some(2));
    installation.stop_all().await;
}
