//! A restored, older store wins over the topic; and so does a store over whoever else writes there.

use runtime::control::{Control, TenantControl};
use schemas::control::{ControlKey, Definition, Kind};
use schemas::ids::TenantId;
use schemas::meter::candles;
use serde_json::json;
use tests::eventually;

use crate::desk::{meter, place};

fn meter_key(tenant: &TenantId, id: &str) -> ControlKey {
    ControlKey {
        tenant: tenant.clone(),
        kind: Kind::Meter,
        id: id.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_store_says_holds_again() {
    let place = place();
    let desk = place.desk().await;
    let (slug, key) = desk.register("acme").await;
    let tenant: TenantId = slug.parse().unwrap();
    for id in ["kept", "changed", "removed"] {
        desk.ask("POST /api/v1/meters", &key, Some(meter(id, 1_000)))
            .await
            .with(201);
    }
    let file = place.settings.folder.join("a.backup");
    desk.store.backup(&file).await.unwrap();

    for width_ms in [9_000, 8_000] {
        let body = Some(meter("changed", width_ms));
        let changed = desk.ask("PUT /api/v1/meters/changed", &key, body).await;
        changed.with(200);
    }
    let removed = desk.ask("DELETE /api/v1/meters/removed", &key, None);
    removed.await.with(204);
    let later = desk.ask("POST /api/v1/meters", &key, Some(meter("later", 1_000)));
    later.await.with(201);
    let body = json!({"name": "later", "scopes": ["read"]});
    let made = desk
        .ask("POST /api/v1/auth/keys", &key, Some(body))
        .await
        .with(201);
    let later_key = made.text("key");
    let (later_tenant, _) = desk.register("later").await;
    let before = desk.control().await;
    desk.stop().await;

    api::store::restore(&file, &place.settings.folder).unwrap();
    let desk = place.desk().await;
    let later_tenant: TenantId = later_tenant.parse().unwrap();
    desk.until("the topic says what the store says", |control| {
        let is_back = |held: &TenantControl| {
            let changed = held.meters.get("changed");
            changed.is_some_and(|meter| meter.value.windows[0].width_ms() == 1_000)
                && held.meters.contains_key("removed")
                && !held.meters.contains_key("later")
                && held.keys.len() == 1
        };
        control.tenant(&tenant).is_some_and(|held| is_back(held))
            && control.tenant(&later_tenant).is_none()
    })
    .await;
    let after = desk.control().await;
    let version = |control: &Control, id: &str| control.version(&meter_key(&tenant, id));
    for id in ["kept", "changed", "removed", "later"] {
        let (before, after) = (version(&before, id), version(&after, id));
        assert_eq!(after > before, id != "kept", "{id}: what is the same stays");
    }
    eventually("the later key is let in no more", async || {
        let answer = desk.ask("GET /api/v1/meters", &later_key, None).await;
        match answer.status.as_u16() {
            401 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    // The next change goes on behind the topic's versions.
    let next = desk
        .ask("POST /api/v1/meters", &key, Some(meter("later", 5_000)))
        .await;
    assert_eq!(next.with(201).body["version"], version(&after, "later") + 1);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_writes_to_the_topic_does_not_last() {
    let place = place();
    let desk = place.desk().await;
    let (slug, _) = desk.register("acme").await;
    let tenant: TenantId = slug.parse().unwrap();
    let key = |id| meter_key(&tenant, id);
    let writer = place.writer();
    let _ = writer
        .put(&key("foreign"), &Definition::Meter(candles()))
        .await
        .unwrap();
    let _ = writer.delete(&key("candles")).await.unwrap();
    desk.store.look_now();
    desk.until("the store has won", |control| {
        let meters = &control.tenant(&tenant).unwrap().meters;
        meters.len() == 2
            && meters
                .get("candles")
                .is_some_and(|meter| meter.version == 3)
    })
    .await;
    desk.stop().await;
}
