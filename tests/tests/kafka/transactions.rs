//! Outputs and positions become true together or not at all, and each end has its outcome.

use std::time::Duration;

use runtime::kafka::transactional::TransactionError;
use runtime::kafka::{Outcome, Outgoing, Partition, Position};

use crate::broker;
use crate::broker::Member;

fn position(topic: &str, offset: i64, metadata: &str) -> Position {
    Position {
        partition: Partition::new(topic, 0),
        offset,
        metadata: metadata.into(),
    }
}

#[tokio::test]
async fn outputs_and_positions_with_metadata_appear_together() {
    let kafka = broker::shared();
    let input = broker::topic(&kafka, "in", 1).await;
    let output = broker::topic(&kafka, "out", 1).await;
    let mut member = Member::join(&kafka, &broker::name("together"), "a", [&input]);
    member.until_owned(1);
    let mut producer = broker::transactional(&kafka, &broker::name("together"));
    producer.begin().unwrap();
    producer
        .send(&Outgoing::keyed(&output, b"k", b"1"))
        .unwrap();
    producer
        .send(&Outgoing::keyed(&output, b"k", b"2"))
        .unwrap();
    let metadata = "batch=7 clock=1234 s=0 \u{1f4c8}";
    let group = member.group.metadata().unwrap();
    broker::assert_committed(producer.commit(&[position(&input, 42, metadata)], &group));
    let committed = member.committed(&[Partition::new(&input, 0)]);
    let committed = committed[0].as_ref().unwrap();
    assert_eq!(
        (committed.offset, &committed.metadata[..]),
        (42, metadata.as_bytes())
    );
    assert_eq!(broker::read_all(&kafka, &output, 1).len(), 2);
}

#[tokio::test]
async fn an_aborted_batch_is_invisible_and_may_be_sent_again() {
    let kafka = broker::shared();
    let output = broker::topic(&kafka, "again", 1).await;
    let group = broker::lonely_group(&kafka);
    let mut producer = broker::transactional(&kafka, &broker::name("again"));
    for _ in 0..3 {
        producer.begin().unwrap();
        producer
            .send(&Outgoing::keyed(&output, b"k", b"v"))
            .unwrap();
        assert!(matches!(producer.abort(), Outcome::Aborted(_)));
    }
    producer.begin().unwrap();
    producer
        .send(&Outgoing::keyed(&output, b"k", b"v"))
        .unwrap();
    broker::assert_committed(producer.commit(&[], &group));
    assert_eq!(broker::read_all(&kafka, &output, 1).len(), 1);
}

#[tokio::test]
async fn an_empty_transaction_commits() {
    let kafka = broker::shared();
    let group = broker::lonely_group(&kafka);
    let mut producer = broker::transactional(&kafka, &broker::name("empty"));
    for _ in 0..3 {
        producer.begin().unwrap();
        broker::assert_committed(producer.commit(&[], &group));
    }
}

#[tokio::test]
async fn a_successor_fences_its_predecessor() {
    let kafka = broker::shared();
    let output = broker::topic(&kafka, "fenced", 1).await;
    let group = broker::lonely_group(&kafka);
    let id = broker::name("fenced");
    let mut elder = broker::transactional(&kafka, &id);
    elder.begin().unwrap();
    elder
        .send(&Outgoing::keyed(&output, b"k", b"elder"))
        .unwrap();
    broker::until(|| elder.in_flight_count() == 0);
    let mut heir = broker::transactional(&kafka, &id);
    heir.begin().unwrap();
    heir.send(&Outgoing::keyed(&output, b"k", b"heir")).unwrap();
    broker::assert_committed(heir.commit(&[], &group));
    let outcome = elder.commit(&[], &group);
    assert!(matches!(outcome, Outcome::Fenced(_)), "{outcome:?}");
    let values: Vec<_> = broker::values(&kafka, &output, 1);
    assert_eq!(values, ["heir"]);
}

#[tokio::test]
async fn positions_of_a_past_generation_abort() {
    let kafka = broker::shared();
    let input = broker::topic(&kafka, "generation-in", 2).await;
    let output = broker::topic(&kafka, "generation-out", 1).await;
    let name = broker::name("generation");
    let mut first = Member::join(&kafka, &name, "a", [&input]);
    first.until_owned(2);
    let stale = first.group.metadata().unwrap();
    let mut second = Member::join(&kafka, &name, "b", [&input]);
    broker::until(|| {
        first.poll();
        second.poll();
        first.owned() == 1 && second.owned() == 1
    });
    let mut producer = broker::transactional(&kafka, &name);
    producer.begin().unwrap();
    producer
        .send(&Outgoing::keyed(&output, b"k", b"stale"))
        .unwrap();
    let outcome = producer.commit(&[position(&input, 5, "")], &stale);
    assert!(matches!(outcome, Outcome::Aborted(_)), "{outcome:?}");
    // The same bytes again, by a member of the present generation.
    broker::begin(&mut producer);
    producer
        .send(&Outgoing::keyed(&output, b"k", b"fresh"))
        .unwrap();
    let fresh = first.group.metadata().unwrap();
    broker::assert_committed(producer.commit(&[position(&input, 5, "")], &fresh));
    assert_eq!(broker::values(&kafka, &output, 1), ["fresh"]);
}

#[tokio::test]
async fn a_topic_that_refuses_is_named_and_the_rest_is_sent_without_it() {
    let kafka = broker::shared();
    let output = broker::topic(&kafka, "named", 1).await;
    let missing = broker::name("missing");
    let group = broker::lonely_group(&kafka);
    let mut producer = broker::transactional(&kafka, &broker::name("named"));
    producer.begin().unwrap();
    producer
        .send(&Outgoing::keyed(&output, b"k", b"v"))
        .unwrap();
    producer
        .send(&Outgoing::keyed(&missing, b"k", b"v"))
        .unwrap();
    let Outcome::Aborted(reason) = producer.commit(&[], &group) else {
        panic!("it cannot commit")
    };
    assert!(reason.topics.contains_key(&missing), "{reason:?}");
    assert!(!reason.topics.contains_key(&output), "{reason:?}");
    broker::begin(&mut producer);
    producer
        .send(&Outgoing::keyed(&output, b"k", b"v"))
        .unwrap();
    broker::assert_committed(producer.commit(&[], &group));
    assert_eq!(broker::read_all(&kafka, &output, 1).len(), 1);
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_alone() {
    let kafka = broker::shared();
    let output = broker::topic(&kafka, "large", 1).await;
    let group = broker::lonely_group(&kafka);
    let mut producer = broker::transactional(&kafka, &broker::name("large"));
    producer.begin().unwrap();
    let huge = broker::garbage(17 * 1_048_576);
    let refused = producer.send(&Outgoing::keyed(&output, b"k", &huge));
    assert!(
        matches!(refused, Err(TransactionError::Record(_))),
        "{refused:?}"
    );
    producer
        .send(&Outgoing::keyed(&output, b"k", b"v"))
        .unwrap();
    broker::assert_committed(producer.commit(&[], &group));
    assert_eq!(broker::read_all(&kafka, &output, 1).len(), 1);
}

#[tokio::test]
async fn a_full_queue_makes_the_sender_wait() {
    let kafka = broker::shared();
    let output = broker::topic(&kafka, "full", 1).await;
    let group = broker::lonely_group(&kafka);
    let mut settings = broker::transactional_settings(&broker::name("full"));
    settings.queue_count = 50;
    settings.linger = Duration::ZERO;
    let mut producer = runtime::kafka::Transactional::open(&kafka, settings).unwrap();
    producer.begin().unwrap();
    for n in 0..5_000 {
        producer
            .send(&Outgoing::keyed(&output, b"k", format!("{n}").as_bytes()))
            .unwrap();
    }
    broker::assert_committed(producer.commit(&[], &group));
    let values = broker::values(&kafka, &output, 1);
    assert!(
        values
            .iter()
            .enumerate()
            .all(|(n, value)| *value == format!("{n}"))
    );
    assert_eq!(values.len(), 5_000);
}
