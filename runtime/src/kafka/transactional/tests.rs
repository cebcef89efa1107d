//! Which failure asks for what, and a call that would not end.

use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys::types::RDKafkaApiKey;

use super::*;
use crate::kafka::mock::mock;
use crate::testing::{PATIENCE, until};

#[track_caller]
fn check(code: Code, (fatal, abort, retriable): (bool, bool, bool), expect: Verdict) {
    let call = CallFailure {
        failure: Failure::of(code),
        is_fatal: fatal,
        is_retriable: retriable,
        requires_abort: abort,
    };
    assert_eq!(verdict(&call), expect, "{call:?}");
}

#[test]
fn each_kind_of_failure_has_one_verdict() {
    check(Code::Fenced, (true, false, false), Verdict::Fenced);
    check(Code::Fenced, (false, false, false), Verdict::Fenced);
    check(Code::ProducerFenced, (false, true, false), Verdict::Fenced);
    check(
        Code::InvalidTransactionalState,
        (true, false, false),
        Verdict::Renew,
    );
    check(
        Code::InvalidProducerIdMapping,
        (true, true, true),
        Verdict::Renew,
    );
    check(
        Code::IllegalGeneration,
        (false, true, false),
        Verdict::Abort,
    );
    check(Code::MessageTimedOut, (false, true, true), Verdict::Abort);
    check(
        Code::OperationTimedOut,
        (false, false, true),
        Verdict::Resume,
    );
    check(
        Code::BrokerTransportFailure,
        (false, false, true),
        Verdict::Resume,
    );
    check(Code::State, (false, false, false), Verdict::Renew);
}

/// That the group's coordinator goes away between the two requests of one call is a matter of luck
/// on a real broker, so this one is librdkafka's own, which refuses what it is told to refuse.
#[test]
fn a_commit_ends_though_nobody_finds_the_groups_coordinator() {
    let (broker, kafka, group) = mock(&["in", "out"]);
    let settings = TransactionalSettings::new("name", Duration::from_secs(6));
    let mut producer = Transactional::open(&kafka, settings).unwrap();

    let position = Position {
        partition: Partition::new("in", 0),
        offset: 7,
        metadata: String::new(),
    };
    let commit = move |producer: &mut Transactional| {
        producer.begin().unwrap();
        producer
            .send(&Outgoing::keyed("out", b"key", b"1"))
            .unwrap();
        producer.commit(std::slice::from_ref(&position), &group)
    };
    assert!(matches!(commit(&mut producer), Outcome::Committed));

    let not_there = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
    let moved = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    broker.request_errors(RDKafkaApiKey::FindCoordinator, &[not_there; 100_000]);
    broker.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[moved]);
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let ended = (commit(&mut producer), producer, commit);
        tell.send(ended)
            .unwrap_or_else(|_| unreachable!("it is waited for"));
    });
    let (outcome, mut producer, commit) = told.recv_timeout(PATIENCE).expect("the commit ends");
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");

    broker.clear_request_errors(RDKafkaApiKey::FindCoordinator);
    until(|| producer.renew(Duration::from_secs(1)).is_ok());
    assert!(matches!(commit(&mut producer), Outcome::Committed));
}

/// Brokers that take nothing are not a topic's fault, and a topic that is gone is no fault of the
/// brokers: both let records time out.
#[test]
fn records_that_time_out_tell_on_their_topic_only_where_it_is_gone() {
    let (broker, kafka, group) = mock(&["in", "out"]);
    let settings = TransactionalSettings::new("name", Duration::from_secs(2));
    let mut producer = Transactional::open(&kafka, settings).unwrap();

    let too_few = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    broker.request_errors(RDKafkaApiKey::Produce, &[too_few; 100_000]);
    producer.begin().unwrap();
    producer
        .send(&Outgoing::keyed("out", b"key", b"1"))
        .unwrap();
    until(|| producer.in_flight_count() == 0);
    let outcome = producer.commit(&[], &group);
    let Outcome::Aborted(reason) = outcome else {
        panic!("nobody took the record: {outcome:?}")
    };
    assert_eq!(reason.topics, BTreeMap::new(), "{reason:?}");
}
