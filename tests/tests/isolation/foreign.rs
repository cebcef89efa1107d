//! What a foreign tenant could try that no single request shows.

use serde_json::{Value, json};
use tests::http::{self, Answer};

use crate::cells::Bare;
use crate::place::Place;
use crate::rows::Door;

const BATCH: &str = "/api/v1/ingestion/events/batch";

impl Place {
    /// Fails when anything of the own tenant's has changed since it was made.
    pub(crate) async fn is_as_it_was(&self) {
        for path in ["/api/v1/meters/calls", "/api/v1/feeds/fast0"] {
            let answer = http::get(self.address(Door::Api), path, &self.own.key).await;
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
        let keys = self.list("/api/v1/auth/keys", &self.own.key).await;
        let names: Vec<_> = keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| &key["name"])
            .collect();
        assert!(names.contains(&&json!("standing")), "{names:?}");
        for (path, field) in [
            ("meters", "meters"),
            ("feeds", "feeds"),
            ("auth/keys", "keys"),
        ] {
            let list = self.list(&format!("/api/v1/{path}"), &self.quiet.key).await;
            let count = list[field].as_array().unwrap().len();
            let expect = match field {
                "meters" => schemas::meter::built_in().len(),
                "feeds" => 0,
                _ => 1,
            };
            assert_eq!(count, expect, "{list}");
        }
    }

    async fn list(&self, path: &str, key: &str) -> Value {
        let answer = http::get(self.address(Door::Api), path, key).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn post_as(&self, door: Door, key: &str, idempotency_key: &str, body: &Value) -> Answer {
        let headers = [
            ("content-type", "application/json"),
            ("x-api-key", key),
            ("idempotency-key", idempotency_key),
        ];
        let body = body.to_string();
        let answer = http::request(self.address(door), "POST", BATCH, &headers, body.as_bytes());
        answer.await.unwrap()
    }
}

fn event(service: &str) -> Value {
    json!([{
        "event_type": "custom_event", "name": "order", "timestamp": "2026-01-02T03:04:05Z",
        "source": {"service": service},
    }])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_is_as_if_it_were_not() {
    let place = Place::open().await;
    idempotency_keys(&place).await;
    two_credentials(&place).await;
    preconditions(&place).await;
    cursors(&place).await;
    numbers(&place).await;
    methods(&place).await;
    let mut installation = place.installation;
    installation.stop_all().await;
}

/// A key under which another tenant's request was acknowledged is as new as any, with another body
/// and with the very same.
async fn idempotency_keys(place: &Place) {
    for door in [Door::Api, Door::Gateway] {
        let (own, foreign) = (&place.own.key, &place.foreign.key);
        let body = event("first");
        let first = place.post_as(door, own, "order-7", &body).await;
        assert_eq!(first.json()["accepted"], 1, "{}", first.text());
        let again = place.post_as(door, own, "order-7", &body).await;
        assert_eq!(again.json()["duplicate"], 1, "{}", again.text());
        for body in [event("second"), body] {
            // Ids are made of key and body, so they tell of neither tenant.
            let without_id = |mut answer: Answer| {
                let mut json = answer.json();
                json["events"][0]["event_id"] = Value::Null;
                answer.body = json.to_string().into_bytes();
                Bare::of(&answer, "")
            };
            let there = place.post_as(door, foreign, "order-7", &body).await;
            let name = format!("order-8-{}", body[0]["source"]["service"]);
            let nowhere = place.post_as(door, foreign, &name, &body).await;
            match body[0]["source"]["service"] == "second" {
                true => assert_eq!(without_id(there), without_id(nowhere), "{door:?}"),
                // Its own key with another body by now.
                false => assert_eq!((there.status, nowhere.status), (422, 200)),
            }
        }
    }
}

/// Who shows two keys is neither's holder.
async fn two_credentials(place: &Place) {
    for (one, other) in [
        (&place.own.key, &place.foreign.key),
        (&place.foreign.key, &place.own.key),
    ] {
        let bearer = format!("Bearer {one}");
        let headers = [("authorization", bearer.as_str()), ("x-api-key", other)];
        for door in [Door::Api, Door::Gateway] {
            let body = event("both").to_string();
            let address = place.address(door);
            let answer = http::request(address, "POST", BATCH, &headers, body.as_bytes()).await;
            assert_eq!(answer.unwrap().status, 401);
        }
    }
}

/// `If-Match`, an invalid body or a wrong id in it tell no more than a plain request.
async fn preconditions(place: &Place) {
    let key = place.foreign.key.as_str();
    let wrong_id = r#"{"id": "third", "windows": [], "aggregates": []}"#;
    let meter = r#"{"windows": [{"kind": "tumbling", "width_ms": 1000}],
        "aggregates": [{"name": "n", "function": "count"}]}"#;
    for (method, if_match, body) in [
        ("PUT", "\"1\"", meter),
        ("PUT", "\"7\"", meter),
        ("PUT", "unreadable", meter),
        ("PUT", "*", "{"),
        ("PUT", "*", r#"{"windows": 1}"#),
        ("PUT", "*", wrong_id),
        ("DELETE", "\"1\"", ""),
        ("DELETE", "\"7\"", ""),
        ("DELETE", "unreadable", ""),
    ] {
        let headers = [
            ("x-api-key", key),
            ("if-match", if_match),
            ("content-type", "application/json"),
        ];
        let ask = async |id: &str| {
            let path = format!("/api/v1/meters/{id}");
            let address = place.address(Door::Api);
            let answer = http::request(address, method, &path, &headers, body.as_bytes()).await;
            Bare::of(&answer.unwrap(), id)
        };
        assert_eq!(
            ask("calls").await,
            ask("callt").await,
            "{method} {if_match} {body}"
        );
    }
}

/// Another tenant's cursor is no better than a made up one.
async fn cursors(place: &Place) {
    let page = place.search(&place.own.key, "service=hidden&limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let ask = async |key: &str, cursor: &str| {
        let question = format!("service=hidden&limit=1&cursor={cursor}");
        place.search(key, &question).await
    };
    let own = ask(&place.own.key, cursor).await;
    assert_eq!(own["events"].as_array().unwrap().len(), 1, "{own}");
    let theirs = ask(&place.foreign.key, cursor).await;
    let made_up = ask(&place.foreign.key, "AAAA").await;
    assert_eq!((theirs["status"].as_u64(), &theirs), (Some(400), &made_up));
}

/// A tenant that sent nothing counts nothing, and finds nothing whatever it asks for.
async fn numbers(place: &Place) {
    let key = &place.quiet.key;
    let told = place.list("/api/v1/ingestion/statistics", key).await;
    assert_eq!(
        (&told["total"], &told["late"], &told["series"]),
        (&json!(0), &json!(0), &json!([]))
    );
    for question in [
        "service=hidden",
        "event_id=sought-0",
        "subject=sought-0",
        "text=o",
        "type=custom_event",
    ] {
        let found = place.search(key, question).await;
        assert_eq!(found["events"], json!([]), "{question}: {found}");
    }
}

/// What a path does not answer it answers nobody, and says so alike.
async fn methods(place: &Place) {
    for (path, methods) in [
        ("/api/v1/meters/{x}", ["POST", "PATCH", "OPTIONS"]),
        ("/api/v1/feeds/{x}", ["POST", "PATCH", "OPTIONS"]),
        ("/api/v1/auth/keys/{x}", ["GET", "PUT", "PATCH"]),
        ("/api/v1/auth/keys", ["PUT", "PATCH", "DELETE"]),
        ("/api/v1/ingestion/events", ["GET", "PUT", "DELETE"]),
        ("/api/v1/ingestion/statistics", ["POST", "PUT", "OPTIONS"]),
    ] {
        for method in methods {
            let ask = async |headers: &[(&str, &str)], x: &str| {
                let path = path.replace("{x}", x);
                let answer = http::request(place.address(Door::Api), method, &path, headers, b"");
                Bare::of(&answer.await.unwrap(), x)
            };
            let foreign = [("x-api-key", place.foreign.key.as_str())];
            let nobody = ask(&[], "calls").await;
            assert_eq!(nobody.status(), 405, "{method} {path}");
            for (headers, x) in [
                (&foreign[..], "calls"),
                (&foreign[..], "callt"),
                (&[], "callt"),
            ] {
                assert_eq!(ask(headers, x).await, nobody, "{method} {path}");
            }
        }
    }
}
