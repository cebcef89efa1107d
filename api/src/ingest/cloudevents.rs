//! CloudEvents 1.0 in its JSON form, as events of ours.
//!
//! | CloudEvents | event |
//! |---|---|
//! | `id` | `event_id` |
//! | `type` | `event_type` where it is one of the known types; else `custom_event` of that `name` |
//! | `source` | `source.service` |
//! | `subject` | `subject` |
//! | `time` | `timestamp`, which is needed: without it a retry could not be told from a new event |
//! | `traceparent` (an extension) | `trace_id`, its trace; the whole as a tag |
//! | any other extension, `datacontenttype`, `dataschema` | a tag of that name |
//! | a number at the top of `data` | a metric of that name |
//! | a text, true or false at the top of `data` | a tag of that name |
//! | `data` | `payload` |
//! | `data_base64` | `payload`, as a JSON text |
//!
//! What is in `data` and fits no metric or tag, by its size, its form or its number, is in the
//! payload alone; the first of a name counts, and extensions come before data.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemas::event::EventType;
use schemas::refusal::{EVENT_ID_BYTES_MAX, ITEMS_MAX, SUBJECT_BYTES_MAX, TEXT_BYTES_MAX};
use serde_json::value::RawValue;

use super::draft::{Draft, Places};
use super::faults::{Faults, Place};
use super::fields::{self, Kind, any_text, entries, instant, payload, text};
use super::number;
use crate::problem::FieldFault;

/// How a CloudEvent calls the fields that the rules are about.
pub(super) const PLACES: Places = Places {
    event_id: "/id",
    event_type: "/type",
    timestamp: "/time",
    service: "/source",
    endpoint: "/source",
    subject: "/subject",
    user_id: "/source",
    tags: "/data",
    metrics: "/data",
};

/// Reads a CloudEvent into `draft`, as far as it goes, and says what is wrong with its attributes.
pub(super) fn read<'a>(event: &'a RawValue, draft: &mut Draft<'a>, faults: &mut Faults) {
    let attributes = match entries(event) {
        Ok(attributes) => attributes,
        Err(reason) => return faults.push(FieldFault::new("", reason)),
    };
    let mut is_versioned = false;
    let mut data = None;
    for (name, value) in &attributes {
        match name.as_ref() {
            "specversion" => is_versioned = value.get() == "\"1.0\"",
            "data" | "data_base64" => {
                if Kind::of(value) != Kind::Null && data.replace((name.as_ref(), *value)).is_some()
                {
                    let reason = "stands beside data, and there is only one of the two";
                    faults.push(FieldFault::new("/data_base64", reason));
                }
            }
            _ => attribute(name.clone(), value, draft, faults),
        }
    }
    if !is_versioned {
        let fault = FieldFault::new("/specversion", "is missing, or no version that is known");
        faults.push(fault.accepting(["1.0"]));
    }
    if draft.event_id.is_none() && !draft.unread.event_id {
        faults.push(FieldFault::new("/id", "is missing"));
    }
    match data {
        Some(("data", value)) => self::data(value, draft, faults),
        Some((name, value)) => base64_data(name, value, draft, faults),
        None => {}
    }
}

fn attribute<'a>(
    name: Cow<'a, str>,
    value: &'a RawValue,
    draft: &mut Draft<'a>,
    faults: &mut Faults,
) {
    let place = Place {
        parent: "",
        name: &name,
    };
    let count = faults.count();
    match name.as_ref() {
        "id" => {
            draft.event_id = text(place, value, 1..=EVENT_ID_BYTES_MAX, faults);
            draft.unread.event_id = faults.count() > count;
        }
        "source" => {
            draft.service = text(place, value, 1..=TEXT_BYTES_MAX, faults);
            draft.unread.service = faults.count() > count;
        }
        "type" => {
            let name = text(place, value, 1..=TEXT_BYTES_MAX, faults);
            draft.unread.event_type = faults.count() > count;
            draft.event_type = name.as_ref().map(|name| {
                EventType::from_bytes(name.as_bytes()).unwrap_or(EventType::CustomEvent)
            });
            draft.name = name.filter(|name| EventType::from_bytes(name.as_bytes()).is_none());
        }
        "subject" => {
            draft.subject = text(place, value, 1..=SUBJECT_BYTES_MAX, faults);
            draft.unread.subject = faults.count() > count;
        }
        "time" => {
            draft.occurred_at = instant(place, value, faults);
            draft.unread.timestamp = faults.count() > count;
        }
        _ => extension(place, name.clone(), value, draft, faults),
    }
}

fn extension<'a>(
    place: Place<'_>,
    name: Cow<'a, str>,
    value: &'a RawValue,
    draft: &mut Draft<'a>,
    faults: &mut Faults,
) {
    if matches!(Kind::of(value), Kind::Array | Kind::Object) {
        return faults.push(place.fault("must be a text, a number, true or false"));
    }
    let Some(text) = as_tag(value) else {
        // Of a text it is said what is wrong with it; null is as good as absent.
        drop(any_text(place, value, faults));
        return;
    };
    if name == "traceparent" {
        draft.trace_id = text.split('-').nth(1).map(|trace| trace.to_owned().into());
    }
    if fields::is_item_name(&name) {
        // Each name is there once.
        drop(draft.add_tag(name, text));
    } else {
        faults.push(place.fault(fields::ITEM_NAME));
    }
}

/// A value without parts as the text of a tag, where it fits.
fn as_tag(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = match Kind::of(value) {
        Kind::Text => fields::decoded(value)?,
        Kind::Number | Kind::Boolean => value.get().into(),
        _ => return None,
    };
    (text.len() <= TEXT_BYTES_MAX).then_some(text)
}

fn data<'a>(value: &'a RawValue, draft: &mut Draft<'a>, faults: &mut Faults) {
    let place = Place {
        parent: "",
        name: "data",
    };
    draft.payload = payload(place, value, faults);
    for (name, value) in entries(value).unwrap_or_default() {
        if !fields::is_item_name(&name) {
            continue;
        }
        match Kind::of(value) {
            Kind::Number if draft.metrics.len() < ITEMS_MAX => {
                if let Ok(number) = number::read(value.get()) {
                    drop(draft.add_metric(name, number));
                }
            }
            Kind::Text | Kind::Boolean if draft.tags.len() < ITEMS_MAX => {
                if let Some(text) = as_tag(value) {
                    // An extension of that name comes first.
                    drop(draft.add_tag(name, text));
                }
            }
            _ => {}
        }
    }
}

fn base64_data<'a>(name: &str, value: &'a RawValue, draft: &mut Draft<'a>, faults: &mut Faults) {
    let place = Place { parent: "", name };
    let decoded = match Kind::of(value) {
        Kind::Text => fields::decoded(value),
        _ => None,
    };
    if decoded.is_none_or(|text| STANDARD.decode(text.as_bytes()).is_err()) {
        return faults.push(place.fault("must be a text in base64"));
    }
    draft.payload = payload(place, value, faults);
}
