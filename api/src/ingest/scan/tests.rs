//! The cursor beside `serde_json`.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

/// Texts that are JSON, or nearly.
fn nearly_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just(",".to_owned()),
        Just(":".to_owned()),
        Just("\"a\"".to_owned()),
        Just("\"\\u00e9\\n\"".to_owned()),
        Just("\"\\ud83d\\ude00 é 😀\"".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just(" \n".to_owned()),
        "-?[0-9]{1,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
        "[a-z\"\\\\ \\x01\\x1f]{0,12}",
    ];
    let soup = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    prop_oneof![soup, json()]
}

/// Texts that are JSON.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        text(),
    ];
    leaf.prop_recursive(5, 40, 6, |value| {
        let array = prop::collection::vec(value.clone(), 0..6)
            .prop_map(|values| format!("[{}]", values.join(" ,")));
        let object = prop::collection::vec((text(), value), 0..6).prop_map(|entries| {
            let entry = |(name, value): &(String, String)| format!("{name} :{value}");
            let entries: Vec<String> = entries.iter().map(entry).collect();
            format!("{{ {}}}", entries.join(", "))
        });
        prop_oneof![array, object]
    })
}

/// A JSON text, some of it escaped.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,20}", "\\PC{0,20}", "[\\x00-\\xff]{0,20}"]
        .prop_map(|text: String| serde_json::to_string(&text).expect("a text"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn values_are_those_that_serde_json_takes(text in nearly_json()) {
        let ours = {
            let mut scanner = Scanner::new(&text, 0);
            scanner.skip_blanks();
            let value = scanner.value();
            scanner.skip_blanks();
            value.filter(|_| scanner.at() == text.len())
        };
        let theirs = serde_json::from_str::<&RawValue>(&text).ok().map(RawValue::get);
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn texts_stand_for_what_serde_json_says(text in prop_oneof![text(), nearly_json()]) {
        let mut scanner = Scanner::new(&text, 0);
        let ours = scanner.text().filter(|_| scanner.at() == text.len());
        let theirs = serde_json::from_str::<String>(text.as_str())
            .ok()
            .filter(|_| text.starts_with('"') && text.ends_with('"'));
        prop_assert_eq!(ours.as_deref(), theirs.as_deref());
    }

    #[test]
    fn the_next_special_byte_is_found_wherever_it_is(
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let is_special = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
        let expect = bytes.iter().position(is_special).unwrap_or(bytes.len());
        prop_assert_eq!(special(&bytes, 0), expect);
    }
}

#[test]
fn what_is_too_deep_is_odd() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Scanner::new(&nested(64), 0).value().is_some());
    assert!(Scanner::new(&nested(66), 0).value().is_none());
}
