//! A tenant comes to be with its topics, once, for whoever may have it.

use std::time::Duration;

use api::store::Registration;
use runtime::kafka::Admin;
use schemas::ids::{Stream, TenantId};
use serde_json::{Value, json};

use crate::desk::{Broker, REGISTER, meter, place, registration};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sees_a_tenant_finds_its_topics_and_its_first_key_works() {
    let desk = place().desk().await;
    let slug = desk.place.slug("acme");
    let tenant: TenantId = slug.parse().unwrap();
    let made = desk
        .send(REGISTER, &[], Some(registration(&slug)))
        .await
        .with(201);
    assert_eq!(made.body["tenant"]["id"], slug.as_str());
    assert_eq!(made.body["tenant"]["tier"], "team");
    assert_eq!(made.body["owner"]["email"], "owner@acme.example");
    let key = made.text("api_key");

    let control = desk.control().await;
    let held = control.tenant(&tenant).unwrap();
    assert!(held.meters.contains_key("candles") && held.feeds.is_empty());
    assert_eq!(held.keys[&made.text("api_key_id")].value.scopes.len(), 3);
    // Nothing of its owner is on the topic.
    assert!(!format!("{control:?}").contains("owner@"));
    let topics = Admin::new(&desk.place.kafka).unwrap();
    let topics = tokio::task::block_in_place(|| topics.topics(Duration::from_secs(10))).unwrap();
    for stream in Stream::ALL {
        assert!(
            topics.contains_key(&tenant.topic(stream).to_string()),
            "{stream:?}"
        );
    }
    desk.ask("POST /api/v1/meters", &key, Some(meter("m", 1_000)))
        .await
        .with(201);
    desk.ask("GET /api/v1/auth/keys", &key, None)
        .await
        .with(200);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slug_that_cannot_be_had_is_answered_in_one_way() {
    let desk = place().desk().await;
    let (slug, _) = desk.register("acme").await;
    let gone: TenantId = desk.place.slug("gone").parse().unwrap();
    let writer = desk.place.writer();
    let key = schemas::control::ControlKey {
        tenant: gone.clone(),
        kind: schemas::control::Kind::Tenant,
        id: "self".into(),
    };
    let once = schemas::control::Definition::Tenant(schemas::control::Tenant::new("Once"));
    let _ = writer.put(&key, &once).await.unwrap();
    let _ = writer.delete(&key).await.unwrap();
    // A deleted tenant of before: the comparison keeps that it was there.
    desk.store.look_now();
    let asked = async |slug: &str| {
        let mut body = registration(slug);
        body["owner_email"] = json!("somebody@else.example");
        desk.send(REGISTER, &[], Some(body)).await
    };
    let taken = asked(&slug).await.with(409).body;
    let reserved = asked("pulse").await.with(409).body;
    assert_eq!(taken, reserved);
    tests::eventually("the deleted slug is kept back", async || {
        let known = gone.to_string();
        let look = move |change: &api::store::Change<'_>| {
            let key = format!("{known}/tenant/self").parse().unwrap();
            Ok::<_, api::store::StoreError>(change.row(&key)?.is_some())
        };
        match desk.store.read(look).await.unwrap() {
            true => Ok(()),
            false => Err("not yet"),
        }
    })
    .await;
    assert_eq!(asked(gone.as_str()).await.with(409).body, taken);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_is_told_all_that_is_wrong() {
    let desk = place().desk().await;
    let slug = desk.place.slug("acme");
    let with = |field: &str, value: Value| {
        let mut body = registration(&slug);
        body[field] = value;
        body
    };
    let cases = [
        (with("slug", json!("Acme")), vec!["/slug"]),
        (with("slug", json!("")), vec!["/slug"]),
        (with("name", json!(" ")), vec!["/name"]),
        (with("owner_email", json!("nobody")), vec!["/owner_email"]),
        (
            with("owner_password", json!("short")),
            vec!["/owner_password"],
        ),
        (
            with("owner_password", json!("password1234")),
            vec!["/owner_password"],
        ),
        (with("role", json!("operator")), vec!["/role"]),
        (
            json!({"name": "", "slug": "A", "owner_email": "x", "owner_password": "y"}),
            vec!["/name", "/owner_email", "/owner_password", "/slug"],
        ),
    ];
    for (body, expect) in cases {
        let answer = desk.send(REGISTER, &[], Some(body.clone())).await.with(422);
        assert_eq!(answer.pointers(), expect, "{body}");
        assert!(!answer.body.to_string().contains("correct horse"));
    }
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_installation_registers_nobody_and_an_open_one_not_everybody_at_once() {
    let mut closed = place();
    closed.settings.registration = Registration::Closed;
    let desk = closed.desk().await;
    let slug = desk.place.slug("acme");
    let answer = desk
        .send(REGISTER, &[], Some(registration(&slug)))
        .await
        .with(403);
    assert_eq!(answer.body["type"], "urn:pulse:problem:registration_closed");
    desk.stop().await;

    let mut slow = place();
    slow.settings.registrations_per_minute = 1;
    let desk = slow.desk().await;
    desk.register("one").await;
    let second = desk.place.slug("two");
    let answer = desk
        .send(REGISTER, &[], Some(registration(&second)))
        .await
        .with(429);
    let wait: u64 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    desk.stop().await;
}

/// The brokers go away in the middle: whoever began goes on, and nobody else takes the slug.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_broke_off_is_gone_on_with() {
    let broker = Broker::own().await;
    let desk = broker.place().desk().await;
    let slug = desk.place.slug("acme");
    broker.kafka.process().freeze();
    let broken = desk
        .send(REGISTER, &[], Some(registration(&slug)))
        .await
        .with(503);
    assert!(broken.headers.contains_key("retry-after"));
    let place = desk.place.clone();
    desk.kill().await;
    broker.kafka.process().thaw();

    let desk = place.desk().await;
    let mut other = registration(&slug);
    other["owner_password"] = json!("another horse battery");
    desk.send(REGISTER, &[], Some(other)).await.with(409);
    let made = desk
        .send(REGISTER, &[], Some(registration(&slug)))
        .await
        .with(201);
    desk.ask("GET /api/v1/meters", &made.text("api_key"), None)
        .await
        .with(200);
    let tenant = slug.parse().unwrap();
    let control = desk.control().await;
    assert_eq!(
        control.tenant(&tenant).unwrap().keys.len(),
        1,
        "one first key"
    );
    // Once it was answered it is over: the same again is a taken slug.
    desk.send(REGISTER, &[], Some(registration(&slug)))
        .await
        .with(409);
    desk.stop().await;
}
