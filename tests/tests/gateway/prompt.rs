//! How soon what was changed holds, through real processes: a revoked key at every gateway, a feed
//! at the exchange, a meter in its windows.

use std::time::Duration;

use pulse::simulator::{MarketOptions, Simulator, SimulatorOptions, Source, Speed};
use runtime::clock;
use schemas::control::Exchange;
use schemas::ids::{Stream, TenantId};
use schemas::metric::MetricView;
use serde_json::{Value, json};
use tests::servers::Api;
use tests::{Installation, eventually, http, topic};

const EVENTS: &str = "/api/v1/ingestion/events";

/// Registers a tenant; gives its key.
async fn register(api: &Api, slug: &str) -> String {
    let body = json!({
        "name": slug, "slug": slug, "owner_email": "owner@acme.example",
        "owner_password": "correct horse battery",
    });
    let path = "/api/v1/auth/register/tenant";
    let answer = http::post(&api.address, path, "", &body).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["api_key"].as_str().unwrap().to_owned()
}

async fn send(address: &str, method: &str, path: &str, key: &str, body: &Value) -> Value {
    let headers = [("x-api-key", key), ("content-type", "application/json")];
    let body = body.to_string();
    let answer = http::request(address, method, path, &headers, body.as_bytes()).await;
    let answer = answer.unwrap();
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    answer.json()
}

/// How much longer than promised something may take on a machine that tests share with builds.
const SLACK: u32 = 5;

/// Looks until it is so, and tells how long that took; fails when it is far from what is promised.
async fn within(what: &str, most: Duration, mut look: impl AsyncFnMut() -> bool) {
    let began = clock::monotonic();
    eventually(what, async || match look().await {
        true => Ok(()),
        false => Err("not yet"),
    })
    .await;
    let took = began.elapsed();
    println!(
        "{what}: {} ms, promised are {}",
        took.as_millis(),
        most.as_millis()
    );
    assert!(took <= most * SLACK, "{what} took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_nothing_at_every_gateway_within_two_seconds() {
    let mut installation = Installation::start().await;
    let api = installation.api(&[]).await;
    let gateways = [
        installation.gateway("0", &[]).await,
        installation.gateway("1", &[]).await,
        api.address.clone(),
    ];
    let manager = register(&api, "acme").await;
    let event = json!({"event_type": "custom_event", "source": {"service": "prompt"}});
    for round in 0..5 {
        let body = json!({"name": "short-lived", "scopes": ["ingest"]});
        let made = send(&api.address, "POST", "/api/v1/auth/keys", &manager, &body).await;
        let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
        let status = async |address: &str| {
            let answer = http::post(address, EVENTS, key, &event).await;
            answer.map_or(0, |answer| answer.status)
        };
        let everywhere = async |expect: u16| {
            for address in &gateways {
                if status(address).await != expect {
                    return false;
                }
            }
            true
        };
        let most = Duration::from_secs(2);
        within(
            &format!("key {round} is in force everywhere"),
            most,
            async || everywhere(200).await,
        )
        .await;
        let path = format!("/api/v1/auth/keys/{id}");
        let headers = [("x-api-key", manager.as_str())];
        let revoking = http::request(&api.address, "DELETE", &path, &headers, b"");
        assert_eq!(revoking.await.unwrap().status, 204);
        within(
            &format!("key {round} is revoked everywhere"),
            most,
            async || everywhere(401).await,
        )
        .await;
    }
    installation.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_is_switched_on_is_live_within_five_seconds() {
    let mut installation = Installation::start().await;
    let api = installation.api(&[]).await;
    let market = Source::Market(MarketOptions::default());
    let options = SimulatorOptions::new(market, Speed::Times(1.0));
    let simulator = Simulator::start(options).await.unwrap();
    let key = register(&api, "acme").await;
    let tenant: TenantId = "acme".parse().unwrap();
    installation
        .coinbase(&[(Exchange::CoinbaseExchange, &simulator)])
        .await;
    let feed = json!({
        "id": "live", "exchange": "coinbase_exchange", "products": ["BTC-USD"],
        "channels": ["quotes", "trades"], "enabled": false,
    });
    send(&api.address, "POST", "/api/v1/feeds", &key, &feed).await;
    let (kafka, events) = (
        installation.kafka(),
        tenant.topic(Stream::Events).to_string(),
    );
    let before = topic::count(&kafka, &events);
    let mut on = feed.clone();
    on["enabled"] = json!(true);
    send(&api.address, "PUT", "/api/v1/feeds/live", &key, &on).await;
    let is_live = async || topic::count(&kafka, &events) > before;
    within("the feed is live", Duration::from_secs(5), is_live).await;
    installation.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_meter_is_in_force_within_two_seconds() {
    let mut installation = Installation::start().await;
    let api = installation.api(&[]).await;
    installation.role("pulse-metrics", "0", &[]).await;
    let key = register(&api, "acme").await;
    let tenant: TenantId = "acme".parse().unwrap();
    let meter = |filter: Value| {
        json!({
            "id": "mine", "filter": filter, "group_by": ["subject"],
            "windows": [{"kind": "tumbling", "width_ms": 1_000}],
            "aggregates": [{"name": "n", "function": "count"}],
        })
    };
    let made = meter(json!({"event_type": "custom_event"}));
    let made = send(&api.address, "POST", "/api/v1/meters", &key, &made).await;
    let (kafka, open) = (
        installation.kafka(),
        tenant.topic(Stream::MetricsOpen).to_string(),
    );
    let event = json!({
        "event_type": "custom_event", "subject": "one", "source": {"service": "prompt"},
    });
    // Each look posts an event, which an open window of a meter in force shows.
    let shows = async |version: i64| {
        send(&api.address, "POST", EVENTS, &key, &event).await;
        topic::read(&kafka, &open).iter().any(|record| {
            let value = record.value.as_deref().unwrap_or_default();
            MetricView::decode(value).is_ok_and(|metric| {
                metric.meter.as_str() == "mine" && metric.meter_version == version
            })
        })
    };
    let version = made["version"].as_i64().unwrap();
    within(
        "a new meter is in force",
        Duration::from_secs(30),
        async || shows(version).await,
    )
    .await;
    let changed = meter(json!({"all": [{"field": "source.service", "eq": "prompt"}]}));
    let changed = send(&api.address, "PUT", "/api/v1/meters/mine", &key, &changed).await;
    let version = changed["version"].as_i64().unwrap();
    within(
        "a changed meter is in force",
        Duration::from_secs(2),
        async || shows(version).await,
    )
    .await;
    installation.stop_all().await;
}
