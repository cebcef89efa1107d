//! The simulator's own record of what it traded, to compare everything downstream with.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connectors::exchange::Side;
use schemas::decimal::Decimal;
use schemas::time::EventTime;
use serde::Serialize;

use super::market::{LOT_PLACES, Made, TICK_PLACES};
use super::words::Names;

/// Trades kept in memory; the file, where there is one, keeps all.
const KEPT_COUNT: usize = 10_000_000;

/// A trade as it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrueTrade {
    /// The market.
    pub product: Arc<str>,
    /// Consecutive within the market.
    pub trade_id: i64,
    /// The market's time.
    pub occurred_at: EventTime,
    /// What one unit cost.
    pub price: Decimal,
    /// How many units.
    pub size: Decimal,
    /// What the taker did.
    pub taker: Side,
}

/// One line of the file.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Trade {
        product: &'a str,
        trade_id: i64,
        time: String,
        price: Decimal,
        size: Decimal,
        side: &'static str,
    },
    Withheld {
        product: &'a str,
        trade_id: i64,
    },
}

/// The record. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Truth {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    names: Names,
    trades: Vec<TrueTrade>,
    withheld: BTreeSet<(Arc<str>, i64)>,
    file: Option<BufWriter<File>>,
}

impl Truth {
    /// A record that is also written to a file, one JSON object a line.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(super) fn to_file(path: &Path) -> io::Result<Self> {
        let truth = Self::default();
        truth.kept().file = Some(BufWriter::new(File::create(path)?));
        Ok(truth)
    }

    pub(super) fn name(&self, names: Names) {
        self.kept().names = names;
    }

    /// Every trade so far, in the order in which they were made.
    pub fn trades(&self) -> Vec<TrueTrade> {
        self.kept().trades.clone()
    }

    /// How many trades were made so far.
    pub fn trade_count(&self) -> usize {
        self.kept().trades.len()
    }

    /// Trades of which a frame was dropped or spoilt on purpose, by product and id. A snapshot may
    /// have brought them all the same; and what a broken connection lost on its way is not here.
    pub fn withheld(&self) -> BTreeSet<(Arc<str>, i64)> {
        self.kept().withheld.clone()
    }

    pub(super) fn made(&self, market: usize, made: &[Made]) {
        let mut kept = self.kept();
        for made in made {
            let trade = TrueTrade {
                product: Arc::clone(&kept.names[market]),
                trade_id: made.trade_id,
                occurred_at: EventTime::from_us(made.at_us),
                price: scaled(made.price, TICK_PLACES),
                size: scaled(made.size, LOT_PLACES),
                taker: made.taker,
            };
            kept.write(&Line::Trade {
                product: &trade.product,
                trade_id: trade.trade_id,
                time: super::words::time(made.at_us),
                price: trade.price,
                size: trade.size,
                side: trade.taker.as_str(),
            });
            if kept.trades.len() < KEPT_COUNT {
                kept.trades.push(trade);
            }
        }
    }

    pub(super) fn withhold(&self, trades: &[(usize, i64)]) {
        let mut kept = self.kept();
        for (market, trade_id) in trades {
            let product = Arc::clone(&kept.names[*market]);
            kept.write(&Line::Withheld {
                product: &product,
                trade_id: *trade_id,
            });
            kept.withheld.insert((product, *trade_id));
        }
    }

    /// Brings the file up to date.
    pub(super) fn flush(&self) {
        let mut kept = self.kept();
        if let Some(Err(error)) = kept.file.as_mut().map(BufWriter::flush) {
            tracing::error!(%error, "truth file is not complete");
            kept.file = None;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn write(&mut self, line: &Line<'_>) {
        let Some(file) = &mut self.file else { return };
        let written = serde_json::to_writer(&mut *file, line)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"));
        if let Err(error) = written {
            tracing::error!(%error, "truth file is not complete");
            self.file = None;
        }
    }
}

fn scaled(value: i64, places: u32) -> Decimal {
    let units = i128::from(value) * 10_i128.pow(Decimal::SCALE - places);
    Decimal::units_checked(units)
}
