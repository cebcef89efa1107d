//! Meters and feeds: made, seen, changed and removed, with a version and a place for each fault.

use serde_json::{Value, json};

use crate::desk::{feed, meter, place};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_on_the_topic_when_it_is_answered() {
    let desk = place().desk().await;
    let (slug, key) = desk.register("acme").await;
    let tenant = slug.parse().unwrap();

    let made = desk.ask("POST /api/v1/meters", &key, Some(meter("calls", 1_000)));
    let made = made.await.with(201);
    assert_eq!(made.headers["etag"], "\"1\"");
    assert_eq!(made.headers["location"], "/api/v1/meters/calls");
    let control = desk.control().await;
    let held = control.tenant(&tenant).unwrap();
    assert_eq!(held.meters["calls"].version, 1);
    assert_eq!(
        held.meters["candles"].version, 1,
        "the built-in one is there"
    );

    let seen = desk
        .ask("GET /api/v1/meters/calls", &key, None)
        .await
        .with(200);
    assert_eq!(
        (&seen.body, &seen.headers["etag"]),
        (&made.body, &made.headers["etag"])
    );
    // What was read can be written back, and then nothing has changed.
    let same = desk.ask("PUT /api/v1/meters/calls", &key, Some(seen.body.clone()));
    assert_eq!(same.await.with(200).body, seen.body);
    let changed = desk.ask(
        "PUT /api/v1/meters/calls",
        &key,
        Some(meter("calls", 2_000)),
    );
    assert_eq!(changed.await.with(200).headers["etag"], "\"2\"");
    let control = desk.control().await;
    let held = &control.tenant(&tenant).unwrap().meters["calls"];
    assert_eq!((held.version, held.value.windows[0].width_ms()), (2, 2_000));

    desk.ask("DELETE /api/v1/meters/calls", &key, None)
        .await
        .with(204);
    assert!(
        !desk
            .control()
            .await
            .tenant(&tenant)
            .unwrap()
            .meters
            .contains_key("calls")
    );
    desk.ask("DELETE /api/v1/meters/calls", &key, None)
        .await
        .with(404);
    desk.ask("GET /api/v1/meters/calls", &key, None)
        .await
        .with(404);
    let again = desk.ask("POST /api/v1/meters", &key, Some(meter("calls", 1_000)));
    assert_eq!(again.await.with(201).body["version"], 4, "versions go on");
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_may_have_sessions() {
    let desk = place().desk().await;
    let (slug, key) = desk.register("acme").await;
    let with = |window: Value| {
        let mut body = meter("visits", 1_000);
        body["windows"] = json!([window]);
        body
    };
    let short = json!({"kind": "session", "gap_ms": 1_800_000});
    let made = desk.ask("POST /api/v1/meters", &key, Some(with(short)));
    let made = made.await.with(201);
    let whole = json!({"kind": "session", "gap_ms": 1_800_000, "length_max_ms": 86_400_000});
    assert_eq!(made.body["windows"], json!([whole]), "a day at most");
    let control = desk.control().await;
    let held = &control.tenant(&slug.parse().unwrap()).unwrap().meters["visits"];
    let expect = schemas::meter::Window::Session {
        gap_ms: 1_800_000,
        length_max_ms: 86_400_000,
    };
    assert_eq!(held.value.windows, [expect]);
    for wrong in [
        json!({"kind": "session", "gap_ms": 0}),
        json!({"kind": "session", "gap_ms": 60_000, "length_max_ms": 1_000}),
        json!({"kind": "session", "width_ms": 60_000}),
    ] {
        let refused = desk.ask("POST /api/v1/meters", &key, Some(with(wrong)));
        refused.await.with(422);
    }
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_for_the_version_that_it_was_meant_for() {
    let desk = place().desk().await;
    let (_, key) = desk.register("acme").await;
    let made = desk.ask("POST /api/v1/feeds", &key, Some(feed("fast", &["BTC-USD"])));
    made.await.with(201);
    let taken = desk.ask("POST /api/v1/feeds", &key, Some(feed("fast", &["BTC-USD"])));
    taken.await.with(409);
    let path = "PUT /api/v1/feeds/fast";
    let stale = [("x-api-key", key.as_str()), ("if-match", "\"7\"")];
    let refused = desk
        .send(path, &stale, Some(feed("fast", &["ETH-USD"])))
        .await;
    assert_eq!(refused.with(412).body["type"], "urn:pulse:problem:changed");
    let right = [("x-api-key", key.as_str()), ("if-match", "\"1\"")];
    desk.send(path, &right, Some(feed("fast", &["ETH-USD"])))
        .await
        .with(200);
    desk.send(path, &right, Some(feed("fast", &["SOL-USD"])))
        .await
        .with(412);
    desk.send("DELETE /api/v1/feeds/fast", &right, None)
        .await
        .with(412);
    let right = [("x-api-key", key.as_str()), ("if-match", "\"2\"")];
    desk.send("DELETE /api/v1/feeds/fast", &right, None)
        .await
        .with(204);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_has_its_place() {
    let desk = place().desk().await;
    let (_, key) = desk.register("acme").await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = meter("calls", 1_000);
        change(&mut body);
        body
    };
    let cases = [
        (with(&|m| m["more"] = json!(1)), "/more"),
        (with(&|m| m["windows"] = json!("x")), "/windows"),
        (with(&|m| m["windows"] = json!([])), "/windows"),
        (
            with(&|m| m["windows"][0]["width_ms"] = json!(0)),
            "/windows",
        ),
        (
            with(&|m| m["aggregates"][0]["mode"] = json!(0)),
            "/aggregates/0/mode",
        ),
        (
            with(&|m| m["aggregates"][0]["function"] = json!("sum")),
            "/aggregates/0",
        ),
        (
            with(&|m| m["group_by"][0] = json!("nothing")),
            "/group_by/0",
        ),
        (with(&|m| m["filter"]["kind"] = json!("x")), "/filter/kind"),
        (with(&|m| m["id"] = json!("a/b")), "/id"),
        (with(&|m| m["id"] = json!(7)), "/id"),
    ];
    for (body, expect) in cases {
        let answer = desk
            .ask("POST /api/v1/meters", &key, Some(body.clone()))
            .await;
        assert_eq!(answer.with(422).pointers(), [expect], "{body}");
    }
    let bad = feed("f", &["BTC-USD", "no market"]);
    let answer = desk
        .ask("POST /api/v1/feeds", &key, Some(bad))
        .await
        .with(422);
    assert_eq!(answer.pointers(), ["/products/1"]);
    let other = desk.ask(
        "PUT /api/v1/meters/candles",
        &key,
        Some(meter("calls", 1_000)),
    );
    assert_eq!(other.await.with(422).pointers(), ["/id"]);

    let headers = [("x-api-key", key.as_str())];
    let line = "POST /api/v1/meters";
    desk.raw(line, &headers, "{").await.with(400);
    desk.raw(line, &headers, "[]").await.with(422);
    desk.raw(line, &headers, &" ".repeat(256 * 1024 + 1))
        .await
        .with(413);
    let text = [("x-api-key", key.as_str()), ("content-type", "text/plain")];
    desk.raw(line, &text, "{}").await.with(415);
    let packed = [("x-api-key", key.as_str()), ("content-encoding", "gzip")];
    desk.raw(line, &packed, "{}").await.with(415);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_quotas_hold() {
    let desk = place().desk().await;
    let (slug, key) = desk.register("acme").await;
    let free = json!({"name": "A tenant", "tier": "free"});
    let line = format!("PUT /api/v1/installation/tenants/{slug}/tenant/self");
    desk.operate(&line, Some(free)).await.with(200);

    // Two are built in.
    for number in 1..19 {
        let id = format!("m{number:02}");
        let made = desk.ask("POST /api/v1/meters", &key, Some(meter(&id, 1_000)));
        made.await.with(201);
    }
    let more = desk.ask("POST /api/v1/meters", &key, Some(meter("more", 1_000)));
    assert_eq!(more.await.with(409).body["type"], "urn:pulse:problem:quota");
    let (mut ids, mut after) = (vec![], String::new());
    loop {
        let line = format!("GET /api/v1/meters?limit=7&after={after}");
        let page = desk.ask(&line, &key, None).await.with(200);
        let meters = page.body["meters"].as_array().unwrap();
        assert!(meters.len() <= 7);
        ids.extend(
            meters
                .iter()
                .map(|meter| meter["id"].as_str().unwrap().to_owned()),
        );
        match page.body["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    let mut expect: Vec<_> = (1..19).map(|number| format!("m{number:02}")).collect();
    expect.splice(0..0, ["api".into(), "candles".into()]);
    assert_eq!(ids, expect);
    for bad in ["limit=0", "limit=501", "limit=x", "offset=1"] {
        let line = format!("GET /api/v1/meters?{bad}");
        desk.ask(&line, &key, None).await.with(400);
    }

    let six = ["A", "B", "C", "D", "E", "F"];
    desk.ask("POST /api/v1/feeds", &key, Some(feed("one", &six)))
        .await
        .with(201);
    let two = desk
        .ask("POST /api/v1/feeds", &key, Some(feed("two", &six)))
        .await;
    assert_eq!(two.with(409).body["type"], "urn:pulse:problem:quota");
    desk.ask("POST /api/v1/feeds", &key, Some(feed("two", &six[..4])))
        .await
        .with(201);
    let grown = desk
        .ask("PUT /api/v1/feeds/two", &key, Some(feed("two", &six[..5])))
        .await;
    grown.with(409);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_asks_in_a_loop_waits_and_no_other_does() {
    let mut slow = place();
    slow.settings.changes_per_minute = 1;
    let desk = slow.desk().await;
    let ((_, acme), (_, other)) = (desk.register("acme").await, desk.register("other").await);
    let make = async |key: &str, id: &str| {
        let made = desk.ask("POST /api/v1/meters", key, Some(meter(id, 1_000)));
        made.await
    };
    make(&acme, "a").await.with(201);
    let refused = make(&acme, "b").await.with(429);
    assert_eq!(refused.body["type"], "urn:pulse:problem:too_many_requests");
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    make(&other, "a").await.with(201);
    // What is refused for its key takes nothing of anybody's.
    desk.ask("GET /api/v1/meters", "pulse_none", None)
        .await
        .with(401);
    desk.stop().await;
}
