//! What a definition says is wrong with itself, as faults with places.
//!
//! Definitions begin each fault with the field's name; what does not begin with one of their
//! fields is said of the part that it is about.

use schemas::control::Kind;

use super::document::push;
use crate::problem::FieldFault;

/// The faults of a definition of this kind.
pub fn located(kind: Kind, faults: Vec<String>) -> Vec<FieldFault> {
    let locate = |fault: String| FieldFault::new(pointer(kind, &fault), fault);
    faults.into_iter().map(locate).collect()
}

/// The fields of each kind, by which a fault may begin.
fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Meter => &[
            "filter",
            "value",
            "weight",
            "group_by",
            "windows",
            "aggregates",
        ],
        Kind::Feed => &["exchange", "products", "channels", "enabled"],
        Kind::Tenant => &["name", "limits", "tier", "ingest", "direct_producers"],
        Kind::Key => &[
            "name",
            "kind",
            "scopes",
            "origins",
            "expires_at",
            "events_per_second",
        ],
        Kind::Usage => &["month", "events", "counted_to_ms"],
    }
}

fn pointer(kind: Kind, fault: &str) -> String {
    let place = fault.split([' ', ',', ':']).next().unwrap_or_default();
    let pointer = steps(place);
    let first = place.split(['.', '[']).next().unwrap_or_default();
    if fields(kind).contains(&first) {
        return pointer;
    }
    match (kind, first) {
        (Kind::Meter, "window" | "width_ms" | "hop_ms" | "gap_ms") => "/windows".into(),
        // A condition's fault begins with the event's field that it is about.
        (Kind::Meter, _) => "/filter/all".into(),
        (Kind::Tenant, _) => format!("/limits{pointer}"),
        (Kind::Feed | Kind::Key | Kind::Usage, _) => String::new(),
    }
}

/// `a.b[1].c` as `/a/b/1/c`.
fn steps(place: &str) -> String {
    let mut pointer = String::new();
    for step in place.split(['.', '[']) {
        push(&mut pointer, step.trim_end_matches(']'));
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::control::{Definition, DefinitionError};

    #[track_caller]
    fn check(kind: Kind, body: &str, expect: &[&str]) {
        let Err(DefinitionError::Faults(faults)) = Definition::read(kind, body) else {
            panic!("{body} has no faults of its own");
        };
        let faults = located(kind, faults);
        let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, expect, "{faults:?}");
    }

    #[test]
    fn every_fault_of_a_definition_has_its_place() {
        let meter = r#"{"group_by": [], "value": "name", "windows": [
                {"kind": "tumbling", "width_ms": 10},
                {"kind": "hopping", "width_ms": 10, "hop_ms": 3}],
            "filter": {"all": [{"field": "name", "gt": "1"}]},
            "aggregates": [{"name": "n", "function": "count"},
                {"name": "n", "function": "vwap"}]}"#;
        let expect = [
            "/group_by",
            "/value",
            "/windows",
            "/windows/1/width_ms",
            "/aggregates/1/name",
            "/aggregates/1",
            "/filter/all",
        ];
        check(Kind::Meter, meter, &expect);
        let feed = r#"{"exchange": "coinbase_exchange", "products": ["A", "b c"], "channels": []}"#;
        check(Kind::Feed, feed, &["/channels", "/products/1"]);
        let tenant = r#"{"name": "a", "limits": {"bound_ms": -1, "groups_max": 0},
            "ingest": {"burst_events": 0}}"#;
        let expect = [
            "/limits/bound_ms",
            "/limits/dedup_ids_max",
            "/ingest/burst_events",
        ];
        check(Kind::Tenant, tenant, &expect);
    }
}
