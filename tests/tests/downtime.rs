//! The metrics process is away for a long time while events keep coming: it catches up, and
//! nothing is late for it.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::time::{Duration, Instant};

use runtime::clock;
use schemas::control::Limits;
use schemas::ids::{Stream, TenantId};
use schemas::meter::built_in;
use tests::trades::{self, Trade};
use tests::{Installation, is_soak};

const ROLE: &str = "pulse-metrics-0";

/// Trades of one round, and how far apart rounds are.
const ROUND_COUNT: i64 = 50;
const ROUND: Duration = Duration::from_millis(50);

/// How long the process is away, and by how much an event may be late: much less.
fn downtime() -> (Duration, Limits) {
    let (away_s, lateness_ms) = if is_soak() {
        (600, 120_000)
    } else {
        (12, 2_000)
    };
    let limits = Limits {
        allowed_lateness_ms: lateness_ms,
        ..Limits::default()
    };
    (Duration::from_secs(away_s), limits)
}

/// Trades that are dated by the clock of the broker's machine, round after round.
struct Load {
    random: fastrand::Rng,
    tenant: TenantId,
    trades: Vec<Trade>,
}

impl Load {
    fn new(tenant: &TenantId, seed: u64) -> Self {
        println!("seed {seed}");
        Self {
            random: fastrand::Rng::with_seed(seed),
            tenant: tenant.clone(),
            trades: vec![],
        }
    }

    /// Publishes for so long.
    async fn go_on(&mut self, installation: &Installation, span: Duration) {
        let topic = self.tenant.topic(Stream::Events).to_string();
        let (began, mut round) = (Instant::now(), tokio::time::interval(ROUND));
        while began.elapsed() < span {
            round.tick().await;
            let at_us = clock::now_us();
            let first = self.trades.len();
            for _ in 0..ROUND_COUNT {
                let trade = self.trade(at_us);
                self.trades.push(trade);
            }
            let records: Vec<_> = self.trades[first..].iter().map(trades::record).collect();
            installation.publish(&topic, &records).await;
        }
    }

    fn trade(&mut self, at_us: i64) -> Trade {
        Trade {
            subject: format!("test:M{}-USD", self.random.u8(0..7)),
            at_us: at_us - self.random.i64(0..100_000),
            id: self.trades.len() as i64,
            price: i128::from(self.random.i64(1..9_000_000)) * 10_000_000_000_000_000,
            size: i128::from(self.random.i64(1..500_000_000)) * 10_000_000_000,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_metrics_was_away_is_not_late() {
    let (away, limits) = downtime();
    let mut installation = Installation::start().await;
    let tenant = installation.tenant("acme", limits, &built_in()).await;
    installation.role("pulse-metrics", "0", &[]).await;
    let mut load = Load::new(&tenant, 7);
    load.go_on(&installation, ROUND * 40).await;
    installation.kill(ROLE).await;
    load.go_on(&installation, away).await;
    installation.start_again(ROLE);
    // The load goes on while it catches up.
    load.go_on(&installation, ROUND * 40).await;
    installation.until_counted(&[&tenant]).await;
    for fate in ["late", "duplicate", "dead_lettered"] {
        let label = format!("\"{fate}\"");
        let count = installation.figure(ROLE, "pulse_records", &label).await;
        assert_eq!(count, Ok(0.0), "{fate}");
    }
    trades::assert_candles(&installation.kafka(), &tenant, &load.trades);
    installation.stop_all().await;
}
