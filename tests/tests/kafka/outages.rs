//! Brokers that are frozen, killed and back: no outcome is guessed, and nothing is doubled.

use std::time::Duration;

use runtime::fate::Fate;
use runtime::health::{Condition, Health};
use runtime::kafka::group::GroupError;
use runtime::kafka::transactional::TransactionError;
use runtime::kafka::{
    Admin, Event, Isolation, KafkaConfig, Outcome, Outgoing, Partition, Position, Publisher,
    PublisherSettings, Standing, Transactional,
};
use runtime::service::Shutdown;
use tests::eventually;

use crate::broker;
use crate::broker::Member;
use crate::shared::Broker;

const TIMEOUT: Duration = Duration::from_secs(4);

/// How long one call waits while an outage is settled; the group is served in between.
const SLICE: Duration = Duration::from_millis(250);

/// How long the question for a position may take: the client looks for its coordinator first.
const QUESTION: Duration = Duration::from_secs(5);

/// One transaction of one record, whose position carries the batch's name.
struct Writer {
    admin: Admin,
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
            admin: Admin::new(kafka).unwrap(),
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

    /// What the protocol asks for after an unknown outcome: renew, look, send again if needed.
    fn settle(&mut self, batch: &str) {
        loop {
            broker::until(|| {
                self.member.poll();
                is_done(self.producer.renew(SLICE), TransactionError::fate)
            });
            if self.held().as_deref() == Some(batch.as_bytes()) {
                return;
            }
            self.begin(batch);
            match self.commit(batch) {
                Outcome::Committed => return,
                // The group may still be coming together again, and the broker waking up.
                Outcome::Aborted(_) | Outcome::Unknown(_) => {}
                Outcome::Fenced(failure) => panic!("{failure}"),
            }
        }
    }

    /// The stable metadata, however long a transaction keeps it from being so.
    fn held(&mut self) -> Option<Vec<u8>> {
        let mut held = None;
        broker::until(|| {
            self.member.poll();
            let asked = std::slice::from_ref(&self.input);
            let answer = self.member.group.committed(asked, QUESTION);
            is_done(
                answer.map(|mut found| held = found.remove(0)),
                GroupError::fate,
            )
        });
        held.map(|committed| committed.metadata)
    }

    /// Waits for the marks of a commit, which the broker writes after it has said yes: one that is
    /// killed before may forget them, and the transaction stays open for ever.
    fn until_marked(&mut self, batch: &str) {
        assert_eq!(self.held().as_deref(), Some(batch.as_bytes()));
        let output = [Partition::new(&self.output, 0)];
        broker::until(|| {
            let [marked, all] = [Isolation::Committed, Isolation::Uncommitted].map(|isolation| {
                let edges = self.admin.watermarks(&output, isolation, QUESTION);
                edges.ok().map(|edges| edges[0].high)
            });
            marked.is_some() && marked == all
        });
    }
}

/// True when a call succeeded, false when it is to be called again.
#[track_caller]
fn is_done<E: std::fmt::Display>(answer: Result<(), E>, fate: fn(&E) -> Fate) -> bool {
    if let Err(error) = &answer {
        assert_eq!(fate(error), Fate::Retry, "{error}");
    }
    answer.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_end_nobody_saw_is_settled_exactly_once() {
    // A broker that slept through its session is left without leaders for a moment, in which it
    // forgets the marks that it was to write: here it may sleep for as long as it likes.
    let broker = Broker::own_with("broker.session.timeout.ms", "600000").await;
    let kafka = broker.config();
    let mut writer = Writer::open(&kafka).await;
    writer.begin("before");
    broker::assert_committed(writer.commit("before"));
    let batches: Vec<String> = (0..4).map(|n| format!("batch {n}")).collect();
    for (n, batch) in batches.iter().enumerate() {
        writer.begin(batch);
        if n % 2 == 0 {
            // The record is there already: the freeze falls on the positions and the commit.
            broker::until(|| writer.producer.in_flight_count() == 0);
        }
        broker.kafka.process().freeze();
        // It ends though nobody answers: nothing thaws the broker before.
        let outcome = tokio::task::block_in_place(|| writer.commit(batch));
        broker.kafka.process().thaw();
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        tokio::task::block_in_place(|| writer.settle(batch));
    }
    let mut expected = vec!["before".to_owned()];
    expected.extend(batches);
    assert_eq!(broker::values(&kafka, &writer.output, 1), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_in_a_transaction_doubles_nothing() {
    let mut broker = Broker::own().await;
    let kafka = broker.config();
    let mut writer = Writer::open(&kafka).await;
    let batches: Vec<String> = (0..3).map(|n| format!("batch {n}")).collect();
    for (n, batch) in batches.iter().enumerate() {
        writer.begin(batch);
        if n % 2 == 0 {
            // The transaction is open on the broker, and lasts too long while that is away.
            broker::until(|| writer.producer.in_flight_count() == 0);
        }
        broker.kafka.kill9().await;
        let outcome = tokio::task::block_in_place(|| writer.commit(batch));
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        broker.kafka.restart().await.unwrap();
        tokio::task::block_in_place(|| {
            writer.settle(batch);
            writer.until_marked(batch);
        });
    }
    assert_eq!(broker::values(&kafka, &writer.output, 1), batches);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_slept_through_an_outage_joins_anew() {
    let mut broker = Broker::own().await;
    let kafka = broker.config();
    let topic = broker::topic(&kafka, "slept", 2).await;
    let name = broker::name("slept");
    let mut settings = broker::group_settings(&name, "a");
    // A broker that was killed is not back sooner: its controller starts first, and then it.
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
    assert_eq!(member.group.standing(), Standing::Out);
    // A commit may be answered as that of a member whose name another has taken; which of the two
    // it is only a poll can tell.
    let position = Position {
        partition: Partition::new(&topic, 0),
        offset: 0,
        metadata: String::new(),
    };
    let refused = member.group.commit(&[position]).unwrap_err();
    assert_eq!(refused.fate(), Fate::Retry, "{refused}");
    let mut events = Vec::new();
    broker::until(|| {
        events.extend(member.poll());
        events.len() >= 4
    });
    let is_lost = |event: &Event| matches!(event, Event::Lost { .. });
    assert!(events[..2].iter().all(is_lost), "{events:?}");
    assert!(!events[2..].iter().any(is_lost), "{events:?}");
    let all = Standing::In {
        read: 2,
        waiting: 0,
    };
    assert_eq!(member.group.standing(), all);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_killed_takes_up_what_it_leads_once() {
    let mut broker = Broker::own().await;
    let kafka = broker.config();
    let topic = broker::topic(&kafka, "once", 1).await;
    let mut member = Member::join(&kafka, &broker::name("once"), "a", [&topic]);
    member.until_owned(1);
    broker.kafka.kill9().await;
    broker.kafka.restart().await.unwrap();
    // The member is served again, so the broker has taken the group up.
    broker::until(|| {
        member.poll();
        let position = Position {
            partition: Partition::new(&topic, 0),
            offset: 0,
            metadata: String::new(),
        };
        member.group.commit(&[position]).is_ok()
    });
    let log = broker.kafka.process().log_tail(usize::MAX);
    let has_taken_up = log.contains("Finished loading of metadata from __consumer_offsets");
    assert!(has_taken_up, "{log}");
    // What it gave up it would have taken up on what the killed one had left behind.
    assert!(!log.contains("Started unloading metadata"), "{log}");
}
