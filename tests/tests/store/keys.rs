//! Keys: shown once, listed without themselves, never more than their maker, rotated and revoked.

use runtime::clock;
use serde_json::json;

use crate::desk::{Desk, place};

const KEYS: &str = "POST /api/v1/auth/keys";

async fn make(desk: &Desk, key: &str, scopes: &[&str]) -> (String, String) {
    let body = json!({"name": "another", "scopes": scopes});
    let made = desk.ask(KEYS, key, Some(body)).await.with(201);
    assert_eq!(made.headers["cache-control"], "no-store");
    (made.text("id"), made.text("key"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_holds_at_once() {
    let desk = place().desk().await;
    let (_, first) = desk.register("acme").await;
    let (id, second) = make(&desk, &first, &["read"]).await;
    let list = desk
        .ask("GET /api/v1/auth/keys", &second, None)
        .await
        .with(200);
    let keys = list.body["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    let listed = keys.iter().find(|key| key["id"] == id.as_str()).unwrap();
    assert_eq!(listed["last_four"], second[second.len() - 4..]);
    assert_eq!(listed["scopes"], json!(["read"]));
    let text = list.body.to_string();
    let hash = api::access::secret::hash(&second).to_string();
    assert!(!text.contains(&second) && !text.contains(&hash) && !text.contains("hash"));

    let line = format!("DELETE /api/v1/auth/keys/{id}");
    desk.ask(&line, &second, None).await.with(403);
    desk.ask(&line, &first, None).await.with(204);
    desk.ask(&line, &first, None).await.with(404);
    desk.until("the key is gone", |control| {
        control
            .tenants()
            .all(|(_, held)| !held.keys.contains_key(&id))
    })
    .await;
    tests::eventually("it is let in no more", async || {
        let answer = desk.ask("GET /api/v1/auth/keys", &second, None).await;
        match answer.status.as_u16() {
            401 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gives_no_more_than_it_has() {
    let desk = place().desk().await;
    let (_, first) = desk.register("acme").await;
    let (manager_id, manager) = make(&desk, &first, &["manage"]).await;
    for scopes in [["ingest"], ["read"]] {
        let body = json!({"name": "more", "scopes": scopes});
        desk.ask(KEYS, &manager, Some(body)).await.with(403);
    }
    let (_, lesser) = make(&desk, &manager, &["manage"]).await;
    let (reader_id, _) = make(&desk, &first, &["read"]).await;
    let rotate = format!("POST /api/v1/auth/keys/{reader_id}/rotate");
    desk.ask(&rotate, &lesser, Some(json!({}))).await.with(403);
    let rotate = format!("POST /api/v1/auth/keys/{manager_id}/rotate");
    desk.ask(&rotate, &lesser, Some(json!({}))).await.with(201);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gives_none_that_outlives_it() {
    let desk = place().desk().await;
    let (_, first) = desk.register("acme").await;
    let line = "POST /api/v1/auth/keys";
    let named = |expires_at: Option<&str>| {
        Some(json!({"name": "guest", "scopes": ["read", "manage"], "expires_at": expires_at}))
    };
    let own = named(Some("2098-01-01T00:00:00Z"));
    let guest = desk.ask(line, &first, own).await.with(201).text("key");
    for expires_at in [None, Some("2099-01-01T00:00:00Z")] {
        desk.ask(line, &guest, named(expires_at)).await.with(403);
    }
    let sooner = named(Some("2097-01-01T00:00:00Z"));
    desk.ask(line, &guest, sooner).await.with(201);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_goes_on_for_the_overlap() {
    let desk = place().desk().await;
    let (slug, first) = desk.register("acme").await;
    let (id, old) = make(&desk, &first, &["read"]).await;
    let line = format!("POST /api/v1/auth/keys/{id}/rotate");
    let long = json!({"overlap_s": 2_592_001});
    let refused = desk.ask(&line, &first, Some(long)).await.with(422);
    assert_eq!(refused.pointers(), ["/overlap_s"]);

    let began_ms = clock::now_ms();
    let rotated = desk
        .ask(&line, &first, Some(json!({"overlap_s": 3_600})))
        .await;
    let new = rotated.with(201).text("key");
    let tenant = slug.parse().unwrap();
    let control = desk.control().await;
    let ends_ms = control.tenant(&tenant).unwrap().keys[&id]
        .value
        .expires_at_ms
        .unwrap();
    assert!((began_ms + 3_600_000..=clock::now_ms() + 3_600_000).contains(&ends_ms));
    for key in [&old, &new] {
        desk.ask("GET /api/v1/meters", key, None).await.with(200);
    }
    // Without an overlap it ends at once.
    desk.ask(&line, &first, Some(json!({}))).await.with(201);
    desk.until("the old key has ended", |control| {
        let held = &control.tenant(&tenant).unwrap().keys[&id].value;
        held.expires_at_ms.is_some_and(|at| at <= clock::now_ms())
    })
    .await;
    tests::eventually("it is let in no more", async || {
        match desk
            .ask("GET /api/v1/meters", &old, None)
            .await
            .status
            .as_u16()
        {
            401 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    desk.ask(&line, &first, Some(json!({}))).await.with(409);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_key_can_be_is_refused_with_its_place() {
    let desk = place().desk().await;
    let (_, first) = desk.register("acme").await;
    let page = ["https://shop.example"];
    let cases = [
        (json!({"name": "", "scopes": ["read"]}), "/name"),
        (json!({"name": "a", "scopes": []}), "/scopes"),
        (json!({"name": "a", "scopes": ["all"]}), "/scopes/0"),
        (
            json!({"name": "a", "scopes": ["read"], "origins": page}),
            "/origins",
        ),
        (
            json!({"name": "a", "kind": "public", "scopes": ["ingest"], "origins": ["*"]}),
            "/origins/0",
        ),
        (
            json!({"name": "a", "scopes": ["read"], "hash": "00"}),
            "/hash",
        ),
        (
            json!({"name": "a", "scopes": ["read"], "expires_at": "soon"}),
            "/expires_at",
        ),
        (
            json!({"name": "a", "scopes": ["read"], "expires_at": "2001-01-01T00:00:00Z"}),
            "/expires_at",
        ),
        (
            json!({"name": "a", "scopes": ["read"], "events_per_second": 0}),
            "/events_per_second",
        ),
    ];
    for (body, expect) in cases {
        let answer = desk.ask(KEYS, &first, Some(body.clone())).await.with(422);
        assert_eq!(answer.pointers(), [expect], "{body}");
    }
    let public = json!({"name": "page", "kind": "public", "scopes": ["ingest"], "origins": page,
        "expires_at": "2100-01-01T02:00:00+02:00", "events_per_second": 10});
    let made = desk.ask(KEYS, &first, Some(public)).await.with(201);
    assert!(made.text("key").starts_with("pulse_pk_"));
    assert_eq!(made.text("expires_at"), "2100-01-01T00:00:00Z");
    desk.stop().await;
}
