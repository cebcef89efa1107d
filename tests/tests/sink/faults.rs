//! Killed, frozen, without ClickHouse, beside others: nothing is lost, nothing is doubled.

use std::time::Duration;

use runtime::kafka::{Admin, GroupConsumer, GroupSettings, Partition, Position};
use runtime::testing::until;
use schemas::control::Limits;
use schemas::event::Event;
use schemas::ids::{Stream, TenantId};
use sinks::clickhouse::GROUP;
use tests::samples::{self, Fired};
use tests::{Installation, PATIENCE, eventually, tables};

use crate::{SINK, publish, start};

/// Small rounds, so that there are many of them to be killed in.
const SMALL_ROUNDS: [(&str, &str); 2] = [
    ("PULSE_CLICKHOUSE_BATCH_ROWS", "700"),
    ("PULSE_CLICKHOUSE_INTERVAL_MS", "50"),
];

/// Trades `range` of both tenants, and a window for each 10 of them.
async fn load(installation: &Installation, tenants: &[TenantId], range: std::ops::Range<i64>) {
    for tenant in tenants {
        let trades: Vec<Event> = range.clone().map(samples::trade).collect();
        publish(installation, tenant, &trades).await;
        let values = [("open", Some(schemas::decimal::Decimal::ONE))];
        let windows: Vec<_> = range
            .clone()
            .step_by(10)
            .map(|id| Fired {
                subject: "coinbase:BTC-USD",
                start_s: 1_800_000_000 + id / 20,
                revision: 1 + id / 10 % 2,
                deleted: false,
                values: &values,
            })
            .map(|fired| samples::candle(&fired))
            .collect();
        installation
            .publish(&tenant.topic(Stream::Metrics).to_string(), &windows)
            .await;
    }
}

/// Everything that was published by [`load`] up to `count` is there, once.
async fn check(installation: &Installation, tenants: &[TenantId], count: u64) {
    let limits: Vec<_> = tenants
        .iter()
        .map(|tenant| (tenant, Limits::default()))
        .collect();
    let report = tables::assert_equal(installation, &limits).await;
    for tenant in &report.tenants {
        let (events, metrics) = (&tenant.tables[0], &tenant.tables[1]);
        assert_eq!(
            (events.log_count, events.equal_count),
            (count, count),
            "{}",
            tenant.tenant
        );
        assert_eq!(metrics.equal_count, count / 20, "{}", tenant.tenant);
    }
}

async fn tenants(installation: &Installation) -> Vec<TenantId> {
    let mut tenants = vec![];
    for id in ["red", "blue"] {
        tenants.push(installation.tenant(id, Limits::default(), &[]).await);
    }
    tenants
}

/// Rows that ClickHouse confirmed to this process.
async fn confirmed(installation: &Installation, role: &str) -> f64 {
    installation
        .figure(role, "pulse_clickhouse_rows_total", "table")
        .await
        .unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let mut installation = Installation::start().await;
    let tenants = tenants(&installation).await;
    installation
        .role("pulse-clickhouse", "0", &SMALL_ROUNDS)
        .await;
    for kill in 0..4 {
        load(&installation, &tenants, kill * 10_000..(kill + 1) * 10_000).await;
        // In the middle of its work: some of this is in ClickHouse, most is not.
        eventually("some rows are in", async || {
            match confirmed(&installation, SINK).await {
                0.0 => Err("none"),
                _ => Ok(()),
            }
        })
        .await;
        installation.kill_and_restart(SINK).await;
    }
    installation.until_ready(SINK).await;
    check(&installation, &tenants, 40_000).await;
    // In order this time, with what was read and not yet sent.
    load(&installation, &tenants, 40_000..50_000).await;
    installation.stop(SINK).await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    check(&installation, &tenants, 50_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clickhouse_that_is_killed_while_it_inserts_loses_and_doubles_nothing() {
    let mut installation = Installation::start().await;
    let tenants = tenants(&installation).await;
    installation
        .role("pulse-clickhouse", "0", &SMALL_ROUNDS)
        .await;
    for kill in 0..3 {
        let before = confirmed(&installation, SINK).await;
        load(&installation, &tenants, kill * 10_000..(kill + 1) * 10_000).await;
        eventually("some rows are in", async || {
            match confirmed(&installation, SINK).await > before {
                true => Ok(()),
                false => Err("none"),
            }
        })
        .await;
        installation.stack.clickhouse.kill9().await;
        // Away: the sink goes on living, says so, and keeps nothing in memory but its rounds.
        eventually("the sink says that ClickHouse is away", async || {
            let listen = &installation.roles[SINK].listen;
            let body = tests::installation::get(listen, "/health/ready").await?;
            let report: serde_json::Value = serde_json::from_str(&body).unwrap();
            match report["checks"]["clickhouse"]["state"] == "not_ready" {
                true => Ok(()),
                false => Err(body),
            }
        })
        .await;
        installation.stack.clickhouse.restart().await.unwrap();
        installation.until_ready(SINK).await;
    }
    check(&installation, &tenants, 30_000).await;
    let failed = installation
        .figure(SINK, "pulse_clickhouse_insert_failures_total", "table")
        .await;
    assert!(
        failed.unwrap() > 0.0,
        "no insert was under way when ClickHouse was killed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_clickhouse_is_away_reading_pauses_and_nothing_is_dropped() {
    let mut installation = Installation::start().await;
    let tenants = tenants(&installation).await;
    installation
        .role("pulse-clickhouse", "0", &SMALL_ROUNDS)
        .await;
    installation.stack.clickhouse.kill9().await;
    load(&installation, &tenants, 0..20_000).await;
    let pending = async || {
        installation
            .figure(SINK, "pulse_clickhouse_pending_rows", "")
            .await
    };
    let mut seen = 0.0;
    eventually("the rounds are full", async || {
        let (before, now) = (seen, pending().await?);
        seen = now;
        match now >= 700.0 && now == before {
            true => Ok(()),
            false => Err(format!("{now} pending rows")),
        }
    })
    .await;
    // What one tenant's turn gives, beyond the round's limit, and no more of the 44,000.
    assert!(seen < 700.0 + 4_096.0, "{seen} rows are in memory");
    // Told to stop meanwhile, it ends in order: what it holds is in the log.
    installation.stop(SINK).await;
    installation.stack.clickhouse.restart().await.unwrap();
    installation.role("pulse-clickhouse", "0", &[]).await;
    check(&installation, &tenants, 20_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_and_freeze_lose_and_double_nothing() {
    let mut installation = Installation::start().await;
    let tenants = tenants(&installation).await;
    installation
        .role("pulse-clickhouse", "0", &SMALL_ROUNDS)
        .await;
    installation
        .role("pulse-clickhouse", "1", &SMALL_ROUNDS)
        .await;
    let mut count = 0;
    eventually("the second has a share", async || {
        load(&installation, &tenants, count..count + 200).await;
        count += 200;
        match confirmed(&installation, "pulse-clickhouse-1").await {
            0.0 => Err("no rows"),
            _ => Ok(()),
        }
    })
    .await;
    // Frozen for longer than its session: the other takes over, and the late commits are refused.
    installation.roles["pulse-clickhouse-1"].process.freeze();
    load(&installation, &tenants, count..count + 5_000).await;
    check(&installation, &tenants, count.unsigned_abs() + 5_000).await;
    installation.roles["pulse-clickhouse-1"].process.thaw();
    load(&installation, &tenants, count + 5_000..count + 10_000).await;
    check(&installation, &tenants, count.unsigned_abs() + 10_000).await;
    installation.stop(SINK).await;
    load(&installation, &tenants, count + 10_000..count + 15_000).await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    check(&installation, &tenants, count.unsigned_abs() + 15_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_comes_later_is_read_without_a_restart() {
    let installation = start().await;
    let tenant = installation.tenant("later", Limits::default(), &[]).await;
    publish(&installation, &tenant, &[samples::trade(1)]).await;
    tables::until_count(&installation, &tenant, "events", 1).await;
}

/// Commits positions for the sink, in its name, of partitions that nobody reads yet.
fn commit_as_sink(installation: &Installation, topic: &str, offset: i64) {
    let settings = GroupSettings::new(GROUP, SINK, Duration::from_secs(10));
    let mut member = GroupConsumer::join(&installation.kafka(), settings).unwrap();
    member.subscribe([topic.to_owned()].into()).unwrap();
    let count = Admin::new(&installation.kafka()).unwrap();
    let count = count.partition_count(topic, PATIENCE).unwrap().unwrap();
    until(|| {
        member.poll().unwrap();
        member.wait(Duration::from_millis(10));
        member.owned().count() == usize::try_from(count).unwrap()
    });
    let position = |partition: &Partition| Position {
        partition: partition.clone(),
        offset,
        metadata: String::new(),
    };
    let positions: Vec<_> = member.owned().map(position).collect();
    member.commit(&positions).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_that_are_not_in_the_log_are_told_and_reading_goes_on() {
    let mut installation = Installation::start().await;
    let tenant = installation.tenant("hole", Limits::default(), &[]).await;
    let topic = tenant.topic(Stream::Events).to_string();
    tokio::task::block_in_place(|| commit_as_sink(&installation, &topic, 1_000_000));
    let trades: Vec<Event> = (0..100).map(samples::trade).collect();
    publish(&installation, &tenant, &trades).await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    tables::until_count(&installation, &tenant, "events", 100).await;
    let health = installation.health(SINK).await.unwrap();
    let reason = health["checks"]["log"]["reason"].to_string();
    assert!(
        reason.contains("offset 1000000 is beyond the log: read from 0 on"),
        "{health}"
    );
    assert_eq!(health["checks"]["reading"]["state"], "ready", "{health}");
    let admin = Admin::new(&installation.kafka()).unwrap();
    let partitions: Vec<_> = (0..4).map(|n| Partition::new(&topic, n)).collect();
    eventually("what is read is committed", async || {
        let committed = admin.committed(GROUP, &partitions, PATIENCE).unwrap();
        let offsets = committed.iter().flatten().map(|c| c.offset);
        match offsets.sum::<i64>() {
            100 => Ok(()),
            sum => Err(format!("{sum} of 100")),
        }
    })
    .await;
    installation.stop(SINK).await;
}
