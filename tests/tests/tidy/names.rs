//! Names that say nothing are given to nothing: neither to files nor to items.

use proc_macro2::Ident;
use syn::visit::Visit;

use super::repository::{assert_none, files_named};

/// Words that say where something was put and not what it does.
const BANNED: [&str; 9] = [
    "common", "util", "utils", "helper", "helpers", "manager", "managers", "inner", "legacy",
];

/// What is wrong with a name; its words are those between underscores, hyphens and capitals.
fn violation(name: &str) -> Option<String> {
    let words = words(name);
    let banned = words.iter().find(|word| BANNED.contains(&word.as_str()));
    if let Some(word) = banned {
        return Some(format!("{name} says {word:?}"));
    }
    let is_version = |word: &String| {
        let digits = word.strip_prefix('v').unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    // A file of released bytes names its version because there will be others beside it.
    words
        .last()
        .filter(|last| is_version(last))
        .map(|last| format!("{name} ends in {last:?}"))
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for c in name.chars() {
        if matches!(c, '_' | '-' | '.') || was_small && c.is_uppercase() {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words
                .last_mut()
                .expect("there is one from the start")
                .extend(c.to_lowercase());
        }
        was_small = c.is_lowercase() || c.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn item_violations(text: &str) -> Vec<String> {
    let file = syn::parse_file(text).expect("what does not parse does not compile either");
    let mut items = Items(vec![]);
    items.visit_file(&file);
    items.0
}

struct Items(Vec<String>);

impl Items {
    fn look(&mut self, name: &Ident) {
        self.0.extend(violation(&name.to_string()));
    }
}

impl<'a> Visit<'a> for Items {
    fn visit_item(&mut self, item: &'a syn::Item) {
        match item {
            syn::Item::Const(item) => self.look(&item.ident),
            syn::Item::Enum(item) => self.look(&item.ident),
            syn::Item::Mod(item) => self.look(&item.ident),
            syn::Item::Static(item) => self.look(&item.ident),
            syn::Item::Struct(item) => self.look(&item.ident),
            syn::Item::Trait(item) => self.look(&item.ident),
            syn::Item::Type(item) => self.look(&item.ident),
            syn::Item::Union(item) => self.look(&item.ident),
            _ => {}
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_signature(&mut self, signature: &'a syn::Signature) {
        self.look(&signature.ident);
        syn::visit::visit_signature(self, signature);
    }
}

#[test]
fn names_say_what_a_thing_does() {
    let mut found = vec![];
    for file in files_named(".rs") {
        let parts = file
            .path
            .split('/')
            .map(|part| part.trim_end_matches(".rs"));
        let names = parts
            .filter_map(violation)
            .chain(item_violations(&file.text));
        found.extend(names.map(|what| format!("{}: {what}", file.path)));
    }
    assert_none(found);
}

#[test]
fn a_name_that_says_nothing_is_seen() {
    for bad in [
        "utils",
        "kafka_helpers",
        "StateManager",
        "InnerState",
        "WindowV2",
        "sink_v2",
    ] {
        assert!(violation(bad).is_some(), "{bad}");
    }
    for good in [
        "commonplace",
        "winner",
        "Vwap",
        "ipv4",
        "v",
        "Event",
        "managed_at",
    ] {
        assert_eq!(violation(good), None);
    }
    let text = "struct Fine { inner: u8 } impl Fine { fn helper(&self) {} } mod common {}";
    assert_eq!(
        item_violations(text),
        ["helper says \"helper\"", "common says \"common\""]
    );
    assert_eq!(
        item_violations("trait T { fn run_v3(); }"),
        ["run_v3 ends in \"v3\""]
    );
}
