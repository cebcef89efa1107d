//! Trades, and what naive arithmetic makes of them: the oracle of the candles.
//!
//! Nothing here shares code with the processors: maps, big integers, one pass.

use std::collections::BTreeMap;

use runtime::kafka::KafkaConfig;
use schemas::event::{Event, EventType, EventView, Severity, Source};
use schemas::ids::{Stream, TenantId};
use schemas::metric::MetricView;
use schemas::time::EventTime;

use crate::topic::{self, Tail};

/// A trade; prices and sizes in units of 10⁻¹⁸.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Trade {
    /// The market on its exchange.
    pub subject: String,
    /// When it was made, in microseconds.
    pub at_us: i64,
    /// The exchange's number of it.
    pub id: i64,
    /// Price.
    pub price: i128,
    /// Size.
    pub size: i128,
}

/// A candle by naive arithmetic; everything in units of 10⁻¹⁸.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candle {
    /// Open, high, low, close, volume.
    pub ohlcv: [i128; 5],
    /// The mean price by size, half away from zero.
    pub vwap: i128,
    /// How many trades.
    pub trades: u64,
}

/// Subject, width in milliseconds, start in microseconds.
pub type CandleKey = (String, i64, i64);

/// The built-in meter's widths whose windows fire within a test.
pub const SHORT_MS: [i64; 2] = [1_000, 60_000];
/// Its others, which mostly show as open values.
pub const LONG_MS: [i64; 3] = [300_000, 3_600_000, 86_400_000];

const ONE: i128 = 1_000_000_000_000_000_000;

/// The candles of some trades at some widths.
///
/// # Panics
/// On numbers beyond what trades have.
pub fn candles(trades: &[Trade], widths_ms: &[i64]) -> BTreeMap<CandleKey, Candle> {
    let mut windows: BTreeMap<CandleKey, Vec<&Trade>> = BTreeMap::new();
    for trade in trades {
        for width_ms in widths_ms {
            let width_us = width_ms * 1_000;
            let start_us = trade.at_us.div_euclid(width_us) * width_us;
            let key = (trade.subject.clone(), *width_ms, start_us);
            windows.entry(key).or_default().push(trade);
        }
    }
    windows
        .into_iter()
        .map(|(key, trades)| (key, candle(trades)))
        .collect()
}

fn candle(mut trades: Vec<&Trade>) -> Candle {
    trades.sort_by_key(|trade| (trade.at_us, trade.id));
    let (first, last) = (trades[0], trades[trades.len() - 1]);
    let prices = trades.iter().map(|trade| trade.price);
    let volume: i128 = trades.iter().map(|trade| trade.size).sum();
    let notional: i128 = trades
        .iter()
        .map(|trade| rounded(trade.price, trade.size, ONE))
        .sum();
    Candle {
        ohlcv: [
            first.price,
            prices.clone().max().expect("a candle has a trade"),
            prices.min().expect("a candle has a trade"),
            last.price,
            volume,
        ],
        vwap: rounded(notional, ONE, volume),
        trades: trades.len() as u64,
    }
}

/// a·b/c for numbers that are not negative, half up, by decimal long multiplication and division.
fn rounded(a: i128, b: i128, c: i128) -> i128 {
    let digits = |mut n: i128| {
        let mut digits = vec![];
        while n > 0 {
            digits.push((n % 10) as u32);
            n /= 10;
        }
        digits
    };
    let (a, b) = (digits(a), digits(b));
    let mut product = vec![0_u32; a.len() + b.len() + 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            product[i + j] += x * y;
        }
    }
    let mut carry = 0;
    for digit in &mut product {
        let sum = *digit + carry;
        *digit = sum % 10;
        carry = sum / 10;
    }
    assert_eq!(carry, 0, "the product has room");
    let (mut quotient, mut rest) = (0_i128, 0_i128);
    for digit in product.iter().rev() {
        rest = rest * 10 + i128::from(*digit);
        quotient = quotient * 10 + rest / c;
        rest %= c;
    }
    quotient + i128::from(rest * 2 >= c)
}

/// The trade as an event, as a connector would make it.
pub fn event(trade: &Trade) -> Event {
    let product = trade
        .subject
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .to_owned();
    let decimal = |units| schemas::decimal::Decimal::from_units(units).expect("a trade's number");
    Event {
        event_id: format!("{}:trade:{}", trade.subject, trade.id),
        event_type: EventType::Trade,
        name: None,
        occurred_at: EventTime::from_us(trade.at_us),
        received_at: EventTime::from_us(trade.at_us),
        severity: Severity::Info,
        source: Source {
            service: "test".into(),
            ..Source::default()
        },
        subject: trade.subject.clone(),
        sequence: Some(trade.id),
        title: None,
        trace_id: None,
        user_id: None,
        tags: BTreeMap::from([("product_id".into(), product)]),
        metrics: BTreeMap::from([
            ("price".into(), decimal(trade.price)),
            ("size".into(), decimal(trade.size)),
        ]),
        payload: None,
    }
}

/// The event's key and value as they lie on `events`.
pub fn record(trade: &Trade) -> (Vec<u8>, Vec<u8>) {
    let mut value = vec![];
    event(trade).encode(&mut value);
    (trade.subject.clone().into_bytes(), value)
}

/// The trades of a tenant on the log, by subject and number; the same trade may lie there twice.
///
/// # Panics
/// When a record is no event, or a trade differs from itself.
pub fn on_log(kafka: &KafkaConfig, tenant: &TenantId) -> BTreeMap<(String, i64), Trade> {
    let mut trades = BTreeMap::new();
    for record in topic::read(kafka, &tenant.topic(Stream::Events).to_string()) {
        let value = record.value.unwrap();
        let event = EventView::decode(&value).unwrap();
        if event.event_type != "trade" {
            continue;
        }
        let trade = Trade {
            subject: event.subject.as_str().to_owned(),
            at_us: event.occurred_at.as_us(),
            id: event.sequence.unwrap(),
            price: event.metrics.get("price").unwrap().units(),
            size: event.metrics.get("size").unwrap().units(),
        };
        let id = format!("{}:trade:{}", trade.subject, trade.id);
        assert_eq!(event.event_id.as_str(), id);
        let key = (trade.subject.clone(), trade.id);
        let before = trades.insert(key, trade.clone());
        assert!(
            before.is_none_or(|before| before == trade),
            "{id} differs from itself"
        );
    }
    trades
}

/// A candle on a metrics topic, with its key and revision.
///
/// # Panics
/// When the record is no candle.
pub fn decode(value: &[u8]) -> (CandleKey, i64, Candle) {
    let metric = MetricView::decode(value).unwrap();
    let units = |name| {
        metric
            .values
            .get(name)
            .map(schemas::decimal::Decimal::units)
    };
    let subject = metric.labels.get("subject").unwrap().as_str().to_owned();
    let key = (subject, metric.window_ms, metric.window_start.as_us());
    let candle = Candle {
        ohlcv: ["open", "high", "low", "close", "volume"].map(|name| units(name).unwrap()),
        vwap: units("vwap").unwrap(),
        trades: metric.event_count,
    };
    assert_eq!(units("trades"), Some(i128::from(metric.event_count) * ONE));
    (key, metric.revision, candle)
}

/// The latest revision of each candle on a topic, after checking that its revisions are 1, 2, 3….
///
/// # Panics
/// When a revision is there twice, or missing.
pub fn latest(values: impl Iterator<Item = Vec<u8>>) -> BTreeMap<CandleKey, Candle> {
    let mut latest: BTreeMap<CandleKey, (i64, Candle)> = BTreeMap::new();
    for value in values {
        let (key, revision, candle) = decode(&value);
        let before = latest.get(&key).map_or(0, |(revision, _)| *revision);
        assert_eq!(revision, before + 1, "{key:?}");
        latest.insert(key, (revision, candle));
    }
    latest
        .into_iter()
        .map(|(key, (_, candle))| (key, candle))
        .collect()
}

/// Compares what the log holds of a tenant's candles with those of its trades: all short ones as
/// they fired, and the long ones as they fired or were last told of.
///
/// # Panics
/// When one differs.
pub fn assert_candles(kafka: &KafkaConfig, tenant: &TenantId, trades: &[Trade]) {
    let fired = topic::read(kafka, &tenant.topic(Stream::Metrics).to_string());
    let fired = latest(fired.into_iter().map(|record| record.value.unwrap()));
    let (short, long): (BTreeMap<_, _>, BTreeMap<_, _>) = fired
        .into_iter()
        .partition(|(key, _)| SHORT_MS.contains(&key.1));
    assert_same(
        &format!("{tenant}, short"),
        &short,
        &candles(trades, &SHORT_MS),
    );
    let mut last: BTreeMap<CandleKey, Candle> = BTreeMap::new();
    let open = tenant.topic(Stream::MetricsOpen).to_string();
    Tail::new(kafka, &open).read_on(|value| {
        let (key, _, candle) = decode(value.unwrap());
        if LONG_MS.contains(&key.1) {
            last.insert(key, candle);
        }
    });
    last.extend(long);
    assert_same(
        &format!("{tenant}, long"),
        &last,
        &candles(trades, &LONG_MS),
    );
}

/// Fails with the first candles that differ.
///
/// # Panics
/// When the two are not the same.
pub fn assert_same(
    what: &str,
    got: &BTreeMap<CandleKey, Candle>,
    expect: &BTreeMap<CandleKey, Candle>,
) {
    let keys: std::collections::BTreeSet<_> = got.keys().chain(expect.keys()).collect();
    let differ: Vec<_> = keys
        .into_iter()
        .filter(|key| got.get(key) != expect.get(key))
        .collect();
    let show = |key: &&CandleKey| {
        format!(
            "{key:?}\n  is {:?}\n  not {:?}",
            got.get(key),
            expect.get(key)
        )
    };
    let first: Vec<String> = differ.iter().take(3).map(show).collect();
    assert!(
        differ.is_empty(),
        "{what}: {} of {} candles differ:\n{}",
        differ.len(),
        expect.len(),
        first.join("\n")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_division_rounds_half_up() {
        assert_eq!(rounded(2, 5, 4), 3);
        assert_eq!(rounded(1, 5, 4), 1);
        assert_eq!(rounded(i128::MAX / 2, 10, 10), i128::MAX / 2);
        assert_eq!(
            rounded(65_083_670_000_000_000_000_000, 2_186_000_000_000_000, ONE),
            142_272_902_620_000_000_000
        );
    }
}
