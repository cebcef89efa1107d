//! A schema's parsing canonical form and its CRC-64-AVRO, by the specification: `apache-avro` keeps
//! attributes in the canonical form that other implementations strip, so its prints differ.

use serde_json::Value;

/// What identifies a schema to any implementation of Avro.
pub(crate) fn fingerprint(schema: &Value) -> u64 {
    crc64(canonical(schema, "").as_bytes())
}

/// Names in full, and nothing that is not needed to read bytes.
fn canonical(schema: &Value, namespace: &str) -> String {
    let parts = match schema {
        Value::Array(branches) => {
            let branches = branches.iter().map(|one| canonical(one, namespace));
            return format!("[{}]", branches.collect::<Vec<_>>().join(","));
        }
        Value::Object(parts) => parts,
        name => return name.to_string(),
    };
    let namespace = parts
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or(namespace);
    let inside = |part: &str| canonical(&parts[part], namespace);
    let name = || format!("{namespace}.{}", parts["name"].as_str().unwrap());
    match parts["type"].as_str() {
        Some("record") => {
            let fields = parts["fields"].as_array().unwrap().iter();
            let fields = fields.map(|field| {
                let schema = canonical(&field["type"], namespace);
                format!(r#"{{"name":{},"type":{schema}}}"#, field["name"])
            });
            let fields = fields.collect::<Vec<_>>().join(",");
            format!(
                r#"{{"name":"{}","type":"record","fields":[{fields}]}}"#,
                name()
            )
        }
        Some("enum") => {
            let symbols = &parts["symbols"];
            format!(
                r#"{{"name":"{}","type":"enum","symbols":{symbols}}}"#,
                name()
            )
        }
        Some("array") => format!(r#"{{"type":"array","items":{}}}"#, inside("items")),
        Some("map") => format!(r#"{{"type":"map","values":{}}}"#, inside("values")),
        _ => inside("type"),
    }
}

const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(EMPTY, |print, byte| {
        let low = (print ^ u64::from(*byte)) & 0xff;
        let folded = (0..8).fold(low, |f, _| (f >> 1) ^ (EMPTY * (f & 1)));
        (print >> 8) ^ folded
    })
}

#[test]
fn known_fingerprints() {
    // From the specification's reference implementation.
    assert_eq!(fingerprint(&"int".into()), 0x7275_d51a_3f39_5c8f);
    assert_eq!(fingerprint(&"null".into()), 0x63dd_24e7_cc25_8f8a);
}
