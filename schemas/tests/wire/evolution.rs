//! The rule that a change of a schema must keep: old bytes are read by the new schema, and new
//! bytes by the old one.

use apache_avro::Schema;
use apache_avro::types::Value;
use schemas::wire::SchemaId;
use serde_json::json;

use crate::golden::{RELEASED, records, schema};

/// A schema for `apache-avro`, with decimals as plain bytes: resolution goes by the bytes, and
/// before 0.23 it refuses any decimal that is shorter than its precision allows.
fn parsed(schema: &serde_json::Value) -> Schema {
    let mut schema = schema.clone();
    drop_decimals(&mut schema);
    Schema::parse(&schema).unwrap()
}

fn drop_decimals(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(parts) => {
            if parts
                .get("logicalType")
                .is_some_and(|logical| logical == "decimal")
            {
                parts.retain(|name, _| name == "type");
            }
            parts.values_mut().for_each(drop_decimals);
        }
        serde_json::Value::Array(parts) => parts.iter_mut().for_each(drop_decimals),
        _ => {}
    }
}

/// A released schema as its next version might be: a field more at the end of each record, and a
/// symbol more in each enum.
fn next(schema: &serde_json::Value) -> serde_json::Value {
    let mut schema = schema.clone();
    grow(&mut schema);
    schema
}

fn grow(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(parts) => {
            parts.values_mut().for_each(grow);
            if let Some(fields) = parts.get_mut("fields").and_then(|f| f.as_array_mut()) {
                fields.push(json!({"name": "note", "type": ["null", "string"], "default": null}));
                fields.push(json!({"name": "weight", "type": "long", "default": 7}));
            }
            if let Some(symbols) = parts.get_mut("symbols").and_then(|s| s.as_array_mut()) {
                symbols.push("fatal".into());
            }
        }
        serde_json::Value::Array(parts) => parts.iter_mut().for_each(grow),
        _ => {}
    }
}

/// The value with the new fields' defaults, wherever a record is.
fn with_defaults(value: Value) -> Value {
    match value {
        Value::Record(fields) => {
            let fields = fields
                .into_iter()
                .map(|(name, value)| (name, with_defaults(value)));
            let note = Value::Union(0, Box::new(Value::Null));
            let added = [("note".into(), note), ("weight".into(), Value::Long(7))];
            Value::Record(fields.chain(added).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(with_defaults).collect()),
        other => other,
    }
}

fn read(writer: &Schema, mut body: &[u8], reader: Option<&Schema>) -> Value {
    let value = apache_avro::from_avro_datum(writer, &mut body, reader).unwrap();
    assert!(body.is_empty());
    value
}

#[test]
fn old_bytes_are_read_by_a_new_schema() {
    for (_, name, _) in RELEASED {
        let old = parsed(&schema(name));
        let new = parsed(&next(&schema(name)));
        assert_ne!(old, new);
        for (record, bytes) in records(name) {
            let before = read(&old, &bytes[5..], None);
            let after = read(&old, &bytes[5..], Some(&new));
            assert_eq!(after, with_defaults(before), "{name}, {record}");
        }
    }
}

#[test]
fn new_bytes_are_read_by_an_old_schema() {
    for (_, name, _) in RELEASED {
        let old = parsed(&schema(name));
        let new = parsed(&next(&schema(name)));
        for (record, bytes) in records(name) {
            let before = read(&old, &bytes[5..], None);
            let grown = apache_avro::to_avro_datum(&new, with_defaults(before.clone())).unwrap();
            assert_eq!(read(&new, &grown, Some(&old)), before, "{name}, {record}");
        }
    }
}

#[test]
fn todays_schemas_read_what_was_released() {
    for (id, name, _) in RELEASED {
        let old = parsed(&schema(name));
        let today = parsed(&serde_json::from_str(id.json()).unwrap());
        for (record, bytes) in records(name) {
            let value = read(&old, &bytes[5..], Some(&today));
            assert!(value.validate(&today), "{name}, {record}");
        }
    }
}

#[test]
fn a_severity_that_an_old_schema_does_not_know_is_info() {
    let (id, name, _) = RELEASED[0];
    assert_eq!(id, SchemaId::Event);
    let old = parsed(&schema(name));
    let new = parsed(&next(&schema(name)));
    let before = read(&old, &records(name)["trade"][5..], None);
    let Value::Record(mut fields) = with_defaults(before) else {
        unreachable!("an event is a record");
    };
    let severity = fields
        .iter_mut()
        .find(|(name, _)| name == "severity")
        .unwrap();
    severity.1 = Value::Enum(5, "fatal".into());
    let grown = apache_avro::to_avro_datum(&new, Value::Record(fields)).unwrap();
    let Value::Record(fields) = read(&new, &grown, Some(&old)) else {
        unreachable!("an event is a record");
    };
    let severity = fields.iter().find(|(name, _)| name == "severity").unwrap();
    assert_eq!(severity.1, Value::Enum(1, "info".into()));
}
