//! Who is waited for, and who is not; no broker is needed for that.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use runtime::config::Secret;
use schemas::control::{Channel, Exchange, Feed};

use super::*;

fn kafka() -> KafkaConfig {
    KafkaConfig::plaintext("127.0.0.1:1")
}

fn tenant(id: &str) -> TenantId {
    id.parse().unwrap()
}

fn wishes_of(ids: &[&str]) -> Arc<Subscriptions> {
    let feed = Feed {
        exchange: Exchange::CoinbaseExchange,
        products: vec!["A".into()],
        channels: vec![Channel::Trades],
        enabled: true,
    };
    let tenants: Vec<_> = ids.iter().map(|id| tenant(id)).collect();
    let feeds = tenants.iter().map(|tenant| (tenant, &feed));
    Arc::new(Subscriptions::of(feed.exchange, feeds))
}

fn record() -> Record {
    Record {
        stream: Stream::Events,
        key: Bytes::from("k"),
        value: Bytes::from("v"),
    }
}

/// Any failure will do where it is only told.
fn failure() -> Failure {
    let settings = PublisherSettings {
        record_bytes_max: 0,
        ..publisher_settings("test")
    };
    Publisher::new(&kafka(), &settings).err().unwrap().0
}

/// Looks whether a future is done, without waiting.
fn look<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Deliveries to the tenants `a` and `b`, whose lanes the test empties, or not.
struct Bench {
    delivery: Delivery,
    wish: watch::Sender<Arc<Subscriptions>>,
    lost: Counter,
}

impl Bench {
    fn new() -> Self {
        let (wish, wishes) = watch::channel(wishes_of(&["a", "b"]));
        let counters: [Counter; 3] = Default::default();
        let lost = counters[2].clone();
        let publisher = publisher(&kafka(), "test").unwrap();
        let control = ControlConfig::new(Secret::new("a secret of this test"));
        Self {
            delivery: Delivery::new(publisher, control, wishes, counters),
            wish,
            lost,
        }
    }

    /// A lane with room for `count` records, and what its task has in hand.
    fn lane(&mut self, id: &str, count: usize) -> Runner {
        let (sender, parcels) = mpsc::channel(count);
        let (trouble, troubled) = watch::channel(None);
        let lane = Lane {
            tenant: tenant(id),
            sender,
            trouble: troubled,
            wishes: self.delivery.wishes.clone(),
            budget: Arc::clone(&self.delivery.budget),
            lost_count: 0,
        };
        self.delivery.lanes.insert(tenant(id), lane);
        Runner {
            tenant: tenant(id),
            origin_key: OriginKey::new([0; 16]),
            publisher: self.delivery.publisher.clone(),
            parcels,
            trouble,
            budget: Arc::clone(&self.delivery.budget),
            backoff: Backoff::new(Duration::ZERO, Duration::ZERO),
            published: Counter::default(),
            lost: self.lost.clone(),
        }
    }
}

fn gone(again: Vec<Parcel>) -> Rest {
    Rest {
        again,
        gone: Some(("t.a.events".into(), failure())),
    }
}

fn timed_out(again: Vec<Parcel>) -> Rest {
    Rest { again, gone: None }
}

#[tokio::test]
async fn a_full_lane_is_waited_for_until_its_topic_is_in_trouble() {
    let mut bench = Bench::new();
    let runner = bench.lane("a", 1);
    let (a, record) = (tenant("a"), record());
    bench.delivery.send(&a, &record).await.unwrap();
    {
        let mut second = pin!(bench.delivery.send(&a, &record));
        assert!(
            look(second.as_mut()).is_pending(),
            "the brokers may be away"
        );
        runner.note(&gone(vec![]));
        assert!(look(second.as_mut()).is_ready(), "others must go on");
    }
    assert_eq!(bench.lost.get(), 1);
    assert!(look(pin!(bench.delivery.send(&a, &record))).is_ready());
    assert_eq!(bench.lost.get(), 2);
    runner.note(&timed_out(vec![]));
    assert!(look(pin!(bench.delivery.send(&a, &record))).is_pending());
    assert_eq!(bench.lost.get(), 2);
}

#[tokio::test]
async fn a_full_budget_is_waited_for_until_the_topic_is_in_trouble() {
    let mut bench = Bench::new();
    let runner = bench.lane("a", 1);
    let budget = Arc::clone(&bench.delivery.budget);
    let all = budget.try_acquire_many(BUDGET_UNITS as u32).unwrap();
    let (a, record) = (tenant("a"), record());
    {
        let mut first = pin!(bench.delivery.send(&a, &record));
        assert!(look(first.as_mut()).is_pending());
        runner.note(&gone(vec![]));
        assert!(look(first.as_mut()).is_ready());
    }
    assert_eq!(bench.lost.get(), 1);
    drop(all);
    bench.delivery.send(&a, &record).await.unwrap();
    assert_eq!(bench.lost.get(), 1, "there is room");
}

#[tokio::test]
async fn a_full_lane_is_waited_for_until_its_tenant_wants_nothing() {
    let mut bench = Bench::new();
    let _runner = bench.lane("a", 1);
    let (a, record) = (tenant("a"), record());
    bench.delivery.send(&a, &record).await.unwrap();
    {
        let mut second = pin!(bench.delivery.send(&a, &record));
        assert!(look(second.as_mut()).is_pending());
        bench.wish.send_replace(wishes_of(&["a"]));
        assert!(look(second.as_mut()).is_pending(), "another tenant left");
        bench.wish.send_replace(wishes_of(&["b"]));
        assert!(look(second.as_mut()).is_ready());
    }
    assert_eq!(bench.lost.get(), 1);
    bench.wish.send_replace(wishes_of(&["a", "b"]));
    assert!(look(pin!(bench.delivery.send(&a, &record))).is_pending());
}

#[tokio::test]
async fn what_waits_for_a_topic_in_trouble_leaves_others_half_of_the_room() {
    let mut bench = Bench::new();
    let mut troubled = bench.lane("a", 10);
    let _healthy = bench.lane("b", 10);
    let budget = Arc::clone(&bench.delivery.budget);
    let rest = budget.try_acquire_many(BUDGET_UNITS as u32 - 3).unwrap();
    for _ in 0..3 {
        bench.delivery.send(&tenant("a"), &record()).await.unwrap();
    }
    let mut batch = vec![];
    troubled.parcels.recv_many(&mut batch, 2).await;
    let b = tenant("b");
    let record = record();
    {
        let mut waits = pin!(bench.delivery.send(&b, &record));
        assert!(look(waits.as_mut()).is_pending());
        let again = troubled.wait(gone(batch), None).await;
        assert!(again.is_empty());
        assert!(look(waits.as_mut()).is_ready());
    }
    assert_eq!(bench.lost.get(), 3);
    drop(rest);
    bench.delivery.send(&tenant("a"), &record).await.unwrap();
    assert_eq!(bench.lost.get(), 3, "there is room again");
}

#[tokio::test]
async fn trouble_lasts_until_a_whole_batch_is_settled() {
    let mut bench = Bench::new();
    let mut runner = bench.lane("a", 10);
    bench.delivery.send(&tenant("a"), &record()).await.unwrap();
    let mut batch = vec![];
    runner.parcels.recv_many(&mut batch, 1).await;
    let is_troubled = |runner: &Runner| runner.trouble.borrow().is_some();
    let batch = runner.wait(timed_out(batch), Some(&failure())).await;
    assert!(!is_troubled(&runner), "the brokers may be away");
    let batch = runner.wait(gone(batch), Some(&failure())).await;
    assert_eq!(runner.trouble.borrow().as_deref(), Some("t.a.events"));
    let batch = runner.wait(timed_out(batch), Some(&failure())).await;
    assert!(is_troubled(&runner), "a time-out says nothing of the topic");
    assert_eq!(batch.len(), 1);
    runner.wait(Rest::default(), None).await;
    assert!(!is_troubled(&runner));
    assert_eq!(bench.lost.get(), 0);
}

#[tokio::test]
async fn a_tenant_that_is_gone_is_given_up() {
    let mut bench = Bench::new();
    let mut runner = bench.lane("a", 10);
    bench.delivery.send(&tenant("a"), &record()).await.unwrap();
    let mut batch = vec![];
    runner.parcels.recv_many(&mut batch, 1).await;
    bench.delivery.retain(&wishes_of(&["b"]));
    let batch = runner.wait(timed_out(batch), Some(&failure())).await;
    assert_eq!(batch.len(), 1, "its topics may still be there");
    assert!(runner.wait(gone(batch), None).await.is_empty());
    assert_eq!(bench.lost.get(), 1);
}
