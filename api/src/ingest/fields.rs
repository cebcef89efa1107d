//! The thorough way to read a JSON event: whatever is wrong is found and named.
//!
//! Each object is taken apart into its names and the raw text of its values, so that numbers and
//! payloads keep the very characters that were sent. A name that stands twice in an object has its
//! last value, as in every reader of JSON that does not refuse it; null is as good as absent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use schemas::event::{EventType, Severity};
use schemas::refusal::{EVENT_ID_BYTES_MAX, PAYLOAD_BYTES_MAX, SUBJECT_BYTES_MAX, TEXT_BYTES_MAX};
use schemas::time::EventTime;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::draft::{Draft, Places};
use super::faults::{Faults, Place};
use super::reserved::TYPES;
use super::{number, timestamp};
use crate::problem::FieldFault;

/// How the JSON event calls its fields.
pub(super) const PLACES: Places = Places {
    event_id: "/event_id",
    event_type: "/event_type",
    timestamp: "/timestamp",
    service: "/source/service",
    endpoint: "/source/endpoint",
    subject: "/subject",
    user_id: "/context/user_id",
    tags: "/context/tags",
    metrics: "/metrics",
};

/// The fields of an event, as a client is told them.
pub(super) const FIELDS: [&str; 12] = [
    "event_id",
    "event_type",
    "name",
    "timestamp",
    "severity",
    "title",
    "subject",
    "sequence",
    "source",
    "context",
    "metrics",
    "payload",
];

/// Whether an event is a request's whole body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is, and may hold the key that the request is made with.
    Alone,
    /// It is one of many.
    Among,
}

/// Why text in quotes may still be none.
const NO_TEXT: &str = "has an escape that is no character";

/// Reads an event into `draft`, as far as it goes, and says what is wrong with its fields.
pub(super) fn read<'a>(
    event: &'a RawValue,
    standing: Standing,
    draft: &mut Draft<'a>,
    faults: &mut Faults,
) {
    let entries = match entries(event) {
        Ok(entries) => entries,
        Err(reason) => return faults.push(FieldFault::new("", reason)),
    };
    for (name, value) in &entries {
        if name != "api_key" || standing == Standing::Among {
            field(name, value, draft, faults);
        }
    }
}

fn field<'a>(name: &str, value: &'a RawValue, draft: &mut Draft<'a>, faults: &mut Faults) {
    let place = Place { parent: "", name };
    let count = faults.count();
    match name {
        "event_id" => {
            draft.event_id = text(place, value, 1..=EVENT_ID_BYTES_MAX, faults);
            draft.unread.event_id = faults.count() > count;
        }
        "event_type" => {
            draft.event_type = event_type(place, value, faults);
            draft.unread.event_type = faults.count() > count;
        }
        "name" => draft.name = any_text(place, value, faults),
        "timestamp" => {
            draft.occurred_at = instant(place, value, faults);
            draft.unread.timestamp = faults.count() > count;
        }
        "severity" => draft.severity = severity(place, value, faults),
        "title" => draft.title = any_text(place, value, faults),
        "subject" => {
            draft.subject = text(place, value, 1..=SUBJECT_BYTES_MAX, faults);
            draft.unread.subject = faults.count() > count;
        }
        "sequence" => draft.sequence = whole_number(place, value, faults),
        "source" => source(place, value, draft, faults),
        "context" => context(place, value, draft, faults),
        "metrics" => metrics(place, value, draft, faults),
        "payload" => draft.payload = payload(place, value, faults),
        _ => faults.push(place.fault("is no field of an event").accepting(FIELDS)),
    }
}

fn source<'a>(place: Place<'_>, value: &'a RawValue, draft: &mut Draft<'a>, faults: &mut Faults) {
    let count = faults.count();
    for (name, value) in parts(place, value, faults) {
        let place = Place {
            parent: "/source",
            name: &name,
        };
        match name.as_ref() {
            "service" => {
                let count = faults.count();
                draft.service = text(place, value, 1..=TEXT_BYTES_MAX, faults);
                draft.unread.service = faults.count() > count;
            }
            "host" => draft.host = any_text(place, value, faults),
            "method" => draft.method = any_text(place, value, faults),
            "endpoint" => draft.endpoint = any_text(place, value, faults),
            "version" => draft.version = any_text(place, value, faults),
            _ => tag(place, format!("source.{name}").into(), value, draft, faults),
        }
    }
    // Of a source that is no object the service is not missing besides.
    if !is_object(value) {
        draft.unread.service = faults.count() > count;
    }
}

fn context<'a>(place: Place<'_>, value: &'a RawValue, draft: &mut Draft<'a>, faults: &mut Faults) {
    for (name, value) in parts(place, value, faults) {
        let place = Place {
            parent: "/context",
            name: &name,
        };
        match name.as_ref() {
            "user_id" => draft.user_id = any_text(place, value, faults),
            "trace_id" => draft.trace_id = any_text(place, value, faults),
            "tags" => tags(place, value, draft, faults),
            _ => tag(place, name.clone(), value, draft, faults),
        }
    }
}

fn tags<'a>(place: Place<'_>, value: &'a RawValue, draft: &mut Draft<'a>, faults: &mut Faults) {
    for (name, value) in parts(place, value, faults) {
        let place = Place {
            parent: "/context/tags",
            name: &name,
        };
        tag(place, name.clone(), value, draft, faults);
    }
}

fn tag<'a>(
    place: Place<'_>,
    name: Cow<'a, str>,
    value: &'a RawValue,
    draft: &mut Draft<'a>,
    faults: &mut Faults,
) {
    let text = match Kind::of(value) {
        Kind::Null => return,
        Kind::Text => any_text(place, value, faults),
        Kind::Number | Kind::Boolean => fitting(place, value.get().into(), faults),
        Kind::Array | Kind::Object => {
            let reason = "must be a text, a number, true or false; what has parts is for payload";
            return faults.push(place.fault(reason));
        }
    };
    let Some(text) = text else { return };
    if !is_item_name(&name) {
        return faults.push(place.fault(ITEM_NAME));
    }
    if draft.add_tag(name, text).is_err() {
        faults.push(place.fault("is a tag of the same name as another one of this event"));
    }
}

fn metrics<'a>(place: Place<'_>, value: &'a RawValue, draft: &mut Draft<'a>, faults: &mut Faults) {
    for (name, value) in parts(place, value, faults) {
        let place = Place {
            parent: "/metrics",
            name: &name,
        };
        let number = match Kind::of(value) {
            Kind::Null => continue,
            Kind::Number => number::read(value.get()).map_err(number::reason),
            Kind::Text => Err("must be a number, without quotes"),
            _ => Err("must be a number"),
        };
        match number {
            Err(reason) => faults.push(place.fault(reason)),
            Ok(_) if !is_item_name(&name) => faults.push(place.fault(ITEM_NAME)),
            // Its name is there once: the entries of an object are.
            Ok(number) => drop(draft.add_metric(name, number)),
        }
    }
}

/// What the name of a tag or a number must be.
pub(super) const ITEM_NAME: &str = "has a name that is empty or longer than 1024 bytes";

/// Whether a tag or a number may be called that.
pub(super) fn is_item_name(name: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&name.len())
}

fn event_type(place: Place<'_>, value: &RawValue, faults: &mut Faults) -> Option<EventType> {
    let text = any_text(place, value, faults)?;
    let event_type = EventType::from_bytes(text.as_bytes());
    if event_type.is_none() {
        let fault = place.fault("is not one of the known types");
        faults.push(fault.accepting(TYPES.map(EventType::as_str)));
    }
    event_type
}

fn severity(place: Place<'_>, value: &RawValue, faults: &mut Faults) -> Severity {
    let Some(text) = any_text(place, value, faults) else {
        return Severity::default();
    };
    severity_named(&text).unwrap_or_else(|| {
        let fault = place.fault("is not one of the known severities");
        faults.push(fault.accepting(Severity::ALL.map(Severity::as_str)));
        Severity::default()
    })
}

/// The severity of that name.
pub(super) fn severity_named(name: &str) -> Option<Severity> {
    Severity::ALL
        .into_iter()
        .find(|severity| severity.as_str() == name)
}

pub(super) fn instant(
    place: Place<'_>,
    value: &RawValue,
    faults: &mut Faults,
) -> Option<EventTime> {
    let at = match Kind::of(value) {
        Kind::Null => return None,
        Kind::Number => timestamp::from_number(value.get()),
        Kind::Text => decoded(value).and_then(|text| timestamp::from_text(&text)),
        _ => None,
    };
    if at.is_none() {
        faults.push(place.fault(timestamp::UNREADABLE));
    }
    at
}

fn whole_number(place: Place<'_>, value: &RawValue, faults: &mut Faults) -> Option<i64> {
    if Kind::of(value) == Kind::Null {
        return None;
    }
    let number = value.get().parse().ok();
    if number.is_none() {
        faults.push(place.fault("must be a whole number of at most 64 bits"));
    }
    number
}

pub(super) fn payload<'a>(
    place: Place<'_>,
    value: &'a RawValue,
    faults: &mut Faults,
) -> Option<Cow<'a, str>> {
    let text = value.get();
    if Kind::of(value) == Kind::Null {
        return None;
    }
    if text.len() > PAYLOAD_BYTES_MAX {
        let length = text.len();
        faults.push(place.fault(format!("has {length} bytes, and may have 65536")));
    }
    Some(text.into())
}

/// A text of as many bytes as any.
pub(super) fn any_text<'a>(
    place: Place<'_>,
    value: &'a RawValue,
    faults: &mut Faults,
) -> Option<Cow<'a, str>> {
    text(place, value, 0..=TEXT_BYTES_MAX, faults)
}

/// A text of so many bytes; `None` where it is null or at fault.
pub(super) fn text<'a>(
    place: Place<'_>,
    value: &'a RawValue,
    bytes: std::ops::RangeInclusive<usize>,
    faults: &mut Faults,
) -> Option<Cow<'a, str>> {
    let reason = match Kind::of(value) {
        Kind::Null => return None,
        Kind::Text => match decoded(value) {
            Some(text) if bytes.contains(&text.len()) => return Some(text),
            Some(text) => {
                let (least, most, length) = (bytes.start(), bytes.end(), text.len());
                format!("has {length} bytes, and must have {least} to {most}").into()
            }
            None => Cow::from(NO_TEXT),
        },
        _ => "must be a text".into(),
    };
    faults.push(place.fault(reason));
    None
}

fn fitting<'a>(place: Place<'_>, text: Cow<'a, str>, faults: &mut Faults) -> Option<Cow<'a, str>> {
    if text.len() <= TEXT_BYTES_MAX {
        return Some(text);
    }
    let length = text.len();
    faults.push(place.fault(format!("has {length} bytes, and may have 1024")));
    None
}

pub(super) fn decoded(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Name<'_>>(value.get())
        .ok()
        .map(|name| name.0)
}

fn is_object(value: &RawValue) -> bool {
    Kind::of(value) == Kind::Object
}

/// What a value is, by its first character.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
}

impl Kind {
    pub(super) fn of(value: &RawValue) -> Self {
        match value.get().as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'"') => Self::Text,
            Some(b'[') => Self::Array,
            Some(b'{') => Self::Object,
            _ => Self::Number,
        }
    }
}

/// The entries of an object that is a part of an event; none of null.
fn parts<'a>(place: Place<'_>, value: &'a RawValue, faults: &mut Faults) -> Entries<'a> {
    if Kind::of(value) == Kind::Null {
        return vec![];
    }
    entries(value).unwrap_or_else(|reason| {
        faults.push(place.fault(reason));
        vec![]
    })
}

/// What an object holds, each name once.
pub(super) type Entries<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// The entries of an object, or why there are none.
pub(super) fn entries(value: &RawValue) -> Result<Entries<'_>, &'static str> {
    if !is_object(value) {
        return Err("must be an object");
    }
    let all: AllEntries<'_> = serde_json::from_str(value.get())
        .map_err(|_| "has a name with an escape that is no character")?;
    Ok(last_of_each(all.0))
}

fn last_of_each(mut entries: Entries<'_>) -> Entries<'_> {
    let mut last = HashMap::with_capacity(entries.len());
    for (at, (name, _)) in entries.iter().enumerate() {
        last.insert(name.clone(), at);
    }
    if last.len() < entries.len() {
        let mut at = 0;
        entries.retain(|(name, _)| {
            at += 1;
            last.get(name) == Some(&(at - 1))
        });
    }
    entries
}

/// Every entry of an object, in order.
struct AllEntries<'a>(Entries<'a>);

impl<'de> Deserialize<'de> for AllEntries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = AllEntries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut entries = vec![];
                while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    entries.push((name.0, value));
                }
                Ok(AllEntries(entries))
            }
        }
        deserializer.deserialize_map(Walk)
    }
}

/// A text that is borrowed where it holds no escape.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(text.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(text.to_owned().into()))
            }
        }
        deserializer.deserialize_str(Read)
    }
}
