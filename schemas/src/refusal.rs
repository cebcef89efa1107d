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
/// Bytes in any other text of an event: a name, a title, a tag and its value.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Bytes in an event's record: what its topic takes. A batch may be compressed, and its records are
/// then as large as their producer likes.
pub const EVENT_BYTES_MAX: usize = 1_048_576;
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
    let bytes = value.unwrap_or_default();
    if bytes.len() > EVENT_BYTES_MAX {
        let (field, reason) = ("record", "has at most 1048576 bytes");
        return Err(Refusal::Size { field, reason });
    }
    let view = EventView::decode(bytes)?;
    let event_type =
        EventType::from_bytes(view.event_type.as_bytes()).ok_or(Refusal::UnknownType)?;
    check_sizes(&view)?;
    // No text is longer than the record that it stands in.
    if bytes.len() > TEXT_BYTES_MAX {
        check_texts(&view)?;
    }
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

#[cold]
fn check_texts(view: &EventView<'_>) -> Result<(), Refusal> {
    let texts = [
        ("name", view.name),
        ("source.service", Some(view.service)),
        ("source.host", view.host),
        ("source.method", view.method),
        ("source.endpoint", view.endpoint),
        ("source.version", view.version),
        ("title", view.title),
        ("trace_id", view.trace_id),
        ("user_id", view.user_id),
    ];
    let texts = texts
        .into_iter()
        .filter_map(|(field, text)| Some((field, text?)));
    let tags = view
        .tags
        .iter()
        .flat_map(|(name, value)| [("tags", name), ("tags", value)]);
    let metrics = view.metrics.iter().map(|(name, _)| ("metrics", name));
    let mut all = texts.chain(tags).chain(metrics);
    match all.find(|(_, text)| text.len() > TEXT_BYTES_MAX) {
        None => Ok(()),
        Some((field @ ("tags" | "metrics"), _)) => Err(Refusal::Size {
            field,
            reason: "has texts of at most 1024 bytes",
        }),
        Some((field, _)) => Err(Refusal::Size {
            field,
            reason: "has at most 1024 bytes",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::Decimal;
    use crate::event::{Event, Severity, Source};
    use crate::time::EventTime;

    fn event() -> Event {
        Event {
            event_id: "1".into(),
            event_type: EventType::CustomEvent,
            name: Some("a".into()),
            occurred_at: EventTime::from_ms(0),
            received_at: EventTime::from_ms(0),
            severity: Severity::Info,
            source: Source {
                service: "a".into(),
                host: Some("a".into()),
                method: Some("a".into()),
                endpoint: Some("a".into()),
                version: Some("a".into()),
            },
            subject: "a".into(),
            sequence: None,
            title: Some("a".into()),
            trace_id: Some("a".into()),
            user_id: Some("a".into()),
            tags: [("a".into(), "a".into())].into(),
            metrics: [("a".into(), Decimal::default())].into(),
            payload: Some("{}".into()),
        }
    }

    /// What the record of an event is refused for, as `field reason`.
    fn refused(change: impl FnOnce(&mut Event)) -> String {
        let mut event = event();
        change(&mut event);
        let mut record = vec![];
        event.encode(&mut record);
        let limits = DateLimits {
            future_max_ms: 0,
            past_max_ms: 0,
        };
        match read_event(Some(&record), BrokerTime::from_ms(0), &limits) {
            Ok(_) => "nothing".into(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn each_text_has_a_bound() {
        type Change = fn(&mut Event, String);
        let texts: [(&str, Change); 12] = [
            ("name", |e, t| e.name = Some(t)),
            ("source.service", |e, t| e.source.service = t),
            ("source.host", |e, t| e.source.host = Some(t)),
            ("source.method", |e, t| e.source.method = Some(t)),
            ("source.endpoint", |e, t| e.source.endpoint = Some(t)),
            ("source.version", |e, t| e.source.version = Some(t)),
            ("title", |e, t| e.title = Some(t)),
            ("trace_id", |e, t| e.trace_id = Some(t)),
            ("user_id", |e, t| e.user_id = Some(t)),
            ("tags", |e, t| e.tags = [(t, "a".into())].into()),
            ("tags", |e, t| e.tags = [("a".into(), t)].into()),
            ("metrics", |e, t| {
                e.metrics = [(t, Decimal::default())].into()
            }),
        ];
        for (field, change) in texts {
            let fits = "x".repeat(TEXT_BYTES_MAX);
            let longer = format!("{fits}x");
            assert_eq!(refused(|event| change(event, fits)), "nothing", "{field}");
            let told = refused(|event| change(event, longer));
            assert!(
                told.starts_with(&format!("{field} has ")),
                "{field}: {told}"
            );
            assert!(told.ends_with("at most 1024 bytes"), "{field}: {told}");
        }
    }

    #[test]
    fn a_record_has_a_bound_whatever_is_in_it() {
        let limits = DateLimits {
            future_max_ms: 0,
            past_max_ms: 0,
        };
        let huge = vec![0; EVENT_BYTES_MAX + 1];
        let refused = |bytes| read_event(Some(bytes), BrokerTime::from_ms(0), &limits).err();
        let (field, reason) = ("record", "has at most 1048576 bytes");
        assert_eq!(refused(&huge), Some(Refusal::Size { field, reason }));
        let taken = refused(&huge[1..]).unwrap();
        assert_eq!(taken.reason(), "unknown_schema");
    }
}
