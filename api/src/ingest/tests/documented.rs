//! The examples of the page for users.

use super::*;

const PAGE: &str = include_str!("../../../../docs/ingest.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    let start = format!("```{language}\n");
    let pieces: Vec<&str> = PAGE.split(start.as_str()).skip(1).collect();
    pieces
        .into_iter()
        .map(|piece| piece.split("\n```").next().unwrap())
}

/// What stands in single quotes behind this.
fn quoted<'a>(block: &'a str, behind: &str) -> Option<&'a str> {
    block.split_once(behind)?.1.split('\'').next()
}

#[test]
fn what_the_page_sends_is_accepted() {
    let mut count = 0;
    for block in blocks("sh") {
        let content_type = quoted(block, "'Content-Type: ").unwrap();
        let body = quoted(block, "-d '").or_else(|| quoted(block, "--data-binary '"));
        let Some(body) = body else { continue };
        let form = Form::of(Some(content_type)).unwrap();
        let prepared = acknowledged(form, body, &RULES);
        assert_eq!(
            prepared.answer().status,
            200,
            "{body}: {}",
            answer(&prepared)
        );
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn the_pages_whole_event_is_accepted_as_it_stands() {
    let whole = blocks("json")
        .find(|block| block.contains("\"payload\""))
        .unwrap();
    let event = event(Form::Json, whole);
    assert_eq!(event.event_id, "order-1041-paid");
    assert_eq!(event.metrics["amount"].to_string(), "19.9");
}

#[test]
fn the_page_names_every_field_that_there_is() {
    for field in super::super::fields::FIELDS {
        assert!(PAGE.contains(&format!("| `{field}")), "{field}");
    }
}
