//! Brokers that are away, and ends between commit and publishing: what was committed gets to the
//! topic, in order, and once.

use api::store::{Change, StoreError};
use schemas::control::{ControlKey, Definition, Kind};
use schemas::ids::TenantId;
use schemas::meter::candles;

use crate::desk::{Broker, meter, place};

/// 503 says that the change is kept; it is published when the brokers are back, and who asks again
/// finds it done.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_brokers_did_not_take_is_kept_and_published_later() {
    let broker = Broker::own().await;
    let desk = broker.place().desk().await;
    let (slug, key) = desk.register("acme").await;
    let tenant: TenantId = slug.parse().unwrap();
    broker.kafka.process().freeze();
    let line = "PUT /api/v1/meters/candles";
    let answer = desk
        .ask(line, &key, Some(meter("candles", 7_000)))
        .await
        .with(503);
    assert!(answer.headers.contains_key("retry-after"));
    let made = desk
        .ask("POST /api/v1/meters", &key, Some(meter("late", 1_000)))
        .await;
    made.with(503);
    // A key that nobody has seen is taken back.
    let key_body = serde_json::json!({"name": "never seen", "scopes": ["read"]});
    desk.ask("POST /api/v1/auth/keys", &key, Some(key_body))
        .await
        .with(503);
    let seen = desk.ask("GET /api/v1/meters/late", &key, None).await;
    assert_eq!(
        seen.with(200).body["version"],
        1,
        "the store is the truth meanwhile"
    );
    broker.kafka.process().thaw();

    desk.until("both meters are there", |control| {
        let held = control.tenant(&tenant).unwrap();
        let candles = &held.meters["candles"];
        held.meters.contains_key("late") && candles.value.windows[0].width_ms() == 7_000
    })
    .await;
    let again = desk
        .ask(line, &key, Some(meter("candles", 7_000)))
        .await
        .with(200);
    assert_eq!(again.body["version"], 2, "it was done already");
    let list = desk
        .ask("GET /api/v1/auth/keys", &key, None)
        .await
        .with(200);
    assert_eq!(list.body["keys"].as_array().unwrap().len(), 1);
    assert_eq!(desk.control().await.tenant(&tenant).unwrap().keys.len(), 1);
    desk.stop().await;
}

/// A rotation that the brokers did not take is taken back, and not what was made of the key since.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_while_its_rotation_fails_stays_revoked() {
    let broker = Broker::own().await;
    let desk = broker.place().desk().await;
    let (slug, first) = desk.register("acme").await;
    let tenant: TenantId = slug.parse().unwrap();
    let keys = "/api/v1/auth/keys";
    let body = serde_json::json!({"name": "stolen", "scopes": ["read"]});
    let made = desk.ask(&format!("POST {keys}"), &first, Some(body)).await;
    let (id, stolen) = (made.text("id"), made.with(201).text("key"));
    broker.kafka.process().freeze();
    let rotate = format!("POST {keys}/{id}/rotate");
    let overlap = Some(serde_json::json!({"overlap_s": 3_600}));
    let is_rotated = async || {
        let list = desk.ask(&format!("GET {keys}"), &first, None).await;
        let list = list.with(200).body;
        let mut listed = list["keys"].as_array().unwrap().iter();
        let own = listed.find(|key| key["id"] == id.as_str());
        own.is_some_and(|key| !key["expires_at"].is_null())
    };
    let revoke = async {
        tests::eventually("the rotation is under way", async || {
            is_rotated().await.then_some(()).ok_or("it is not")
        })
        .await;
        desk.ask(&format!("DELETE {keys}/{id}"), &first, None).await
    };
    let (rotated, revoked) = tokio::join!(desk.ask(&rotate, &first, overlap), revoke);
    rotated.with(503);
    revoked.with(503);
    broker.kafka.process().thaw();
    desk.until("the key is gone", |control| {
        let held = control.tenant(&tenant).unwrap();
        held.keys.len() == 1 && !held.keys.contains_key(&id)
    })
    .await;
    desk.ask(&format!("DELETE {keys}/{id}"), &first, None)
        .await
        .with(404);
    tests::eventually("it is let in no more", async || {
        match desk.ask("GET /api/v1/meters", &stolen, None).await.status {
            http::StatusCode::UNAUTHORIZED => Ok(()),
            status => Err(status),
        }
    })
    .await;
    desk.stop().await;
}

/// Asking again while the brokers are still away waits for the same change.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_meanwhile_waits_for_the_same_change() {
    let broker = Broker::own().await;
    let desk = broker.place().desk().await;
    let (_, key) = desk.register("acme").await;
    broker.kafka.process().freeze();
    let line = "POST /api/v1/meters";
    desk.ask(line, &key, Some(meter("late", 1_000)))
        .await
        .with(503);
    let thaw = async { broker.kafka.process().thaw() };
    let again = desk.ask(line, &key, Some(meter("late", 1_000)));
    let (again, ()) = tokio::join!(again, thaw);
    assert_eq!(again.with(201).body["version"], 1);
    desk.ask(line, &key, Some(meter("late", 1_000)))
        .await
        .with(409);
    desk.stop().await;
}

/// The process ends between the commit and the publishing, again and again; at each start what it
/// had committed goes first.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_between_commit_and_publishing_loses_nothing() {
    let place = place();
    let desk = place.desk().await;
    let (slug, _) = desk.register("acme").await;
    let tenant: TenantId = slug.parse().unwrap();
    desk.kill().await;
    for round in 0..5_i64 {
        // No courier: committed, and then the end.
        let store = place.store().await;
        for id in ["a", "b"] {
            let key = ControlKey {
                tenant: tenant.clone(),
                kind: Kind::Meter,
                id: format!("{id}{round}"),
            };
            let make =
                move |change: &mut Change<'_>| change.put(&key, &Definition::Meter(candles()));
            let _ = store.commit::<_, StoreError>(make).await.unwrap();
        }
        drop(store);
        let desk = place.desk().await;
        desk.until("what was committed is there", |control| {
            let meters = &control.tenant(&tenant).unwrap().meters;
            meters.contains_key(&format!("a{round}")) && meters.contains_key(&format!("b{round}"))
        })
        .await;
        let control = desk.control().await;
        let meters = &control.tenant(&tenant).unwrap().meters;
        assert!(
            meters.values().all(|meter| meter.version == 1),
            "each was published once"
        );
        desk.kill().await;
    }
}

/// The courier ends while its records are on their way: they are published again, and those who
/// follow the topic see one change.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_and_not_known_to_be_is_published_again_and_counts_once() {
    let broker = Broker::own().await;
    let place = broker.place();
    let desk = place.desk().await;
    let (slug, key) = desk.register("acme").await;
    let tenant: TenantId = slug.parse().unwrap();
    for width_ms in [1_000, 2_000, 3_000] {
        broker.kafka.process().freeze();
        let line = "PUT /api/v1/meters/candles";
        desk.ask(line, &key, Some(meter("candles", width_ms)))
            .await
            .with(503);
        broker.kafka.process().thaw();
    }
    // Whether the broker had the last one when this ends is open.
    desk.kill().await;
    let desk = place.desk().await;
    desk.until("the last change is there", |control| {
        let candles = &control.tenant(&tenant).unwrap().meters["candles"];
        candles.value.windows[0].width_ms() == 3_000 && candles.version == 4
    })
    .await;
    let metrics = desk.service.metrics.encode();
    let rejected = metrics
        .lines()
        .find_map(|line| line.strip_prefix("pulse_control_rejected_total "));
    assert_eq!(
        rejected,
        Some("0"),
        "a repeat is nothing to alarm anybody with"
    );
    desk.stop().await;
}
