//! Which events nobody may use: one pure function that every reader of `events` calls.
//!
//! The metrics step writes the dead letter; every other reader skips the record, so that all agree
//! on what was counted.

use serde::de::IgnoredAny;

use crate::control::Exchange;
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

/// What a tenant's events are held to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventRules {
    /// How far from its append an event may be dated.
    pub dates: DateLimits,
    /// True when producers of the tenant's own write straight to Kafka: what came through no door
    /// of ours is then held to the door's rules here, and what is reserved must be our own.
    pub direct_producers: bool,
}

impl From<DateLimits> for EventRules {
    /// The rules where all that write are ours.
    fn from(dates: DateLimits) -> Self {
        Self {
            dates,
            direct_producers: false,
        }
    }
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
    /// A type or subject that PulseStream alone writes, in a record that is not its own.
    #[error("{what} comes from PulseStream's own connectors alone")]
    Reserved {
        /// What is reserved.
        what: &'static str,
    },
    /// A payload that is no JSON.
    #[error("payload is not JSON")]
    Payload,
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
            Self::Reserved { .. } => "reserved",
            Self::Payload => "invalid_field",
            Self::Future { .. } => "future",
            Self::Past { .. } => "past",
            Self::WrongPartition { .. } => "wrong_partition",
        }
    }
}

/// What subjects of ours begin with, beside the exchanges' names: what PulseStream says of itself.
const OWN_SUBJECTS: &str = "pulse";

/// What of an event PulseStream's own processes alone may write, if anything.
pub fn reserved(event_type: EventType, subject: &str) -> Option<&'static str> {
    let source = subject.split_once(':').map(|(source, _)| source);
    match event_type {
        EventType::Gap => Some("the type gap"),
        EventType::Candle => Some("the type candle"),
        _ if source == Some(OWN_SUBJECTS) => Some("a subject that begins with pulse:"),
        _ => Exchange::ALL
            .into_iter()
            .any(|exchange| source == Some(exchange.name()))
            .then_some("a subject of an exchange"),
    }
}

/// Reads the event of a record, or says why nobody may use it.
///
/// `None` for a value stands for a tombstone, which no producer of events writes. `is_own` says
/// whether the record is one of PulseStream's own; it is asked where that matters, and nowhere
/// else.
#[inline]
pub fn read_event<'a>(
    value: Option<&'a [u8]>,
    appended_at: BrokerTime,
    rules: &EventRules,
    is_own: impl FnOnce() -> bool,
) -> Result<(EventView<'a>, EventType), Refusal> {
    let limits = &rules.dates;
    let bytes = value.unwrap_or_default();
    if bytes.len() > EVENT_BYTES_MAX {
        let (field, reason) = ("record", "has at most 1048576 bytes");
        return Err(Refusal::Size { field, reason });
    }
    let view = EventView::decode(bytes)?;
    let event_type =
        EventType::from_bytes(view.event_type.as_bytes()).ok_or(Refusal::UnknownType)?;
    // First of all: what is forged is called so, whatever else is wrong with it.
    if rules.direct_producers {
        check_reserved(event_type, &view, is_own)?;
    }
    check_sizes(&view)?;
    // No text is longer than the record that it stands in.
    if bytes.len() > TEXT_BYTES_MAX {
        check_texts(&view)?;
    }
    if rules.direct_producers {
        check_payload(&view)?;
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

fn check_reserved(
    event_type: EventType,
    view: &EventView<'_>,
    is_own: impl FnOnce() -> bool,
) -> Result<(), Refusal> {
    match reserved(event_type, view.subject.as_str()) {
        Some(what) if !is_own() => Err(Refusal::Reserved { what }),
        _ => Ok(()),
    }
}

/// The gateway takes nothing else, and whoever reads payloads relies on it.
fn check_payload(view: &EventView<'_>) -> Result<(), Refusal> {
    let is_json = |payload: &str| serde_json::from_str::<IgnoredAny>(payload).is_ok();
    match view.payload {
        Some(payload) if !is_json(payload.as_str()) => Err(Refusal::Payload),
        _ => Ok(()),
    }
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

    const RULES: EventRules = EventRules {
        dates: DateLimits {
            future_max_ms: 0,
            past_max_ms: 0,
        },
        direct_producers: false,
    };

    /// Where producers are not let in, nobody asks who wrote a record.
    fn never() -> bool {
        panic!("nobody asks")
    }

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
        match read_event(Some(&record), BrokerTime::from_ms(0), &RULES, never) {
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
        let huge = vec![0; EVENT_BYTES_MAX + 1];
        let refused = |bytes| read_event(Some(bytes), BrokerTime::from_ms(0), &RULES, never).err();
        let (field, reason) = ("record", "has at most 1048576 bytes");
        assert_eq!(refused(&huge), Some(Refusal::Size { field, reason }));
        let taken = refused(&huge[1..]).unwrap();
        assert_eq!(taken.reason(), "unknown_schema");
    }

    /// What an event is refused for where producers write straight to Kafka.
    #[track_caller]
    fn check_direct(of: EventType, subject: &str, is_own: bool, expect: &str) {
        let rules = EventRules {
            direct_producers: true,
            ..RULES
        };
        let mut record = vec![];
        let event = Event {
            event_type: of,
            subject: subject.into(),
            ..event()
        };
        event.encode(&mut record);
        let read = read_event(Some(&record), BrokerTime::from_ms(0), &rules, || is_own);
        let told = read.map_or_else(|refusal| refusal.to_string(), |_| "nothing".into());
        assert!(told.starts_with(expect), "{of:?} {subject}: {told}");
        let trusting = read_event(Some(&record), BrokerTime::from_ms(0), &RULES, never);
        assert!(trusting.is_ok(), "{of:?} {subject}: {trusting:?}");
    }

    #[test]
    fn what_is_reserved_must_be_our_own_where_producers_are_let_in() {
        use EventType::{ApiCall, Candle, CustomEvent, Gap, Quote, SystemEvent, Trade};
        let market = "a subject of an exchange comes";
        for (of, subject, refused) in [
            (Gap, "shop", "the type gap comes"),
            (Candle, "shop", "the type candle comes"),
            (Gap, "coinbase:BTC-USD", "the type gap comes"),
            (Trade, "coinbase:BTC-USD", market),
            (Quote, "coinbase:BTC-USD", market),
            (SystemEvent, "coinbase:feed", market),
            (CustomEvent, "coinbase:", market),
            (
                SystemEvent,
                "pulse:limits",
                "a subject that begins with pulse:",
            ),
        ] {
            check_direct(of, subject, false, refused);
            check_direct(of, subject, true, "nothing");
        }
        for (of, subject) in [
            (Trade, "shop:BTC-USD"),
            (SystemEvent, "feed"),
            (ApiCall, "coinbase"),
            (CustomEvent, "Coinbase:BTC-USD"),
            (CustomEvent, "xcoinbase:BTC-USD"),
            (CustomEvent, "shop:coinbase:BTC-USD"),
        ] {
            check_direct(of, subject, false, "nothing");
        }
    }

    #[test]
    fn what_is_forged_is_called_so_whatever_else_is_wrong() {
        let rules = EventRules {
            direct_producers: true,
            ..RULES
        };
        let mut record = vec![];
        let event = Event {
            event_type: EventType::Gap,
            event_id: String::new(),
            occurred_at: EventTime::from_ms(i64::MAX / 1_000),
            ..event()
        };
        event.encode(&mut record);
        let read = read_event(Some(&record), BrokerTime::from_ms(0), &rules, || false);
        assert_eq!(read.err().map(|refusal| refusal.reason()), Some("reserved"));
    }

    #[test]
    fn a_payload_is_json_where_producers_are_let_in() {
        let rules = EventRules {
            direct_producers: true,
            ..RULES
        };
        let refused = |payload: &str| {
            let mut record = vec![];
            let event = Event {
                payload: Some(payload.into()),
                ..event()
            };
            event.encode(&mut record);
            let read = read_event(Some(&record), BrokerTime::from_ms(0), &rules, || false);
            read.err()
        };
        for sound in ["{}", r#"{"a": [1, null, "b"]}"#, "1", " [] "] {
            assert_eq!(refused(sound), None, "{sound}");
        }
        for bad in ["", "{", "{} {}", "{'a': 1}", &"[".repeat(10_000)] {
            let refusal = refused(bad).unwrap();
            assert_eq!(refusal, Refusal::Payload, "{bad}");
            assert_eq!(refusal.reason(), "invalid_field");
        }
    }
}
