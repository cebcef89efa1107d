//! The first start takes over what an installation without a pulse-api has written.

use runtime::control::Written;
use schemas::control::{ControlKey, Definition, Kind, Tenant};
use schemas::ids::TenantId;
use schemas::meter::candles;
use serde_json::json;

use crate::desk::{place, registration};

fn key(tenant: &TenantId, kind: Kind, id: &str) -> ControlKey {
    ControlKey {
        tenant: tenant.clone(),
        kind,
        id: id.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_meters_versions_and_deletions_are_taken_over_as_they_are() {
    let place = place();
    let admin = runtime::kafka::Admin::new(&place.kafka).unwrap();
    let topic = runtime::kafka::admin::TopicSpec::control(&place.kafka);
    admin.ensure(&[topic]).await.unwrap();
    let writer = place.writer();
    let tenant: TenantId = place.slug("old").parse().unwrap();
    let gone: TenantId = place.slug("gone").parse().unwrap();
    let named = |name: &str| Definition::Tenant(Tenant::new(name));
    let own = key(&tenant, Kind::Tenant, "self");
    for name in ["first", "second", "third"] {
        let _ = writer.put(&own, &named(name)).await.unwrap();
    }
    let meter = key(&tenant, Kind::Meter, "mine");
    let _ = writer
        .put(&meter, &Definition::Meter(candles()))
        .await
        .unwrap();
    let once = key(&gone, Kind::Tenant, "self");
    let _ = writer.put(&once, &named("once")).await.unwrap();
    assert_eq!(writer.delete(&once).await.unwrap(), Written::Version(2));
    let before = desk_sees(&writer).await;

    let desk = place.desk().await;
    let line = format!("GET /api/v1/installation/tenants/{tenant}/tenant/self");
    let seen = desk.operate(&line, None).await.with(200);
    assert_eq!(
        (&seen.body["version"], &seen.body["definition"]["name"]),
        (&json!(3), &json!("third"))
    );
    let made = json!({"name": "a key", "scopes": ["manage", "read"]});
    let line = format!("POST /api/v1/installation/tenants/{tenant}/keys");
    let secret = desk.operate(&line, Some(made)).await.with(201).text("key");
    let meter = desk
        .ask("GET /api/v1/meters/mine", &secret, None)
        .await
        .with(200);
    assert_eq!(meter.body["version"], 1);
    desk.ask("DELETE /api/v1/meters/mine", &secret, None)
        .await
        .with(204);
    // A deleted slug is not given again, whoever asks.
    let line = format!("PUT /api/v1/installation/tenants/{gone}");
    let refused = desk
        .operate(&line, Some(json!({"name": "again"})))
        .await
        .with(409);
    assert_eq!(refused.body["type"], "urn:pulse:problem:deleted");
    desk.send(
        crate::desk::REGISTER,
        &[],
        Some(registration(gone.as_str())),
    )
    .await
    .with(409);
    // Taking over has written nothing by itself: the tenant is as it was, letter by letter.
    let after = writer.read_published().await.unwrap();
    assert_eq!(after[&own], before[&own]);
    assert_eq!(after[&once], before[&once]);
    assert_eq!(after[&key(&tenant, Kind::Meter, "mine")].version, 2);
    desk.stop().await;
}

async fn desk_sees(
    writer: &runtime::control::ControlWriter,
) -> std::collections::BTreeMap<ControlKey, runtime::control::Published> {
    writer.read_published().await.unwrap()
}
