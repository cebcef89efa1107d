//! No connection before it is known where an earlier process stopped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use runtime::config::Secret;
use runtime::kafka::Partition;
use runtime::kafka::reader::ReadError;
use runtime::telemetry::Metrics;
use runtime::testing::eventually;
use schemas::control::{Exchange, Feed};
use tokio::net::TcpListener;

use super::*;
use crate::coinbase;
use crate::delivery;
use crate::mapping::FeedName;
use crate::telemetry::Figures;

const CHECK: &str = "coinbase_exchange";

/// A connection to an address at which somebody listens and nobody answers.
struct Bench {
    listener: TcpListener,
    wish: watch::Sender<Arc<Subscriptions>>,
    health: Health,
    shutdown: Shutdown,
}

fn wanted() -> Arc<Subscriptions> {
    let feed = Feed {
        exchange: Exchange::CoinbaseExchange,
        products: vec!["A".into()],
        channels: vec![Channel::Trades],
        enabled: true,
    };
    let tenant = "a".parse().unwrap();
    Arc::new(Subscriptions::of(feed.exchange, [(&tenant, &feed)]))
}

fn control() -> ControlConfig {
    ControlConfig::new(Secret::new("a secret of this test"))
}

async fn bench() -> (Bench, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (wish, wishes) = watch::channel(wanted());
    let kafka = KafkaConfig::plaintext("127.0.0.1:1");
    let figures = Figures::new(&Metrics::default()).of_feed(CHECK);
    let name = FeedName {
        exchange: "coinbase",
        feed: CHECK,
    };
    let protocol = coinbase::protocol(Exchange::CoinbaseExchange);
    let publisher = delivery::publisher(&kafka, "test").unwrap();
    let (health, shutdown) = (Health::default(), Shutdown::default());
    let connection = Connection::new(Parts {
        url: format!("ws://{}", listener.local_addr().unwrap()),
        check: CHECK,
        translator: Translator::new(protocol, name),
        delivery: Delivery::new(publisher, control(), wishes.clone(), figures.records()),
        wishes,
        kafka,
        control: control(),
        member: "test".into(),
        figures,
        health: health.clone(),
        shutdown: shutdown.clone(),
    });
    let bench = Bench {
        listener,
        wish,
        health,
        shutdown,
    };
    (bench, connection)
}

impl Bench {
    async fn says(&self, word: &str) {
        let look = async || {
            let report = self.health.report();
            let said = format!("{:?}", report.checks.get(CHECK));
            said.contains(word).then_some(()).ok_or(said)
        };
        eventually(word, look).await;
    }
}

fn stalled() -> ResumeError {
    ResumeError::Read(ReadError::Stalled {
        partition: Partition::new("t.a.events", 0),
        position: 1,
        end: 2,
        wait_ms: 10_000,
    })
}

#[tokio::test]
async fn the_tail_is_read_until_it_is_known_and_only_then_connected() {
    let (bench, connection) = bench().await;
    let count = Arc::new(AtomicUsize::new(0));
    let read_count = Arc::clone(&count);
    let tail =
        move |_: &Subscriptions, _: EventTime| match read_count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(stalled()),
            _ => Ok(BTreeMap::new()),
        };
    let run = tokio::spawn(connection.run_behind(tail));
    let _socket = bench.listener.accept().await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 3);
    bench.shutdown.request();
    run.await.unwrap().unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 3, "it is known for good");
}

#[tokio::test]
async fn wishes_and_the_shutdown_are_followed_while_the_tail_is_not_known() {
    let (bench, mut connection) = bench().await;
    let hour = Duration::from_secs(3_600);
    connection.backoff = Backoff::new(hour, hour);
    let tail = |_: &Subscriptions, _: EventTime| Err(stalled());
    let run = tokio::spawn(connection.run_behind(tail));
    bench.says("stands at 1 of 2").await;
    bench.wish.send_replace(Arc::default());
    bench.says("condition: Ready").await;
    bench.wish.send_replace(wanted());
    bench.says("stands at 1 of 2").await;
    bench.shutdown.request();
    run.await.unwrap().unwrap();
}
