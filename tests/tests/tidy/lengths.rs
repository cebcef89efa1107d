//! How long files, functions and lines may be.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

use super::repository::{File, assert_none, files_named};

/// Lines in a file, its tests included.
const FILE_LINES_MAX: usize = 500;
/// Lines in a function, from its name to its last brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Columns in a line.
const COLUMNS_MAX: usize = 100;

fn file_violation(text: &str) -> Option<String> {
    let count = text.lines().count();
    (count > FILE_LINES_MAX).then(|| format!("has {count} lines"))
}

/// Lines of code and comment that are too long. A text in quotes may be: breaking what a program
/// says, or a recorded frame, would change it or hide it from a search. Nor can a table's row
/// break.
fn line_violations(text: &str) -> Vec<String> {
    let quoted = quoted_lines(text);
    let is_long = |(at, line): &(usize, &str)| {
        let count = line.chars().count();
        let is_row = line
            .trim_start()
            .trim_start_matches(['/', '!'])
            .starts_with(" |");
        let can_break = !is_row && !line.contains("://");
        count > COLUMNS_MAX && can_break && !quoted.contains(&(at + 1))
    };
    let long = text.lines().enumerate().filter(is_long);
    long.map(|(at, line)| format!("line {} has {} columns", at + 1, line.chars().count()))
        .collect()
}

/// The lines on which a text in quotes goes beyond the last column.
fn quoted_lines(text: &str) -> BTreeSet<usize> {
    let tokens: TokenStream = text
        .parse()
        .expect("what does not parse does not compile either");
    let mut lines = BTreeSet::new();
    let source: Vec<&str> = text.lines().collect();
    note_quoted(tokens, &source, &mut lines);
    lines
}

fn note_quoted(tokens: TokenStream, source: &[&str], lines: &mut BTreeSet<usize>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => note_quoted(group.stream(), source, lines),
            TokenTree::Literal(literal) => {
                let (start, end) = (literal.span().start(), literal.span().end());
                // A doc comment is a literal too, but does not begin like one.
                let mut written = source[start.line - 1].chars().skip(start.column);
                let is_quoted = written
                    .next()
                    .is_some_and(|c| matches!(c, '"' | 'r' | 'b' | 'c'));
                let crosses = start.column < COLUMNS_MAX && end.column > COLUMNS_MAX;
                if is_quoted && (start.line < end.line || crosses) {
                    lines.extend(start.line..=end.line);
                }
            }
            _ => {}
        }
    }
}

fn function_violations(text: &str) -> Vec<String> {
    let file = syn::parse_file(text).expect("what does not parse does not compile either");
    let mut functions = Functions(vec![]);
    functions.visit_file(&file);
    functions.0
}

struct Functions(Vec<String>);

impl Functions {
    fn look(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let start = signature.fn_token.span.start();
        let end = block.brace_token.span.close().end();
        let count = end.line - start.line + 1;
        if count > FUNCTION_LINES_MAX {
            self.0
                .push(format!("fn {} has {count} lines", signature.ident));
        }
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.look(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.look(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.look(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

fn of(files: &[File], rule: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    let broken = |file: &File| {
        rule(&file.text)
            .into_iter()
            .map(|what| format!("{}: {what}", file.path))
            .collect::<Vec<_>>()
    };
    files.iter().flat_map(broken).collect()
}

#[test]
fn files_are_short() {
    assert_none(of(&files_named(".rs"), |text| {
        file_violation(text).into_iter().collect()
    }));
}

#[test]
fn functions_are_short() {
    assert_none(of(&files_named(".rs"), function_violations));
}

#[test]
fn lines_are_short() {
    assert_none(of(&files_named(".rs"), line_violations));
}

#[test]
fn what_is_too_long_is_seen() {
    assert_eq!(file_violation(&"x\n".repeat(500)), None);
    assert_eq!(file_violation(&"x\n".repeat(501)).unwrap(), "has 501 lines");

    let comment = |count: usize| format!("// {}\n", "é".repeat(count - 3));
    assert_eq!(line_violations(&comment(100)), [""; 0]);
    assert_eq!(
        line_violations(&format!("\n{}", comment(101))),
        ["line 2 has 101 columns"]
    );
    assert_eq!(
        line_violations(&format!("//! {}\n", "x".repeat(97))),
        ["line 1 has 101 columns"]
    );
    assert_eq!(
        line_violations(&format!("// https://{}", "x".repeat(100))),
        [""; 0]
    );
    assert_eq!(
        line_violations(&format!("//! | {} |\n", "x".repeat(100))),
        [""; 0]
    );
    let text = "x".repeat(100);
    assert_eq!(
        line_violations(&format!("const A: &str = \"{text}\";")),
        [""; 0]
    );
    assert_eq!(
        line_violations(&format!("const A: &str = r#\"\n{text}y\n\"#;")),
        [""; 0]
    );
    let long = format!("const {text}: &str = \"short\";");
    assert_eq!(line_violations(&long), ["line 1 has 123 columns"]);

    let function = |count: usize| format!("fn f() {{\n{}}}\n", "x();\n".repeat(count - 2));
    assert_eq!(function_violations(&function(70)), [""; 0]);
    assert_eq!(function_violations(&function(71)), ["fn f has 71 lines"]);
    let method = format!("impl S {{\n{}\n}}", function(80));
    assert_eq!(function_violations(&method), ["fn f has 80 lines"]);
    let nested = format!("trait T {{\n{}\nfn g();\n}}", function(90));
    assert_eq!(function_violations(&nested), ["fn f has 90 lines"]);
}
