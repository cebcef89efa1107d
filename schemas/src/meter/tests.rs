//! What is wrong with a meter is said; what is right reads back.

use super::*;

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
        &meter(r#"["tags.side"]"#, w, a),
        "group_by must hold subject",
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
