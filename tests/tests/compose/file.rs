//! The compose file as data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// YAML with its merges done.
pub(crate) fn yaml(text: &str) -> Value {
    let mut value: yaml_serde::Value = yaml_serde::from_str(text).unwrap();
    value.apply_merge().unwrap();
    serde_json::to_value(value).unwrap()
}

/// The compose file.
pub(crate) fn compose() -> Value {
    yaml(&read("docker-compose.yml"))
}

/// A service, with its name.
pub(crate) fn services(file: &Value) -> impl Iterator<Item = (&String, &Value)> {
    file["services"].as_object().unwrap().iter()
}

/// A service of ours, as far as it can run without a container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Role {
    pub(crate) name: String,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    /// The health check's program and arguments; none for what ends by itself.
    pub(crate) health: Option<Vec<String>>,
}

/// The services of ours, those that others wait for first.
pub(crate) fn roles(file: &Value) -> Vec<Role> {
    let is_ours = |service: &Value| text(&service["image"]).starts_with("pulsestream:");
    let ours = services(file).filter(|(_, service)| is_ours(service));
    let mut roles: Vec<Role> = ours.map(|(name, service)| role(name, service)).collect();
    let waits = |name: &String| file["services"][name]["depends_on"].get("init").is_some();
    roles.sort_by_key(|role| waits(&role.name));
    roles
}

fn role(name: &str, service: &Value) -> Role {
    let environment = service["environment"].as_object().unwrap();
    let environment = environment
        .iter()
        .map(|(name, value)| (name.clone(), text(value)));
    let health = &service["healthcheck"];
    let health = (health["disable"] != true).then(|| {
        let mut test = list(&health["test"]);
        assert_eq!(test.remove(0), "CMD", "{name}: a check without a shell");
        test
    });
    Role {
        name: name.to_owned(),
        command: list(&service["command"]),
        environment: environment.collect(),
        health,
    }
}

/// A list of scalars as texts.
pub(crate) fn list(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(text).collect()
}

/// A scalar as compose hands it on.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text as compose hands it on where the environment sets these variables alone: `${NAME:-…}` has
/// its default.
///
/// # Panics
/// When a variable has none and is not set.
pub(crate) fn filled_in(text: &str, set: &BTreeMap<&str, String>) -> String {
    let mut parts = text.split("${");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (variable, rest) = part.split_once('}').unwrap();
        let name = variable.split(':').next().unwrap_or_default();
        let default = variable.split_once(":-").map(|(_, default)| default);
        let value = set.get(name).map(String::as_str).or(default);
        whole.push_str(value.unwrap_or_else(|| panic!("{name} is not set, for {text}")));
        whole.push_str(rest);
    }
    whole
}

/// What `${NAME}`, `${NAME:?…}` and `${NAME:-…}` in a text name.
pub(crate) fn interpolated(text: &str) -> Vec<&str> {
    let parts = text.split("${").skip(1);
    parts
        .map(|part| part.split([':', '}', '?', '-']).next().unwrap_or_default())
        .collect()
}
