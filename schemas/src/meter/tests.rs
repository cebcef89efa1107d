//! What is wrong with a meter is said; what is right reads back.

use super::*;
use crate::event::{Event, Severity, Source};
use crate::time::EventTime;

#[track_caller]
fn check(json: &str, expect: &str) {
    let got = match serde_json::from_str::<Meter>(json) {
        Ok(meter) => meter.faults().join("; "),
        Err(error) => error.to_string(),
    };
    assert!(got.contains(expect), "{json}: {got}");
}

#[test]
fn faults_say_where_and_what() {
    let meter = |group: &str, windows: &str, aggregates: &str| {
        format!(
            r#"{{"value":"metrics.price","group_by":{group},
            "windows":{windows},"aggregates":{aggregates}}}"#
        )
    };
    let (w, a) = (
        r#"[{"kind":"tumbling","width_ms":1000}]"#,
        r#"[{"name":"n","function":"count"}]"#,
    );
    let s = r#"["subject"]"#;
    check(&meter(s, "[]", a), "windows has 0 items");
    check(
        &meter(
            r#"["tags.side"]"#,
            r#"[{"kind":"tumbling","width_ms":7},{"kind":"session","gap_ms":1000}]"#,
            a,
        ),
        "windows[1] is a session, so group_by must hold subject",
    );
    check(
        &meter(r#"["subject","metrics.price"]"#, w, a),
        "cannot hold the number",
    );
    check(&meter(r#"["nothing"]"#, w, a), "nothing is not a field");
    check(
        &meter(s, r#"[{"kind":"tumbling","width_ms":0}]"#, a),
        "1 ms to 366 days",
    );
    check(
        &meter(s, r#"[{"kind":"hopping","width_ms":1000,"hop_ms":300}]"#, a),
        "times hop_ms",
    );
    let one_width_twice = r#"[{"kind":"tumbling","width_ms":1000},{"kind":"tumbling","width_ms":60000},
        {"kind":"hopping","width_ms":60000,"hop_ms":1000}]"#;
    check(
        &meter(s, one_width_twice, a),
        "windows[2].width_ms is 60000, as windows[1].width_ms is: each width once",
    );
    check(
        &meter(s, w, r#"[{"name":"v","function":"vwap"}]"#),
        "needs the meter's value and",
    );
    check(
        &meter(
            s,
            w,
            r#"[{"name":"v","function":"sum"},{"name":"v","function":"max"}]"#,
        ),
        "given twice",
    );
}

/// A meter of a price with these aggregates.
fn aggregates(aggregates: &str) -> String {
    format!(
        r#"{{"value":"metrics.price","group_by":["subject"],
        "windows":[{{"kind":"tumbling","width_ms":1000}}],"aggregates":[{aggregates}]}}"#
    )
}

#[test]
fn faults_of_aggregates_say_which() {
    let meter = aggregates;
    let count = r#"{"name":"n","function":"count"}"#;
    let ratio = |name: &str, of: &str| {
        let ratio = format!(r#"{{"name":"{name}","function":"ratio","of":{of}}}"#);
        meter(&format!("{count},{ratio}"))
    };
    check(
        &ratio("r", r#""value""#),
        r#"aggregates[1] needs of: ["a", "b"]"#,
    );
    check(
        &ratio("r", r#"["n","m"]"#),
        "aggregates[1] is a ratio of m, which",
    );
    check(
        &ratio("r", r#"["n","r"]"#),
        "is a ratio of r, which is a ratio itself",
    );
    check(
        &ratio("r", r#"["n"]"#),
        r#"["n"] is nothing to compute of: it would be value"#,
    );
    check(&ratio("r", r#""prize""#), "prize is nothing to compute of");
    let gated = r#"{"name":"r","function":"ratio","of":["n","n"],
        "where":[{"field":"name","exists":true}]}"#;
    check(
        &meter(&format!("{count},{gated}")),
        "is a ratio, and where belongs to",
    );
    let sum = r#"{"name":"s","function":"sum","of":["n","n"]}"#;
    check(
        &meter(&format!("{count},{sum}")),
        "aggregates[1] is no ratio",
    );
    let wrong = r#"{"name":"s","function":"count","where":[{"field":"name","exists":true},
        {"field":"name","gt":"1"}]}"#;
    check(&meter(wrong), "aggregates[0].where[1]: name is a text");
}

#[test]
fn faults_of_sketches_say_which() {
    let meter = aggregates;
    let quantile = |q: &str| meter(&format!(r#"{{"name":"p","function":"quantile"{q}}}"#));
    check(&quantile(""), "aggregates[0].q is missing: 0.95");
    check(
        &quantile(r#","q":"1.01""#),
        "aggregates[0].q lies between 0 and 1",
    );
    check(
        &quantile(r#","q":"-0.1""#),
        "aggregates[0].q lies between 0 and 1",
    );
    check(&quantile(r#","q":0.95"#), "expected a string");
    check(
        &quantile(r#","q":"0.5","of":"weight""#),
        "aggregates[0] needs the meter's weight",
    );
    check(
        &quantile(r#","q":"0.5","of":"user_id""#),
        "counts no distinct texts",
    );
    let misplaced = r#"{"name":"p","function":"max","q":"0.5"}"#;
    check(
        &meter(misplaced),
        "aggregates[0].q belongs to a quantile alone",
    );
    let distinct = |of: &str| meter(&format!(r#"{{"name":"d","function":"distinct"{of}}}"#));
    check(&distinct(""), "needs of: the path of a text");
    check(
        &distinct(r#","of":"metrics.size""#),
        "needs of: the path of a text",
    );
    check(
        &distinct(r#","of":"user""#),
        "user is nothing to compute of",
    );
    let nine: Vec<_> = (0..9)
        .map(|at| format!(r#"{{"name":"d{at}","function":"distinct","of":"tags.t{at}"}}"#))
        .collect();
    check(
        &meter(&nine.join(",")),
        "aggregates need 9 sketches, and may need 8",
    );
    let many = r#"{"field":"name","exists":true}"#;
    let many = [many; 17].join(",");
    let many = format!(r#"{{"name":"s","function":"count","where":[{many}]}}"#);
    check(
        &meter(&many),
        "aggregates[0].where has 17 items, and must have 0 to 16",
    );
}

#[test]
fn an_aggregate_is_written_as_it_was_read() {
    let json = r#"{"name":"rate","function":"ratio","of":["errors","requests"]}"#;
    let ratio: Aggregate = serde_json::from_str(json).unwrap();
    let of = Operand::Aggregates(["errors".into(), "requests".into()]);
    assert_eq!(ratio, Aggregate::new("rate", Function::Ratio, of));
    assert_eq!(serde_json::to_string(&ratio).unwrap(), json);
    for json in [
        r#"{"name":"p95","function":"quantile","of":"value","q":"0.95"}"#,
        r#"{"name":"users","function":"distinct","of":"tags.user"}"#,
    ] {
        let aggregate: Aggregate = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&aggregate).unwrap(), json);
    }
    let json = r#"{"name":"errors","function":"count","of":"value",
        "where":[{"field":"error","eq":"true"}]}"#
        .replace("\n        ", "");
    let errors: Aggregate = serde_json::from_str(&json).unwrap();
    assert_eq!(errors.conditions[0].field, Field::Error);
    assert_eq!(serde_json::to_string(&errors).unwrap(), json);
}

#[test]
fn quantiles_of_one_value_share_a_sketch() {
    let quantile = |name: &str, q: &str| Aggregate::quantile(name, q.parse().unwrap());
    let failed = Condition {
        field: Field::Error,
        test: Test::Eq("true".into()),
    };
    let users = Aggregate::new("users", Function::Distinct, Operand::Field(Field::UserId));
    let mut meter = candles();
    meter.aggregates.extend([
        quantile("p50", "0.5"),
        quantile("p95", "0.95"),
        quantile("failed_p95", "0.95").only([failed.clone()]),
        users.clone(),
        quantile("failed_p50", "0.5").only([failed]),
        users,
    ]);
    let names: Vec<_> = meter
        .sketches()
        .iter()
        .map(|first| first.name.as_str())
        .collect();
    assert_eq!(names, ["p50", "failed_p95", "users"]);
}

#[test]
fn a_call_that_failed_is_an_error() {
    let check = |event_type, tags: &[(&str, &str)], expect: &str| {
        let tags = tags
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let event = Event {
            event_id: "1".into(),
            event_type,
            name: None,
            occurred_at: EventTime::from_us(0),
            received_at: EventTime::from_us(0),
            severity: Severity::Info,
            source: Source::default(),
            subject: "s".into(),
            sequence: None,
            title: None,
            trace_id: None,
            user_id: None,
            tags: tags.collect(),
            metrics: Default::default(),
            payload: None,
        };
        let mut record = vec![];
        event.encode(&mut record);
        let view = EventView::decode(&record).unwrap();
        let text = Field::Error.text(&view).unwrap();
        assert_eq!(text.as_str(), expect, "{event_type:?} {:?}", event.tags);
    };
    let call = EventType::ApiCall;
    check(call, &[], "false");
    check(call, &[("status_code", "200")], "false");
    check(call, &[("status_code", "499.9")], "false");
    check(call, &[("status_code", "500")], "true");
    check(call, &[("status_code", "599")], "true");
    check(call, &[("status_code", "-500")], "false");
    check(call, &[("status_code", "five hundred")], "false");
    check(call, &[("error", "false")], "false");
    check(call, &[("error", "timeout")], "true");
    check(call, &[("error", "")], "true");
    check(call, &[("status_code", "200"), ("error", "true")], "true");
    check(call, &[("status_code", "503"), ("error", "false")], "true");
    check(
        EventType::Trade,
        &[("status_code", "503"), ("error", "true")],
        "false",
    );
}

#[test]
fn the_built_in_meters_are_sound() {
    for (name, meter) in built_in() {
        assert_eq!(meter.faults(), Vec::<String>::new(), "{name}");
        let json = serde_json::to_string(&meter).unwrap();
        assert_eq!(serde_json::from_str::<Meter>(&json).unwrap(), meter);
    }
}

#[test]
fn conditions_read_like_their_documentation() {
    let json = r#"{"event_type":"trade","all":[{"field":"tags.side","eq":"buy"},
        {"field":"metrics.size","gt":"0.5"},{"field":"name","exists":false}]}"#;
    let filter: Filter = serde_json::from_str(json).unwrap();
    assert_eq!(filter.all[0].test, Test::Eq("buy".into()));
    assert_eq!(filter.all[1].test, Test::Gt("0.5".parse().unwrap()));
    assert_eq!(filter.all[2].test, Test::Exists(false));
    let again = serde_json::to_string(&filter).unwrap();
    assert_eq!(serde_json::from_str::<Filter>(&again).unwrap(), filter);
    let refused = |json| {
        serde_json::from_str::<Condition>(json)
            .unwrap_err()
            .to_string()
    };
    let unknown = refused(r#"{"field":"name","like":"x"}"#);
    assert!(unknown.contains("unknown variant `like`"), "{unknown}");
    let two = refused(r#"{"field":"metrics.size","ge":"1","lt":"5"}"#);
    assert!(two.contains("this one has 2 (ge, lt)"), "{two}");
    let none = refused(r#"{"field":"name"}"#);
    assert!(none.contains("this one has 0"), "{none}");
}

#[test]
fn no_two_groups_share_a_text() {
    let group = |a: &str, b: &str| {
        let mut text = String::new();
        push_label(&mut text, "a", a);
        push_label(&mut text, "b", b);
        text
    };
    assert_eq!(group("x", "y"), "a=x,b=y");
    assert_ne!(group("x,b=y", "z"), group("x", "y,b=z"));
    assert_ne!(group("x\\", "y"), group("x", "\\y"));
}

#[test]
fn each_window_is_a_whole_number_of_pieces() {
    let check = |windows: &str, group_by: &str, piece_ms: i64, is_two_step: bool| {
        let json = format!(
            r#"{{"group_by": ["{group_by}"], "windows": {windows},
            "aggregates": [{{"name": "n", "function": "count"}}]}}"#
        );
        let meter: Meter = serde_json::from_str(&json).unwrap();
        assert_eq!(meter.faults(), Vec::<String>::new());
        assert_eq!(
            (meter.piece_ms(), meter.is_two_step()),
            (piece_ms, is_two_step)
        );
    };
    let tumbling = r#"[{"kind": "tumbling", "width_ms": 60000}]"#;
    check(tumbling, "subject", 60_000, false);
    check(tumbling, "event_type", 60_000, true);
    let mixed = r#"[{"kind": "tumbling", "width_ms": 60000},
        {"kind": "hopping", "width_ms": 30000, "hop_ms": 2500}, {"kind": "tumbling", "width_ms": 7500}]"#;
    check(mixed, "user_id", 2_500, true);
    let odd = r#"[{"kind": "tumbling", "width_ms": 7}, {"kind": "tumbling", "width_ms": 11}]"#;
    check(odd, "tags.side", 1, true);
}
