//! Recorded frames through the simulator's socket and the whole line into a fresh tenant: exactly
//! the trades, exactly the candles, every row, every digit, whatever breaks on the way.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::collections::BTreeMap;

use pulse::simulator::{FaultOptions, ReplayOptions, Simulator, SimulatorOptions, Source, Speed};
use schemas::control::{Channel, Limits};
use schemas::decimal::Decimal;
use schemas::ids::{Stream, TenantId};
use schemas::meter::built_in;
use serde_json::Value;
use tests::recording::Recording;
use tests::trades::{self, Candle, CandleKey, Trade};
use tests::{Installation, eventually, is_soak, tables, topic};

const ROLES: [&str; 3] = ["pulse-coinbase", "pulse-metrics", "pulse-clickhouse"];

/// What happens while the recording is replayed.
struct Story {
    speed: Speed,
    disconnects: &'static [u64],
    /// Programs that are killed with -9, one after the other, each when more has come.
    kills: Vec<&'static str>,
    /// A second metrics process comes and goes, and another is frozen beyond its session.
    company: bool,
}

const PLAIN: Story = Story {
    speed: Speed::Max,
    disconnects: &[],
    kills: vec![],
    company: false,
};

/// The line for one recording.
struct Line {
    installation: Installation,
    simulator: Simulator,
    tenant: TenantId,
    recording: Recording,
}

impl Line {
    async fn start(recording: Recording, story: &Story) -> Self {
        let mut installation = Installation::start().await;
        // A client that comes back gets everything again: what was on its way when it was killed
        // is on its way once more.
        let replay = ReplayOptions {
            file: recording.path(),
            overlap: 10_000,
        };
        let mut options = SimulatorOptions::new(Source::Replay(replay), story.speed);
        options.faults = FaultOptions {
            disconnect_after: story.disconnects.to_vec(),
            ..Default::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        let tenant = installation
            .tenant("replay", Limits::default(), &built_in())
            .await;
        let session = [
            ("PULSE_SESSION_TIMEOUT_MS", "3000"),
            ("PULSE_TRANSACTION_TIMEOUT_MS", "2000"),
        ];
        installation.role("pulse-metrics", "0", &session).await;
        installation.role("pulse-clickhouse", "0", &[]).await;
        let exchange = recording.feed();
        installation.coinbase(&[(exchange, &simulator)]).await;
        let channels = [Channel::Quotes, Channel::Trades, Channel::Depth];
        let products = recording.products();
        installation
            .feed(&tenant, exchange, &products, &channels)
            .await;
        Self {
            installation,
            simulator,
            tenant,
            recording,
        }
    }

    /// How many records the tenant's events hold.
    fn event_count(&self) -> usize {
        topic::read(&self.installation.kafka(), &self.topic(Stream::Events)).len()
    }

    fn topic(&self, stream: Stream) -> String {
        self.tenant.topic(stream).to_string()
    }

    async fn tell(&mut self, story: &Story) {
        for program in &story.kills {
            let before = self.event_count();
            eventually("more has come", async || match self.event_count() {
                count if count > before => Ok(()),
                _ if self.simulator.status().finished => Ok(()),
                count => Err(format!("{count} events")),
            })
            .await;
            self.installation
                .kill_and_restart(&format!("{program}-0"))
                .await;
        }
        if story.company {
            self.keep_company().await;
        }
    }

    /// A second metrics process joins and leaves; the first is frozen beyond its session, so that
    /// its partitions go to a third, and is woken again.
    async fn keep_company(&mut self) {
        let session = [
            ("PULSE_SESSION_TIMEOUT_MS", "3000"),
            ("PULSE_TRANSACTION_TIMEOUT_MS", "2000"),
        ];
        self.installation.role("pulse-metrics", "1", &session).await;
        eventually("the second works on some partitions", async || {
            match self.owned("pulse-metrics-1").await? {
                0 => Err("none".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
        self.installation.stop("pulse-metrics-1").await;
        self.installation.role("pulse-metrics", "2", &session).await;
        self.installation.roles["pulse-metrics-0"].process.freeze();
        eventually("the third has all partitions", async || {
            let behind = self
                .installation
                .figure("pulse-metrics-2", "pulse_partitions_behind", "")
                .await;
            let owned = self.owned("pulse-metrics-2").await?;
            match owned {
                4 => Ok(()),
                owned => Err(format!("{owned} partitions, {behind:?} behind")),
            }
        })
        .await;
        self.installation.roles["pulse-metrics-0"].process.thaw();
    }

    async fn owned(&self, role: &str) -> Result<i64, String> {
        let owned = self
            .installation
            .figure(role, "pulse_partitions", "")
            .await?;
        Ok(owned as i64)
    }

    /// Waits until everything that was served has gone all the way.
    async fn until_drained(&self) {
        let expect = self.recording.trades().len();
        self.simulator.finished().await;
        eventually("every trade is on the log", async || {
            match self.trades_on_log().len() {
                count if count == expect => Ok(()),
                count => Err(format!("{count} of {expect}")),
            }
        })
        .await;
        self.installation.until_counted(&[&self.tenant]).await;
    }

    fn trades_on_log(&self) -> BTreeMap<(String, i64), Trade> {
        trades::on_log(&self.installation.kafka(), &self.tenant)
    }

    /// Trades, candles, counts and rows: all of it equal to the naive reading.
    async fn check(&self) {
        let expect = self.recording.trades();
        let on_log: Vec<Trade> = self.trades_on_log().into_values().collect();
        assert_eq!(on_log, expect, "trades on the log");
        trades::assert_candles(&self.installation.kafka(), &self.tenant, &expect);
        self.check_rows(&expect).await;
        for role in self
            .installation
            .roles
            .keys()
            .filter(|role| role.contains("metrics"))
        {
            let late = self
                .installation
                .figure(role, "pulse_records", "\"late\"")
                .await;
            assert_eq!(late.unwrap_or(0.0), 0.0, "{role} counted late events");
        }
        tables::assert_equal(&self.installation, &[(&self.tenant, Limits::default())]).await;
        self.installation
            .pulse(&["reconcile", "--tenant", self.tenant.as_str()]);
    }

    async fn check_rows(&self, expect: &[Trade]) {
        let count = trades::candles(expect, &trades::SHORT_MS).len() as u64;
        let short = format!(
            "(SELECT count() FROM pulse.candles WHERE tenant = '{}' AND window_ms <= 60000)",
            self.tenant
        );
        eventually("every candle is a row", async || {
            match tables::number(&self.installation, &short).await {
                found if found == count => Ok(()),
                found => Err(format!("{found} of {count}")),
            }
        })
        .await;
        let sql = format!(
            "SELECT concat(exchange, ':', product) AS subject, window_ms, \
             toUnixTimestamp64Micro(window_start) AS start_us, toString(open) AS open, \
             toString(high) AS high, toString(low) AS low, toString(close) AS close, \
             toString(volume) AS volume, toString(vwap) AS vwap, trades \
             FROM pulse.candles WHERE tenant = '{}' AND window_ms <= 60000",
            self.tenant
        );
        let rows = tables::rows(&self.installation, &sql).await;
        let rows: BTreeMap<CandleKey, Candle> = rows.iter().map(candle).collect();
        trades::assert_same("rows", &rows, &trades::candles(expect, &trades::SHORT_MS));
    }

    async fn end(mut self, story: &Story) {
        if story.company {
            self.forget_the_fenced();
        }
        self.installation.stop_all().await;
        self.simulator.stop().await;
    }

    /// A process that was frozen in the midst of a transaction is fenced when it wakes, which ends
    /// it; one that was frozen between two goes on without partitions.
    fn forget_the_fenced(&mut self) {
        let frozen = "pulse-metrics-0";
        let process = &self.installation.roles[frozen].process;
        if process.is_running() {
            return;
        }
        let last_words = process.log_tail(3);
        assert!(last_words.contains("commit: Fenced"), "{last_words}");
        self.installation.roles.remove(frozen);
    }
}

fn candle(row: &Value) -> (CandleKey, Candle) {
    let number = |name: &str| match &row[name] {
        Value::String(text) => text.parse::<i64>().unwrap(),
        number => number
            .as_i64()
            .unwrap_or_else(|| panic!("{name}: {number}")),
    };
    let units = |name: &str| {
        let text = row[name]
            .as_str()
            .unwrap_or_else(|| panic!("{name}: {row}"));
        text.parse::<Decimal>().unwrap().units()
    };
    let subject = row["subject"].as_str().unwrap().to_owned();
    let candle = Candle {
        ohlcv: ["open", "high", "low", "close", "volume"].map(units),
        vwap: units("vwap"),
        trades: number("trades") as u64,
    };
    ((subject, number("window_ms"), number("start_us")), candle)
}

async fn check(recording: Recording, story: Story) {
    let mut line = Line::start(recording, &story).await;
    line.tell(&story).await;
    line.until_drained().await;
    line.check().await;
    line.end(&story).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exchange_feed_at_full_speed() {
    check(Recording::Exchange, PLAIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_advanced_feed_at_full_speed() {
    check(Recording::Advanced, PLAIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_speed_10_over_three_disconnects() {
    let story = Story {
        speed: Speed::Times(10.0),
        disconnects: &[500, 2_000, 5_000],
        ..PLAIN
    };
    check(Recording::Exchange, story).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_full_speed_over_three_disconnects() {
    let story = Story {
        disconnects: &[300, 900, 1_500],
        ..PLAIN
    };
    check(Recording::Advanced, story).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_each_process_killed_in_turn() {
    // Slow enough that all of it happens while frames still come.
    let (speed, count) = if is_soak() { (1.0, 20) } else { (10.0, 3) };
    let story = Story {
        speed: Speed::Times(speed),
        kills: ROLES.into_iter().cycle().take(count).collect(),
        ..PLAIN
    };
    check(Recording::Advanced, story).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_second_process_that_comes_and_goes_and_one_that_is_frozen() {
    let story = Story {
        speed: Speed::Times(2.0),
        company: true,
        ..PLAIN
    };
    check(Recording::Exchange, story).await;
}
