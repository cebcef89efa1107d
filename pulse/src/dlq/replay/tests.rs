//! What goes back and where to, how fast, and what is said of it.

use super::*;
use schemas::time::BrokerTime;
use schemas::wire::Text;

fn letter(source: &'static str) -> DeadLetter<'static> {
    DeadLetter {
        source: Text::new(source),
        partition: Some(0),
        offset: Some(1),
        appended_at: BrokerTime::from_ms(0),
        reason: Text::new("truncated"),
        detail: Text::new(""),
        replay_count: 0,
        key: Some(b"key"),
        value: Some(b"value"),
    }
}

fn mark(rounds: i32) -> Mark {
    Mark {
        letters: "pulse.demo.dead-letters".into(),
        number: 1,
        written_at_ms: 0,
        topic: "pulse.demo.events".into(),
        rounds,
    }
}

#[test]
fn only_what_producers_write_goes_back_and_only_to_its_own_tenant() {
    let demo: TenantId = "demo".parse().unwrap();
    let check = |letter: &DeadLetter<'_>, expect: Verdict| {
        assert_eq!(judge(letter, &demo), expect);
    };
    let back = Verdict::Back("pulse.demo.events".into());
    check(&letter("pulse.demo.events"), back);
    check(
        &letter("pulse.demo.books"),
        Verdict::Back("pulse.demo.books".into()),
    );
    check(&letter("pulse.other.events"), Verdict::Stays(FOREIGN));
    check(&letter("pulse.control"), Verdict::Stays(FOREIGN));
    check(&letter("pulse.demo.metrics"), Verdict::Stays(INTERNAL));
    check(
        &letter("pulse.demo.metrics.state"),
        Verdict::Stays(INTERNAL),
    );
    let frame = DeadLetter {
        partition: None,
        offset: None,
        ..letter("coinbase:feed")
    };
    check(&frame, Verdict::Stays(NO_RECORD));
    let empty = DeadLetter {
        value: None,
        ..letter("pulse.demo.events")
    };
    check(&empty, Verdict::Stays(EMPTY));
}

#[test]
fn headers_count_rounds_and_nonsense_counts_as_none() {
    assert_eq!(count(Some(b"2")), 2);
    assert_eq!(count(Some(b"two")), 0);
    assert_eq!(count(Some(b"\xff")), 0);
    assert_eq!(count(None), 0);
}

#[test]
fn a_readable_event_goes_back_under_its_own_subject() {
    let unreadable = Record::of(mark(1), &letter("pulse.demo.events"), None);
    assert_eq!(unreadable.key.as_deref(), Some(&b"key"[..]));
    let mut bytes = Vec::new();
    let trade = crate::top::board::tests::event(
        schemas::event::EventType::Trade,
        "coinbase:BTC-USD",
        7,
        &[],
    );
    trade.encode(&mut bytes);
    let misplaced = DeadLetter {
        value: Some(&bytes),
        ..letter("pulse.demo.events")
    };
    let record = Record::of(mark(2), &misplaced, None);
    assert_eq!(record.key.as_deref(), Some(&b"coinbase:BTC-USD"[..]));
    assert_eq!(record.rounds, "2");
}

#[test]
fn rates_are_kept_by_batches_and_pauses() {
    let kafka = KafkaConfig::plaintext("127.0.0.1:1");
    let settings = PublisherSettings::new("test");
    let publisher = Publisher::new(&kafka, &settings).unwrap();
    for (rate, count, pause_ms) in [
        (1, 1, 1_000),
        (5, 1, 200),
        (100, 10, 100),
        (1_000, 100, 100),
    ] {
        let batch = Batch::new(publisher.clone(), rate);
        assert_eq!(
            (batch.count_max, batch.pause.as_millis()),
            (count, pause_ms),
            "{rate}"
        );
    }
}

#[test]
fn a_mark_that_is_refused_says_why() {
    let kafka = KafkaConfig::plaintext("127.0.0.1:1");
    let mut settings = PublisherSettings::new("test");
    settings.timeout = Duration::from_millis(100);
    let batch = Batch::new(Publisher::new(&kafka, &settings).unwrap(), 1);
    let mut outcome = Outcome::default();
    batch.mark([mark(1), mark(2)].iter(), &mut outcome);
    assert_eq!(outcome.unmarked_count, 2);
    let why = outcome.mark_refusal.unwrap();
    assert!(why.contains("timed out"), "{why}");
}
