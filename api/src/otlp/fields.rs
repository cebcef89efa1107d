//! Attributes as texts, within the limits of an event.

use std::cell::Cell;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Variant;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use schemas::event::Source;
use schemas::refusal::{ITEMS_MAX, SUBJECT_BYTES_MAX, TEXT_BYTES_MAX};
use serde_json::Value;

/// The tag that says what was cut: `tags`, `texts` or `payload`, separated by commas.
pub(super) const CUT: &str = "otlp.cut";

/// What a service is called that does not say its name, as OpenTelemetry has it.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Who sent an item: what the events of one resource and scope have in common.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) source: Source,
    /// Tags of each of its events.
    pub(super) tags: Vec<(&'static str, String)>,
    pub(super) scope: Option<String>,
    /// A text of the resource was cut.
    has_cut_text: bool,
    /// The scope's name was.
    has_cut_scope: bool,
}

impl Origin {
    /// That of a resource's items, before their scope is known.
    pub(super) fn of(resource: &Resource) -> Self {
        let attributes = Attributes(&resource.attributes);
        let has_cut_text = Cell::new(false);
        let cut_text = |name: &str| {
            let text = attributes.text(name)?;
            has_cut_text.set(has_cut_text.get() || text.len() > TEXT_BYTES_MAX);
            Some(cut(text, TEXT_BYTES_MAX))
        };
        let service = cut_text("service.name");
        let first = |names: [&str; 2]| names.into_iter().find_map(cut_text);
        let tags = [
            (
                "deployment.environment",
                first(["deployment.environment.name", "deployment.environment"]),
            ),
            ("service.namespace", cut_text("service.namespace")),
            ("service.instance.id", cut_text("service.instance.id")),
        ];
        let tags = tags.into_iter();
        Self {
            source: Source {
                service: service.unwrap_or_else(|| UNKNOWN_SERVICE.into()),
                host: cut_text("host.name"),
                version: cut_text("service.version"),
                ..Source::default()
            },
            tags: tags
                .filter_map(|(name, text)| Some((name, text?)))
                .collect(),
            scope: None,
            has_cut_text: has_cut_text.get(),
            has_cut_scope: false,
        }
    }

    /// The items that come now are of this scope.
    pub(super) fn enter(&mut self, scope: InstrumentationScope) {
        self.has_cut_scope = scope.name.len() > TEXT_BYTES_MAX;
        self.scope = Some(cut(scope.name, TEXT_BYTES_MAX)).filter(|name| !name.is_empty());
    }

    /// What each of its events takes by it.
    pub(super) fn bytes(&self) -> usize {
        let source = &self.source;
        let texts = [&source.host, &source.version, &self.scope];
        let texts = texts.into_iter().flatten().map(String::len);
        let tags = self.tags.iter().map(|(name, text)| name.len() + text.len());
        source.service.len() + texts.chain(tags).sum::<usize>()
    }
}

/// A list of attributes; of two with one name the last one counts.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [KeyValue]);

impl Attributes<'_> {
    /// The attribute as a text; `None` when there is none, or an empty one.
    pub(super) fn text(self, name: &str) -> Option<String> {
        let found = self.0.iter().rev().find(|one| one.key == name)?;
        text(found.value.as_ref()).filter(|text| !text.is_empty())
    }

    /// The first of these that there is.
    pub(super) fn first(self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text(name))
    }
}

/// A value as a text: numbers in digits, bytes in base64, lists as JSON; `None` for none.
pub(super) fn text(value: Option<&AnyValue>) -> Option<String> {
    match value?.value.as_ref()? {
        Variant::StringValue(text) => Some(text.clone()),
        Variant::BoolValue(is_so) => Some(is_so.to_string()),
        Variant::IntValue(number) => Some(number.to_string()),
        Variant::DoubleValue(number) => Some(number.to_string()),
        Variant::BytesValue(bytes) => Some(STANDARD.encode(bytes)),
        Variant::ArrayValue(_) | Variant::KvlistValue(_) => Some(json(value).to_string()),
        // A place in a table that only profiles have.
        Variant::StringValueStrindex(_) => None,
    }
}

/// A value as JSON; `null` for none.
pub(super) fn json(value: Option<&AnyValue>) -> Value {
    let Some(variant) = value.and_then(|value| value.value.as_ref()) else {
        return Value::Null;
    };
    match variant {
        Variant::StringValue(text) => Value::from(text.as_str()),
        Variant::BoolValue(is_so) => Value::from(*is_so),
        Variant::IntValue(number) => Value::from(*number),
        Variant::DoubleValue(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => Value::Number(number),
            // JSON has no word for what is no number.
            None => Value::from(number.to_string()),
        },
        Variant::BytesValue(bytes) => Value::from(STANDARD.encode(bytes)),
        Variant::ArrayValue(list) => list.values.iter().map(|one| json(Some(one))).collect(),
        Variant::KvlistValue(list) => {
            let pair = |one: &KeyValue| (one.key.clone(), json(one.value.as_ref()));
            list.values.iter().map(pair).collect()
        }
        Variant::StringValueStrindex(_) => Value::Null,
    }
}

/// The text's first `bytes_max`, less what would be half a character.
pub(super) fn cut(mut text: String, bytes_max: usize) -> String {
    let end = text.floor_char_boundary(bytes_max);
    text.truncate(end);
    text
}

/// What an event without one is about: its endpoint with its service, else its user, else its
/// service; the rule for events in JSON.
pub(super) fn subject(source: &Source, user_id: Option<&str>, tags: &mut Tags) -> String {
    let subject = match (&source.endpoint, user_id) {
        (Some(endpoint), _) => format!("{} {endpoint}", source.service),
        (None, Some(user)) => user.to_owned(),
        (None, None) => source.service.clone(),
    };
    tags.cut(subject, SUBJECT_BYTES_MAX)
}

/// An id of `bytes` in hexadecimal; `None` when it has another length or is all zeros, which is how
/// OTLP says that there is none.
pub(super) fn id(id: &[u8], bytes: usize) -> Option<String> {
    let is_one = id.len() == bytes && id.iter().any(|byte| *byte != 0);
    is_one.then(|| hex(id))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("a nibble is below 16");
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The tags of an event, never more nor longer than they may be.
#[derive(Default)]
pub(super) struct Tags {
    tags: BTreeMap<String, String>,
    has_cut_text: bool,
    has_left_out: bool,
    has_cut_payload: bool,
}

impl Tags {
    /// The tags that all events of this origin have.
    pub(super) fn of(origin: &Origin) -> Self {
        let mut tags = Self {
            has_cut_text: origin.has_cut_text || origin.has_cut_scope,
            ..Self::default()
        };
        for (name, value) in &origin.tags {
            tags.add(name, value.clone());
        }
        tags
    }

    /// Adds a tag, unless there is one of that name, or no room. What comes first stays.
    pub(super) fn add(&mut self, name: &str, value: String) {
        let is_cut = name.len() > TEXT_BYTES_MAX || value.len() > TEXT_BYTES_MAX;
        let name = cut(name.to_owned(), TEXT_BYTES_MAX);
        // Its own tag is ours to write, and one place is kept for it.
        if name.is_empty() || name == CUT || self.tags.contains_key(&name) {
            return;
        }
        if self.tags.len() >= ITEMS_MAX - 1 {
            self.has_left_out = true;
            return;
        }
        self.has_cut_text |= is_cut;
        self.tags.insert(name, cut(value, TEXT_BYTES_MAX));
    }

    /// Adds a tag where there is a value.
    pub(super) fn add_some(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// Notes that a text elsewhere in the event was cut to this.
    pub(super) fn cut(&mut self, text: String, bytes_max: usize) -> String {
        self.has_cut_text |= text.len() > bytes_max;
        cut(text, bytes_max)
    }

    /// Notes that the payload was cut.
    pub(super) fn note_cut_payload(&mut self) {
        self.has_cut_payload = true;
    }

    /// All of them, with what was cut.
    pub(super) fn finish(mut self) -> BTreeMap<String, String> {
        let cuts = [
            (self.has_left_out, "tags"),
            (self.has_cut_text, "texts"),
            (self.has_cut_payload, "payload"),
        ];
        let cuts = cuts.into_iter().filter(|(is_cut, _)| *is_cut);
        let cuts: Vec<&str> = cuts.map(|(_, what)| what).collect();
        if !cuts.is_empty() {
            self.tags.insert(CUT.into(), cuts.join(","));
        }
        self.tags
    }
}
