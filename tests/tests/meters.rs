//! Meters are data: one that is added, changed and removed under load and kills holds the events
//! after the change, each once.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runtime::kafka::{Outgoing, Publisher, PublisherSettings};
use schemas::control::{Definition, Kind, Limits};
use schemas::ids::{Stream, TenantId};
use schemas::meter::{Aggregate, Field, Filter, Function, Meter, Operand, Window};
use schemas::metric::MetricView;
use tests::trades::{self, Trade};
use tests::{Installation, eventually, tables, topic};
use tokio::task::JoinHandle;

fn counting(width_ms: i64) -> Meter {
    Meter {
        filter: Filter::default(),
        value: None,
        weight: None,
        group_by: vec![Field::Subject],
        windows: vec![Window::Tumbling { width_ms }],
        aggregates: vec![Aggregate::new("events", Function::Count, Operand::Value)],
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

/// Waits until the worker counts by all that has been defined.
async fn until_followed(installation: &Installation) {
    let offset = topic::read(&installation.kafka(), schemas::ids::CONTROL_TOPIC)
        .last()
        .map_or(0, |record| record.offset + 1);
    eventually("the definitions are followed", async || {
        let reached = installation
            .figure("pulse-metrics-0", "pulse_definitions_offset", "")
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

/// Publishes without a pause until it is told to stop; gives how many events it published.
fn load(installation: &Installation, tenant: &TenantId) -> (Arc<AtomicBool>, JoinHandle<i64>) {
    let publisher = Publisher::new(&installation.kafka(), &PublisherSettings::new("load")).unwrap();
    let topic = tenant.topic(Stream::Events).to_string();
    let is_over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_over);
    let publishing = tokio::spawn(async move {
        let mut count = 0;
        while !told.load(Ordering::Relaxed) {
            let records: Vec<_> = events(count, BATCH).iter().map(trades::record).collect();
            let outgoing = records.iter();
            let outgoing: Vec<_> = outgoing
                .map(|(key, value)| Outgoing::keyed(&topic, key, value))
                .collect();
            assert!(publisher.publish(&outgoing).await.is_empty());
            count += BATCH;
        }
        count
    });
    (is_over, publishing)
}

/// Two seconds of events.
const BATCH: i64 = 40;

/// Checks a version's windows against all events: there is no hole between the first and the last,
/// and each has every event of its span, but the first, in which the change may lie.
fn check_version(
    counted: &BTreeMap<(String, i64, i64), u64>,
    (meter, version, width_us): (&str, i64, i64),
    total: i64,
) -> Vec<i64> {
    let all = events(0, total);
    let mut naive: BTreeMap<i64, u64> = BTreeMap::new();
    for event in &all {
        let start_us = event.at_us - event.at_us.rem_euclid(width_us);
        *naive.entry(start_us).or_default() += 1;
    }
    let of = counted.iter();
    let of = of.filter(|((m, v, _), _)| m == meter && *v == version);
    let windows: Vec<(i64, u64)> = of.map(|((.., start), count)| (*start, *count)).collect();
    assert!(windows.len() > 2, "{meter} {version}: {windows:?}");
    for (before, after) in windows.iter().zip(&windows[1..]) {
        let (start, count) = *after;
        assert_eq!(start - before.0, width_us, "{meter} {version}: a hole");
        assert_eq!(
            Some(&count),
            naive.get(&start),
            "{meter} {version} at {start}"
        );
    }
    let (start, count) = windows[0];
    assert!((1..=naive[&start]).contains(&count), "{meter} {version}");
    windows.into_iter().map(|(start, _)| start).collect()
}

/// The same while events keep coming: nobody waits for anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_meter_changes_in_the_midst_of_a_stream() {
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("acme", Limits::default(), &[("kept", counting(1_000))])
        .await;
    let settings = [("PULSE_FLUSH_INTERVAL_MS", "100")];
    installation.role("pulse-metrics", "0", &settings).await;
    let (is_over, publishing) = load(&installation, &tenant);

    let until_fired = async |installation: &Installation, meter: &str, version, count: usize| {
        eventually("windows have fired", async || {
            let counted = counted(installation, &tenant);
            let of = counted
                .keys()
                .filter(|(m, v, _)| m == meter && *v == version);
            match of.count() {
                fired if fired >= count => Ok(fired),
                fired => Err(format!("{fired} of {meter} {version}")),
            }
        })
        .await
    };
    until_fired(&installation, "kept", 1, 20).await;
    for (version, width_ms) in [(1, 2_000), (2, 4_000)] {
        let meter = Definition::Meter(counting(width_ms));
        installation.define(&tenant, "added", meter).await;
        until_fired(&installation, "added", version, 10).await;
        installation.kill_and_restart("pulse-metrics-0").await;
        let fired = until_fired(&installation, "added", version, 10).await;
        until_fired(&installation, "added", version, fired + 10).await;
    }
    installation.undefine(&tenant, Kind::Meter, "added").await;
    installation.kill_and_restart("pulse-metrics-0").await;
    until_followed(&installation).await;
    let fired = until_fired(&installation, "kept", 1, 20).await;
    until_fired(&installation, "kept", 1, fired + 20).await;
    is_over.store(true, Ordering::Relaxed);
    let total = publishing.await.unwrap();
    installation.until_counted(&[&tenant]).await;

    let counted = counted(&installation, &tenant);
    let kept = check_version(&counted, ("kept", 1, 1_000_000), total);
    let (first, last) = (events(0, 1)[0].at_us, events(total - 1, 1)[0].at_us);
    assert_eq!(kept[0], first, "the first began with the stream");
    assert!(last - kept[kept.len() - 1] < 3_000_000, "all but the open");
    let old = check_version(&counted, ("added", 1, 2_000_000), total);
    let new = check_version(&counted, ("added", 2, 4_000_000), total);
    assert!(old[old.len() - 1] < new[1], "the one after the other");
    assert!(new[new.len() - 1] < kept[kept.len() - 1], "and then none");
    assert_eq!(
        counted
            .keys()
            .filter(|(m, v, _)| m == "added" && *v > 2)
            .count(),
        0
    );
    installation.stop_all().await;
}

/// An event of one visitor, so many seconds after the first.
fn visit(id: i64, second: i64) -> Trade {
    let unit = 1_000_000_000_000_000_000;
    Trade {
        subject: "test:V".into(),
        at_us: 1_790_000_000_000_000 + second * 1_000_000,
        id,
        price: unit * i128::from(second),
        size: unit,
    }
}

/// Of each session that a reader of ClickHouse sees: its start and end in seconds, its events,
/// and when its first and last event were.
async fn sessions(installation: &Installation, tenant: &TenantId) -> Vec<[i64; 5]> {
    let since = |column: &str| format!("toUnixTimestamp64Micro({column}) - 1790000000000000");
    let second = |column: &str| format!("intDiv({}, 1000000)", since(column));
    let sql = format!(
        "SELECT {} AS starts, {} AS ends, toInt64(event_count) AS events, \
         toInt64(values['first']) AS first, toInt64(values['last']) AS last FROM metrics \
         WHERE tenant = '{tenant}' AND meter = 'visits' AND window_ms = 10000 \
         ORDER BY window_start",
        second("window_start"),
        second("assumeNotNull(window_end)"),
    );
    let rows = tables::rows(installation, &sql).await;
    let names = ["starts", "ends", "events", "first", "last"];
    let read = |row: &serde_json::Value| names.map(|name| row[name].as_i64().unwrap());
    rows.iter().map(read).collect()
}

async fn until_sessions(installation: &Installation, tenant: &TenantId, expect: &[[i64; 5]]) {
    eventually("the sessions are in ClickHouse", async || {
        match sessions(installation, tenant).await {
            found if found == expect => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
    .await;
}

/// From the topic to what a reader of the table sees, with the process killed before each change.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_grow_or_merge_take_their_old_rows_back_from_readers() {
    let mut installation = Installation::start().await;
    let meter = Meter {
        value: Some(Field::Metric("price".into())),
        windows: vec![Window::Session {
            gap_ms: 10_000,
            length_max_ms: 86_400_000,
        }],
        aggregates: vec![
            Aggregate::new("first", Function::First, Operand::Value),
            Aggregate::new("last", Function::Last, Operand::Value),
        ],
        ..counting(1_000)
    };
    assert_eq!(meter.faults(), Vec::<String>::new());
    let tenant = installation
        .tenant("acme", Limits::default(), &[("visits", meter)])
        .await;
    let settings = [("PULSE_FLUSH_INTERVAL_MS", "100")];
    installation.role("pulse-metrics", "0", &settings).await;
    installation.role("pulse-clickhouse", "0", &[]).await;

    let first = [visit(1, 0), visit(2, 18), visit(3, 40), visit(4, 70)];
    publish(&installation, &tenant, &first).await;
    let apart = [
        [0, 10, 1, 0, 0],
        [18, 28, 1, 18, 18],
        [40, 50, 1, 40, 40],
        [70, 80, 1, 70, 70],
    ];
    until_sessions(&installation, &tenant, &apart).await;

    // One between two that have fired makes them one.
    installation.kill_and_restart("pulse-metrics-0").await;
    publish(&installation, &tenant, &[visit(5, 9)]).await;
    let merged = [[0, 28, 3, 0, 18], [40, 50, 1, 40, 40], [70, 80, 1, 70, 70]];
    until_sessions(&installation, &tenant, &merged).await;

    // One before another makes it begin earlier, and then two of the three are one.
    installation.kill_and_restart("pulse-metrics-0").await;
    publish(&installation, &tenant, &[visit(6, 32), visit(7, 27)]).await;
    let whole = [[0, 50, 6, 0, 40], [70, 80, 1, 70, 70]];
    until_sessions(&installation, &tenant, &whole).await;

    let taken_back = format!(
        "(SELECT count() FROM metrics WHERE tenant = '{tenant}' AND deleted = 1 \
         SETTINGS final = 0)"
    );
    assert!(tables::number(&installation, &taken_back).await > 0);
    tables::assert_equal(&installation, &[(&tenant, Limits::default())]).await;
    installation.stop_all().await;
}
