//! Brokers that are frozen, killed and back: no outcome is guessed, and nothing is doubled.

use std::time::Duration;

use runtime::fate::Fate;
use runtime::health::{Condition, Health};
use runtime::kafka::{
    Admin, Event, KafkaConfig, Outcome, Outgoing, Partition, Position, Publisher,
    PublisherSettings, Transactional,
};
use runtime::service::Shutdown;
use tests::eventually;

use crate::broker;
use crate::broker::Member;
use crate::shared::Broker;

const TIMEOUT: Duration = Duration::from_secs(4);

/// One transaction of one record, whose position carries the batch's name.
struct Writer {
    output: String,
    input: Partition,
    member: Member,
    producer: Transactional,
}

impl Writer {
    async fn open(kafka: &KafkaConfig) -> Self {
        let input = broker::topic(kafka, "in", 1).await;
        let output = broker::topic(kafka, "out", 1).await;
        let name = broker::name("outage");
        let mut member = Member::join(kafka, &name, "a", [&input]);
        member.until_owned(1);
        let mut settings = broker::transactional_settings(&name);
        settings.timeout = TIMEOUT;
        let producer = Transactional::open(kafka, settings).unwrap();
        Self {
            output,
            input: Partition::new(&input, 0),
            member,
            producer,
        }
    }

    fn begin(&mut self, batch: &str) {
        self.producer.begin().unwrap();
        self.producer
            .send(&Outgoing::keyed(&self.output, b"k", batch.as_bytes()))
            .unwrap();
    }

    fn commit(&mut self, batch: &str) -> Outcome {
        self.member.poll();
        let position = Position {
            partition: self.input.clone(),
            offset: 0,
            metadata: batch.into(),
        };
        let group = self.member.group.metadata().unwrap();
        self.producer.commit(&[position], &group)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_slept_through_an_outage_joins_anew() {
    let mut broker = Broker::own().await;
    let kafka = broker.config();
    let topic = broker::topic(&kafka, "slept", 2).await;
    let name = broker::name("slept");
    let mut settings = broker::group_settings(&name, "a");
    // A broker that was killed is back after 3 s at the earliest, its own session's.
    settings.session_timeout = Duration::from_secs(2);
    let mut member = Member::join_with(&kafka, settings, [&topic]);
    member.until_owned(2);
    // Nobody serves the group while its session ends, nor when the broker is back, until the broker
    // has given the member up: only a group without members can be deleted.
    broker.kafka.kill9().await;
    broker.kafka.restart().await.unwrap();
    let admin = Admin::new(&kafka).unwrap();
    eventually("the broker has given the member up", async || {
        admin.delete_groups(&[&name]).await
    })
    .await;
    let mut events = Vec::new();
    broker::until(|| {
        events.extend(member.poll());
        events.len() >= 4
    });
    let is_lost = |event: &Event| matches!(event, Event::Lost { .. });
    assert!(events[..2].iter().all(is_lost), "{events:?}");
    assert!(!events[2..].iter().any(is_lost), "{events:?}");
    assert_eq!(member.owned(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_slept_through_its_transaction_is_fenced() {
    let broker = Broker::own().await;
    let kafka = broker.config();
    let mut writer = Writer::open(&kafka).await;
    writer.begin("late");
    broker::until(|| writer.producer.in_flight_count() == 0);
    // The coordinator aborts it by itself, which the committed end of the output shows.
    let output = Partition::new(&writer.output, 0);
    let admin = Admin::new(&kafka).unwrap();
    broker::until(|| {
        let isolation = runtime::kafka::Isolation::Committed;
        let edges = admin.watermarks(std::slice::from_ref(&output), isolation, broker::PATIENCE);
        edges.unwrap()[0].high == 2
    });
    let outcome = writer.commit("late");
    assert!(matches!(outcome, Outcome::Fenced(_)), "{outcome:?}");
    assert!(broker::values(&kafka, &writer.output, 1).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_and_health_tell_the_truth_while_the_broker_is_away() {
    let mut broker = Broker::own().await;
    let kafka = broker.config();
    let topic = broker::topic(&kafka, "away", 1).await;
    let mut settings = PublisherSettings::new("away");
    settings.timeout = Duration::from_secs(3);
    let publisher = Publisher::new(&kafka, &settings).unwrap();
    let (health, shutdown) = (Health::default(), Shutdown::default());
    health.watch_kafka(&kafka, &shutdown).unwrap();
    broker::until(|| health.report().ready);

    broker.kafka.kill9().await;
    broker::until(|| {
        matches!(
            health.report().checks["kafka"].condition,
            Condition::NotReady(_)
        )
    });
    let lost = publisher
        .publish(&[Outgoing::keyed(&topic, b"k", b"lost")])
        .await;
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].failure.fate(), Fate::Retry, "{lost:?}");

    broker.kafka.restart().await.unwrap();
    broker::until(|| health.report().ready);
    let kept = publisher
        .publish(&[Outgoing::keyed(&topic, b"k", b"kept")])
        .await;
    assert!(kept.is_empty(), "{kept:?}");
    assert_eq!(broker::values(&kafka, &topic, 1), ["kept"]);
    shutdown.request();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reads_on_when_the_broker_is_back() {
    let mut broker = Broker::own().await;
    let kafka = broker.config();
    let topic = broker::topic(&kafka, "back", 2).await;
    let publisher = broker::publisher(&kafka);
    let mut member = Member::join(&kafka, &broker::name("back"), "a", [&topic]);
    member.until_owned(2);
    for round in 1..=2 {
        let records = [0, 1].map(|number| Outgoing::keyed(&topic, b"k", b"v").in_partition(number));
        let undelivered = publisher.publish(&records).await;
        assert!(undelivered.is_empty(), "{undelivered:?}");
        broker::until(|| {
            member.poll();
            member.read();
            member.seen.len() == 2 && member.seen.values().all(|offsets| offsets.len() == round)
        });
        if round == 1 {
            broker.kafka.kill9().await;
            broker.kafka.restart().await.unwrap();
        }
    }
    assert!(member.seen.values().all(|offsets| *offsets == [0, 1]));
}
