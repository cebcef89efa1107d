//! Spans of every role reach the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names, one that never
//! answers holds nobody up, and the log says when spans are lost.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use schemas::control::Limits;
use schemas::ids::Stream;
use schemas::meter::built_in;
use tests::{Installation, eventually, samples, tables};
use tokio::net::TcpListener;

const COUNT: u64 = 500;

/// Keeps what is posted to it.
struct Collector {
    url: String,
    posted: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    /// One that refuses so many messages before it takes the others.
    async fn refusing(refused_count: usize) -> Self {
        let posted = Arc::new(Mutex::new(vec![]));
        let kept = Arc::clone(&posted);
        let keep = post(async move |body: Bytes| {
            let mut kept = kept.lock().unwrap();
            kept.push(body);
            match kept.len() > refused_count {
                true => StatusCode::OK,
                // Not to be tried again, by the protocol.
                false => StatusCode::BAD_REQUEST,
            }
        });
        let routes = Router::new().route("/v1/traces", keep);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, posted }
    }

    /// True when one message holds all of these texts, which protobuf carries as they are.
    fn has(&self, texts: &[&str]) -> bool {
        let holds = |body: &Bytes, text: &str| {
            let mut places = body.windows(text.len());
            places.any(|place| place == text.as_bytes())
        };
        let posted = self.posted.lock().unwrap();
        let mut bodies = posted.iter();
        bodies.any(|body| texts.iter().all(|text| holds(body, text)))
    }
}

/// Events go all the way into ClickHouse, and the roles end in order.
async fn flow(endpoint: &str) {
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("traced", Limits::default(), &built_in())
        .await;
    let traced = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)];
    installation.role("pulse-metrics", "0", &traced).await;
    installation.role("pulse-clickhouse", "0", &traced).await;
    let events: Vec<_> = (0..COUNT as i64).map(samples::trade).collect();
    let records: Vec<_> = events.iter().map(samples::record).collect();
    let topic = tenant.topic(Stream::Events).to_string();
    installation.publish(&topic, &records).await;
    installation.until_counted(&[&tenant]).await;
    tables::until_count(&installation, &tenant, "events", COUNT).await;
    installation.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_the_collector_the_last_ones_at_the_end() {
    let collector = Collector::refusing(0).await;
    flow(&collector.url).await;
    for texts in [
        ["pulse-metrics", "commit", "positions"],
        ["pulse-clickhouse", "insert", "events"],
    ] {
        assert!(collector.has(&texts), "no message holds {texts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_holds_nobody_up() {
    // Connections wait in its backlog, and nobody ever accepts one.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    flow(&format!("http://{}", silent.local_addr().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_spans_are_told_of_when_it_begins_and_when_it_is_over() {
    let collector = Collector::refusing(2).await;
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("traced", Limits::default(), &built_in())
        .await;
    let traced = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
    installation.role("pulse-metrics", "0", &traced).await;
    let topic = tenant.topic(Stream::Events).to_string();
    let mut at = 0;
    let words = "spans reach the collector again";
    eventually(words, async || {
        // Each commit is a span; a message of them is sent every few seconds.
        let record = samples::record(&samples::trade(at));
        at += 1;
        installation.publish(&topic, &[record]).await;
        let log = installation.roles["pulse-metrics-0"].process.log_tail(100);
        match log.contains(words) {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
    let log = installation.roles["pulse-metrics-0"].process.log_tail(100);
    let begun = log.matches("spans do not reach the collector").count();
    assert_eq!(begun, 1, "{log}");
    assert!(log.contains("status code: 400"), "{log}");
    installation.stop_all().await;
}
