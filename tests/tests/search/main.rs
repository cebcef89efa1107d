//! Reading for one tenant: search, statistics and previews, on a real Kafka and a real ClickHouse.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod desk;
mod filters;
mod isolation;
mod limits;
mod paging;
mod preview;
mod statistics;

use std::collections::BTreeMap;

use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::time::EventTime;

use desk::Desk;

/// A plain event, `ms` before now.
fn event(id: &str, ms: i64) -> Event {
    let at = EventTime::from_ms(runtime::clock::now_ms() - ms);
    Event {
        event_id: id.into(),
        event_type: EventType::CustomEvent,
        name: None,
        occurred_at: at,
        received_at: at,
        severity: Severity::Info,
        source: Source {
            service: "shop".into(),
            ..Source::default()
        },
        subject: "user-1".into(),
        sequence: None,
        title: None,
        trace_id: None,
        user_id: None,
        tags: BTreeMap::new(),
        metrics: BTreeMap::new(),
        payload: None,
    }
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}
