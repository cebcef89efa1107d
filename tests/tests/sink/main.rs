//! The ClickHouse sink on a real Kafka and a real ClickHouse.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod cut;
mod faults;
mod https;
mod rows;
mod schema;

use schemas::event::Event;
use schemas::ids::{Stream, TenantId};
use tests::{Installation, samples};

const SINK: &str = "pulse-clickhouse-0";

async fn start() -> Installation {
    let mut installation = Installation::start().await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    installation
}

async fn publish(installation: &Installation, tenant: &TenantId, events: &[Event]) {
    let topic = tenant.topic(Stream::Events).to_string();
    for chunk in events.chunks(1_000) {
        let records: Vec<_> = chunk.iter().map(samples::record).collect();
        installation.publish(&topic, &records).await;
    }
}
