//! What is another tenant's is answered as what does not exist: the same status and the same bytes.

use serde_json::json;

use crate::desk::{feed, meter, place};

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_tenants_things_do_not_exist() {
    let desk = place().desk().await;
    let (_, own) = desk.register("acme").await;
    let (_, foreign) = desk.register("shop").await;
    desk.ask("POST /api/v1/meters", &own, Some(meter("calls", 1_000)))
        .await
        .with(201);
    desk.ask("POST /api/v1/feeds", &own, Some(feed("fast", &["A"])))
        .await
        .with(201);
    let body = json!({"name": "another", "scopes": ["read"]});
    let made = desk
        .ask("POST /api/v1/auth/keys", &own, Some(body))
        .await
        .with(201);
    let key_id = made.text("id");
    let other_key = format!("{}0", &key_id[..key_id.len() - 1]);
    let other_key = match other_key == key_id {
        true => format!("{}1", &key_id[..key_id.len() - 1]),
        false => other_key,
    };

    let (calls, fast) = (meter("calls", 1_000), feed("fast", &["A"]));
    let rotate = "POST /api/v1/auth/keys/{id}/rotate";
    let cases = [
        ("GET /api/v1/meters/{id}", "calls", "never", None),
        ("PUT /api/v1/meters/{id}", "calls", "never", Some(calls)),
        ("DELETE /api/v1/meters/{id}", "calls", "never", None),
        ("GET /api/v1/feeds/{id}", "fast", "never", None),
        ("PUT /api/v1/feeds/{id}", "fast", "never", Some(fast)),
        ("DELETE /api/v1/feeds/{id}", "fast", "never", None),
        (rotate, &key_id, &other_key, Some(json!({}))),
        ("DELETE /api/v1/auth/keys/{id}", &key_id, &other_key, None),
    ];
    for (line, theirs, nobodys, body) in cases {
        let of = |id: &str| {
            let mut body = body.clone();
            if let Some(named) = body.as_mut().and_then(|body| body.get_mut("id")) {
                *named = json!(id);
            }
            (line.replace("{id}", id), body)
        };
        let ((their_line, their_body), (no_line, no_body)) = (of(theirs), of(nobodys));
        let there = desk.ask(&their_line, &foreign, their_body).await.with(404);
        let nowhere = desk.ask(&no_line, &foreign, no_body).await.with(404);
        assert_eq!(there, nowhere, "{line}");
    }
    // And all of it is still there for its owner, and nothing of it in the other's lists.
    desk.ask("GET /api/v1/meters/calls", &own, None)
        .await
        .with(200);
    for list in ["/api/v1/meters", "/api/v1/feeds", "/api/v1/auth/keys"] {
        let list = desk
            .ask(&format!("GET {list}"), &foreign, None)
            .await
            .with(200);
        let text = list.body.to_string();
        assert!(!text.contains("calls") && !text.contains("fast") && !text.contains(&key_id));
    }
    // The same id may be had by both.
    desk.ask("POST /api/v1/meters", &foreign, Some(meter("calls", 1_000)))
        .await
        .with(201);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_none_at_all_is_answered_as_one_that_nobody_has() {
    let desk = place().desk().await;
    let (_, key) = desk.register("acme").await;
    let never = desk.ask("GET /api/v1/meters/never", &key, None).await;
    for id in ["%2e%2e%2fcandles", "%ff", "a%20b"] {
        let line = format!("GET /api/v1/meters/{id}");
        let odd = desk.ask(&line, &key, None).await.with(404);
        assert_eq!(odd, never, "{id}");
    }
    desk.stop().await;
}
