//! Every setting and every metric that is declared is on its page, as it is declared.
//!
//! Variables of the system that programs look at (`HOME`) are no settings of ours.

use std::collections::BTreeSet;

use syn::visit::Visit;
use tests::documented;

use super::repository::{assert_none, files_named, root};

/// The names in `Key { name: "…" }` and `Metric { name: "…" }` outside tests.
fn declared(text: &str) -> BTreeSet<String> {
    let file = syn::parse_file(text).expect("what does not parse does not compile either");
    let mut names = Names(BTreeSet::new());
    names.visit_file(&file);
    names.0
}

struct Names(BTreeSet<String>);

impl<'a> Visit<'a> for Names {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if module.ident != "tests" {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_expr_struct(&mut self, made: &'a syn::ExprStruct) {
        let is_declaration = made
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident == "Key" || last.ident == "Metric");
        let name = made
            .fields
            .iter()
            .find_map(|field| match (&field.member, &field.expr) {
                (syn::Member::Named(member), syn::Expr::Lit(value)) if member == "name" => {
                    match &value.lit {
                        syn::Lit::Str(text) => Some(text.value()),
                        _ => None,
                    }
                }
                _ => None,
            });
        let is_ours = |name: &String| {
            ["PULSE_", "OTEL_", "pulse_", "process_"]
                .iter()
                .any(|start| name.starts_with(start))
        };
        self.0
            .extend(name.filter(|name| is_declaration && is_ours(name)));
        syn::visit::visit_expr_struct(self, made);
    }
}

#[track_caller]
fn check(path: &str, expect: &str) {
    let page = std::fs::read_to_string(root().join(path)).unwrap_or_default();
    assert!(
        page == expect,
        "{path} is not what the declarations say: run `cargo run -p tests --bin write-docs`"
    );
}

#[test]
fn the_page_of_settings_is_up_to_date() {
    check(documented::CONFIGURATION, &documented::configuration_page());
}

#[test]
fn the_page_of_metrics_is_up_to_date() {
    check(documented::METRICS, &documented::metrics_page());
}

#[test]
fn nothing_that_is_declared_is_left_out_of_the_pages() {
    let pages = documented::configuration_page() + &documented::metrics_page();
    let mut found = vec![];
    for file in files_named(".rs") {
        let is_test =
            format!("/{}", file.path).contains("/tests/") || file.path.ends_with("/tests.rs");
        if !is_test {
            let missing = declared(&file.text).into_iter();
            let missing = missing.filter(|name| !pages.contains(&format!("`{name}`")));
            found.extend(missing.map(|name| format!("{}: {name} is on no page", file.path)));
        }
    }
    assert_none(found);
}

#[test]
fn declarations_are_found_where_they_are() {
    let text = "
        const A: Key = Key { name: \"PULSE_A\", default: None, doc: \"A.\" };
        fn f() { g(&telemetry::Metric { name: \"pulse_b\", doc: \"B.\" }); }
        const C: Other = Other { name: \"PULSE_C\" };
        const H: Key = Key { name: \"HOME\", default: None, doc: \"Home.\" };
        mod tests { const D: Key = Key { name: \"PULSE_D\", default: None, doc: \"D.\" }; }";
    let expect = BTreeSet::from(["PULSE_A".to_owned(), "pulse_b".to_owned()]);
    assert_eq!(declared(text), expect);
}
