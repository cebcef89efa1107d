//! The metrics process on a real Kafka: candles equal to naive arithmetic, exactly once.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use schemas::control::Limits;
use schemas::ids::{Stream, TenantId};
use schemas::meter::built_in;
use tests::Installation;
use tests::trades::{self, Trade};

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

#[tokio::test(flavor = "multi_thread")]
async fn candles_equal_naive_arithmetic_and_silence_fires_the_last() {
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("acme", Limits::default(), &built_in())
        .await;
    installation.role("pulse-metrics", "0", &[]).await;
    let trades = market(1, 20_000);
    publish(&installation, &tenant, &trades).await;
    installation.until_counted(&[&tenant]).await;
    trades::assert_candles(&installation.kafka(), &tenant, &trades);
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
    installation.until_counted(&[&tenant]).await;
    trades::assert_candles(&installation.kafka(), &tenant, &trades);
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
