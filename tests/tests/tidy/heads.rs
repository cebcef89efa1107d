//! Every Rust file says first what it is.

use super::repository::{assert_none, files_named};

fn violation(text: &str) -> Option<&'static str> {
    let first = text.lines().next().unwrap_or_default();
    let says = first.strip_prefix("//! ").is_some_and(|doc| doc.len() > 5);
    (!says).then_some("does not begin with a `//!` doc")
}

#[test]
fn every_rust_file_begins_with_its_doc() {
    let files = files_named(".rs");
    let broken = |file: &super::repository::File| {
        violation(&file.text).map(|what| format!("{}: {what}", file.path))
    };
    assert_none(files.iter().filter_map(broken).collect());
}

#[test]
fn a_file_without_a_doc_is_seen() {
    assert_eq!(violation("//! Tumbling windows.\n"), None);
    assert!(violation("use std::fmt;\n//! Tumbling windows.\n").is_some());
    assert!(violation("// Tumbling windows.\n").is_some());
    assert!(violation("//! \n").is_some());
    assert!(violation("").is_some());
}
