//! What of an Avro schema says how bytes are written and read: two texts with the same canonical
//! form are one schema.
//!
//! It is Avro's parsing canonical form with one difference: a logical type stays, with precision
//! and scale. Without them a decimal of two digits would pass for one of eighteen, and every number
//! that its producer writes would be wrong by sixteen of them. Docs, defaults, aliases and whatever
//! else a library adds go.

use serde_json::{Map, Value};

/// A text that is no Avro schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// It is not JSON.
    #[error("a schema is JSON")]
    Json,
    /// A part of it is neither a name, nor a union, nor a type.
    #[error("a schema is a type's name, an array of types, or an object with a type")]
    Shape,
    /// A type lacks what its kind needs, or has it in another form.
    #[error("{kind} needs {needs}")]
    Lacks {
        /// Which kind of type.
        kind: &'static str,
        /// What it needs.
        needs: &'static str,
    },
}

const PRIMITIVES: [&str; 8] = [
    "null", "boolean", "int", "long", "float", "double", "bytes", "string",
];

/// The canonical form of a schema's text, as a value: objects have no order.
///
/// # Errors
/// What is no schema; JSON that is nested more than 128 deep is none.
pub fn canonical(schema: &str) -> Result<Value, SchemaFault> {
    let schema = serde_json::from_str(schema).map_err(|_| SchemaFault::Json)?;
    of(&schema, "")
}

/// The form of a type inside the namespace `space`.
fn of(schema: &Value, space: &str) -> Result<Value, SchemaFault> {
    match schema {
        Value::String(name) if PRIMITIVES.contains(&name.as_str()) => Ok(schema.clone()),
        Value::String(name) if !name.is_empty() => Ok(full_name(name, space).into()),
        Value::Array(branches) => all(branches, |branch| of(branch, space)),
        Value::Object(schema) => of_object(schema, space),
        _ => Err(SchemaFault::Shape),
    }
}

fn of_object(schema: &Map<String, Value>, space: &str) -> Result<Value, SchemaFault> {
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(nested @ (Value::Object(_) | Value::Array(_))) => return of(nested, space),
        _ => return Err(SchemaFault::Shape),
    };
    let mut form = Map::new();
    match kind {
        "record" | "error" => {
            let (name, inside) = named(schema, space, "a record")?;
            form.insert("name".into(), name.into());
            form.insert("fields".into(), fields(schema, &inside)?);
        }
        "enum" => {
            let (name, _) = named(schema, space, "an enum")?;
            form.insert("name".into(), name.into());
            let symbols = list(schema, "symbols", "an enum", "symbols, an array of texts")?;
            form.insert("symbols".into(), symbols.clone().into());
        }
        "fixed" => {
            let (name, _) = named(schema, space, "a fixed")?;
            form.insert("name".into(), name.into());
            let size = lacking(schema.get("size"), "a fixed", "size, a number")?;
            form.insert("size".into(), size.clone());
        }
        "array" => {
            let items = lacking(schema.get("items"), "an array", "items, a type")?;
            form.insert("items".into(), of(items, space)?);
        }
        "map" => {
            let values = lacking(schema.get("values"), "a map", "values, a type")?;
            form.insert("values".into(), of(values, space)?);
        }
        name if schema.contains_key("logicalType") => drop(of(&name.into(), space)?),
        name => return of(&name.into(), space),
    }
    form.insert("type".into(), kind.into());
    form.extend(logical(schema));
    Ok(form.into())
}

/// What gives a type's bytes another meaning.
fn logical(schema: &Map<String, Value>) -> Map<String, Value> {
    let mut form = Map::new();
    let Some(logical) = schema.get("logicalType") else {
        return form;
    };
    form.insert("logicalType".into(), logical.clone());
    if logical == "decimal" {
        let number = |name: &str| schema.get(name).cloned();
        form.insert(
            "precision".into(),
            number("precision").unwrap_or(Value::Null),
        );
        // Avro's default.
        form.insert("scale".into(), number("scale").unwrap_or_else(|| 0.into()));
    }
    form
}

fn fields(schema: &Map<String, Value>, space: &str) -> Result<Value, SchemaFault> {
    let fields = list(schema, "fields", "a record", "fields, an array")?;
    all(fields, |field| {
        let name = field.get("name").and_then(Value::as_str);
        let name = lacking(name, "a field", "name, a text")?;
        let of_field = lacking(field.get("type"), "a field", "type")?;
        let mut form = Map::new();
        form.insert("name".into(), name.into());
        form.insert("type".into(), of(of_field, space)?);
        Ok(form.into())
    })
}

/// The full name of a named type, and the namespace inside it.
fn named(
    schema: &Map<String, Value>,
    space: &str,
    kind: &'static str,
) -> Result<(String, String), SchemaFault> {
    let name = schema.get("name").and_then(Value::as_str);
    let name = lacking(name, kind, "name, a text")?;
    let own = schema.get("namespace").and_then(Value::as_str);
    let full = full_name(name, own.unwrap_or(space));
    let inside = full.rsplit_once('.').map_or("", |(space, _)| space).into();
    Ok((full, inside))
}

fn full_name(name: &str, space: &str) -> String {
    match name.contains('.') || space.is_empty() {
        true => name.to_owned(),
        false => format!("{space}.{name}"),
    }
}

fn list<'a>(
    schema: &'a Map<String, Value>,
    name: &str,
    kind: &'static str,
    needs: &'static str,
) -> Result<&'a Vec<Value>, SchemaFault> {
    lacking(schema.get(name).and_then(Value::as_array), kind, needs)
}

fn lacking<T>(found: Option<T>, kind: &'static str, needs: &'static str) -> Result<T, SchemaFault> {
    found.ok_or(SchemaFault::Lacks { kind, needs })
}

fn all(
    items: &[Value],
    each: impl Fn(&Value) -> Result<Value, SchemaFault>,
) -> Result<Value, SchemaFault> {
    let forms: Result<Vec<_>, _> = items.iter().map(each).collect();
    Ok(forms?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn same(one: &str, other: &str) {
        assert_eq!(canonical(one).unwrap(), canonical(other).unwrap());
    }

    #[track_caller]
    fn differs(one: &str, other: &str) {
        assert_ne!(canonical(one).unwrap(), canonical(other).unwrap());
    }

    #[test]
    fn what_changes_no_byte_is_no_difference() {
        same(r#""string""#, r#"{"type": "string"}"#);
        same(
            r#""string""#,
            r#"{"type": "string", "avro.java.string": "String"}"#,
        );
        same(
            r#"{"type": "record", "name": "pulse.A", "fields": []}"#,
            r#"{"name": "A", "doc": "d", "fields": [], "namespace": "pulse", "type": "record",
                "aliases": ["B"], "__fastavro_parsed__": true}"#,
        );
        same(
            r#"{"type": "record", "name": "A", "namespace": "p", "fields": [
                {"name": "a", "type": {"type": "fixed", "name": "F", "size": 2}},
                {"name": "b", "type": "F"}]}"#,
            r#"{"type": "record", "name": "p.A", "fields": [
                {"name": "a", "type": {"type": "fixed", "name": "p.F", "size": 2}, "doc": "d"},
                {"name": "b", "type": "p.F", "default": "ab", "order": "ignore"}]}"#,
        );
        same(
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 4}"#,
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 0}"#,
        );
    }

    #[test]
    fn what_changes_a_byte_or_its_meaning_is() {
        differs(r#""string""#, r#""bytes""#);
        differs(r#"["null", "string"]"#, r#"["string", "null"]"#);
        differs(
            r#"{"type": "enum", "name": "E", "symbols": ["a", "b"]}"#,
            r#"{"type": "enum", "name": "E", "symbols": ["b", "a"]}"#,
        );
        differs(
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}"#,
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2}"#,
        );
        differs(
            r#"{"type": "long", "logicalType": "timestamp-micros"}"#,
            r#"{"type": "long", "logicalType": "timestamp-millis"}"#,
        );
        differs(
            r#"{"type": "record", "name": "A", "fields": [{"name": "a", "type": "int"}]}"#,
            r#"{"type": "record", "name": "A", "fields": [{"name": "b", "type": "int"}]}"#,
        );
    }

    #[test]
    fn what_is_no_schema_says_what_it_lacks() {
        let check = |text: &str, expect: &str| {
            assert_eq!(canonical(text).unwrap_err().to_string(), expect, "{text}");
        };
        check("{", "a schema is JSON");
        check(&"[".repeat(200), "a schema is JSON");
        for shapeless in ["1", "null", "{}", r#""""#, r#"{"type": 1}"#] {
            check(shapeless, &SchemaFault::Shape.to_string());
        }
        check(r#"{"type": "record"}"#, "a record needs name, a text");
        check(
            r#"{"type": "record", "name": "A"}"#,
            "a record needs fields, an array",
        );
        check(
            r#"{"type": "record", "name": "A", "fields": [1]}"#,
            "a field needs name, a text",
        );
        check(r#"{"type": "map"}"#, "a map needs values, a type");
        check(r#"{"type": "array"}"#, "an array needs items, a type");
    }
}
