//! `schemas ← runtime ← {connectors, processors, sinks, api} ← {pulse, tests, benches}`, read from
//! the manifests: who writes to a topic and who reads it never import one another.

use std::collections::BTreeSet;

use super::repository::{assert_none, files_named};

/// Each package, and which of the others it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("runtime", &["schemas"]),
    ("connectors", &["schemas", "runtime"]),
    ("processors", &["schemas", "runtime"]),
    ("sinks", &["schemas", "runtime"]),
    ("api", &["schemas", "runtime"]),
    (
        "pulse",
        &[
            "schemas",
            "runtime",
            "connectors",
            "processors",
            "sinks",
            "api",
        ],
    ),
    (
        "tests",
        &[
            "schemas",
            "runtime",
            "connectors",
            "processors",
            "sinks",
            "api",
            "pulse",
        ],
    ),
    (
        "benches",
        &[
            "schemas",
            "runtime",
            "connectors",
            "processors",
            "sinks",
            "api",
            "pulse",
        ],
    ),
];

/// What a manifest says of its dependencies that it should not.
fn violations(package: &str, manifest: &str) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package) else {
        return vec![format!("{package}: no such package in the design")];
    };
    let mut found = vec![];
    for (name, value) in dependencies(manifest) {
        let is_ours = ARROWS.iter().any(|(package, _)| *package == name);
        if is_ours && !allowed.contains(&name) {
            found.push(format!("{package}: must not depend on {name}"));
        }
        if !value.contains("workspace") {
            found.push(format!(
                "{package}: {name} has a version of its own; it belongs in the root"
            ));
        }
    }
    found
}

/// Names and what stands behind them, of every section of dependencies.
fn dependencies(manifest: &str) -> Vec<(&str, &str)> {
    let mut is_inside = false;
    let mut found = vec![];
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            is_inside = section.trim_end_matches(']').ends_with("dependencies");
        } else if let (true, Some((left, right))) = (is_inside, line.split_once('=')) {
            let (name, dotted) = left.trim().split_once('.').unwrap_or((left.trim(), ""));
            found.push((name, if dotted.is_empty() { right } else { dotted }));
        }
    }
    found
}

#[test]
fn packages_depend_in_one_direction() {
    let manifests = files_named("Cargo.toml");
    let packages: Vec<(&str, &str)> = manifests
        .iter()
        .filter_map(|file| Some((file.path.strip_suffix("/Cargo.toml")?, file.text.as_str())))
        .collect();
    let workspace = manifests
        .iter()
        .find(|file| file.path == "Cargo.toml")
        .unwrap();
    let members = workspace
        .text
        .lines()
        .find(|line| line.starts_with("members"))
        .unwrap();
    let members: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    assert_eq!(
        packages
            .iter()
            .map(|(name, _)| *name)
            .collect::<BTreeSet<_>>(),
        members
    );
    assert_none(
        packages
            .iter()
            .flat_map(|(name, text)| violations(name, text))
            .collect(),
    );
}

#[test]
fn a_wrong_arrow_is_seen() {
    let check = |package: &str, manifest: &str, expect: &[&str]| {
        let found = violations(package, manifest);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for (found, expect) in found.iter().zip(expect) {
            assert!(found.contains(expect), "{found}");
        }
    };
    check("sinks", "[dependencies]\nruntime.workspace = true\n", &[]);
    check(
        "sinks",
        "[dependencies]\nprocessors.workspace = true\n",
        &["depend on processors"],
    );
    check(
        "schemas",
        "[dev-dependencies]\nruntime.workspace = true\n",
        &["depend on runtime"],
    );
    check(
        "runtime",
        "[dependencies]\ntokio = \"1\"\n",
        &["tokio has a version"],
    );
    check(
        "runtime",
        "[dependencies]\ntokio = { workspace = true }\n",
        &[],
    );
    check("utilities", "", &["no such package"]);
}
