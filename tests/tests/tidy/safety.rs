//! Unsafe code stands where it must: around librdkafka, in the hint to fetch memory, and in the
//! launcher of ClickHouse's library.

use proc_macro2::{TokenStream, TokenTree};

use super::repository::{assert_none, files_named};

/// The files that may hold unsafe code.
fn may_be_unsafe(path: &str) -> bool {
    const FILES: [&str; 2] = [
        "runtime/src/prefetch.rs",
        "pulse/src/bin/pulse-clickhouse-server.rs",
    ];
    path.starts_with("runtime/src/kafka/") || FILES.contains(&path)
}

/// True when the code, and not a comment or text in it, says `unsafe` or allows it.
fn is_unsafe(text: &str) -> bool {
    let tokens: TokenStream = text
        .parse()
        .expect("what does not parse does not compile either");
    holds_unsafe(tokens)
}

fn holds_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == "unsafe" || word == "unsafe_code",
        TokenTree::Group(group) => holds_unsafe(group.stream()),
        _ => false,
    })
}

/// Blocks without a proof above them.
fn unproven(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let begins =
        |line: &str| line.contains(concat!("unsafe", " {")) && !line.trim_start().starts_with("//");
    let is_proven = |at: usize| {
        let before = lines[..=at].iter().rev().take(12);
        let mut before = before.take_while(|line| !line.trim().is_empty());
        before.any(|line| line.contains("SAFETY:"))
    };
    let broken = (0..lines.len()).filter(|at| begins(lines[*at]) && !is_proven(*at));
    broken
        .map(|at| format!("line {}: unsafe without a SAFETY comment", at + 1))
        .collect()
}

#[test]
fn unsafe_code_stays_where_it_must_be() {
    let mut found = vec![];
    for file in files_named(".rs") {
        if !may_be_unsafe(&file.path) && is_unsafe(&file.text) {
            found.push(format!("{}: unsafe code", file.path));
        }
        found.extend(
            unproven(&file.text)
                .iter()
                .map(|what| format!("{}: {what}", file.path)),
        );
    }
    assert_none(found);
}

#[test]
fn unsafe_code_elsewhere_is_seen() {
    // Written with another word, or this file would break the rule itself.
    let check = |text: &str, expect: bool| {
        assert_eq!(
            is_unsafe(&text.replace("KEYWORD", "unsafe")),
            expect,
            "{text}"
        );
    };
    check("fn f() { KEYWORD { g() } }", true);
    check("#![allow(KEYWORD_code)]", true);
    check("KEYWORD impl Send for S {}", true);
    check(
        "// KEYWORD\nfn f() -> &'static str { \"KEYWORD {\" }",
        false,
    );
    assert!(may_be_unsafe("runtime/src/kafka/native.rs"));
    assert!(!may_be_unsafe("runtime/src/health.rs"));
}

#[test]
fn unsafe_code_without_a_proof_is_seen() {
    let code = "fn f() {\n    // SAFETY: g asks for nothing.\n    KEYWORD { g() }\n}\n";
    let code = code.replace("KEYWORD", "unsafe");
    assert_eq!(unproven(&code), [""; 0]);
    let code = code.replace("SAFETY", "BECAUSE");
    assert_eq!(unproven(&code), ["line 3: unsafe without a SAFETY comment"]);
}
