//! The metrics step by itself, without a broker.

use processors::metrics::{Definitions, MetricsStep, NamedMeter};
use runtime::step::{Incoming, Origin, Output, Place, Step};
use schemas::control::Limits;
use schemas::meter::candles;
use schemas::time::{BrokerTime, EventTime};

use crate::trades;

/// When the first events are dated.
pub const START_MS: i64 = 1_790_000_000_000;

/// A step of one partition that takes all subjects.
pub struct Bench {
    /// The step.
    pub step: MetricsStep,
    /// What it computes.
    pub definitions: Definitions,
    /// What it puts out.
    pub out: Output,
    offset: i64,
}

impl Bench {
    /// With the built-in candles or without a meter.
    pub fn new(has_meter: bool) -> Self {
        let meter = NamedMeter {
            id: "candles".into(),
            version: 1,
            meter: candles(),
        };
        let definitions = Definitions {
            limits: Limits {
                subjects_max: 10_000_000,
                dedup_ids_max: 100_000_000,
                ..Limits::default()
            },
            direct_producers: false,
            meters: if has_meter { vec![meter] } else { vec![] },
        };
        let mut step = MetricsStep::new(&place(), 1);
        step.redefine(&definitions, &mut Output::default());
        Self {
            step,
            definitions,
            out: Output::default(),
            offset: 0,
        }
    }

    /// As the shell does it: a few records are read together, then observed one by one.
    #[inline]
    pub fn observe(&mut self, values: &[Vec<u8>], at_ms: i64) {
        for few in values.chunks(runtime::task::TOGETHER) {
            let record = |(offset, value)| Incoming {
                offset,
                appended_at: BrokerTime::from_ms(at_ms),
                key: None,
                value: Some(Vec::as_slice(value)),
                origin: Origin::Unknown,
            };
            let records: Vec<_> = (self.offset..).zip(few).map(record).collect();
            self.offset += few.len() as i64;
            let mut reads = Vec::with_capacity(records.len());
            self.step.read(&records, &mut reads);
            for (record, read) in records.iter().zip(&reads) {
                self.step.advance(record.appended_at, &mut self.out);
                self.step.observe(record, read, &mut self.out);
                self.out.clear();
            }
        }
    }

    /// One event of each market, at one time: a window of each length.
    pub fn fill(&mut self, markets: u64, first: u64, at_ms: i64) {
        for market in 0..markets {
            let at = EventTime::from_ms(at_ms);
            let (_, value) = trades::on_market(market, first + market, at);
            self.observe(&[value], at_ms);
        }
    }

    /// What a flush would write.
    pub fn flush(&mut self) -> Output {
        let mut changes = Output::default();
        self.step.drain_changes(&mut changes);
        changes
    }
}

/// The step's.
///
/// # Panics
/// Never: the tenant is a slug.
pub fn place() -> Place {
    Place {
        tenant: "bench".parse().expect("a slug"),
        partition: 0,
    }
}
