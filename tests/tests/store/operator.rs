//! The operator's routes: with the installation's token alone, for any tenant, and on no tenant's
//! port.

use schemas::ids::TenantId;
use serde_json::json;

use crate::desk::{feed, meter, place};

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_ensured_once_and_left_as_it_is_then() {
    let desk = place().desk().await;
    let slug = desk.place.slug("demo");
    let tenant: TenantId = slug.parse().unwrap();
    let line = format!("PUT /api/v1/installation/tenants/{slug}");
    let mut live = feed("live", &["BTC-USD"]);
    live.as_object_mut().unwrap().remove("id");
    let wanted = json!({"name": "Demo", "tier": "enterprise", "feeds": {"live": live}});
    let made = desk.operate(&line, Some(wanted.clone())).await.with(200);
    let things = made.body["things"].as_array().unwrap();
    let names: Vec<_> = things
        .iter()
        .map(|thing| thing["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.last(), Some(&format!("{slug}/tenant/self").as_str()));
    assert!(
        things.iter().skip(1).all(|thing| thing["is_new"] == true),
        "{things:?}"
    );
    let control = desk.control().await;
    let held = control.tenant(&tenant).unwrap();
    assert!(held.feeds.contains_key("live") && held.meters.contains_key("candles"));

    // What was changed or removed since stays.
    let of = |rest: &str| format!("/api/v1/installation/tenants/{slug}/{rest}");
    let removed = desk
        .operate(&format!("DELETE {}", of("meter/candles")), None)
        .await;
    assert_eq!(
        removed.with(200).body,
        json!({"version": 2, "is_changed": true})
    );
    let again = desk
        .operate(&format!("DELETE {}", of("meter/candles")), None)
        .await;
    assert_eq!(
        again.with(200).body,
        json!({"version": 2, "is_changed": false})
    );
    let line_of = format!("PUT {}", of("feed/live"));
    let body = feed("live", &["ETH-USD"]);
    let changed = desk.operate(&line_of, Some(body.clone())).await.with(200);
    assert_eq!(changed.body, json!({"version": 2, "is_changed": true}));
    let same = desk.operate(&line_of, Some(body)).await.with(200);
    assert_eq!(same.body, json!({"version": 2, "is_changed": false}));
    let found = desk.operate(&line, Some(wanted)).await.with(200);
    let things = found.body["things"].as_array().unwrap();
    assert!(
        things.iter().all(|thing| thing["is_new"] == false),
        "{things:?}"
    );
    let control = desk.control().await;
    let held = control.tenant(&tenant).unwrap();
    assert!(
        !held.meters.contains_key("candles") && held.feeds["live"].value.products == ["ETH-USD"]
    );
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_of_all_tenants_are_listed_in_pages() {
    let desk = place().desk().await;
    for name in ["a", "b", "c"] {
        let line = format!("PUT /api/v1/installation/tenants/{}", desk.place.slug(name));
        desk.operate(&line, Some(json!({"name": name})))
            .await
            .with(200);
    }
    let mut tenants = vec![];
    let mut rest = String::new();
    loop {
        let line = format!("GET /api/v1/installation/definitions/meter?limit=2{rest}");
        let page = desk.operate(&line, None).await.with(200);
        for definition in page.body["definitions"].as_array().unwrap() {
            let id = definition["id"].as_str().unwrap().to_owned();
            assert!(definition["definition"]["windows"].is_array());
            tenants.push((definition["tenant"].as_str().unwrap().to_owned(), id));
        }
        let next = &page.body["next"];
        let (Some(tenant), Some(id)) = (next["after_tenant"].as_str(), next["after"].as_str())
        else {
            break;
        };
        rest = format!("&after_tenant={tenant}&after={id}");
    }
    let both = |name| ["api", "candles"].map(|id: &str| (desk.place.slug(name), id.to_owned()));
    assert_eq!(tenants, ["a", "b", "c"].map(both).concat());
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_the_installations_token() {
    let desk = place().desk().await;
    let (slug, key) = desk.register("acme").await;
    let lines = [
        format!("PUT /api/v1/installation/tenants/{slug}"),
        format!("POST /api/v1/installation/tenants/{slug}/keys"),
        "GET /api/v1/installation/definitions/meter".to_owned(),
        format!("GET /api/v1/installation/tenants/{slug}/meter/candles"),
        format!("PUT /api/v1/installation/tenants/{slug}/meter/candles"),
        format!("DELETE /api/v1/installation/tenants/{slug}/meter/candles"),
    ];
    for line in &lines {
        let none = desk.operate_as(line, &[], None).await.with(401);
        let tenants = desk
            .operate_as(line, &[("x-api-key", &key)], None)
            .await
            .with(401);
        assert_eq!(none.body, tenants.body);
        // On the tenants' port there is no such route.
        desk.ask(line, &key, None).await.with(404);
    }
    // A tenant's own route is none of the operator's port.
    desk.operate("GET /api/v1/meters", None).await.with(404);
    let nowhere = format!("PUT /api/v1/installation/tenants/{slug}x/meter/m");
    desk.operate(&nowhere, Some(meter("m", 1_000)))
        .await
        .with(404);
    let odd = format!("GET /api/v1/installation/tenants/{slug}/key/x");
    desk.operate(&odd, None).await.with(404);
    desk.stop().await;
}
