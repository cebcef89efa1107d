//! Whether the two ways to read an event agree.
//!
//! What the quick way takes, the thorough way must take as well, and make the same bytes of it.
//! What it does not take, the thorough way decides alone, so there is nothing else to agree on; but
//! sound events should not have to go there, and that is tested too.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::super::draft::{Draft, Room};
use super::super::faults::Faults;
use super::super::fields::{self, PLACES, Standing};
use super::super::prepared::Identity;
use super::super::quick;
use super::*;

/// The record that one way makes of an event; `None` where it takes none.
fn record<'a>(
    rules: &Rules<'_>,
    read: impl FnOnce(&mut Draft<'a>, &mut Faults) -> Option<()>,
) -> Option<Vec<u8>> {
    let mut draft = Draft::default();
    let mut faults = Faults::telling(20);
    read(&mut draft, &mut faults)?;
    let mut room = Room::new(rules);
    let head = draft.seal(0, rules, &PLACES, &mut room, &mut faults)?;
    let mut prepared = Prepared::default();
    let tags = draft.tags.iter().map(|(n, v)| (n.as_ref(), v.as_ref()));
    let metrics = draft.metrics.iter().map(|(n, v)| (n.as_ref(), *v));
    prepared.push(&head, tags, metrics, Identity::Made);
    let (_, _, value) = prepared.records().next()?;
    Some(value.to_owned())
}

fn quickly(text: &str, standing: Standing, rules: &Rules<'_>) -> Option<Vec<u8>> {
    record(rules, |draft, _| {
        let end = quick::read(text, 0, standing, draft)?;
        text[end..].trim_ascii().is_empty().then_some(())
    })
}

fn thoroughly(text: &str, standing: Standing, rules: &Rules<'_>) -> Option<Vec<u8>> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    record(rules, |draft, faults| {
        fields::read(raw, standing, draft, faults);
        Some(())
    })
}

/// Ids that were made must be the same, so they are derived.
fn rules(body: &str) -> Rules<'_> {
    Rules {
        idempotency: Some(Idempotency::new("k", body.as_bytes())),
        ..RULES
    }
}

/// A JSON text of some characters, now and then escaped in an odd way.
fn text() -> impl Strategy<Value = String> {
    let plain = "[a-z/:.-]{0,12}".prop_map(|text| format!("\"{text}\""));
    let any = "\\PC{0,16}".prop_map(|text| serde_json::to_string(&text).expect("a text"));
    let odd = prop_oneof![
        Just("\"\\u0061\\/\""),
        Just("\"\\ud83d\\ude00\""),
        Just("\"\\ud800\""),
        Just("\"coinbase:BTC-USD\""),
        Just("\"\""),
    ];
    prop_oneof![40 => plain, 8 => any, 1 => odd.prop_map(str::to_owned)]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,10})?",
        "-?[1-9](\\.[0-9]{1,20})?[eE][+-]?[0-9]{1,2}"
    ]
}

/// Any value, more often one that fits nowhere.
fn odd() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("[1, {\"a\": []}]".to_owned()),
        Just("{}".to_owned()),
        Just("{\"a\": \"b\", \"a\": 1}".to_owned()),
        number(),
        text(),
        "\"[a-z]{1020,1030}\"",
    ]
}

fn mostly(right: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    prop_oneof![60 => right, 1 => odd()]
}

fn object(entries: Vec<(String, String)>) -> String {
    let entries: Vec<String> = entries
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", entries.join(","))
}

fn entries(
    name: &'static str,
    value: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    prop::collection::vec((name, value), 0..6).prop_map(object)
}

fn source() -> impl Strategy<Value = String> {
    let rest = prop::collection::vec(
        (
            "host|method|endpoint|version|region|service",
            mostly(text()),
        ),
        0..3,
    );
    (mostly(text()), rest).prop_map(|(service, mut rest)| {
        rest.push(("service".into(), service));
        object(rest)
    })
}

fn context() -> impl Strategy<Value = String> {
    let tags = entries("[a-d]|x.y|", mostly(prop_oneof![text(), number()]));
    let rest = prop::collection::vec(("user_id|trace_id|session|a", mostly(text())), 0..3);
    (mostly(tags), rest).prop_map(|(tags, mut rest)| {
        rest.insert(rest.len() / 2, ("tags".into(), tags));
        object(rest)
    })
}

fn timestamp() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("1786278600".to_owned()),
        Just("\"1786278600123\"".to_owned()),
        Just("1786278599.123456".to_owned()),
        "\"2026-08-0[0-9]T12:[0-6]0:00(\\.[0-9]{1,8})?(Z|[+]02:00)?\"",
    ]
}

/// A field of an event and a value that may be right.
fn field() -> impl Strategy<Value = (String, String)> {
    let known = |name: &'static str| Just(name.to_owned());
    let kind = "\"(api_call|user_action|trade|quote|system_event|custom_event|gap|other)\"";
    prop_oneof![
        (known("event_id"), mostly(text())),
        (known("event_type"), mostly(kind)),
        (known("name"), mostly(text())),
        (known("timestamp"), mostly(timestamp())),
        (known("severity"), mostly("\"(debug|info|bad)\"")),
        (known("title"), mostly(text())),
        (known("subject"), mostly(text())),
        (known("sequence"), mostly("-?[1-9][0-9]{0,19}")),
        (known("source"), mostly(source())),
        (known("context"), mostly(context())),
        (
            known("metrics"),
            mostly(entries("[a-d]|", mostly(number())))
        ),
        (known("payload"), odd()),
        (known("api_key"), odd()),
        (known("other"), odd()),
    ]
}

/// An event, sound more often than not, with blanks in places.
fn event() -> impl Strategy<Value = String> {
    let most = ("\"(api_call|user_action|quote)\"", timestamp(), source());
    let fields = prop::collection::vec(field(), 0..7);
    (most, fields, "[ \n]{0,2}").prop_map(|((kind, at, source), mut fields, blanks)| {
        // What comes last counts, so these stand before what may spoil them.
        fields.sort();
        fields.dedup_by(|a, b| a.0 == b.0 && a.1.len() % 7 != 0);
        fields.retain(|(name, value)| name != "other" || value.len() % 5 == 0);
        let needed = [("event_type", kind), ("timestamp", at), ("source", source)];
        for (name, value) in needed {
            if !fields.iter().any(|(known, _)| known == name) {
                fields.insert(fields.len() / 2, (name.to_owned(), value));
            }
        }
        let object = object(fields).replace("\":", &format!("\"{blanks}:"));
        format!("{object}{blanks}")
    })
}

/// A text with a few of its characters changed.
fn bitten(text: &str, seed: u64) -> String {
    const TEETH: &[u8] = b"\"\\{}[]:,0eE.- \n\x01ntf";
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = text.as_bytes().to_owned();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(0..bytes.len());
        // It has to stay UTF-8.
        if bytes[at].is_ascii() {
            bytes[at] = TEETH[random.usize(0..TEETH.len())];
        }
    }
    String::from_utf8(bytes).expect("ASCII in the place of ASCII")
}

/// Which way an event took.
fn check(text: &str) -> Result<&'static str, TestCaseError> {
    for standing in [Standing::Alone, Standing::Among] {
        let quick = quickly(text, standing, &rules(text));
        let thorough = thoroughly(text, standing, &rules(text));
        if quick.is_some() {
            prop_assert_eq!(&quick, &thorough, "{}", text);
        }
        if standing == Standing::Among {
            return Ok(match (quick, thorough) {
                (Some(_), _) => "quick",
                (None, Some(_)) => "thorough",
                (None, None) => "refused",
            });
        }
    }
    unreachable!("the second of two standings returns")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn the_quick_way_takes_nothing_that_the_thorough_way_would_not(text in event()) {
        check(&text)?;
    }

    #[test]
    fn nor_of_events_that_somebody_has_bitten(
        text in event(),
        seed in any::<u64>(),
    ) {
        check(&bitten(&text, seed))?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_event_is_the_same_in_every_form(events in prop::collection::vec(event(), 1..5)) {
        let rules = rules("the same for all");
        // Lines cannot hold line feeds, and of what is no JSON each form says something else.
        let events = events.iter().map(|event| event.replace('\n', " "));
        let events: Vec<String> = events
            .filter(|event| serde_json::from_str::<&RawValue>(event).is_ok())
            .collect();
        let bodies = [
            (Form::Json, format!("[{}]", events.join(" ,"))),
            (Form::Json, format!("{{\"events\" : [{}]}}", events.join(","))),
            (Form::Json, format!(" {{ \"events\": [{}], \"api_key\": 1 }}", events.join(","))),
            (Form::Lines, format!("{}\n", events.join("\n"))),
        ];
        prop_assume!(!events.is_empty());
        let mut answers = bodies.iter().map(|(form, body)| {
            let prepared = prepare(*form, body.as_bytes(), &rules).unwrap();
            let record = |(index, key, value): (usize, &[u8], &[u8])| {
                (index, key.to_owned(), value.to_owned())
            };
            (prepared.records().map(record).collect::<Vec<_>>(), prepared.answer().body)
        });
        let first = answers.next().unwrap();
        prop_assert!(answers.all(|answer| answer == first), "{:?}", bodies);
    }

    #[test]
    fn no_body_is_too_odd(events in prop::collection::vec(event(), 1..4), seed in any::<u64>()) {
        let body = bitten(&format!("[{}]", events.join(",")), seed);
        let lines = bitten(&events.join("\n"), seed);
        let mut bytes = lines.clone().into_bytes();
        bytes[seed as usize % lines.len()] = seed as u8;
        for form in [Form::Json, Form::Lines, Form::CloudEvent, Form::CloudEvents] {
            for body in [body.as_bytes(), lines.as_bytes(), &bytes] {
                if let Ok(prepared) = prepare(form, body, &RULES) {
                    prop_assert!(serde_json::from_slice::<Value>(&prepared.answer().body).is_ok());
                }
                drop(key_in_body(body));
            }
        }
    }
}

#[test]
fn what_is_generated_goes_every_way() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..2_000 {
        let text = event().new_tree(&mut runner).unwrap().current();
        *counts.entry(check(&text).unwrap()).or_insert(0) += 1;
    }
    println!("{counts:?}");
    assert!(counts["quick"] > 500 && counts["refused"] > 200 && counts["thorough"] > 20);
}

#[test]
fn sound_events_take_the_quick_way() {
    for members in [
        r#""title": "a""#,
        r#""title": "a \"b\"\n\u00e9""#,
        r#""payload": {"a": [1, {"b": "\u00e9"}], "c": 1e5}"#,
        r#""context": {"tags": {"a": "b", "c": 1.50, "d": true}, "user_id": "u", "session": "s"}"#,
        r#""metrics": {"a": 1, "b": -2.50, "c": 1e-3, "d": 12345678901234567890.123456}"#,
        r#""event_id": "a", "timestamp": 1786278600"#,
        r#""event_id": "a", "timestamp": "2026-08-09T12:30:00+02:00""#,
        r#""subject": "s", "sequence": -5, "severity": "error", "name": null"#,
    ] {
        let text = format!(
            r#"{{"event_type": "api_call", "source": {{"service": "a", "region": "b"}}, {members}}}"#
        );
        let made = quickly(&text, Standing::Among, &RULES);
        assert!(made.is_some(), "{text}");
    }
}
