//! Questions to a day of events: how long an answer takes, and what ClickHouse uses for it.
//!
//! The events end now; the newest lie in small parts, as the sink leaves them.
//!
//! `search [--events N] [--runs N]`

use std::time::{Duration, Instant};

use anyhow::Context;
use api::query::range::Range;
use api::query::{QueryConfig, QueryState};
use benches::installation::Installation;
use benches::{Args, percentile, process};
use runtime::clickhouse::ClickHouseConfig;
use runtime::clock;
use schemas::time::EventTime;
use serde_json::Value;
use sinks::clickhouse::migrations;
use sinks::clickhouse::server::Server;

const DAY_US: i64 = 86_400_000_000;
/// Events of one insert, and of the last ones.
const INSERT: i64 = 250_000;
const LAST_INSERT: i64 = 1_000;
const LAST_INSERTS: i64 = 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::read();
    let count = args.number("events", 10_000_000);
    let runs = args.count("runs", 30);
    let bench = Installation::start(vec![], Duration::from_millis(5)).await?;
    let config = clickhouse(&bench);
    let server = Server::new(&config, Duration::from_secs(300))?;
    migrations::apply(&server).await?;
    let end_us = clock::now_us();
    let mut at = 0;
    while at < count {
        let last = count - LAST_INSERT * LAST_INSERTS;
        let size = if at < last {
            INSERT.min(last - at)
        } else {
            LAST_INSERT
        };
        server.execute(&insert(at, size, count, end_us)).await?;
        at += size;
    }
    let parts = "SELECT count() AS n, max(rows) AS largest FROM system.parts \
        WHERE active AND database = 'pulse' AND table = 'events'";
    let parts: Vec<Value> = server.rows(parts).await?;
    println!("{count} events of one tenant in a day; parts: {parts:?}");
    let patient = QueryConfig {
        time_max: Duration::from_secs(120),
        ..QueryConfig::default()
    };
    measure(&bench, &QueryState::new(&config, patient)?, runs, end_us).await
}

fn clickhouse(bench: &Installation) -> ClickHouseConfig {
    let account = bench.stack.clickhouse.writer();
    ClickHouseConfig {
        url: bench.stack.clickhouse.url(),
        user: account.user.clone(),
        password: Some(account.password.clone()),
        ca: None,
        database: "pulse".into(),
    }
}

/// Events `first` to `first + size` of `count`, evenly over the day before `end_us`.
fn insert(first: i64, size: i64, count: i64, end_us: i64) -> String {
    let start_us = end_us - DAY_US;
    format!(
        "INSERT INTO events (tenant, event_type, subject, occurred_at, event_id, name, received_at,
            severity, service, host, method, endpoint, title, trace_id, user_id, tags, metrics,
            payload, _topic, _partition, _offset, _appended_at)
        WITH number + {first} AS n, sipHash64(n) AS h, h % 100 AS kind, intDiv(h, 100) AS rest,
            multiIf(kind < 60, 'api_call', kind < 80, 'trade', kind < 90, 'user_action',
                kind < 95, 'error_event', 'custom_event') AS type,
            fromUnixTimestamp64Micro({start_us} + intDiv(n * {DAY_US}, {count}), 'UTC') AS at
        SELECT 'acme', type,
            multiIf(type = 'trade', concat('coinbase:P', toString(h % 50), '-USD'),
                type = 'api_call', concat('svc-', toString(h % 20), ' /v1/', toString(rest % 30)),
                concat('user-', toString(rest % 100000))),
            at, toString(generateUUIDv4(n)), if(type = 'custom_event', 'signup', ''), at,
            ['debug', 'info', 'info', 'info', 'warning', 'error', 'critical'][1 + rest % 7],
            concat('svc-', toString(h % 20)), concat('host-', toString(h % 7)), 'GET',
            concat('/v1/', toString(rest % 30)),
            if(type = 'error_event', concat('failure of ', toString(h % 1000)), ''),
            lower(hex(sipHash128(n))), concat('user-', toString(rest % 100000)),
            map('region', ['eu', 'us', 'ap'][1 + h % 3]),
            map('duration_ms', toDecimal128(h % 100000, 18) / 100),
            concat('{{\"order\":\"', toString(h), '\",\"note\":\"', lower(hex(sipHash128(n + 7))),
                '\",\"status\":\"', ['paid', 'open', 'lost'][1 + h % 3], '\"}}'),
            'pulse.acme.events', toInt32(h % 4), n, toDateTime64(at, 3, 'UTC')
        FROM numbers({size}) SETTINGS optimize_on_insert = 0, max_partitions_per_insert_block = 0,
            min_insert_block_size_rows = {size}, max_block_size = {size}"
    )
}

async fn measure(
    bench: &Installation,
    state: &QueryState,
    runs: u64,
    end_us: i64,
) -> anyhow::Result<()> {
    let ago = |ms: i64| EventTime::from_us(end_us).plus_ms(-ms).to_string();
    let (noon, hour, now) = (ago(43_200_000), ago(3_600_000), ago(0));
    let newest = state.search(&bench.tenant, 0, &[("to", &noon)]).await?;
    let trace = newest.events.first().context("there are events")?;
    let trace = trace.context.trace_id.clone();
    let cases: [(&str, &[(&str, &str)]); 7] = [
        ("newest 100", &[("to", &now)]),
        ("newest 100 before noon", &[("to", &noon)]),
        (
            "type and service",
            &[("type", "error_event"), ("service", "svc-13"), ("to", &now)],
        ),
        ("trace_id", &[("trace_id", &trace), ("to", &now)]),
        (
            "text in the last hour",
            &[("text", "DEADBEE"), ("from", &hour), ("to", &now)],
        ),
        ("subject", &[("subject", "user-4711"), ("to", &now)]),
        (
            "1,000 of a severity",
            &[("severity", "critical"), ("limit", "1000"), ("to", &now)],
        ),
    ];
    for (name, parameters) in cases {
        let mut found = 0;
        let ask = async || {
            found = state
                .search(&bench.tenant, 0, parameters)
                .await?
                .events
                .len();
            anyhow::Ok(())
        };
        let figures = timed(bench, runs, ask).await?;
        println!("{name}: {figures}; {found} events");
    }
    let range = Range {
        from: EventTime::from_us(end_us - DAY_US),
        to: EventTime::from_us(end_us),
    };
    let ask = async || {
        state.statistics(&bench.tenant, range, 300_000).await?;
        anyhow::Ok(())
    };
    let began = Instant::now();
    ask().await?;
    println!(
        "statistics of the day, asked for the first time: {:.0} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    // What was seen then has settled for those who ask again: see `query::statistics::minutes`.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(6)).await;
        ask().await?;
    }
    println!(
        "statistics of the day again: {}",
        timed(bench, runs.min(10), ask).await?
    );
    Ok(())
}

async fn timed(
    bench: &Installation,
    runs: u64,
    mut ask: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    ask().await?;
    let cpu = || process::cpu_seconds(Some(bench.stack.clickhouse.pid()));
    let (before, mut took_ms) = (cpu(), vec![]);
    for _ in 0..runs {
        let began = Instant::now();
        ask().await?;
        took_ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let cpu_ms = (cpu() - before) * 1e3 / runs as f64;
    let [half, most] = [0.5, 0.95].map(|share| percentile(&mut took_ms, share));
    Ok(format!(
        "p50 {half:.0} ms, p95 {most:.0} ms, CPU of ClickHouse {cpu_ms:.0} ms"
    ))
}
