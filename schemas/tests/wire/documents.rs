//! The schemas are what a producer's developer reads first.

use std::fs;

use schemas::event::{EventType, EventView};
use schemas::refusal::Refusal;
use schemas::wire::{DecodeError, SchemaId};
use serde_json::Value;

use crate::golden::{RELEASED, unhex};

#[test]
fn every_field_and_every_type_has_a_doc() {
    for id in SchemaId::ALL {
        let schema: Value = serde_json::from_str(id.json()).unwrap();
        assert_eq!(schema["namespace"], "pulse", "{id:?}");
        let documented = documented(&schema, &format!("{id:?}"));
        assert!(documented > 1, "{id:?} has no fields");
    }
}

/// Checks a type and all inside it; how many docs it found.
fn documented(schema: &Value, path: &str) -> usize {
    match schema {
        Value::Array(branches) => branches.iter().map(|one| documented(one, path)).sum(),
        Value::Object(parts) => {
            let mut count = 0;
            if parts.contains_key("name") {
                let doc = parts.get("doc").and_then(Value::as_str).unwrap_or_default();
                assert!(doc.ends_with('.') && doc.len() > 10, "{path} needs a doc");
                count += 1;
            }
            for field in parts
                .get("fields")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                count += documented(field, &format!("{path}.{}", field["name"]));
            }
            for inside in ["type", "items", "values"] {
                if let Some(schema) = parts.get(inside) {
                    count += documented(schema, path);
                }
            }
            count
        }
        _ => 0,
    }
}

#[test]
fn ids_are_given_once_and_begin_at_1() {
    let numbers: Vec<u32> = SchemaId::ALL.iter().map(|id| id.number()).collect();
    let expected: Vec<u32> = (1..=SchemaId::ALL.len() as u32).collect();
    assert_eq!(numbers, expected);
}

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md");
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_page_has_each_released_schema() {
    let page = page();
    for (id, name, print) in RELEASED {
        let (_, name) = name.split_once('-').unwrap();
        let (name, _) = name.rsplit_once('-').unwrap();
        let row = format!(
            "| {} | [{name}](../schemas/avro/{name}.avsc) | ",
            id.number()
        );
        let row = page.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("docs/wire.md has no row of {name}"));
        assert!(row.ends_with(&format!("| `{print:016x}` |")), "{row}");
    }
}

#[test]
fn the_page_has_each_type_and_each_reason() {
    let page = page();
    let field = "tags";
    let reason = "";
    let unreadable = [
        DecodeError::NoFrame { length: 0 },
        DecodeError::Magic { found: 1 },
        DecodeError::Schema {
            found: 7,
            expected: 1,
        },
        DecodeError::Truncated { field },
        DecodeError::Trailing { count: 1 },
        DecodeError::Invalid { field, reason },
    ];
    let refused = [
        Refusal::UnknownType,
        Refusal::Size { field, reason },
        Refusal::Future {
            ahead_ms: 1,
            max_ms: 0,
        },
        Refusal::Past {
            behind_ms: 1,
            max_ms: 0,
        },
        Refusal::WrongPartition { expected: 0 },
    ];
    let reasons = unreadable
        .map(Refusal::Unreadable)
        .into_iter()
        .chain(refused);
    let types = EventType::ALL.map(EventType::as_str);
    for word in reasons.map(|refusal| refusal.reason()).chain(types) {
        assert!(
            page.contains(&format!("`{word}`")),
            "docs/wire.md does not say {word}"
        );
    }
}

/// What the page's program writes, by fastavro 1.13, with its clock at one instant.
#[test]
fn an_event_of_another_library_is_an_event() {
    let hex = "00000000011e6f726465722d313034312d7061696418637573746f6d5f6576656e7402146f726465\
               725f70616964e88fa6c5f5b1b006e88fa6c5f5b1b0060210636865636b6f7574000000001673686f70\
               3a6265726c696e00000000021063757272656e63790645555200020c616d6f756e741201142b0090b6\
               4600000000";
    let record: Vec<u8> = unhex(hex).collect();
    let event = EventView::decode(&record).unwrap().to_owned().unwrap();
    assert_eq!(event.event_id, "order-1041-paid");
    assert_eq!(event.name.as_deref(), Some("order_paid"));
    assert_eq!(event.subject, "shop:berlin");
    assert_eq!(event.source.service, "checkout");
    assert_eq!(event.tags["currency"], "EUR");
    assert_eq!(event.metrics["amount"].to_string(), "19.9");
    let mut again = vec![];
    event.encode(&mut again);
    assert_eq!(again, record);
}
