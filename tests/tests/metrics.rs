//! The metrics process on a real Kafka: candles equal to naive arithmetic, exactly once.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::collections::BTreeMap;

use schemas::control::Limits;
use schemas::ids::{Stream, TenantId};
use schemas::meter::built_in;
use tests::trades::{self, Candle, CandleKey, Trade};
use tests::{Installation, eventually, topic};

const SHORT_MS: [i64; 2] = [1_000, 60_000];
const LONG_MS: [i64; 3] = [300_000, 3_600_000, 86_400_000];

/// Trades of several markets over some minutes that end a while ago, in order.
fn market(seed: u64, count: i64) -> Vec<Trade> {
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let start_us = 1_790_000_000_000_000;
    let mut trades: Vec<Trade> = (0..count)
        .map(|id| Trade {
            subject: format!("test:M{}-USD", random.u8(0..7)),
            at_us: start_us + id * 150_000_000 / count + random.i64(0..1_000),
            id,
            price: i128::from(random.i64(1..9_000_000)) * 10_000_000_000_000_000,
            size: i128::from(random.i64(1..500_000_000)) * 10_000_000_000,
        })
        .collect();
    trades.sort_by_key(|trade| trade.at_us);
    trades
}

async fn publish(installation: &Installation, tenant: &TenantId, trades: &[Trade]) {
    let topic = tenant.topic(Stream::Events).to_string();
    for chunk in trades.chunks(500) {
        let records: Vec<_> = chunk.iter().map(trades::record).collect();
        installation.publish(&topic, &records).await;
    }
}

/// The latest revision of each candle that has fired.
fn fired(installation: &Installation, tenant: &TenantId) -> BTreeMap<CandleKey, Candle> {
    let topic = tenant.topic(Stream::Metrics).to_string();
    let records = topic::read(&installation.kafka(), &topic);
    trades::latest(records.into_iter().map(|record| record.value.unwrap()))
}

/// The last open value of each candle at these widths.
fn open(installation: &Installation, tenant: &TenantId) -> BTreeMap<CandleKey, Candle> {
    let topic = tenant.topic(Stream::MetricsOpen).to_string();
    let records = topic::read(&installation.kafka(), &topic);
    let decoded = records
        .into_iter()
        .map(|record| trades::decode(&record.value.unwrap()));
    decoded
        .map(|(key, _, candle)| (key, candle))
        .filter(|(key, _)| LONG_MS.contains(&key.1))
        .collect()
}

/// Short candles have fired and long ones have, or are told of: every digit.
fn check(installation: &Installation, tenant: &TenantId, trades: &[Trade]) {
    let mut long = open(installation, tenant);
    let (short, fired_long): (BTreeMap<_, _>, BTreeMap<_, _>) = fired(installation, tenant)
        .into_iter()
        .partition(|(key, _)| SHORT_MS.contains(&key.1));
    long.extend(fired_long);
    trades::assert_same("short", &short, &trades::candles(trades, &SHORT_MS));
    trades::assert_same("long", &long, &trades::candles(trades, &LONG_MS));
}

async fn until_short_windows_fired(installation: &Installation, role: &str, count: usize) {
    eventually("every short window has fired", async || {
        let counted = installation
            .figure(role, "pulse_records", "fate=\"in\"")
            .await?;
        let open = installation
            .figure(role, "pulse_open_short_windows", "tenant")
            .await?;
        match counted as usize == count && open == 0.0 {
            true => Ok(()),
            false => Err(format!("{counted} of {count} records, {open} windows open")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_equal_naive_arithmetic_and_silence_fires_the_last() {
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("acme", Limits::default(), &built_in())
        .await;
    installation.role("pulse-metrics", "0", &[]).await;
    let trades = market(1, 20_000);
    publish(&installation, &tenant, &trades).await;
    until_short_windows_fired(&installation, "pulse-metrics-0", trades.len()).await;
    check(&installation, &tenant, &trades);
    let late = installation
        .figure("pulse-metrics-0", "pulse_records", "fate=\"late\"")
        .await;
    assert_eq!(late, Ok(0.0));
    installation.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_loses_and_doubles_nothing() {
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("acme", Limits::default(), &built_in())
        .await;
    let settings = [("PULSE_FLUSH_INTERVAL_MS", "200")];
    installation.role("pulse-metrics", "0", &settings).await;
    let trades = market(2, 20_000);
    for part in trades.chunks(trades.len().div_ceil(5)) {
        publish(&installation, &tenant, part).await;
        installation.kill_and_restart("pulse-metrics-0").await;
    }
    // Once more everything: each event is known or late.
    publish(&installation, &tenant, &trades).await;
    installation.until_ready("pulse-metrics-0").await;
    until_short_windows_fired(&installation, "pulse-metrics-0", trades.len() * 2).await;
    check(&installation, &tenant, &trades);
    let fate = async |fate: &str| {
        installation
            .figure("pulse-metrics-0", "pulse_records", &format!("\"{fate}\""))
            .await
    };
    let counted = fate("counted").await.unwrap();
    let repeated = fate("duplicate").await.unwrap() + fate("late").await.unwrap();
    assert_eq!(
        (counted, repeated),
        (trades.len() as f64, trades.len() as f64)
    );
    installation.stop_all().await;
}
