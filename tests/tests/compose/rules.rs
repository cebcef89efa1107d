//! What we want of the file beyond its form: each rule with a sample that breaks it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::file::{self, interpolated, list, services, text};

/// All that breaks a rule.
fn faults(file: &Value) -> Vec<String> {
    let mut faults = vec![];
    for (name, service) in services(file) {
        let mut rule = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{name}: {what}"));
            }
        };
        rule(
            is_pinned(&text(&service["image"])),
            "the image is not pinned",
        );
        rule(service["mem_limit"].is_string(), "no memory limit");
        rule(service["restart"].is_string(), "no restart policy");
        let checked = service["healthcheck"]["test"].is_array();
        rule(
            checked || service["restart"] == "on-failure",
            "no health check",
        );
        let is_local = |port: &String| port.starts_with("127.0.0.1:");
        rule(
            list(&service["ports"]).iter().all(is_local),
            "a port is open to other machines",
        );
        for variable in openly_secret(service) {
            rule(
                false,
                &format!("{variable} holds a secret or a default for one"),
            );
        }
        let declared = |section: &str, named: &str| file[section].get(named).is_some();
        for secret in list(&service["secrets"]) {
            rule(
                declared("secrets", &secret),
                &format!("secret {secret} is not declared"),
            );
            // Compose copies it in when the container is there, and has nowhere to.
            let is_copied = file["secrets"][&secret].get("environment").is_some();
            rule(
                service["read_only"] != true || !is_copied,
                &format!("secret {secret} cannot be copied into a read-only service"),
            );
        }
        for volume in list(&service["volumes"]) {
            let source = volume.split(':').next().unwrap_or_default();
            let is_file = source.starts_with("./") && file::root().join(source).exists();
            rule(
                is_file || declared("volumes", source),
                &format!("volume {source} is neither declared nor a file"),
            );
        }
        for other in service["depends_on"].as_object().into_iter().flatten() {
            rule(
                file["services"].get(other.0).is_some(),
                &format!("no service {}", other.0),
            );
        }
    }
    faults
}

/// A tag with a version in it; `latest` and none at all move.
fn is_pinned(image: &str) -> bool {
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    tag.split('.')
        .filter(|part| part.bytes().any(|b| b.is_ascii_digit()))
        .count()
        >= 3
}

/// Variables that are secret by name and hold neither the path of a secret's file nor a variable
/// without a default.
fn openly_secret(service: &Value) -> Vec<String> {
    let variables = service["environment"].as_object().into_iter().flatten();
    let is_open = |(name, value): &(&String, &Value)| {
        let is_secret = ["PASSWORD", "SECRET", "TOKEN"]
            .iter()
            .any(|word| name.contains(word));
        let value = text(value);
        let is_file = name.ends_with("_FILE") && value.starts_with("/run/secrets/");
        let is_asked_for = value.starts_with("${") && value.contains(":?");
        is_secret && !is_file && !is_asked_for
    };
    variables
        .filter(is_open)
        .map(|(name, _)| name.clone())
        .collect()
}

#[test]
fn the_file_keeps_our_rules() {
    assert_eq!(faults(&file::compose()), Vec::<String>::new());
}

#[track_caller]
fn check(path: &str, value: Value, expect: &str) {
    let mut file = file::compose();
    let (parent, name) = path.rsplit_once('/').unwrap();
    file.pointer_mut(parent).unwrap()[name] = value;
    let found = faults(&file);
    assert!(
        found.iter().any(|fault| fault.contains(expect)),
        "{path}: {found:?}"
    );
}

#[test]
fn each_rule_can_be_broken() {
    let image = "/services/kafka/image";
    check(image, json!("apache/kafka"), "not pinned");
    check(image, json!("apache/kafka:latest"), "not pinned");
    check(image, json!("apache/kafka:4"), "not pinned");
    check(
        "/services/metrics/mem_limit",
        Value::Null,
        "no memory limit",
    );
    check(
        "/services/metrics/restart",
        Value::Null,
        "no restart policy",
    );
    check(
        "/services/metrics/healthcheck",
        Value::Null,
        "no health check",
    );
    check(
        "/services/metrics/secrets",
        json!(["other"]),
        "secret other is not declared",
    );
    check(
        "/services/metrics/secrets",
        json!(["reader_password"]),
        "secret reader_password cannot be copied",
    );
    check(
        "/services/grafana/ports",
        json!(["3000:3000"]),
        "open to other machines",
    );
    let volumes = "/services/kafka/volumes";
    check(volumes, json!(["other:/data"]), "volume other is neither");
    check(volumes, json!(["./nowhere:/data"]), "./nowhere is neither");
    check(
        "/services/sink/depends_on/other",
        json!({}),
        "no service other",
    );
}

#[test]
fn a_secret_in_the_file_is_seen() {
    let environment = "/services/clickhouse/environment";
    check(
        &format!("{environment}/A_PASSWORD"),
        json!("hunter2"),
        "A_PASSWORD holds",
    );
    check(
        &format!("{environment}/A_SECRET"),
        json!("${A:-hunter2}"),
        "A_SECRET holds",
    );
    check(
        &format!("{environment}/A_TOKEN_FILE"),
        json!("/tmp/token"),
        "A_TOKEN_FILE holds",
    );
}

#[test]
fn what_must_be_set_is_in_the_example_and_has_no_value_there() {
    let compose = file::read("docker-compose.yml");
    let named = interpolated(&compose).into_iter();
    let has_default = |name: &str| compose.contains(&format!("${{{name}:-"));
    let mut needed: BTreeSet<String> = named
        .filter(|name| !has_default(name))
        .map(str::to_owned)
        .collect();
    for secret in file::compose()["secrets"].as_object().unwrap().values() {
        needed.insert(text(&secret["environment"]));
    }
    let example = file::read(".env.example");
    let lines = example
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let example: BTreeSet<String> = lines
        .map(|line| {
            line.strip_suffix('=')
                .unwrap_or_else(|| panic!("{line}"))
                .to_owned()
        })
        .collect();
    assert_eq!(example, needed);
}

#[test]
fn spans_go_nowhere_unless_a_collector_is_named() {
    for role in file::roles(&file::compose()) {
        let collector = &role.environment["OTEL_EXPORTER_OTLP_ENDPOINT"];
        assert_eq!(
            collector, "${OTEL_EXPORTER_OTLP_ENDPOINT:-}",
            "{}",
            role.name
        );
        assert_eq!(file::filled_in(collector, &BTreeMap::new()), "");
    }
    let set = BTreeMap::from([("G", "h".to_owned()), ("E", "x".to_owned())]);
    assert_eq!(
        file::filled_in("a${B:-c}d${E:-}f${G:?set it}", &set),
        "acdxfh"
    );
}

#[test]
fn roles_of_ours_share_one_image_and_know_each_of_their_settings() {
    let file = file::compose();
    let known: BTreeSet<&str> = tests::documented::keys()
        .iter()
        .flat_map(|(_, keys)| keys.iter().map(|key| key.name))
        .collect();
    let roles = file::roles(&file);
    let names: Vec<&str> = roles.iter().map(|role| role.command[0].as_str()).collect();
    assert_eq!(
        names,
        [
            "pulse-api",
            "pulse",
            "pulse-coinbase",
            "pulse-gateway",
            "pulse-metrics",
            "pulse-clickhouse"
        ]
    );
    for role in roles {
        for name in role.environment.keys() {
            let key = name.strip_suffix("_FILE").unwrap_or(name);
            assert!(known.contains(key), "{}: {name} is no setting", role.name);
        }
        let service = &file["services"][&role.name];
        assert_eq!(service["image"], "pulsestream:0.1.0");
        assert_eq!(service["read_only"], true);
        assert_eq!(list(&service["cap_drop"]), ["ALL"]);
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(version, "0.1.0", "the image's tag is the project's version");
}
