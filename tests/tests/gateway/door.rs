//! What the gateway says at its door: to whom it opens, what it takes, and what it answers.

use schemas::access::{ApiKey, KeyKind, Scope};
use schemas::control::{Definition, Kind, Limits, Tenant};
use schemas::event::EventView;
use schemas::ids::{Stream, TenantId};
use schemas::tier::IngestOverrides;
use serde_json::{Value, json};
use tests::http::{self, Answer};
use tests::{Installation, eventually, topic};

const ONE: &str = "/api/v1/ingestion/events";
const BATCH: &str = "/api/v1/ingestion/events/batch";

/// A gateway with one tenant that may do everything.
struct Door {
    installation: Installation,
    tenant: TenantId,
    key: String,
    address: String,
}

impl Door {
    async fn open(environment: &[(&str, &str)]) -> Self {
        let mut installation = Installation::start().await;
        let tenant = installation.tenant("acme", Limits::default(), &[]).await;
        let key = installation.key(&tenant, "sender", &[Scope::Ingest]).await;
        let address = installation.gateway("0", environment).await;
        Self {
            installation,
            tenant,
            key,
            address,
        }
    }

    async fn send(&self, path: &str, body: &Value) -> Answer {
        http::post(&self.address, path, &self.key, body)
            .await
            .unwrap()
    }

    async fn send_with(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http::request(&self.address, "POST", BATCH, headers, body)
            .await
            .unwrap()
    }

    /// The values on the tenant's `events`.
    fn events(&self) -> Vec<Vec<u8>> {
        let topic = self.tenant.topic(Stream::Events).to_string();
        let records = topic::read(&self.installation.kafka(), &topic);
        records
            .into_iter()
            .filter_map(|record| record.value)
            .collect()
    }

    async fn define_key(&self, id: &str, change: impl FnOnce(&mut ApiKey)) -> String {
        let text = api::access::secret::generate(KeyKind::Secret).unwrap();
        let mut key = ApiKey {
            name: id.into(),
            kind: KeyKind::Secret,
            hash: api::access::secret::hash(&text),
            scopes: [Scope::Ingest].into(),
            origins: vec![],
            expires_at_ms: None,
            events_per_second: None,
        };
        change(&mut key);
        let definition = Definition::Key(key);
        self.installation.define(&self.tenant, id, definition).await;
        text
    }

    /// Waits until a request with this key is answered so.
    async fn until_answered(&self, key: &str, status: u16) -> Answer {
        eventually(&format!("a request is answered {status}"), async || {
            let answer = http::post(&self.address, ONE, key, &event("x")).await?;
            match answer.status == status {
                true => Ok(answer),
                false => Err(format!("{} {}", answer.status, answer.text())),
            }
        })
        .await
    }
}

fn event(name: &str) -> Value {
    json!({
        "event_type": "custom_event",
        "name": name,
        "source": {"service": "checkout"},
        "metrics": {"price": 12.50},
    })
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(answer.json()["status"], status, "{}", answer.text());
}

#[tokio::test]
async fn an_event_that_is_answered_accepted_is_on_its_tenants_topic() {
    let door = Door::open(&[]).await;
    let answer = door.send(ONE, &event("paid")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!(
        (&body["accepted"], &body["rejected"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(body["events"][0]["status"], "accepted");
    let events = door.events();
    let view = EventView::decode(&events[0]).unwrap();
    assert_eq!(view.event_id.as_str(), body["events"][0]["event_id"]);
    assert_eq!(view.subject.as_str(), "checkout");
    assert_eq!(view.metrics.get("price").unwrap().to_string(), "12.5");
    assert_eq!(events.len(), 1);

    let body = json!({"event_type": "paid", "source": {"service": "a"}});
    let unknown = door.send(ONE, &body).await;
    is_problem(&unknown, 422);
    let fault = &unknown.json()["events"][0]["errors"][0];
    assert_eq!(fault["pointer"], "/event_type");
    let known = fault["accepted_values"].as_array().unwrap();
    assert!(known.contains(&json!("custom_event")) && !known.contains(&json!("gap")));

    let body = json!([event("a"), {"event_type": 5}, event("b")]);
    let mixed = door.send(BATCH, &body).await;
    assert_eq!(mixed.status, 207, "{}", mixed.text());
    let statuses: Vec<_> = mixed.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["status"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(statuses, ["accepted", "rejected", "accepted"]);
    assert_eq!(door.events().len(), 3, "what was rejected is nowhere");
}

#[tokio::test]
async fn a_door_opens_to_keys_that_are_in_force_and_have_the_scope() {
    let door = Door::open(&[]).await;
    let json_body = event("x").to_string();
    let ask = async |headers: &[(&str, &str)]| door.send_with(headers, json_body.as_bytes()).await;
    is_problem(&ask(&[]).await, 401);
    let large = " ".repeat(100_000) + &json_body;
    is_problem(&door.send_with(&[], large.as_bytes()).await, 401);
    is_problem(&ask(&[("x-api-key", "pulse_sk_nobody")]).await, 401);
    is_problem(&ask(&[("authorization", "Basic abc")]).await, 401);
    let bearer = format!("Bearer {}", door.key);
    assert_eq!(ask(&[("authorization", &bearer)]).await.status, 200);

    let reader = door
        .define_key("reader", |key| key.scopes = [Scope::Read].into())
        .await;
    door.until_answered(&reader, 403).await;
    let expired = door
        .define_key("expired", |key| key.expires_at_ms = Some(1))
        .await;
    let fresh = door.define_key("fresh", |_| {}).await;
    door.until_answered(&fresh, 200).await;
    is_problem(&door.until_answered(&expired, 401).await, 401);
    let tenant = &door.tenant;
    door.installation.undefine(tenant, Kind::Key, "fresh").await;
    is_problem(&door.until_answered(&fresh, 401).await, 401);

    let get = http::get(&door.address, ONE, &door.key).await.unwrap();
    is_problem(&get, 405);
    let nowhere = http::get(&door.address, "/api/v1/nowhere", &door.key).await;
    is_problem(&nowhere.unwrap(), 404);
}

#[tokio::test]
async fn a_page_sends_with_its_public_key_from_its_own_origin_alone() {
    let door = Door::open(&[]).await;
    let page = door
        .define_key("page", |key| {
            key.kind = KeyKind::Public;
            key.origins = vec!["https://shop.example".into()];
        })
        .await;
    let fresh = door.define_key("fresh", |_| {}).await;
    door.until_answered(&fresh, 200).await;
    let body = event("x").to_string();
    let ask = async |origin: &str| {
        let headers = [("x-api-key", page.as_str()), ("origin", origin)];
        door.send_with(&headers, body.as_bytes()).await
    };
    let taken = ask("https://shop.example").await;
    assert_eq!(taken.status, 200, "{}", taken.text());
    let allowed = "access-control-allow-origin";
    assert_eq!(taken.header(allowed), Some("https://shop.example"));
    let other = ask("https://evil.example").await;
    is_problem(&other, 403);
    assert_eq!(other.header(allowed), None);
    is_problem(
        &door
            .send_with(&[("x-api-key", &page)], body.as_bytes())
            .await,
        403,
    );

    // As `sendBeacon` does: no headers of its own, the key in the body.
    let beacon = json!({"api_key": page, "events": [event("left")]}).to_string();
    let headers = [
        ("content-type", "text/plain;charset=UTF-8"),
        ("origin", "https://shop.example"),
    ];
    let sent = door.send_with(&headers, beacon.as_bytes()).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let stranger = json!({"api_key": "pulse_pk_x", "events": [event("left")]}).to_string();
    is_problem(&door.send_with(&headers, stranger.as_bytes()).await, 401);

    let preflight = [
        ("origin", "https://anybody.example"),
        ("access-control-request-method", "POST"),
    ];
    let preflight = http::request(&door.address, "OPTIONS", BATCH, &preflight, b"").await;
    let preflight = preflight.unwrap();
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-methods"),
        Some("POST")
    );

    // A secret key is nobody's page's.
    let secret = [
        ("x-api-key", door.key.as_str()),
        ("origin", "https://shop.example"),
    ];
    let answer = door.send_with(&secret, body.as_bytes()).await;
    assert_eq!((answer.status, answer.header(allowed)), (200, None));
}

#[tokio::test]
async fn the_same_key_and_body_again_is_a_duplicate_and_another_body_is_refused() {
    let door = Door::open(&[]).await;
    let body = json!([{
        "event_type": "custom_event", "name": "a", "timestamp": "2026-01-02T03:04:05",
        "source": {"service": "checkout"},
    }]);
    let ask = async |body: &Value| {
        let headers = [
            ("x-api-key", door.key.as_str()),
            ("idempotency-key", "order-1"),
        ];
        door.send_with(&headers, body.to_string().as_bytes()).await
    };
    let first = ask(&body).await;
    assert_eq!(
        (first.status, &first.json()["accepted"]),
        (200, &json!(1)),
        "{}",
        first.text()
    );
    let again = ask(&body).await;
    assert_eq!(
        (again.status, &again.json()["duplicate"]),
        (200, &json!(1)),
        "{}",
        again.text()
    );
    assert_eq!(
        first.json()["events"][0]["event_id"],
        again.json()["events"][0]["event_id"]
    );
    is_problem(&ask(&json!([])).await, 422);
    assert_eq!(door.events().len(), 1);

    let no_time = json!([{"event_type": "custom_event", "source": {"service": "a"}}]);
    let headers = [
        ("x-api-key", door.key.as_str()),
        ("idempotency-key", "order-2"),
    ];
    let refused = door
        .send_with(&headers, no_time.to_string().as_bytes())
        .await;
    is_problem(&refused, 422);
    assert_eq!(
        refused.json()["events"][0]["errors"][0]["pointer"],
        "/timestamp"
    );
}

#[tokio::test]
async fn a_hot_subject_waits_and_loses_nothing_and_others_do_not_wait() {
    let door = Door::open(&[]).await;
    let limits = Definition::Tenant(Tenant {
        ingest: IngestOverrides {
            events_per_second: Some(8),
            burst_events: Some(80),
            ..IngestOverrides::default()
        },
        ..Tenant::new("acme")
    });
    door.installation.define(&door.tenant, "self", limits).await;
    let source = json!({"service": "a"});
    let of = |on: &str| json!({"event_type": "custom_event", "subject": on, "source": source});
    eventually("the limit holds", async || {
        let answer = door.send(ONE, &of("cold")).await;
        match answer.header("ratelimit-policy") {
            Some(told) if told.contains(r#""events";q=80;"#) => Ok(()),
            _ => Err(format!("{answer:?}")),
        }
    })
    .await;
    // Seven eighths are its share: those get in.
    let answer = door.send(BATCH, &Value::from(vec![of("hot"); 75])).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let let_in = answer.json()["accepted"].as_u64().unwrap();
    assert!((70..75).contains(&let_in), "{let_in}");
    let refused = eventually("it has to wait", async || {
        let answer = door.send(ONE, &of("hot")).await;
        match answer.status {
            429 => Ok(answer),
            other => Err(other),
        }
    })
    .await;
    is_problem(&refused, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let policy = refused.header("ratelimit-policy").unwrap();
    assert!(policy.starts_with(r#""subject_share";"#), "{policy}");
    assert_eq!(door.send(ONE, &of("cold")).await.status, 200);
}

#[tokio::test]
async fn a_limit_is_told_holds_and_changes_live() {
    let door = Door::open(&[]).await;
    let limit = async |events: u32| {
        let definition = Definition::Tenant(Tenant {
            ingest: IngestOverrides {
                events_per_second: Some(events),
                burst_events: Some(events),
                ..IngestOverrides::default()
            },
            ..Tenant::new("acme")
        });
        door.installation
            .define(&door.tenant, "self", definition)
            .await;
    };
    limit(1).await;
    let policy = r#""events";q=1;w=1, "bytes";q=20000000;w=1, "month";q=1000000000;w="#;
    eventually("the limit holds", async || {
        let answer = door.send(ONE, &event("x")).await;
        match answer.status {
            200 if answer
                .header("ratelimit-policy")
                .is_some_and(|told| told.starts_with(policy)) =>
            {
                Ok(())
            }
            _ => Err(format!("{answer:?}")),
        }
    })
    .await;
    let answer = door.send(BATCH, &json!([event("a"), event("b")])).await;
    is_problem(&answer, 413);
    let refused = eventually("the limit is met", async || {
        let answer = door.send(ONE, &event("x")).await;
        match answer.status {
            429 => Ok(answer),
            other => Err(other),
        }
    })
    .await;
    is_problem(&refused, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    eventually("the tenant is told", async || {
        let said = door.events().iter().any(|value| {
            let event = EventView::decode(value).unwrap();
            event.event_type.as_str() == "system_event"
                && event.name.is_some_and(|name| name.as_str() == "limit_met")
        });
        if said { Ok(()) } else { Err("no system_event") }
    })
    .await;
    limit(1_000).await;
    eventually("more is let in", async || {
        let events: Vec<Value> = (0..500).map(|_| event("x")).collect();
        let answer = door.send(BATCH, &Value::from(events)).await;
        match answer.status {
            200 => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test]
async fn without_brokers_and_without_a_disk_log_nothing_is_promised() {
    let mut door = Door::open(&[("PULSE_INGEST_TIMEOUT_MS", "1000")]).await;
    door.installation.stack.kafka.kill9().await;
    let answer = door.send(ONE, &event("x")).await;
    is_problem(&answer, 503);
    assert!(answer.header("retry-after").is_some());
    door.installation.stack.kafka.restart().await.unwrap();
    let key = door.key.clone();
    door.until_answered(&key, 200).await;
}
