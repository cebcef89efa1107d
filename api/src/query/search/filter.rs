//! Which events a search is for: read from what was given, and said in SQL.

use schemas::event::{EventType, Severity};
use serde::Serialize;

use crate::problem::FieldFault;
use crate::query::given::{Given, Known, Text};
use crate::query::tenant_query::TenantQuery;

/// Values of one parameter that may be any of several.
const ANY_MAX: usize = 16;
/// Tags that must all be there.
const TAGS_MAX: usize = 16;
/// Bytes of a value: no text of an event is longer.
const VALUE_BYTES_MAX: usize = 1_024;

/// The parameters that narrow a search.
pub(super) const KNOWN: [Known; 11] = [
    several("type", ANY_MAX),
    several("name", 1),
    several("severity", Severity::ALL.len()),
    several("severity_at_least", 1),
    several("service", 1),
    several("subject", 1),
    several("tag", TAGS_MAX),
    several("text", 1),
    several("trace_id", 1),
    several("user_id", 1),
    several("event_id", 1),
];

const fn several(name: &'static str, count_max: usize) -> Known {
    Known { name, count_max }
}

/// Which events a search is for: all of it holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Filter {
    /// One of these types; all where there is none.
    types: Vec<&'static str>,
    /// One of these severities; all where there is none.
    severities: Vec<&'static str>,
    /// Columns that have this very text.
    equal: Vec<(&'static str, String)>,
    /// Tags that have this value.
    tags: Vec<(String, String)>,
    /// A part of title, name or payload, in whatever case.
    text: Option<String>,
}

/// Parameters that ask for the very text of a column, and the SQL that asks.
const EQUAL: [(&str, &str); 6] = [
    ("name", " AND name = "),
    ("service", " AND service = "),
    ("subject", " AND subject = "),
    ("trace_id", " AND trace_id = "),
    ("user_id", " AND user_id = "),
    ("event_id", " AND event_id = "),
];

impl Filter {
    /// Reads it; what cannot be used goes to `faults`.
    pub(super) fn of(given: &Given, faults: &mut Vec<FieldFault>) -> Self {
        let mut filter = Self::default();
        for text in given.all("type") {
            match text.text.parse::<EventType>() {
                Ok(known) => filter.types.push(known.as_str()),
                Err(_) => faults.push(
                    FieldFault::new(&text.pointer, "is no known type")
                        .accepting(EventType::ALL.map(EventType::as_str)),
                ),
            }
        }
        filter.read_severities(given, faults);
        for (name, _) in EQUAL {
            let value = given.one(name).and_then(|text| value(text, faults));
            filter.equal.extend(value.map(|value| (name, value)));
        }
        for text in given.all("tag") {
            let Some(tag) = value(text, faults) else {
                continue;
            };
            let parts = match &text.key {
                Some(key) => Some((key.as_str(), tag.as_str())),
                None => tag.split_once(':'),
            };
            match parts {
                Some((key, value)) if !key.is_empty() => {
                    filter.tags.push((key.to_owned(), value.to_owned()));
                }
                _ => faults.push(FieldFault::new(
                    &text.pointer,
                    "must be a tag's name and value, like region:eu",
                )),
            }
        }
        filter.text = given.one("text").and_then(|text| value(text, faults));
        filter
    }

    fn read_severities(&mut self, given: &Given, faults: &mut Vec<FieldFault>) {
        let mut read = |text: &Text| {
            let known = Severity::ALL
                .into_iter()
                .find(|known| known.as_str() == text.text);
            if known.is_none() {
                let fault = FieldFault::new(&text.pointer, "is no known severity");
                faults.push(fault.accepting(Severity::ALL.map(Severity::as_str)));
            }
            known
        };
        self.severities = given
            .all("severity")
            .filter_map(&mut read)
            .map(Severity::as_str)
            .collect();
        let least = given.one("severity_at_least").and_then(&mut read);
        match (given.one("severity_at_least"), self.severities.is_empty()) {
            (Some(text), false) => faults.push(FieldFault::new(
                &text.pointer,
                "stands beside severity: leave one of them out",
            )),
            _ => {
                let at_least = Severity::ALL
                    .into_iter()
                    .filter(|s| least.is_some_and(|l| *s as u8 >= l as u8));
                self.severities.extend(at_least.map(Severity::as_str));
            }
        }
    }

    /// True where it asks for one event or for one trace, which have an index.
    pub(super) fn names_an_id(&self) -> bool {
        let has_index = |(name, _): &(&str, String)| matches!(*name, "trace_id" | "event_id");
        self.equal.iter().any(has_index)
    }

    /// Appends its conditions, each with ` AND ` before it.
    pub(super) fn write(&self, query: &mut TenantQuery) {
        let texts =
            |of: &[&'static str]| of.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        match self.types.as_slice() {
            [] => {}
            [one] => {
                query.push(" AND event_type = ").value(*one);
            }
            types => {
                query.push(" AND event_type IN ").value(texts(types));
            }
        }
        if !self.severities.is_empty() {
            query
                .push(" AND severity IN ")
                .value(texts(&self.severities));
        }
        for (name, value) in &self.equal {
            let sql = EQUAL.iter().find(|(known, _)| known == name);
            let (_, sql) = sql.expect("only names of this table are kept");
            query.push(sql).value(value.as_str());
        }
        for (key, value) in &self.tags {
            query.push(" AND mapContains(tags, ").value(key.as_str());
            query.push(") AND tags[").value(key.as_str());
            query.push("] = ").value(value.as_str());
        }
        if let Some(text) = &self.text {
            for (at, column) in ["title, ", "name, ", "payload, "].into_iter().enumerate() {
                query.push(if at == 0 { " AND (" } else { " OR " });
                query.push("positionCaseInsensitiveUTF8(").push(column);
                query.value(text.as_str()).push(") > 0");
            }
            query.push(")");
        }
    }
}

/// A value that is one.
fn value(text: &Text, faults: &mut Vec<FieldFault>) -> Option<String> {
    let reason = match text.text.len() {
        0 => "is empty: leave it out",
        1..=VALUE_BYTES_MAX => return Some(text.text.clone()),
        _ => "has more than 1024 bytes, and no event has such a text",
    };
    faults.push(FieldFault::new(&text.pointer, reason));
    None
}
