//! The meters that come with the installation.

use super::{Aggregate, Condition, Field, Filter, Function, Meter, Operand, Test, Window};
use crate::decimal::Decimal;
use crate::event::EventType;

/// The meters that every new tenant has.
pub fn built_in() -> Vec<(&'static str, Meter)> {
    vec![("candles", candles()), ("api", api_calls())]
}

/// Open, high, low, close, volume, vwap and trades of each market at 1 s, 1 m, 5 m, 1 h and 1 d.
pub fn candles() -> Meter {
    let widths_ms = [1_000, 60_000, 300_000, 3_600_000, 86_400_000];
    Meter {
        filter: Filter {
            event_type: Some(EventType::Trade),
            all: vec![],
        },
        value: Some(Field::Metric("price".into())),
        weight: Some(Field::Metric("size".into())),
        group_by: vec![Field::Subject],
        windows: widths_ms
            .map(|width_ms| Window::Tumbling { width_ms })
            .to_vec(),
        aggregates: vec![
            Aggregate::new("open", Function::First, Operand::Value),
            Aggregate::new("high", Function::Max, Operand::Value),
            Aggregate::new("low", Function::Min, Operand::Value),
            Aggregate::new("close", Function::Last, Operand::Value),
            Aggregate::new("volume", Function::Sum, Operand::Weight),
            Aggregate::new("vwap", Function::Vwap, Operand::Value),
            Aggregate::new("trades", Function::Count, Operand::Value),
        ],
    }
}

/// Requests, errors, their rate and the latency's quantiles of each endpoint of a service, at 10 s,
/// 1 m, 5 m and 1 h.
pub fn api_calls() -> Meter {
    let widths_ms = [10_000, 60_000, 300_000, 3_600_000];
    let count = |name| Aggregate::new(name, Function::Count, Operand::Value);
    let failed = Condition {
        field: Field::Error,
        test: Test::Eq("true".into()),
    };
    let rate = Operand::Aggregates(["errors".into(), "requests".into()]);
    let percent = |name, percent: i128| {
        let q = Decimal::units_checked(percent * Decimal::ONE.units() / 100);
        Aggregate::quantile(name, q)
    };
    Meter {
        filter: Filter {
            event_type: Some(EventType::ApiCall),
            all: vec![],
        },
        value: Some(Field::Metric("duration_ms".into())),
        weight: None,
        group_by: vec![Field::Subject, Field::Service, Field::Endpoint],
        windows: widths_ms
            .map(|width_ms| Window::Tumbling { width_ms })
            .to_vec(),
        aggregates: vec![
            count("requests"),
            count("errors").only([failed]),
            Aggregate::new("error_rate", Function::Ratio, rate),
            percent("p50", 50),
            percent("p95", 95),
            percent("p99", 99),
        ],
    }
}
