//! Which events nobody may use: one pure function that every reader of `events` calls.
//!
//! The metrics step writes the dead letter; every other reader skips the record, so that all agree
//! on what was counted.

use crate::event::{EventType, EventView};
use crate::time::BrokerTime;
use crate::wire::DecodeError;

/// How far from its append an event may be dated, per tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DateLimits {
    /// Furthest into the future, in milliseconds; 5 minutes unless set.
    pub future_max_ms: i64,
    /// Furthest into the past, in milliseconds; 10 years unless set.
    pub past_max_ms: i64,
}

/// Bytes in an event id.
pub const EVENT_ID_BYTES_MAX: usize = 256;
/// Bytes in a subject.
pub const SUBJECT_BYTES_MAX: usize = 512;
/// Tags, and numbers, in an event.
pub const ITEMS_MAX: usize = 64;
/// Bytes in a payload.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Why an event may not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are not an event.
    #[error("{0}")]
    Unreadable(#[from] DecodeError),
    /// A type that is not known.
    #[error("event_type is not one of the known types")]
    UnknownType,
    /// A field that is empty or too large.
    #[error("{field} {reason}")]
    Size {
        /// Which field.
        field: &'static str,
        /// What would be right.
        reason: &'static str,
    },
    /// Dated after its append by more than the tenant allows.
    #[error("occurred_at is {ahead_ms} ms ahead of the append, more than {max_ms} ms")]
    Future {
        /// How far ahead.
        ahead_ms: i64,
        /// How far it may be.
        max_ms: i64,
    },
    /// Dated before its append by more than the tenant allows.
    #[error("occurred_at is {behind_ms} ms behind the append, more than {max_ms} ms")]
    Past {
        /// How far behind.
        behind_ms: i64,
        /// How far it may be.
        max_ms: i64,
    },
    /// The record lies in a partition that is not its subject's.
    #[error("subject belongs to partition {expected}: use murmur2 on the subject as the key")]
    WrongPartition {
        /// Where it belongs.
        expected: i32,
    },
}

impl Refusal {
    /// A stable word for counters and dead letters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(error) => error.reason(),
            Self::UnknownType => "unknown_event_type",
            Self::Size { .. } => "size",
            Self::Future { .. } => "future",
            Self::Past { .. } => "past",
            Self::WrongPartition { .. } => "wrong_partition",
        }
    }
}

/// Reads the event of a record, or says why nobody may use it.
///
/// `None` for a value stands for a tombstone, which no producer of events writes.
#[inline]
pub fn read_event<'a>(
    value: Option<&'a [u8]>,
    appended_at: BrokerTime,
    limits: &DateLimits,
) -> Result<(EventView<'a>, EventType), Refusal> {
    let view = EventView::decode(value.unwrap_or_default())?;
    let event_type =
        EventType::from_bytes(view.event_type.as_bytes()).ok_or(Refusal::UnknownType)?;
    check_sizes(&view)?;
    let ahead_ms = view.occurred_at.as_ms().saturating_sub(appended_at.as_ms());
    if ahead_ms > limits.future_max_ms {
        return Err(Refusal::Future {
            ahead_ms,
            max_ms: limits.future_max_ms,
        });
    }
    if ahead_ms < -limits.past_max_ms {
        let behind_ms = ahead_ms.saturating_neg();
        return Err(Refusal::Past {
            behind_ms,
            max_ms: limits.past_max_ms,
        });
    }
    Ok((view, event_type))
}

#[inline]
fn check_sizes(view: &EventView<'_>) -> Result<(), Refusal> {
    let size = |field, reason| Err(Refusal::Size { field, reason });
    if view.event_id.is_empty() || view.event_id.len() > EVENT_ID_BYTES_MAX {
        return size("event_id", "has 1 to 256 bytes");
    }
    if view.subject.is_empty() || view.subject.len() > SUBJECT_BYTES_MAX {
        return size("subject", "has 1 to 512 bytes");
    }
    if view.tags.len() > ITEMS_MAX {
        return size("tags", "has at most 64 items");
    }
    if view.metrics.len() > ITEMS_MAX {
        return size("metrics", "has at most 64 items");
    }
    if view.payload.is_some_and(|p| p.len() > PAYLOAD_BYTES_MAX) {
        return size("payload", "has at most 65536 bytes");
    }
    Ok(())
}
