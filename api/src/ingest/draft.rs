//! An event as it was read, and the rules that concern more than one of its fields.

use std::borrow::Cow;

use schemas::decimal::Decimal;
use schemas::event::{EventHead, EventType, Severity};
use schemas::refusal::{DateLimits, ITEMS_MAX, SUBJECT_BYTES_MAX};
use schemas::time::EventTime;

use super::Rules;
use super::faults::Faults;
use super::identity::Ids;
use super::reserved::{TYPES, is_connectors_subject, is_platforms, is_reserved_type};
use crate::problem::FieldFault;

/// What an event may lack towards the limit of the future: the broker's clock may be behind ours.
const FUTURE_MARGIN_MS: i64 = 5_000;
/// What it may lack towards the limit of the past: it may lie a while before the broker has it.
const PAST_MARGIN_MS: i64 = 86_400_000;

/// The fields of an event, each sound in itself.
#[derive(Default)]
pub(super) struct Draft<'a> {
    pub(super) event_id: Option<Cow<'a, str>>,
    pub(super) event_type: Option<EventType>,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) occurred_at: Option<EventTime>,
    pub(super) severity: Severity,
    pub(super) service: Option<Cow<'a, str>>,
    pub(super) host: Option<Cow<'a, str>>,
    pub(super) method: Option<Cow<'a, str>>,
    pub(super) endpoint: Option<Cow<'a, str>>,
    pub(super) version: Option<Cow<'a, str>>,
    pub(super) subject: Option<Cow<'a, str>>,
    pub(super) sequence: Option<i64>,
    pub(super) title: Option<Cow<'a, str>>,
    pub(super) trace_id: Option<Cow<'a, str>>,
    pub(super) user_id: Option<Cow<'a, str>>,
    /// Each name once.
    pub(super) tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Each name once.
    pub(super) metrics: Vec<(Cow<'a, str>, Decimal)>,
    pub(super) payload: Option<Cow<'a, str>>,
    pub(super) unread: Unread,
}

/// Fields that are there and could not be read, so that nobody says that they are missing.
#[derive(Clone, Copy, Default)]
pub(super) struct Unread {
    pub(super) event_id: bool,
    pub(super) event_type: bool,
    pub(super) timestamp: bool,
    pub(super) service: bool,
    pub(super) subject: bool,
}

/// There is one of that name.
pub(super) struct Taken;

/// How a form of events calls the fields that the rules here are about.
pub(super) struct Places {
    pub(super) event_id: &'static str,
    pub(super) event_type: &'static str,
    pub(super) timestamp: &'static str,
    pub(super) service: &'static str,
    pub(super) endpoint: &'static str,
    pub(super) subject: &'static str,
    pub(super) user_id: &'static str,
    pub(super) tags: &'static str,
    pub(super) metrics: &'static str,
}

/// Room that the events of a request use one after the other.
pub(super) struct Room {
    pub(super) ids: Ids,
    subject: String,
}

impl Room {
    pub(super) fn new(rules: &Rules<'_>) -> Self {
        Self {
            ids: Ids::at(rules.received_at),
            subject: String::new(),
        }
    }
}

impl<'a> Draft<'a> {
    /// One more tag, unless there is one of that name; what goes beyond the limit by more than one
    /// is dropped, as the event is refused then.
    #[inline]
    pub(super) fn add_tag(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) -> Result<(), Taken> {
        if self.tags.len() > ITEMS_MAX {
            return Ok(());
        }
        if self.tags.iter().any(|(taken, _)| *taken == name) {
            return Err(Taken);
        }
        self.tags.push((name, value));
        Ok(())
    }

    /// One more number, by the same rules.
    #[inline]
    pub(super) fn add_metric(&mut self, name: Cow<'a, str>, value: Decimal) -> Result<(), Taken> {
        if self.metrics.len() > ITEMS_MAX {
            return Ok(());
        }
        if self.metrics.iter().any(|(taken, _)| *taken == name) {
            return Err(Taken);
        }
        self.metrics.push((name, value));
        Ok(())
    }

    /// Empties it, and keeps its room for maps.
    pub(super) fn clear(&mut self) {
        let (mut tags, mut metrics) = (
            std::mem::take(&mut self.tags),
            std::mem::take(&mut self.metrics),
        );
        tags.clear();
        metrics.clear();
        *self = Self {
            tags,
            metrics,
            ..Self::default()
        };
    }

    /// The event as it is written; `None` once there is a fault, found here or before.
    #[inline]
    pub(super) fn seal<'d>(
        &'d self,
        index: u32,
        rules: &Rules<'_>,
        places: &Places,
        room: &'d mut Room,
        faults: &mut Faults,
    ) -> Option<EventHead<'d>> {
        let occurred_at = self.dated(rules, places, faults);
        self.check_counts(places, faults);
        if self.event_type.is_none() || self.service.is_none() {
            self.check_there(places, faults);
        }
        let Room { ids, subject } = room;
        let service = self.service.as_deref().unwrap_or_default();
        let subject = self.subject(service, places, subject, faults);
        self.check_reserved(service, subject, places, faults);
        let event_type = self.event_type.filter(|_| faults.count() == 0)?;
        Some(EventHead {
            event_id: match &self.event_id {
                Some(given) => given,
                None => ids.id(rules.idempotency.as_ref(), index),
            },
            event_type: event_type.as_str(),
            name: self.name.as_deref(),
            occurred_at,
            received_at: rules.received_at,
            severity: self.severity,
            service,
            host: self.host.as_deref(),
            method: self.method.as_deref(),
            endpoint: self.endpoint.as_deref(),
            version: self.version.as_deref(),
            subject,
            sequence: self.sequence,
            title: self.title.as_deref(),
            trace_id: self.trace_id.as_deref(),
            user_id: self.user_id.as_deref(),
            payload: self.payload.as_deref(),
        })
    }

    /// When it happened, or when it was received.
    #[inline]
    fn dated(&self, rules: &Rules<'_>, places: &Places, faults: &mut Faults) -> EventTime {
        let Some(at) = self.occurred_at else {
            self.check_undated(rules, places, faults);
            return rules.received_at;
        };
        if let Err(reason) = check_date(at, rules.received_at, &rules.dates) {
            faults.push(FieldFault::new(places.timestamp, reason));
        }
        at
    }

    #[inline]
    fn check_undated(&self, rules: &Rules<'_>, places: &Places, faults: &mut Faults) {
        if self.unread.timestamp {
            return;
        }
        if self.event_id.is_some() || self.unread.event_id {
            let reason = "needs a timestamp beside it: without one a retry could not be told from \
                          a new event";
            faults.push(FieldFault::new(places.event_id, reason));
        } else if rules.idempotency.is_some() {
            let reason = "is missing: with an Idempotency-Key each event must say when it \
                          happened, else a retry could not be told from a new event";
            faults.push(FieldFault::new(places.timestamp, reason));
        }
    }

    #[inline]
    fn check_counts(&self, places: &Places, faults: &mut Faults) {
        let counts = [
            (places.tags, self.tags.len()),
            (places.metrics, self.metrics.len()),
        ];
        for (place, count) in counts {
            if count > ITEMS_MAX {
                faults.push(FieldFault::new(place, "has more than 64 items"));
            }
        }
    }

    #[cold]
    fn check_there(&self, places: &Places, faults: &mut Faults) {
        if self.event_type.is_none() && !self.unread.event_type {
            let fault = FieldFault::new(places.event_type, "is missing");
            faults.push(fault.accepting(TYPES.map(EventType::as_str)));
        }
        if self.service.is_none() && !self.unread.service {
            let reason = "is missing: the service that says this";
            faults.push(FieldFault::new(places.service, reason));
        }
    }

    /// What it is about: the subject that was given, else the endpoint behind its service, else the
    /// user, else the service.
    #[inline]
    fn subject<'d>(
        &'d self,
        service: &'d str,
        places: &Places,
        room: &'d mut String,
        faults: &mut Faults,
    ) -> &'d str {
        let said = |text: &'d Option<Cow<'_, str>>| text.as_deref().filter(|t| !t.is_empty());
        let (place, subject) = if let Some(subject) = &self.subject {
            (places.subject, subject.as_ref())
        } else if let Some(endpoint) = said(&self.endpoint) {
            room.clear();
            room.push_str(service);
            room.push(' ');
            room.push_str(endpoint);
            (places.endpoint, room.as_str())
        } else if let Some(user_id) = said(&self.user_id) {
            (places.user_id, user_id)
        } else {
            (places.service, service)
        };
        if self.unread.subject {
            return subject;
        }
        if subject.len() > SUBJECT_BYTES_MAX {
            let reason = "makes a subject of more than 512 bytes: give a subject";
            faults.push(FieldFault::new(place, reason));
        }
        if is_connectors_subject(subject) {
            let reason = "begins with an exchange's name or pulse and a colon, and such subjects are its \
                          connector's";
            faults.push(FieldFault::new(place, reason));
        }
        subject
    }

    #[inline]
    fn check_reserved(&self, service: &str, subject: &str, places: &Places, faults: &mut Faults) {
        let Some(event_type) = self.event_type else {
            return;
        };
        if is_reserved_type(event_type) {
            let reason = format!("{event_type} is kept for connectors");
            let fault = FieldFault::new(places.event_type, reason);
            faults.push(fault.accepting(TYPES.map(EventType::as_str)));
        }
        if event_type != EventType::SystemEvent {
            return;
        }
        let reason = "is the platform's own, of which nobody else may send a system_event";
        if is_platforms(service) {
            faults.push(FieldFault::new(places.service, reason));
        } else if is_platforms(subject) && !is_connectors_subject(subject) {
            faults.push(FieldFault::new(places.subject, reason));
        }
    }
}

/// Whether an event of that date can be taken now and will not be refused later.
#[inline]
fn check_date(at: EventTime, received_at: EventTime, dates: &DateLimits) -> Result<(), String> {
    let ahead_ms = at.as_ms().saturating_sub(received_at.as_ms());
    let ahead_max_ms = dates.future_max_ms - FUTURE_MARGIN_MS.min(dates.future_max_ms / 10);
    let behind_max_ms = dates.past_max_ms - PAST_MARGIN_MS.min(dates.past_max_ms / 10);
    if ahead_ms > ahead_max_ms {
        return Err(format!(
            "is {ahead_ms} ms ahead of our clock, and may be {ahead_max_ms}"
        ));
    }
    if ahead_ms < -behind_max_ms {
        let behind_ms = ahead_ms.saturating_neg();
        return Err(format!(
            "is {behind_ms} ms ago, and may be {behind_max_ms} ms ago"
        ));
    }
    Ok(())
}
