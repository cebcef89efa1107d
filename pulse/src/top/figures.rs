//! Keeps a board's figures true, and its markets' days where their quotes say nothing of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runtime::clock;
use runtime::service::Shutdown;
use schemas::decimal::Decimal;
use schemas::ids::{Stream, TenantId};
use serde::Deserialize;
use sinks::clickhouse::server::Server;

use super::board::{Board, Figures};
use super::market::Day;
use crate::installation::Access;
use crate::status::exposition::Samples;
use crate::status::lag::{Gauge, Lags, groups};
use crate::status::report::Pipeline;
use crate::status::survey::per_second;
use crate::status::{clickhouse, http};

/// How often figures are taken, and candles read.
const TAKEN_EVERY: Duration = Duration::from_secs(1);
const READ_EVERY: Duration = Duration::from_secs(15);
/// What a day is.
const DAY_MS: i64 = 86_400_000;

/// A board that several look at.
pub type SharedBoard = Arc<Mutex<Board>>;

/// Runs until the shutdown.
pub async fn keep(access: Access, tenant: TenantId, board: SharedBoard, shutdown: Shutdown) {
    let mut taker = Taker {
        access,
        tenant,
        gauge: None,
        before: None,
        days_at: None,
    };
    while !shutdown.is_requested() {
        let figures = taker.figures().await;
        on(&board, |board| match figures {
            Ok(figures) => board.figures.replace(figures),
            // The old ones stay, and age.
            Err(trouble) => board.figures.trouble = Some(trouble),
        });
        taker.days(&board).await;
        tokio::select! {
            () = tokio::time::sleep(TAKEN_EVERY) => {}
            () = shutdown.requested() => {}
        }
    }
}

/// Does something with the board.
pub fn on<T>(board: &SharedBoard, act: impl FnOnce(&mut Board) -> T) -> T {
    act(&mut board.lock().unwrap_or_else(PoisonError::into_inner))
}

struct Taker {
    access: Access,
    tenant: TenantId,
    gauge: Option<Gauge>,
    /// What the last look showed, and when.
    before: Option<(Instant, Lags)>,
    days_at: Option<Instant>,
}

impl Taker {
    async fn figures(&mut self) -> Result<Figures, String> {
        let gauge = self.gauge()?;
        let lags = gauge.look().await.map_err(|error| error.to_string())?;
        let now = clock::monotonic();
        let end = |lags: &Lags| lags.end(Some(&self.tenant), Stream::Events);
        let rate = self.before.as_ref().map(|(at, before)| {
            per_second(end(&lags) - end(before), now.saturating_duration_since(*at))
        });
        let (samples, trouble) = match self.samples().await {
            Ok(samples) => (Some(samples), None),
            Err(trouble) => (None, Some(trouble)),
        };
        let at_ms = clock::now_ms();
        let figures = Figures {
            counts_at_ms: if samples.is_some() { at_ms } else { 0 },
            pipeline: Pipeline::read(samples.as_ref(), rate),
            lag: Some(lags.total()),
            at_ms,
            trouble,
        };
        self.before = Some((now, lags));
        Ok(figures)
    }

    fn gauge(&mut self) -> Result<Gauge, String> {
        if let Some(gauge) = &self.gauge {
            return Ok(gauge.clone());
        }
        let kafka = self.access.kafka().map_err(|error| error.to_string())?;
        let groups = groups(&mut self.access.environment());
        let gauge = Gauge::new(&kafka, groups).map_err(|error| error.to_string())?;
        Ok(self.gauge.insert(gauge).clone())
    }

    /// What the metrics process counts, where one runs here.
    async fn samples(&self) -> Result<Samples, String> {
        let run = self.access.found.run_file();
        let entry = run.and_then(|run| run.entry("pulse-metrics"));
        let Some(address) = entry.and_then(|entry| entry.health.as_deref()) else {
            return Err("pulse-metrics runs elsewhere".to_owned());
        };
        match http::get(address, "/metrics").await {
            Ok(answer) if answer.status == 200 => Ok(Samples::read(&answer.body)),
            _ => Err("pulse-metrics does not answer".to_owned()),
        }
    }

    /// Reads the day of markets whose quotes say nothing of it from their candles, now and then.
    async fn days(&mut self, board: &SharedBoard) {
        if self.days_at.is_some_and(|at| at.elapsed() < READ_EVERY) {
            return;
        }
        let latest_ms = on(board, |board| {
            let lacking = board.markets().filter(|(_, market)| market.lacks_day());
            lacking
                .filter_map(|(_, market)| Some(market.occurred_at()?.as_ms()))
                .max()
        });
        let Some(latest_ms) = latest_ms else { return };
        self.days_at = Some(clock::monotonic());
        let Ok(server) = clickhouse::client(&self.access) else {
            return;
        };
        match read_days(&server, &self.tenant, latest_ms).await {
            Ok(days) => on(board, |board| {
                days.iter()
                    .for_each(|(subject, day)| board.recall(subject, day));
            }),
            // The view does without.
            Err(error) => tracing::debug!(%error, "no candles of the day"),
        }
    }
}

#[derive(Deserialize)]
struct DayRow {
    exchange: String,
    product: String,
    open: Option<Decimal>,
    low: Option<Decimal>,
    high: Option<Decimal>,
    volume: Option<Decimal>,
}

async fn read_days(
    server: &Server,
    tenant: &TenantId,
    latest_ms: i64,
) -> Result<BTreeMap<String, Day>, sinks::clickhouse::failure::ServerError> {
    // A tenant's id holds nothing that SQL would read.
    let from_ms = latest_ms.saturating_sub(DAY_MS);
    let sql = format!(
        "SELECT exchange, product, toString(argMin(open, window_start)) AS open, \
         toString(min(low)) AS low, toString(max(high)) AS high, toString(sum(volume)) AS volume \
         FROM candles WHERE tenant = '{tenant}' AND window_ms = 60000 \
         AND window_start >= fromUnixTimestamp64Milli({from_ms}) GROUP BY exchange, product"
    );
    let rows: Vec<DayRow> = server.rows(&sql).await?;
    let day = |row: &DayRow| Day {
        open: row.open,
        low: row.low,
        high: row.high,
        volume: row.volume,
        change_percent: None,
    };
    Ok(rows
        .iter()
        .map(|row| (format!("{}:{}", row.exchange, row.product), day(row)))
        .collect())
}
