//! The file is one that the Compose Specification allows.

use serde_json::{Value, json};

use super::file;

fn faults(file: &Value) -> Vec<String> {
    let schema = file::read("tests/fixtures/compose-spec/compose-spec.json");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator
        .iter_errors(file)
        .map(|error| error.to_string())
        .collect()
}

#[test]
fn the_file_is_as_the_published_schema_wants_it() {
    assert_eq!(faults(&file::compose()), Vec::<String>::new());
}

#[test]
fn the_schema_sees_what_is_wrong() {
    let change = |path: &str, value: Value| {
        let mut file = file::compose();
        *file.pointer_mut(path).unwrap() = value;
        faults(&file)
    };
    assert_ne!(change("/services/kafka/restart", json!(7)), [""; 0]);
    assert_ne!(change("/services/kafka/ports", json!("9092")), [""; 0]);
    assert_ne!(
        change("/services/metrics/healthcheck", json!({"tests": "true"})),
        [""; 0]
    );
    assert_ne!(change("/volumes", json!([])), [""; 0]);
}
