//! The one task that publishes: takes the topic over, drains the outbox, and compares.
//!
//! It is the only writer of `pulse.control` in an installation that has a pulse-api. A failure
//! makes it begin anew with another producer; what was published and not known to be is published
//! again, which changes nothing.

use std::time::Duration;

use runtime::control::{ControlWriter, Stopped, WriteError};
use runtime::fate::Backoff;
use runtime::health::Condition;
use runtime::kafka::Admin;
use runtime::kafka::admin::{AdminError, TopicSpec};
use runtime::service::{Service, Shutdown};
use schemas::ids::{Stream, TenantId};

use super::compare::{self, Topic};
use super::{Change, Store, StoreError, outbox};

/// The health check of this part.
pub const CHECK: &str = "store";

/// How often the topic is compared with the store.
const COMPARE_INTERVAL: Duration = Duration::from_secs(60);

/// How long publishing may say nothing: longer than a record may take in the producer.
const PUBLISH_MAX: Duration = Duration::from_secs(45);

/// Why a round was not finished.
#[derive(Debug, thiserror::Error)]
enum CourierError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Topics(#[from] AdminError),
    #[error(transparent)]
    Control(#[from] WriteError),
    #[error(transparent)]
    Publish(#[from] Stopped),
    #[error("the producer says nothing of its records")]
    Silent,
}

/// Publishes the store's changes until the service is told to stop. What is in the outbox then
/// stays there for the next start.
pub async fn run(store: Store, service: Service) {
    service.health.register(CHECK);
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let shutdown = service.shutdown.clone();
    loop {
        let round = work(&store, &service, &mut backoff);
        let ended = tokio::select! {
            ended = round => ended,
            () = shutdown.requested() => return,
        };
        let Err(error) = ended else { return };
        let reason = format!("changes are kept and not published: {error}");
        let is_open = *store.shared.is_open.borrow();
        // With its store a pulse-api can still answer; without the take-over it knows of nothing.
        let condition = match is_open {
            true => Condition::Warning(reason),
            false => Condition::NotReady(reason),
        };
        service.health.set(CHECK, condition);
        if wait(&shutdown, backoff.next_wait()).await {
            return;
        }
    }
}

/// True when the service is to stop.
async fn wait(shutdown: &Shutdown, wait: Duration) -> bool {
    tokio::time::timeout(wait, shutdown.requested())
        .await
        .is_ok()
}

async fn work(store: &Store, service: &Service, backoff: &mut Backoff) -> Result<(), CourierError> {
    let writer = ControlWriter::new(&store.shared.kafka, &store.shared.control)?;
    if !*store.shared.is_open.borrow() {
        take_over(store, &writer).await?;
    }
    // First, so that what was committed before a crash is on the topic before it is compared.
    drain(store, &writer).await?;
    let mut looks = tokio::time::interval(COMPARE_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = store.shared.grown.notified() => {}
            () = store.shared.look.notified() => compare(store, &writer).await?,
            _ = looks.tick() => compare(store, &writer).await?,
        }
        drain(store, &writer).await?;
        backoff.reset();
        service.health.set(CHECK, Condition::Ready);
    }
}

/// Fills a new store with what the topic holds.
async fn take_over(store: &Store, writer: &ControlWriter) -> Result<(), CourierError> {
    let admin = Admin::new(&store.shared.kafka)?;
    admin
        .ensure(&[TopicSpec::control(&store.shared.kafka)])
        .await?;
    let topic = writer.read_published().await?;
    let count = topic.len();
    write(store, move |change| compare::take_over(change, &topic)).await?;
    tracing::info!(count, "the control topic is taken over");
    store.shared.is_open.send_replace(true);
    Ok(())
}

/// Publishes what is in the outbox, from the front, and forgets it.
async fn drain(store: &Store, writer: &ControlWriter) -> Result<(), CourierError> {
    loop {
        let head = store.database.run(|sql| outbox::head(sql)).await?;
        store.shared.outbox_count.set(head.count);
        let (numbers, changes): (Vec<_>, Vec<_>) = head.changes.into_iter().unzip();
        if changes.is_empty() {
            store.shared.published.send_replace(head.last_number);
            return Ok(());
        }
        let published = tokio::time::timeout(PUBLISH_MAX, writer.publish(&changes)).await;
        let published = published.map_err(|_| CourierError::Silent)?;
        let safe_count = match &published {
            Ok(()) => changes.len(),
            Err(stopped) => stopped.safe_count,
        };
        if let Some(last) = safe_count.checked_sub(1).map(|at| numbers[at]) {
            // A crash before this line publishes them again.
            let forget = move |sql: &mut rusqlite::Connection| outbox::forget(sql, last);
            store.database.run(forget).await?;
            store.shared.published.send_replace(last);
        }
        published?;
    }
}

/// Compares the topic with the store, and puts into the outbox what mends the difference.
async fn compare(store: &Store, writer: &ControlWriter) -> Result<(), CourierError> {
    drain(store, writer).await?;
    // All up to here is on the topic, so a topic that is read from now on has it.
    let drained = *store.shared.published.borrow();
    let topic = writer.read_published().await?;
    let (findings, topic) = look(store, topic, drained).await?;
    let tenants = compare::tenants_to_be(&findings.differences, &topic);
    ensure_topics(store, &tenants).await?;
    let mend = move |change: &mut Change<'_>| compare::mend(change, &topic, &findings, drained);
    let count = write(store, mend).await?;
    store
        .shared
        .republished
        .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    Ok(())
}

async fn look(
    store: &Store,
    topic: Topic,
    drained: i64,
) -> Result<(compare::Findings, Topic), StoreError> {
    let look = move |change: &Change<'_>| {
        let findings = compare::look(change, &topic, drained)?;
        Ok((findings, topic))
    };
    store.read(look).await
}

/// A tenant comes back with its topics, which may have gone with it.
async fn ensure_topics(store: &Store, tenants: &[TenantId]) -> Result<(), CourierError> {
    if tenants.is_empty() {
        return Ok(());
    }
    let kafka = &store.shared.kafka;
    let admin = Admin::new(kafka)?;
    for tenant in tenants {
        let topics = Stream::ALL.map(|stream| TopicSpec::of(&tenant.topic(stream), kafka));
        admin.ensure(&topics).await?;
    }
    Ok(())
}

/// One transaction of the courier's own.
async fn write<T: Send + 'static>(
    store: &Store,
    make: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let make = move |connection: &mut rusqlite::Connection| {
        let behavior = rusqlite::TransactionBehavior::Immediate;
        let transaction = connection.transaction_with_behavior(behavior)?;
        let made = make(&mut Change::of(&transaction))?;
        transaction.commit()?;
        Ok(made)
    };
    store.database.run(make).await
}
