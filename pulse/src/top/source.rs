//! A tenant's events as they reach the log, from a little before now.

use std::time::Duration;

use runtime::fate::{Backoff, Fate};
use runtime::kafka::admin::AdminError;
use runtime::kafka::reader::ReadError;
use runtime::kafka::{Admin, Isolation, KafkaConfig, Partition, Reader, Start};
use runtime::service::Shutdown;
use schemas::event::EventView;
use schemas::ids::{Stream, TenantId};

/// How far before the end of each partition reading begins: enough for each market to show.
const BACKLOG_COUNT: i64 = 2_000;
/// How long one question to the brokers may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long the thread sleeps at most before it looks whether it should stop.
const NAP: Duration = Duration::from_millis(100);

/// Why there is nothing to follow.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The tenant has no topic of events.
    #[error("tenant {tenant} has no topic of events: `pulse up` or `pulse init` makes it")]
    NoTopic {
        /// The tenant.
        tenant: TenantId,
    },
    /// The brokers do not answer, or refuse.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The topic cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What comes of following.
pub enum Happening<'a> {
    /// An event, and when the broker appended it, in ms.
    Event(&'a EventView<'a>, i64),
    /// All that was there when reading began has been handed on; said again after trouble.
    CaughtUp,
    /// It cannot be read at present.
    Trouble(String),
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// More, please.
    More,
    /// Enough.
    Enough,
}

/// Hands events on until it is told to stop, or until `each` has enough; waits for brokers that are
/// away.
///
/// # Errors
/// When waiting will not help.
pub fn follow(
    kafka: &KafkaConfig,
    tenant: &TenantId,
    shutdown: &Shutdown,
    mut each: impl FnMut(Happening<'_>) -> Flow,
) -> Result<(), SourceError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let mut positions = None;
    while !shutdown.is_requested() {
        let ended = read(kafka, tenant, shutdown, &mut positions, &mut each);
        let error = match ended {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.fate() != Fate::Retry {
            return Err(error);
        }
        if each(Happening::Trouble(error.to_string())) == Flow::Enough {
            return Ok(());
        }
        shutdown.wait_at_most(backoff.next_wait());
    }
    Ok(())
}

impl SourceError {
    fn fate(&self) -> Fate {
        match self {
            Self::NoTopic { .. } => Fate::Halt,
            Self::Admin(error) => error.fate(),
            // Retention has passed what we had read last: go on from where the log is now.
            Self::Read(ReadError::OutOfRange { .. }) => Fate::Retry,
            Self::Read(error) => error.fate(),
        }
    }
}

/// Reads until there is trouble. `positions` are where the next attempt goes on.
fn read(
    kafka: &KafkaConfig,
    tenant: &TenantId,
    shutdown: &Shutdown,
    positions: &mut Option<Vec<i64>>,
    each: &mut impl FnMut(Happening<'_>) -> Flow,
) -> Result<(), SourceError> {
    let (spans, ends) = spans(kafka, tenant, positions.take())?;
    let reader = Reader::open(kafka, "pulse-top", Isolation::Committed, &spans)?;
    let mut is_caught_up = false;
    while !shutdown.is_requested() {
        let mut count = 0;
        for index in 0..spans.len() {
            let batch = reader.next(index)?;
            count += batch.count();
            for record in batch.records() {
                // Who cannot be read is the metrics step's to tell.
                let Ok(event) = EventView::decode(record.value().unwrap_or_default()) else {
                    continue;
                };
                if each(Happening::Event(&event, record.appended_at_ms())) == Flow::Enough {
                    return Ok(());
                }
            }
        }
        let reached: Vec<i64> = (0..spans.len())
            .map(|index| reader.position(index))
            .collect();
        if !is_caught_up && reached.iter().zip(&ends).all(|(at, end)| at >= end) {
            is_caught_up = true;
            if each(Happening::CaughtUp) == Flow::Enough {
                return Ok(());
            }
        }
        *positions = Some(reached);
        if count == 0 {
            reader.wait(NAP);
        }
    }
    Ok(())
}

type Spans = Vec<(Partition, Start)>;

/// Where reading begins in each partition, and where it has caught up.
fn spans(
    kafka: &KafkaConfig,
    tenant: &TenantId,
    positions: Option<Vec<i64>>,
) -> Result<(Spans, Vec<i64>), SourceError> {
    let topic = tenant.topic(Stream::Events).to_string();
    let admin = Admin::new(kafka)?;
    let count = admin.partition_count(&topic, ANSWER_MAX)?;
    let count = count.ok_or_else(|| SourceError::NoTopic {
        tenant: tenant.clone(),
    })?;
    let partitions: Vec<_> = (0..count)
        .map(|number| Partition::new(&topic, number))
        .collect();
    let edges = admin.watermarks(&partitions, Isolation::Committed, ANSWER_MAX)?;
    let start = |index: usize| {
        let edges = edges[index];
        let before = positions
            .as_ref()
            .and_then(|positions| positions.get(index).copied());
        before
            .unwrap_or(edges.high - BACKLOG_COUNT)
            .clamp(edges.low, edges.high)
    };
    let starts: Vec<i64> = (0..partitions.len()).map(start).collect();
    let spans = partitions
        .into_iter()
        .zip(starts.into_iter().map(Start::At))
        .collect();
    Ok((spans, edges.iter().map(|edges| edges.high).collect()))
}
