//! Pages: one sentence a line, and links that lead somewhere.

use std::collections::BTreeSet;

use super::repository::{File, assert_none, files_named, root};

/// Dots that end no sentence.
const ABBREVIATIONS: [&str; 4] = ["e.g.", "i.e.", "vs.", "etc."];

/// The lines of a page that are prose, with their numbers; an empty one stands for each stretch
/// that is none: code, tables, headings.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let mut lines = vec![];
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let is_fence = trimmed.starts_with("```");
        is_code ^= is_fence;
        let is_prose = !is_code && !is_fence && !trimmed.starts_with(['|', '#', '<']);
        lines.push((at + 1, if is_prose { line } else { "" }));
    }
    lines
}

fn sentence_violations(text: &str) -> Vec<String> {
    let lines = prose(text);
    let mut found = vec![];
    for (index, (number, line)) in lines.iter().enumerate() {
        if has_two_sentences(line) {
            found.push(format!("line {number} has two sentences"));
        }
        let next = lines
            .get(index + 1)
            .map_or("", |(_, next)| next.trim_start());
        if !line.trim().is_empty() && goes_on(next) && !is_ended(line) {
            found.push(format!("line {number} ends within a sentence"));
        }
    }
    found
}

/// True when a line of prose follows that is no list's next item.
fn goes_on(next: &str) -> bool {
    let is_item = next.starts_with("- ") || next.starts_with("* ") || is_numbered(next);
    !next.is_empty() && !is_item
}

fn is_numbered(line: &str) -> bool {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < line.len() && rest.starts_with(". ")
}

fn is_ended(line: &str) -> bool {
    let end = line
        .trim_end()
        .trim_end_matches(['*', '_', '`', '"', ')', ']']);
    end.ends_with(['.', '!', '?', ':', ';'])
}

fn has_two_sentences(line: &str) -> bool {
    let line = without_code(line);
    let body = line.trim_start();
    let start = if is_numbered(body) {
        body.find(". ").map_or(0, |at| at + 2)
    } else {
        0
    };
    let words: Vec<&str> = body[start..].split_whitespace().collect();
    words.windows(2).any(|pair| {
        let end = pair[0].trim_end_matches(['*', '_', '"', ')']);
        let begins = pair[1].trim_start_matches(['*', '_', '"', '(', '[']);
        let is_abbreviation = ABBREVIATIONS.iter().any(|short| end.ends_with(short));
        end.ends_with(['.', '!', '?'])
            && !is_abbreviation
            && begins.starts_with(|c: char| c.is_uppercase())
    })
}

/// The line with what stands between backticks left out: code has dots of its own.
fn without_code(line: &str) -> String {
    let parts = line.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 0 { part } else { "x" })
        .collect()
}

/// Where the page's links lead, with the lines that they stand in.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = vec![];
    let mut is_code = false;
    for (at, line) in text.lines().enumerate() {
        is_code ^= line.trim_start().starts_with("```");
        if is_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            found.extend(part.split_once(')').map(|(target, _)| (at + 1, target)));
        }
    }
    found
}

/// The anchor of each heading, as forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line
            .trim_start_matches('#')
            .trim()
            .to_lowercase()
            .replace(' ', "-");
        title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
            .collect()
    };
    headings.map(anchor).collect()
}

fn link_violations(file: &File) -> Vec<String> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = vec![];
    for (line, target) in links(&file.text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let place = root().join(folder).join(path);
        let is_there = path.is_empty() || place.exists();
        let text = if path.is_empty() {
            file.text.clone()
        } else {
            std::fs::read_to_string(&place).unwrap_or_default()
        };
        if !is_there || !anchor.is_empty() && !anchors(&text).contains(anchor) {
            found.push(format!("line {line}: {target} leads nowhere"));
        }
    }
    found
}

#[test]
fn a_line_is_a_sentence() {
    let mut found = vec![];
    for file in files_named(".md") {
        let broken = sentence_violations(&file.text);
        found.extend(broken.iter().map(|what| format!("{}: {what}", file.path)));
    }
    assert_none(found);
}

#[test]
fn links_lead_somewhere() {
    let mut found = vec![];
    for file in files_named(".md") {
        let broken = link_violations(&file);
        found.extend(broken.iter().map(|what| format!("{}: {what}", file.path)));
    }
    assert_none(found);
}

#[test]
fn two_sentences_or_half_of_one_are_seen() {
    let check = |text: &str, expect: &[&str]| assert_eq!(sentence_violations(text), expect);
    check(
        "One.\nTwo, e.g. This.\n\n- item without a dot\n- another\n",
        &[],
    );
    check("One. Two.\n", &["line 1 has two sentences"]);
    check("**One.** Two.\n", &["line 1 has two sentences"]);
    check("1. One.\n2. Two `a. B` three.\n", &[]);
    check("One that\ngoes on.\n", &["line 1 ends within a sentence"]);
    check(
        "- One that\n  goes on.\n",
        &["line 1 ends within a sentence"],
    );
    check("```\nOne. Two\nthree\n```\n| a. B |\n# A. B\n", &[]);
}

#[test]
fn a_link_to_nowhere_is_seen() {
    let check = |text: &str, expect: &[&str]| {
        let file = File {
            path: "docs/page.md".into(),
            text: text.into(),
        };
        assert_eq!(link_violations(&file), expect);
    };
    check("[a](../Cargo.toml) [b](https://example.com/x)", &[]);
    check("# The head\n[a](#the-head)", &[]);
    check("[a](nowhere.md)", &["line 1: nowhere.md leads nowhere"]);
    check("x\n[a](#nowhere)", &["line 2: #nowhere leads nowhere"]);
    check("```\n[a](nowhere.md)\n```", &[]);
}
