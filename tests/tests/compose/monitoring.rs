//! What Prometheus asks and watches: targets that are there, and metrics that somebody declares.

use std::collections::BTreeSet;

use serde_json::Value;

use super::dashboards;
use super::file::{self, list, text};

/// The metrics that an expression names, by the names under which they are declared.
fn metrics(expression: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c| !is_word(c));
    let is_metric = |word: &&str| word.starts_with("pulse_") || word.starts_with("process_");
    let declared = |word: &str| {
        let parts = ["_bucket", "_count", "_sum"];
        parts
            .iter()
            .find_map(|part| word.strip_suffix(part))
            .unwrap_or(word)
            .to_owned()
    };
    words.filter(is_metric).map(declared).collect()
}

fn unknown(expression: &str) -> Vec<String> {
    let parts = tests::documented::metrics();
    let known: BTreeSet<&str> = parts
        .iter()
        .flat_map(|(_, metrics)| metrics.iter().map(|metric| metric.name))
        .collect();
    metrics(expression)
        .into_iter()
        .filter(|name| !known.contains(name.as_str()))
        .collect()
}

fn alerts() -> Vec<Value> {
    let rules = file::yaml(&file::read("deploy/alerts.yml"));
    let groups = rules["groups"].as_array().unwrap().clone();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

#[test]
fn every_role_that_goes_on_is_asked() {
    let compose = file::compose();
    let roles = file::roles(&compose);
    let expect: BTreeSet<String> = roles
        .iter()
        .filter(|role| role.health.is_some())
        .map(|role| {
            let listen = &role.environment["PULSE_LISTEN"];
            let port = listen.strip_prefix("0.0.0.0:").unwrap();
            format!("{}:{port} {}", role.name, role.command[0])
        })
        .collect();
    let prometheus = file::yaml(&file::read("deploy/prometheus.yml"));
    let asked: BTreeSet<String> = prometheus["scrape_configs"][0]["static_configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| {
            format!(
                "{} {}",
                list(&target["targets"])[0],
                text(&target["labels"]["role"])
            )
        })
        .collect();
    assert_eq!(asked, expect);
}

#[test]
fn alerts_are_about_metrics_that_there_are() {
    let alerts = alerts();
    let names: BTreeSet<String> = alerts.iter().map(|alert| text(&alert["alert"])).collect();
    assert_eq!(names.len(), alerts.len(), "two alerts have one name");
    for alert in &alerts {
        let expression = text(&alert["expr"]);
        assert_eq!(unknown(&expression), [""; 0], "{expression}");
        let is_about_something = !metrics(&expression).is_empty() || expression.starts_with("up{");
        assert!(is_about_something, "{expression}");
        let severity = text(&alert["labels"]["severity"]);
        assert!(
            ["warning", "critical"].contains(&severity.as_str()),
            "{severity}"
        );
        assert!(alert["annotations"]["summary"].is_string(), "{expression}");
    }
}

#[test]
fn dashboards_are_about_metrics_that_there_are() {
    let expressions = dashboards::expressions();
    assert!(expressions.len() > 10, "{expressions:?}");
    for (panel, expression) in expressions {
        assert_eq!(unknown(&expression), [""; 0], "{panel}");
    }
}

#[test]
fn a_metric_that_nobody_declares_is_seen() {
    assert_eq!(
        unknown("rate(pulse_nothing_total[1m]) > 0"),
        ["pulse_nothing_total"]
    );
    assert_eq!(
        unknown("rate(pulse_clickhouse_insert_seconds_bucket[1m])"),
        [""; 0]
    );
}
