//! The dashboards that Grafana is given: their queries as Grafana would send them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::file::{self, text};

fn panels() -> Vec<Value> {
    let dashboard: Value =
        serde_json::from_str(&file::read("grafana/dashboards/overview.json")).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

/// Texts under `field` in the panels' targets, each with its panel's title.
fn of_targets(field: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    for panel in panels() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            if let Some(text) = target[field].as_str() {
                found.push((panel["title"].as_str().unwrap().to_owned(), text.to_owned()));
            }
        }
    }
    found
}

/// The panels' questions to Prometheus.
pub(crate) fn expressions() -> Vec<(String, String)> {
    of_targets("expr")
}

/// The panels' and variables' SQL, with what Grafana puts in: macros of the data source, and
/// variables of the dashboard.
pub(crate) fn queries() -> Vec<(String, String)> {
    let dashboard: Value =
        serde_json::from_str(&file::read("grafana/dashboards/overview.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables = variables
        .iter()
        .map(|one| (text(&one["name"]), text(&one["query"])));
    let all = of_targets("rawSql").into_iter().chain(variables);
    all.map(|(title, sql)| (title, expanded(&sql))).collect()
}

fn expanded(sql: &str) -> String {
    let sql = sql.replace("${tenant}", "demo");
    let sql = sql.replace("${product:singlequote}", "'BTC-USD','ETH-USD'");
    let sql = with_macro(&sql, "$__timeFilter", |column| {
        format!("{column} >= now() - INTERVAL 1 HOUR AND {column} <= now() + INTERVAL 1 HOUR")
    });
    with_macro(&sql, "$__timeInterval", |column| {
        format!("toStartOfInterval(toDateTime({column}), INTERVAL 10 second)")
    })
}

fn with_macro(sql: &str, name: &str, put: impl Fn(&str) -> String) -> String {
    let call = format!("{name}(");
    let mut parts = sql.split(&call);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (column, rest) = part.split_once(')').unwrap();
        text.push_str(&put(column));
        text.push_str(rest);
    }
    text
}

#[test]
fn nothing_of_grafana_is_left_in_a_query() {
    let queries = queries();
    assert!(queries.len() >= 7, "{queries:?}");
    for (title, sql) in queries {
        assert!(!sql.contains('$'), "{title}: {sql}");
    }
}

#[test]
fn macros_are_put_in() {
    let sql = with_macro("a $__f(x) AND $__f(y) z", "$__f", |column| {
        format!("<{column}>")
    });
    assert_eq!(sql, "a <x> AND <y> z");
}

#[test]
fn panels_differ_and_ask_sources_that_are_provisioned() {
    let sources = file::yaml(&file::read("grafana/provisioning/datasources/pulse.yml"));
    let sources = sources["datasources"].as_array().unwrap();
    let sources: BTreeSet<String> = sources.iter().map(|source| text(&source["uid"])).collect();
    let mut ids = BTreeSet::new();
    for panel in panels() {
        assert!(
            ids.insert(panel["id"].as_i64().unwrap()),
            "{}",
            panel["title"]
        );
        if panel["type"] != "row" {
            let uid = text(&panel["datasource"]["uid"]);
            assert!(sources.contains(&uid), "{}: {uid}", panel["title"]);
            assert!(panel["description"].is_string(), "{}", panel["title"]);
        }
    }
}
