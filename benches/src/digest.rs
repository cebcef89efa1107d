//! Rows and digests of fired candles, by the peers' own arithmetic: equal digests, equal candles.

use std::collections::HashSet;
use std::time::Duration;

use runtime::kafka::{Isolation, KafkaConfig, Partition, Reader, Start};
use schemas::ids::{Stream, TenantId};
use schemas::metric::MetricView;
use schemas::wire::avro::put_decimal;

use crate::trades::START_MS;

/// Those of the peers' program for 5,000,000 trades.
pub const OF_FIVE_MILLION: Digest = Digest {
    rows: 203_970,
    prices: 0x48f7_527e_abc6_ff36,
    all: 0x8708_f908_1def_c247,
};

/// What a topic of candles holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest {
    /// How many candles.
    pub rows: u64,
    /// Over open, high, low, close and count.
    pub prices: u64,
    /// Over volume and vwap as well.
    pub all: u64,
}

impl Digest {
    /// Of a tenant's committed candles.
    ///
    /// # Errors
    /// When the broker does not answer.
    ///
    /// # Panics
    /// When a candle is there twice, or lacks a value.
    pub fn read(kafka: &KafkaConfig, tenant: &TenantId) -> anyhow::Result<Self> {
        let topic = tenant.topic(Stream::Metrics).to_string();
        let spans: Vec<_> = (0..kafka.partition_count)
            .map(|number| (Partition::new(&topic, number), Start::Beginning))
            .collect();
        let reader = Reader::open(kafka, "digest", Isolation::Committed, &spans)?;
        let wait = Duration::from_secs(30);
        let edges = reader.watermarks(Isolation::Committed, wait)?;
        let ends: Vec<i64> = edges.iter().map(|edges| edges.high).collect();
        let mut digest = Self::default();
        let mut seen = HashSet::new();
        reader.read_until(&ends, wait, |_, record| {
            let metric = MetricView::decode(record.value().expect("a metric has a value"));
            digest.add(&metric.expect("the step writes metrics"), &mut seen);
        })?;
        Ok(digest)
    }

    fn add(&mut self, metric: &MetricView<'_>, seen: &mut HashSet<(String, i64, i64)>) {
        let subject = metric.labels.get("subject");
        let product = subject.expect("a candle has a subject").as_str();
        let (start_ms, width_ms) = (metric.window_start.as_ms(), metric.window_ms);
        // The windows of the far-ahead trades are not part of the job.
        if start_ms >= START_MS + 600_000 {
            return;
        }
        let key = (product.to_owned(), width_ms, start_ms);
        assert!(seen.insert(key), "a row twice");
        let mut bytes = product.as_bytes().to_vec();
        bytes.extend_from_slice(&width_ms.to_le_bytes());
        bytes.extend_from_slice(&start_ms.to_le_bytes());
        let value = |name| {
            metric
                .values
                .get(name)
                .expect("a candle has all its values")
        };
        for name in ["open", "high", "low", "close"] {
            put_decimal(&mut bytes, value(name));
        }
        bytes.extend_from_slice(&(metric.event_count as i64).to_le_bytes());
        self.prices = self.prices.wrapping_add(hash(&bytes));
        for name in ["volume", "vwap"] {
            put_decimal(&mut bytes, value(name));
        }
        self.all = self.all.wrapping_add(hash(&bytes));
        self.rows += 1;
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    hash ^ (hash >> 29)
}
