//! A tenant of an earlier release has what a later one needs, and may define what it brings.

use std::time::Duration;

use runtime::kafka::Admin;
use schemas::ids::{Stream, TenantId};
use serde_json::json;
use tests::{Installation, eventually, http};

use crate::desk::registration;

const ADDED: [Stream; 2] = [Stream::MetricsPartials, Stream::MetricsPartialsState];

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_a_release_has_added_are_made_for_the_tenants_that_were_there() {
    let mut installation = Installation::start().await;
    let api = installation.api(&[]).await;
    let path = "/api/v1/auth/register/tenant";
    let headers = [("content-type", "application/json")];
    let body = registration("acme").to_string();
    let made = http::request(&api.address, "POST", path, &headers, body.as_bytes());
    let made = made.await.unwrap();
    assert_eq!(made.status, 201, "{}", made.text());
    let key = made.json()["api_key"].as_str().unwrap().to_owned();
    installation.stop("pulse-api-0").await;

    let tenant: TenantId = "acme".parse().unwrap();
    let added = ADDED.map(|stream| tenant.topic(stream).to_string());
    let admin = Admin::new(&installation.kafka()).unwrap();
    let partition_count = |name: &str| {
        let topics = tokio::task::block_in_place(|| admin.topics(Duration::from_secs(10)));
        topics.unwrap().get(name).copied()
    };
    let before = added.each_ref().map(|name| partition_count(name));
    let names = added.each_ref().map(String::as_str);
    admin.delete_topics(&names).await.unwrap();
    eventually("they are gone", async || {
        match added.iter().all(|name| partition_count(name).is_none()) {
            true => Ok(()),
            false => Err("some are there".to_owned()),
        }
    })
    .await;

    let api = installation.api(&[]).await;
    eventually("they are there again", async || {
        let now = added.each_ref().map(|name| partition_count(name));
        match now == before && now.iter().all(Option::is_some) {
            true => Ok(()),
            false => Err(format!("{now:?}, {before:?}")),
        }
    })
    .await;
    let meter = json!({
        "id": "routes",
        "group_by": ["source.endpoint"],
        "windows": [{"kind": "tumbling", "width_ms": 1_000}],
        "aggregates": [{"name": "calls", "function": "count"}],
    });
    let answer = http::post(&api.address, "/api/v1/meters", &key, &meter).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    installation.stop_all().await;
}
