//! Meters whose groups have events in several partitions: what a reader of ClickHouse sees is a
//! plain grouping of all events, each once, though the process is killed again and again.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::collections::{BTreeMap, BTreeSet};

use schemas::control::{Definition, Kind, Limits};
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType};
use schemas::ids::{Stream, TenantId};
use schemas::meter::{Aggregate, Condition, Field, Filter, Function, Meter, Operand, Test, Window};
use schemas::time::EventTime;
use serde_json::Value;
use tests::{Installation, eventually, samples, tables};

const BEGIN_MS: i64 = 1_790_000_000_000;
const ROUTES: [&str; 3] = ["/pay", "/find", "/a,b=c"];

/// Calls by route, whoever made them.
fn meter() -> Meter {
    let failed = Aggregate {
        conditions: vec![Condition {
            field: Field::Error,
            test: Test::Eq("true".into()),
        }],
        ..Aggregate::new("errors", Function::Count, Operand::Value)
    };
    let rate = Operand::Aggregates(["errors".into(), "calls".into()]);
    let meter = Meter {
        filter: Filter {
            event_type: Some(EventType::ApiCall),
            all: vec![],
        },
        value: Some(Field::Metric("duration_ms".into())),
        weight: None,
        group_by: vec![Field::Endpoint],
        windows: vec![
            Window::Tumbling { width_ms: 1_000 },
            Window::Hopping {
                width_ms: 10_000,
                hop_ms: 2_000,
            },
            Window::Tumbling { width_ms: 60_000 },
        ],
        aggregates: vec![
            Aggregate::new("calls", Function::Count, Operand::Value),
            failed,
            Aggregate::new("error_rate", Function::Ratio, rate),
            Aggregate::new("total", Function::Sum, Operand::Value),
            Aggregate::new("least", Function::Min, Operand::Value),
            Aggregate::new("most", Function::Max, Operand::Value),
            Aggregate::new("first", Function::First, Operand::Value),
            Aggregate::new("last", Function::Last, Operand::Value),
            Aggregate::quantile("p50", "0.5".parse().unwrap()),
            Aggregate::new("users", Function::Distinct, Operand::Field(Field::UserId)),
        ],
    };
    assert_eq!(meter.faults(), Vec::<String>::new());
    assert!(meter.is_two_step());
    meter
}

/// Calls of many users, who are the subjects, so that each route has calls in every partition.
fn calls(first: i64, count: i64) -> Vec<Event> {
    let call = |id: i64| {
        let mut random = fastrand::Rng::with_seed(id as u64);
        let user = format!("user-{}", random.u8(0..40));
        let mut event = samples::trade(id);
        event.event_id = format!("call-{id}");
        event.event_type = EventType::ApiCall;
        event.occurred_at = EventTime::from_ms(BEGIN_MS + id * 25);
        event.source.endpoint = Some(ROUTES[random.usize(0..3)].into());
        event.subject = user.clone();
        event.user_id = Some(user);
        event.sequence = None;
        let status = ["200", "404", "503"][random.usize(0..3)];
        event.tags = [("status_code".to_owned(), status.to_owned())].into();
        let duration = Decimal::from_int(random.i64(1..100_000));
        event.metrics = [("duration_ms".to_owned(), duration)].into();
        event
    };
    (first..first + count).map(call).collect()
}

/// What a reader sees of a window: calls, errors, total, least, most, first, last, users.
type Seen = [i64; 8];
/// Route, width and start.
type Key = (String, i64, i64);

/// A plain grouping of all calls.
fn naive(calls: &[Event]) -> BTreeMap<Key, Seen> {
    let mut groups: BTreeMap<Key, Vec<&Event>> = BTreeMap::new();
    for call in calls {
        let at_ms = call.occurred_at.as_ms();
        let route = call.source.endpoint.clone().unwrap();
        for (width_ms, hop_ms) in [(1_000, 1_000), (10_000, 2_000), (60_000, 60_000)] {
            let mut start_ms = at_ms - at_ms.rem_euclid(hop_ms);
            while start_ms + width_ms > at_ms {
                let key = (route.clone(), width_ms, start_ms);
                groups.entry(key).or_default().push(call);
                start_ms -= hop_ms;
            }
        }
    }
    let seen = |calls: Vec<&Event>| {
        let number = |call: &&Event| {
            let units = call.metrics["duration_ms"].units();
            i64::try_from(units / 1_000_000_000_000_000_000).unwrap()
        };
        let numbers: Vec<i64> = calls.iter().map(number).collect();
        let errors = calls
            .iter()
            .filter(|call| call.tags["status_code"] == "503");
        let users: BTreeSet<_> = calls.iter().map(|call| &call.user_id).collect();
        [
            calls.len() as i64,
            errors.count() as i64,
            numbers.iter().sum(),
            *numbers.iter().min().unwrap(),
            *numbers.iter().max().unwrap(),
            numbers[0],
            numbers[numbers.len() - 1],
            users.len() as i64,
        ]
    };
    let all = groups.into_iter();
    all.map(|(key, calls)| (key, seen(calls))).collect()
}

/// The rows of a meter that a reader of ClickHouse sees.
async fn rows(installation: &Installation, tenant: &TenantId, meter: &str) -> BTreeMap<Key, Seen> {
    let value = |name: &str| format!("toInt64(values['{name}']) AS {name}");
    let names = [
        "calls", "errors", "total", "least", "most", "first", "last", "users",
    ];
    let values: Vec<String> = names.iter().map(|name| value(name)).collect();
    let sql = format!(
        "SELECT labels['source.endpoint'] AS route, toInt64(window_ms) AS width_ms, \
         intDiv(toUnixTimestamp64Micro(window_start), 1000) AS start_ms, {}, \
         toInt64(event_count) AS events FROM metrics WHERE tenant = '{tenant}' AND meter = '{meter}'",
        values.join(", ")
    );
    let mut seen = BTreeMap::new();
    for row in tables::rows(installation, &sql).await {
        let number = |name: &str| row[name].as_i64().unwrap();
        let route = row["route"].as_str().unwrap().to_owned();
        let key = (route, number("width_ms"), number("start_ms"));
        assert_eq!(number("calls"), number("events"));
        let before = seen.insert(key, names.map(number));
        assert_eq!(before, None, "one row for each window: {row}");
    }
    seen
}

async fn until_equal(
    installation: &Installation,
    tenant: &TenantId,
    meter: &str,
    expect: &BTreeMap<Key, Seen>,
) {
    eventually("the rows are those of a plain grouping", async || {
        let found = rows(installation, tenant, meter).await;
        if found == *expect {
            return Ok(());
        }
        let differs = |(key, seen): &(&Key, &Seen)| found.get(*key) != Some(*seen);
        let first = expect.iter().find(differs);
        Err(format!(
            "{} of {} windows; {first:?} is {:?}",
            found.len(),
            expect.len(),
            first.map(|(key, _)| found.get(key))
        ))
    })
    .await;
}

async fn publish(installation: &Installation, tenant: &TenantId, calls: &[Event]) {
    let records: Vec<_> = calls.iter().map(samples::record).collect();
    let topic = tenant.topic(Stream::Events).to_string();
    installation.publish(&topic, &records).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_counts_every_call_of_every_partition_once() {
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("acme", Limits::default(), &[("routes", meter())])
        .await;
    let settings = [("PULSE_FLUSH_INTERVAL_MS", "300")];
    installation.role("pulse-metrics", "0", &settings).await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    // Fifty seconds of calls, in parts that come while the process dies and comes back.
    let mut all = vec![];
    for part in 0..8 {
        let part = calls(part * 250, 250);
        publish(&installation, &tenant, &part).await;
        all.extend(part);
        installation.kill("pulse-metrics-0").await;
        installation.start_again("pulse-metrics-0");
        publish(&installation, &tenant, &calls(all.len() as i64 - 10, 10)).await;
        installation.until_ready("pulse-metrics-0").await;
    }
    until_equal(&installation, &tenant, "routes", &naive(&all)).await;

    // An event that comes after its windows fired corrects them.
    let mut after = calls(900, 1);
    after[0].event_id = "call-after".into();
    publish(&installation, &tenant, &after).await;
    all.extend(after);
    all.sort_by_key(|call| (call.occurred_at, call.event_id.clone()));
    until_equal(&installation, &tenant, "routes", &naive(&all)).await;
    let late = format!("(SELECT count() FROM late WHERE tenant = '{tenant}')");
    assert_eq!(tables::number(&installation, &late).await, 0);
    tables::assert_equal(&installation, &[(&tenant, Limits::default())]).await;

    // A later version begins anew, and one that is removed ends.
    let changed = Definition::Meter(Meter {
        windows: vec![Window::Tumbling { width_ms: 1_000 }],
        ..meter()
    });
    let offset = async || {
        let figure = "pulse_definitions_offset";
        installation.figure("pulse-metrics-0", figure, "").await
    };
    let begun = offset().await.unwrap();
    installation.define(&tenant, "more", changed).await;
    eventually("the new meter is followed", async || {
        match offset().await? {
            reached if reached > begun => Ok(()),
            reached => Err(format!("{reached}")),
        }
    })
    .await;
    let more = calls(4_000, 400);
    publish(&installation, &tenant, &more).await;
    let mut expect = naive(&more);
    expect.retain(|(_, width_ms, _), _| *width_ms == 1_000);
    until_equal(&installation, &tenant, "more", &expect).await;
    installation.undefine(&tenant, Kind::Meter, "routes").await;
    installation.stop_all().await;
}

/// The last windows fire though most partitions never had an event, and nothing follows.
#[tokio::test(flavor = "multi_thread")]
async fn one_call_alone_is_shown_in_time() {
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("acme", Limits::default(), &[("routes", meter())])
        .await;
    installation.role("pulse-metrics", "0", &[]).await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    let mut alone = calls(7, 1);
    let now_ms = runtime::clock::now_ms();
    alone[0].occurred_at = EventTime::from_ms(now_ms - now_ms % 1_000 - 600_000);
    publish(&installation, &tenant, &alone).await;
    let expect = naive(&alone);
    let short = |rows: BTreeMap<Key, Seen>| -> Vec<(Key, Seen)> {
        let short = rows.into_iter().filter(|((_, ms, _), _)| *ms == 1_000);
        short.collect()
    };
    let expect: Vec<(Key, Seen)> = short(expect);
    eventually("its second is there", async || {
        let rows: Value = match short(rows(&installation, &tenant, "routes").await) {
            found if found == expect => return Ok(()),
            found => format!("{found:?}").into(),
        };
        Err(rows.to_string())
    })
    .await;
    installation.stop_all().await;
}
