//! The schemas are what a producer's developer reads first.

use schemas::wire::SchemaId;
use serde_json::Value;

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
