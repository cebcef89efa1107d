//! Bodies of every form, sound and broken.

use super::*;

const SOUND: &str = r#"{"event_type": "api_call", "source": {"service": "a"}}"#;
const BROKEN: &str = r#"{"event_type": "api_call", "source": {"service": 5}}"#;

/// The status of the answer, and each event's.
#[track_caller]
fn check(form: Form, body: &str, expect: &str) {
    let prepared = acknowledged(form, body, &RULES);
    let sent = prepared.answer();
    let answer = answer(&prepared);
    let events = answer["events"].as_array().unwrap();
    let statuses: Vec<&str> = events
        .iter()
        .enumerate()
        .map(|(index, event)| {
            assert_eq!(event["index"], index);
            event["status"].as_str().unwrap()
        })
        .collect();
    for status in ["accepted", "rejected", "duplicate"] {
        let count = statuses.iter().filter(|s| **s == status).count();
        assert_eq!(answer[status], count, "{answer}");
    }
    assert_eq!(
        format!("{} {}", sent.status.as_u16(), statuses.join(" ")),
        expect
    );
}

#[test]
fn one_event_an_array_and_an_object_with_events() {
    check(Form::Json, SOUND, "200 accepted");
    check(Form::Json, &format!("\u{feff}  {SOUND} \n"), "200 accepted");
    check(Form::Json, BROKEN, "422 rejected");
    check(
        Form::Json,
        &format!("[{SOUND},{SOUND}]"),
        "200 accepted accepted",
    );
    check(
        Form::Json,
        &format!("[{BROKEN} , 5, {SOUND}]"),
        "207 rejected rejected accepted",
    );
    check(Form::Json, "[]", "200 ");
    check(Form::Json, "[{}, null]", "422 rejected rejected");
    check(
        Form::Json,
        &format!("{{\"events\": [{SOUND}]}}"),
        "200 accepted",
    );
    let keyed = format!("{{\"api_key\": \"k\", \"events\": [{SOUND}, {BROKEN}]}}");
    check(Form::Json, &keyed, "207 accepted rejected");
    let keyed = format!("{{\"events\": [{SOUND}], \"api_key\": \"k\"}}");
    check(Form::Json, &keyed, "200 accepted");
    let keyed = SOUND.replacen('{', "{\"api_key\": \"k\", ", 1);
    check(Form::Json, &keyed, "200 accepted");
    check(Form::Json, &format!("[{keyed}]"), "422 rejected");
}

#[test]
fn lines_are_told_apart() {
    check(
        Form::Lines,
        &format!("{SOUND}\n\n \r\n{BROKEN}\r\n{SOUND}"),
        "207 accepted rejected accepted",
    );
    check(
        Form::Lines,
        &format!("{SOUND}\n{{\"a\": \n{SOUND}\n"),
        "207 accepted rejected accepted",
    );
    check(
        Form::Lines,
        &format!("{SOUND} {SOUND}\n{SOUND}"),
        "207 rejected accepted",
    );
    check(
        Form::Lines,
        &format!("[{SOUND}]\n{SOUND}"),
        "207 rejected accepted",
    );
    let mut body = format!("{SOUND}\n").into_bytes();
    body.extend_from_slice(b"\"\xff\"\n");
    let prepared = prepare(Form::Lines, &body, &RULES).unwrap();
    let answer = answer(&prepared);
    let reason = &answer["events"][1]["errors"][0]["reason"];
    assert_eq!(reason, "line 2 is not JSON: it is not UTF-8");
}

#[test]
fn a_bad_line_says_which_and_where() {
    let prepared = acknowledged(Form::Lines, &format!("{SOUND}\n\n{{\"a\" 1}}"), &RULES);
    let answer = answer(&prepared);
    insta::assert_snapshot!(answer["events"][1], @r#"{"errors":[{"accepted_values":[],"pointer":"","reason":"line 3 is not JSON: expected `:` at column 6"}],"index":1,"status":"rejected"}"#);
}

#[test]
fn what_is_no_json_is_refused_whole_with_its_place() {
    insta::assert_snapshot!(refused(Form::Json, ""), @"400 Bad Request: the body is empty: JSON was expected []");
    insta::assert_snapshot!(refused(Form::Json, "event_type=api_call"), @"400 Bad Request: the body is not JSON: expected value at line 1 column 1 []");
    insta::assert_snapshot!(refused(Form::Json, format!("[{SOUND},\n{SOUND}")), @"400 Bad Request: the body is not JSON: EOF while parsing a list at line 2 column 54 []");
    insta::assert_snapshot!(refused(Form::Json, format!("[{SOUND},]")), @"400 Bad Request: the body is not JSON: expected value at line 1 column 57 []");
    insta::assert_snapshot!(refused(Form::Json, format!("{SOUND}\n{SOUND}")), @"400 Bad Request: the body is not JSON: trailing characters at line 2 column 1; several values, one on each line, are application/x-ndjson []");
    insta::assert_snapshot!(refused(Form::Json, "[1] x"), @"400 Bad Request: the body is not JSON: trailing characters at line 1 column 5; several values, one on each line, are application/x-ndjson []");
    insta::assert_snapshot!(refused(Form::Json, b"{\"a\": 1,\n \"\xff\"}"), @"400 Bad Request: the body is not UTF-8: line 2 column 3 []");
    insta::assert_snapshot!(refused(Form::Json, "{\"events\": [}"), @"400 Bad Request: the body is not JSON: expected value at line 1 column 13 []");
    insta::assert_snapshot!(refused(Form::Lines, "a\nb"), @"400 Bad Request: line 1 is not JSON: expected value at column 1 []");
    insta::assert_snapshot!(refused(Form::CloudEvents, "[{]"), @"400 Bad Request: the body is not JSON: key must be a string at line 1 column 3 []");
    insta::assert_snapshot!(refused(Form::CloudEvent, "{"), @"400 Bad Request: the body is not JSON: EOF while parsing an object at line 1 column 1 []");
}

#[test]
fn json_that_is_no_form_of_events_is_refused_whole() {
    insta::assert_snapshot!(refused(Form::Json, "5"), @"400 Bad Request: the body is JSON, and neither an event nor an array of events []");
    insta::assert_snapshot!(refused(Form::Json, "{\"events\": {}}"), @r#"422 Unprocessable Entity: the body has events, and something that is wrong [FieldFault { pointer: "/events", reason: "must be an array", accepted_values: [] }]"#);
    insta::assert_snapshot!(refused(Form::Json, "{\"events\": [], \"sent_at\": 1}"), @r#"422 Unprocessable Entity: the body has events, and something that is wrong [FieldFault { pointer: "/sent_at", reason: "is nothing that stands beside events", accepted_values: ["events", "api_key"] }]"#);
    insta::assert_snapshot!(refused(Form::CloudEvents, "{}"), @"400 Bad Request: a batch of CloudEvents is an array []");
}

#[test]
fn more_events_than_allowed_are_refused_whole() {
    let max = RULES.batch_events_max;
    let events = |count| vec![SOUND; count].join(",");
    assert_eq!(
        acknowledged(Form::Json, &format!("[{}]", events(max)), &RULES).record_count(),
        max
    );
    let expect = "413 Payload Too Large: a request of this tenant has at most 100 events []";
    assert_eq!(
        refused(Form::Json, format!("[{}]", events(max + 1))),
        expect
    );
    assert_eq!(
        refused(Form::Lines, vec![SOUND; max + 1].join("\n")),
        expect
    );
}

#[test]
fn the_same_identity_twice_is_a_duplicate() {
    let event = |id: &str, subject: &str, at: &str, kind: &str| {
        format!(
            r#"{{"event_id": "{id}", "event_type": "{kind}", "source": {{"service": "a"}},
                 "subject": "{subject}", "timestamp": {at}}}"#
        )
    };
    let first = event("1\\n", "s", "1786278600", "api_call");
    let others = [
        event("2", "s", "1786278600", "api_call"),
        event("1\\n", "t", "1786278600", "api_call"),
        event("1\\n", "s", "1786278601", "api_call"),
        event("1\\n", "s", "1786278600", "user_action"),
    ];
    let body = format!("[{first},{},{first}]", others.join(","));
    check(
        Form::Json,
        &body,
        "200 accepted accepted accepted accepted accepted duplicate",
    );
    let same_instant = event("1\\n", "s", "\"2026-08-09T12:30:00Z\"", "api_call");
    let prepared = acknowledged(Form::Json, &format!("[{first},{same_instant}]"), &RULES);
    let events = answer(&prepared)["events"].clone();
    assert_eq!(events[1]["status"], "duplicate");
    assert_eq!(events[1]["event_id"], "1\n");
}

#[test]
fn deep_values_are_walked_without_a_stack() {
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let body = SOUND.replacen('{', &format!("{{\"payload\": {deep}, "), 1);
    check(Form::Json, &format!("[{body}]"), "200 accepted");
    let open = "[".repeat(1_000_000);
    assert!(refused(Form::Json, &open).starts_with("400"));
    let open = "{\"a\":".repeat(1_000_000);
    assert!(refused(Form::Json, &open).starts_with("400"));
}

#[test]
fn an_answer_to_a_request_full_of_faults_stays_in_proportion() {
    let event = r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1}"#;
    let rules = Rules {
        batch_events_max: 10_000,
        ..RULES
    };
    let body = format!("[{}]", vec![event; 10_000].join(","));
    let prepared = prepare(Form::Json, body.as_bytes(), &rules).unwrap();
    let sent = prepared.answer();
    assert_eq!(
        (sent.status.as_u16(), sent.content_type),
        (422, "application/problem+json")
    );
    assert!(sent.body.len() < 6 * body.len(), "{}", sent.body.len());
}
