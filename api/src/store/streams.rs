//! Topics that a later release has added, for tenants that were there before it.
//!
//! Once after each start, beside the courier, so that no change waits for it. A tenant whose topics
//! are not as they should be is named in the log and left as it is.

use std::time::Duration;

use runtime::control::ControlWriter;
use runtime::fate::{Backoff, Fate};
use runtime::kafka::Admin;
use runtime::kafka::admin::{AdminError, TopicSpec};
use runtime::service::Service;
use schemas::control::Kind;
use schemas::ids::{Stream, TenantId};

use super::Store;

/// What was added.
const ADDED: [Stream; 2] = [Stream::MetricsPartials, Stream::MetricsPartialsState];

/// Makes them for every tenant that the topic has; tries until it knows, or the service stops.
pub async fn ensure(store: Store, service: Service) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let ended = tokio::select! {
            ended = ensure_all(&store) => ended,
            () = service.shutdown.requested() => return,
        };
        let Err(reason) = ended else { return };
        tracing::debug!(%reason, "tenants' topics are not known yet");
        let stopped = service.shutdown.requested();
        if tokio::time::timeout(backoff.next_wait(), stopped)
            .await
            .is_ok()
        {
            return;
        }
    }
}

async fn ensure_all(store: &Store) -> Result<(), String> {
    let kafka = &store.shared.kafka;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let writer = ControlWriter::new(kafka, &store.shared.control).map_err(|e| text(&e))?;
    let topic = writer.read_published().await.map_err(|e| text(&e))?;
    let held = topic
        .iter()
        .filter(|(key, held)| key.kind == Kind::Tenant && held.body.is_some());
    let admin = Admin::new(kafka).map_err(|e| text(&e))?;
    for (key, _) in held {
        match ensure_one(store, &admin, &key.tenant).await {
            Err(error) if error.fate() == Fate::Retry => return Err(text(&error)),
            Err(error) => {
                let tenant = &key.tenant;
                tracing::warn!(%error, %tenant, "topics of this release are not made");
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Makes them, where the tenant's events have as many partitions as topics get now: the others must
/// have as many.
async fn ensure_one(store: &Store, admin: &Admin, tenant: &TenantId) -> Result<(), AdminError> {
    let kafka = &store.shared.kafka;
    let spec = |stream| TopicSpec::of(&tenant.topic(stream), kafka);
    admin.ensure(&[spec(Stream::Events)]).await?;
    admin.ensure(&ADDED.map(spec)).await.map(drop)
}
