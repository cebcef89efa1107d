//! A reader sees what its isolation allows, reaches ends that are no records, and never jumps.

use std::time::Duration;

use runtime::fate::Fate;
use runtime::kafka::reader::ReadError;
use runtime::kafka::{Isolation, Outcome, Outgoing, Partition, Reader, Start};

use crate::broker;

const WAIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn ends_are_reached_behind_marks_and_aborted_records() {
    let kafka = broker::shared();
    let topic = broker::topic(&kafka, "marks", 2).await;
    let mut producer = broker::transactional(&kafka, &broker::name("marks"));
    let group = broker::lonely_group(&kafka);
    for (value, is_kept) in [
        ("kept", true),
        ("lost", false),
        ("kept too", true),
        ("gone", false),
    ] {
        producer.begin().unwrap();
        producer
            .send(&Outgoing::keyed(&topic, b"k", value.as_bytes()).in_partition(0))
            .unwrap();
        broker::until(|| producer.in_flight_count() == 0);
        match is_kept {
            true => broker::assert_committed(producer.commit(&[], &group)),
            false => assert!(matches!(producer.abort(), Outcome::Aborted(_))),
        }
    }
    let read = |isolation| {
        let spans = [0, 1].map(|number| (Partition::new(&topic, number), Start::Beginning));
        let reader = Reader::open(&kafka, "marks", isolation, &spans).unwrap();
        // The last mark is written after its abort was answered.
        let mut highs = vec![];
        broker::until(|| {
            let ends = reader.watermarks(isolation, WAIT).unwrap();
            highs = ends.iter().map(|end| end.high).collect();
            highs == [8, 0]
        });
        let mut values = Vec::new();
        let each = |_, record: runtime::kafka::Record<'_>| {
            values.push(String::from_utf8(record.value().unwrap().to_vec()).unwrap());
        };
        reader.read_until(&highs, WAIT, each).unwrap();
        assert_eq!(
            (reader.position(0), reader.position(1)),
            (8, 0),
            "4 records and 4 marks"
        );
        values
    };
    assert_eq!(read(Isolation::Committed), ["kept", "kept too"]);
    assert_eq!(
        read(Isolation::Uncommitted),
        ["kept", "lost", "kept too", "gone"]
    );
}

#[tokio::test]
async fn a_committed_reader_waits_before_an_open_transaction() {
    let kafka = broker::shared();
    let topic = broker::topic(&kafka, "open", 1).await;
    let mut producer = broker::transactional(&kafka, &broker::name("open"));
    let group = broker::lonely_group(&kafka);
    producer.begin().unwrap();
    producer.send(&Outgoing::keyed(&topic, b"k", b"v")).unwrap();
    let spans = [(Partition::new(&topic, 0), Start::Beginning)];
    let reader = Reader::open(&kafka, "open", Isolation::Committed, &spans).unwrap();
    broker::until(|| reader.watermarks(Isolation::Uncommitted, WAIT).unwrap()[0].high == 1);
    assert_eq!(
        reader.watermarks(Isolation::Committed, WAIT).unwrap()[0].high,
        0
    );
    let stalled = reader.read_until(&[1], Duration::from_millis(300), |_, _| panic!("undecided"));
    let error = stalled.unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Stalled {
                position: 0,
                end: 1,
                ..
            }
        ),
        "{error}"
    );
    broker::assert_committed(producer.commit(&[], &group));
    let mut count = 0;
    reader.read_until(&[1], WAIT, |_, _| count += 1).unwrap();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn a_position_outside_the_log_is_an_error_and_no_jump() {
    let kafka = broker::shared();
    let topic = broker::topic(&kafka, "outside", 1).await;
    let publisher = broker::publisher(&kafka);
    assert!(
        publisher
            .publish(&[Outgoing::keyed(&topic, b"k", b"v")])
            .await
            .is_empty()
    );
    let spans = [(Partition::new(&topic, 0), Start::At(1_000))];
    let reader = Reader::open(&kafka, "outside", Isolation::Committed, &spans).unwrap();
    let error = reader
        .read_until(&[1_001], WAIT, |_, _| panic!("nothing is there"))
        .unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::OutOfRange {
                position: 1_000,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.fate(), Fate::Halt);
}

#[tokio::test]
async fn a_topic_that_is_not_there_says_so() {
    let kafka = broker::shared();
    let absent = Partition::new(&broker::name("absent"), 0);
    let spans = [(absent.clone(), Start::Beginning)];
    let error = Reader::open(&kafka, "absent", Isolation::Committed, &spans)
        .err()
        .unwrap();
    assert!(error.is_gone(), "{error}");
    let spans = [(absent, Start::At(0))];
    let reader = Reader::open(&kafka, "absent", Isolation::Committed, &spans).unwrap();
    let error = reader.watermarks(Isolation::Committed, WAIT).unwrap_err();
    assert!(error.is_gone(), "{error}");
    let patience = Duration::from_millis(100);
    let error = reader
        .read_until(&[1], patience, |_, _| panic!("nothing is there"))
        .unwrap_err();
    assert!(error.is_gone(), "{error}");
}
