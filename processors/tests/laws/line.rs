//! One partition's step, fed by hand, and what it put out.

use std::collections::BTreeMap;

use processors::metrics::{Definitions, MetricsStep, NamedMeter};
use runtime::step::{Counts, Incoming, Output, Place, Step};
use schemas::control::Limits;
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::ids::Stream;
use schemas::meter::{Aggregate, Field, Function, Meter, Operand, Window};
use schemas::metric::MetricView;
use schemas::time::{BrokerTime, EventTime};

pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Midnight of some day: every window of the candles begins here.
pub(crate) const BEGIN_MS: i64 = 20_000 * 24 * HOUR_MS;

/// A record that came out: stream, key, value.
pub(crate) type Put = (Stream, Vec<u8>, Option<Vec<u8>>);

/// A step with its log.
pub(crate) struct Line {
    pub(crate) step: MetricsStep,
    pub(crate) definitions: Definitions,
    next: i64,
    pub(crate) puts: Vec<Put>,
}

pub(crate) fn place() -> Place {
    Place {
        tenant: "laws".parse().unwrap(),
        partition: 0,
    }
}

/// The candles that each tenant has.
pub(crate) fn candles(limits: Limits) -> Definitions {
    let meter = NamedMeter {
        id: "candles".into(),
        version: 1,
        meter: schemas::meter::candles(),
    };
    Definitions {
        limits,
        meters: vec![meter],
    }
}

/// Candles, and beside them a meter whose results are read from sketches.
pub(crate) fn with_sketches(limits: Limits) -> Definitions {
    let quantile = |name: &str, q: &str| Aggregate::quantile(name, q.parse().unwrap());
    let ids = Operand::Field(Field::Tag("id".into()));
    let mut definitions = candles(limits);
    definitions.meters.push(NamedMeter {
        id: "sketched".into(),
        version: 1,
        meter: Meter {
            windows: vec![
                Window::Tumbling { width_ms: 1_000 },
                Window::Tumbling {
                    width_ms: MINUTE_MS,
                },
                Window::Hopping {
                    width_ms: 5 * MINUTE_MS,
                    hop_ms: MINUTE_MS,
                },
            ],
            aggregates: vec![
                quantile("p50", "0.5"),
                quantile("p99", "0.99"),
                Aggregate::new("ids", Function::Distinct, ids),
            ],
            ..schemas::meter::candles()
        },
    });
    definitions
}

/// A trade: subject, id, time, price, size.
pub(crate) fn trade(subject: &str, id: u64, occurred_ms: i64, price: i64, size: i64) -> Event {
    let number = |name: &str, value| (name.to_owned(), Decimal::from_int(value));
    Event {
        event_id: id.to_string(),
        event_type: EventType::Trade,
        name: None,
        occurred_at: EventTime::from_ms(occurred_ms),
        received_at: EventTime::from_ms(occurred_ms),
        severity: Severity::Info,
        source: Source {
            service: "laws".into(),
            ..Source::default()
        },
        subject: subject.to_owned(),
        sequence: Some(id as i64),
        title: None,
        trace_id: None,
        user_id: None,
        tags: [("id".to_owned(), id.to_string())].into(),
        metrics: [number("price", price), number("size", size)].into(),
        payload: None,
    }
}

impl Line {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::under(candles(limits))
    }

    pub(crate) fn under(definitions: Definitions) -> Self {
        let mut step = MetricsStep::new(&place(), 1);
        step.redefine(&definitions, &mut Output::default());
        Self {
            step,
            definitions,
            next: 0,
            puts: vec![],
        }
    }

    /// Appends an event at a moment, and lets the step observe it.
    pub(crate) fn feed(&mut self, at_ms: i64, event: &Event) {
        let mut value = vec![];
        event.encode(&mut value);
        let mut out = Output::default();
        let appended_at = BrokerTime::from_ms(at_ms);
        self.step.advance(appended_at, &mut out);
        let record = Incoming {
            offset: self.next,
            appended_at,
            key: Some(event.subject.as_bytes()),
            value: Some(&value),
        };
        self.step.observe_one(&record, &mut out);
        self.next += 1;
        self.take(&out);
    }

    /// Tells the step what time it is.
    pub(crate) fn tick(&mut self, at_ms: i64) {
        let mut out = Output::default();
        self.step.advance(BrokerTime::from_ms(at_ms), &mut out);
        self.take(&out);
    }

    /// Takes other definitions into force.
    pub(crate) fn redefine(&mut self, definitions: Definitions) {
        let mut out = Output::default();
        self.step.redefine(&definitions, &mut out);
        self.definitions = definitions;
        self.take(&out);
    }

    fn take(&mut self, out: &Output) {
        let put = |record: runtime::step::Outgoing<'_>| {
            let value = record.value.map(<[u8]>::to_vec);
            (record.stream, record.key.to_vec(), value)
        };
        self.puts.extend(out.iter().map(put));
    }

    /// Takes the changes of its state, as they would be written.
    pub(crate) fn changes(&mut self) -> Vec<Put> {
        let mut out = Output::default();
        self.step.drain_changes(&mut out);
        out.iter()
            .map(|r| (r.stream, r.key.to_vec(), r.value.map(<[u8]>::to_vec)))
            .collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.step.counts()
    }

    /// The latest revision of every fired window: by subject's group, width and start.
    pub(crate) fn fired(&self) -> BTreeMap<(String, i64, i64), Candle> {
        let mut fired = BTreeMap::new();
        for (stream, _, value) in &self.puts {
            if *stream != Stream::Metrics {
                continue;
            }
            let view = MetricView::decode(value.as_ref().unwrap()).unwrap();
            if view.meter != "candles" {
                continue;
            }
            let key = (
                view.group.as_str().to_owned(),
                view.window_ms,
                view.window_start.as_us() / 1_000,
            );
            fired.insert(key, Candle::of(&view));
        }
        fired
    }
}

/// A candle as its reader sees it, but for the revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Candle {
    pub(crate) open: Decimal,
    pub(crate) high: Decimal,
    pub(crate) low: Decimal,
    pub(crate) close: Decimal,
    pub(crate) volume: Decimal,
    pub(crate) trades: u64,
}

impl Candle {
    fn of(view: &MetricView<'_>) -> Self {
        let value = |name| view.values.get(name).unwrap();
        assert_eq!(
            value("trades"),
            Decimal::from_int(view.event_count as i64),
            "the count and the aggregate agree"
        );
        Self {
            open: value("open"),
            high: value("high"),
            low: value("low"),
            close: value("close"),
            volume: value("volume"),
            trades: view.event_count,
        }
    }

    /// This one and a later one as one.
    pub(crate) fn then(&self, later: &Self) -> Self {
        Self {
            open: self.open,
            high: self.high.max(later.high),
            low: self.low.min(later.low),
            close: later.close,
            volume: self.volume.checked_add(later.volume).unwrap(),
            trades: self.trades + later.trades,
        }
    }
}
