//! Whatever lies on a topic, reading it gives a value or an error: no panic, no endless loop, and
//! no memory that the bytes only claim to need.

use proptest::test_runner::Config;
use schemas::event::EventType;
use schemas::refusal::{DateLimits, Refusal, read_event};
use schemas::time::BrokerTime;
use schemas::wire::{DecodeError, SchemaId};

use crate::golden::{RELEASED, records};
use crate::reference::{put_varint, write_in_blocks};
use crate::{codecs, reference};

/// Every golden record with its schema.
fn corpus() -> Vec<(SchemaId, Vec<u8>)> {
    let released = RELEASED.into_iter();
    released
        .flat_map(|(id, name, _)| records(name).into_values().map(move |record| (id, record)))
        .collect()
}

/// Reads a record by both codecs. Ours may refuse more, for the reasons named here; it may never
/// accept what the other refuses, nor read another value.
#[track_caller]
fn judge(id: SchemaId, record: &[u8]) -> Result<(), DecodeError> {
    let ours = codecs::decode(id, record);
    let body = record.strip_prefix(&id.head());
    let theirs = body.and_then(|body| reference::read(id, body));
    match (ours, theirs) {
        (Ok(ours), theirs) => {
            assert_eq!(Some(&ours), theirs.as_ref(), "{id:?} {record:02x?}");
            let again = [
                &id.head()[..],
                &write_in_blocks(&ours, &reference::ONE_BLOCK),
            ]
            .concat();
            assert_eq!(codecs::decode(id, &again), Ok(ours), "{id:?} {record:02x?}");
            Ok(())
        }
        (Err(error), Some(_)) => {
            assert!(is_stricter(error), "{id:?} {record:02x?}: {error}");
            Err(error)
        }
        (Err(error), None) => Err(error),
    }
}

fn is_stricter(error: DecodeError) -> bool {
    match error {
        // `apache-avro` takes a union that the body ends before for null.
        DecodeError::Truncated { .. } => true,
        DecodeError::Invalid { reason, .. } => [
            "a decimal has 1 to 16 bytes and at most 38 digits",
            "1 ms to 366 days",
            "a count is not negative",
            "a number has at most 64 bits",
        ]
        .contains(&reason),
        _ => false,
    }
}

/// Numbers that no honest length, count or branch has.
fn hostile_numbers() -> Vec<Vec<u8>> {
    let values = [
        i64::MAX,
        i64::MIN,
        i64::MIN + 1,
        -1,
        1 << 31,
        1 << 32,
        1 << 40,
        1 << 62,
        -(1 << 40),
        64,
        8_191,
        1_000_000,
    ];
    let mut numbers: Vec<Vec<u8>> = values
        .into_iter()
        .map(|value| {
            let mut number = vec![];
            put_varint(&mut number, value);
            number
        })
        .collect();
    numbers.push(vec![0xff; 10]);
    numbers.push(vec![0xff; 40]);
    numbers.push(vec![0x80; 9]);
    numbers
}

#[test]
fn a_record_cut_anywhere_is_refused() {
    for (id, record) in corpus() {
        for end in 0..record.len() {
            let error = judge(id, &record[..end]).unwrap_err();
            let expected = match end {
                0..5 => DecodeError::NoFrame { length: end }.reason(),
                _ => "truncated",
            };
            assert_eq!(error.reason(), expected, "{id:?} cut at {end}: {error}");
        }
    }
}

#[test]
fn bytes_behind_a_record_are_refused() {
    for (id, mut record) in corpus() {
        for count in 1..20 {
            record.push(0);
            assert_eq!(
                judge(id, &record),
                Err(DecodeError::Trailing { count }),
                "{id:?}"
            );
        }
    }
}

#[test]
fn a_foreign_frame_is_refused() {
    for (id, record) in corpus() {
        for byte in 0..5 {
            for value in (0..=255).filter(|value| *value != record[byte]) {
                let mut changed = record.clone();
                changed[byte] = value;
                let metrics = [SchemaId::Metric, SchemaId::MetricDetail];
                if metrics.contains(&id) && metrics.iter().any(|of| changed.starts_with(&of.head()))
                {
                    // A metric may have either schema.
                    continue;
                }
                let error = judge(id, &changed).unwrap_err();
                let expected = if byte == 0 {
                    "wrong_magic"
                } else {
                    "unknown_schema"
                };
                assert_eq!(error.reason(), expected);
            }
        }
    }
}

#[test]
fn any_one_byte_may_be_wrong() {
    let mut refused = 0;
    for (id, record) in corpus() {
        let mut changed = record.clone();
        for at in 5..record.len() {
            for value in 0..=255_u8 {
                changed[at] = value;
                // One bit apart, or at an end of what a length byte says: asked of both codecs.
                let is_telling = (value ^ record[at]).is_power_of_two();
                let read = match is_telling || [0, 0x7f, 0x80, 0xff].contains(&value) {
                    true => judge(id, &changed),
                    false => codecs::decode(id, &changed).map(drop),
                };
                refused += u32::from(read.is_err());
            }
            changed[at] = record[at];
        }
    }
    assert!(
        refused > 10_000,
        "only {refused} of these records were refused"
    );
}

#[test]
fn any_number_may_be_huge() {
    let numbers = hostile_numbers();
    for (id, record) in corpus() {
        for at in 5..record.len() {
            for number in &numbers {
                let inserted = [&record[..at], number, &record[at..]].concat();
                let replaced = [&record[..at], number, &record[at + 1..]].concat();
                let last = [&record[..at], number].concat();
                for changed in [inserted, replaced, last] {
                    // Most are refused; within a text, some are as good as what was there.
                    let _ = judge(id, &changed);
                }
            }
        }
    }
}

#[test]
fn reading_takes_no_memory_whatever_the_bytes_claim() {
    for (id, record) in corpus() {
        for at in 5..record.len() {
            for number in hostile_numbers() {
                let changed = [&record[..at], &number, &record[at + 1..]].concat();
                let used = allocation_counter::measure(|| read_alone(id, &changed));
                assert_eq!(used.bytes_total, 0, "{id:?} {changed:02x?}");
            }
        }
        let used = allocation_counter::measure(|| read_alone(id, &record));
        assert_eq!(used.bytes_total, 0, "{id:?}");
    }
}

/// Reads and walks a record, and makes nothing of it.
fn read_alone(id: SchemaId, record: &[u8]) {
    use schemas::{book, control, dead_letter, event, late, metric};
    let _ = match id {
        SchemaId::Event => event::EventView::decode(record)
            .map(|view| view.tags.iter().count() + view.metrics.iter().count()),
        SchemaId::Metric => metric::MetricView::decode(record)
            .map(|view| view.labels.iter().count() + view.values.iter().count()),
        SchemaId::MetricDetail => metric::MetricView::decode(record)
            .map(|view| view.values.iter().count() + view.sketches.iter().count()),
        SchemaId::Book => book::BookView::decode(record).map(|view| view.levels().count()),
        SchemaId::Late => late::Late::decode(record).map(|late| late.event.len()),
        SchemaId::DeadLetter => dead_letter::DeadLetter::decode(record).map(|_| 0),
        SchemaId::Control => control::ControlRecord::decode(record).map(|_| 0),
    };
}

#[test]
fn an_array_of_nothing_repeated_ends() {
    // As many items as there are bytes, each of which would be a pair of empty texts.
    let mut record = SchemaId::Event.head().to_vec();
    record.extend([0; 16]);
    let start = record.len();
    for count in [1, 50, 99, 100, 101] {
        record.truncate(start);
        put_varint(&mut record, count);
        record.resize(record.len() + 200, 0);
        let read = judge(SchemaId::Event, &record);
        assert!(read.is_err(), "{count}");
    }
    // Blocks that are each empty but for a length of their own.
    record.truncate(start);
    record.extend([1, 0].repeat(100_000));
    assert!(judge(SchemaId::Event, &record).is_err());
}

/// Says which seed it was when a check fails under it.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

/// `PROPTEST_CASES` makes it longer.
#[test]
fn mutated_records_are_read_or_refused() {
    let corpus = corpus();
    let numbers = hostile_numbers();
    let mut accepted = 0;
    for seed in 0..u64::from(Config::default().cases) * 200 {
        let seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed.0);
        let (id, record) = random.choice(&corpus).unwrap();
        let mut record = record.clone();
        for _ in 0..random.usize(1..5) {
            mutate(&mut record, &mut random, &corpus, &numbers);
        }
        if random.u8(..) > 8 {
            record.splice(..record.len().min(5), id.head());
        }
        accepted += u32::from(judge(*id, &record).is_ok());
        refuse_or_read(&record);
    }
    assert!(
        accepted > 100,
        "only {accepted} of these records were accepted"
    );
}

fn mutate(
    record: &mut Vec<u8>,
    random: &mut fastrand::Rng,
    corpus: &[(SchemaId, Vec<u8>)],
    numbers: &[Vec<u8>],
) {
    let at = random.usize(..=record.len());
    let end = random.usize(at..=record.len().min(at + 12));
    match random.u8(..8) {
        0 => record.truncate(at),
        1 => drop(record.drain(at..end)),
        2 => drop(record.splice(at..end, random.choice(numbers).unwrap().clone())),
        3 => {
            let copy = record[at..end].to_vec();
            record.splice(at..at, copy);
        }
        4 => {
            let (_, other) = random.choice(corpus).unwrap();
            let from = random.usize(..other.len());
            record.splice(at.., other[from..].iter().copied());
        }
        5 => record.extend((0..random.usize(..40)).map(|_| random.u8(..))),
        _ => {
            if let Some(byte) = record.get_mut(at) {
                *byte = match random.bool() {
                    true => *byte ^ (1 << random.u8(..8)),
                    false => random.u8(..),
                };
            }
        }
    }
}

/// What each reader of `events` does first.
fn refuse_or_read(record: &[u8]) {
    let limits = DateLimits {
        future_max_ms: 300_000,
        past_max_ms: 3_653 * 86_400_000,
    };
    let now = BrokerTime::from_ms(1_786_309_548_281);
    match read_event(Some(record), now, &limits) {
        Ok((view, event_type)) => {
            assert_eq!(
                EventType::from_bytes(view.event_type.as_bytes()),
                Some(event_type)
            );
            assert!(view.tags.len() <= 64 && view.metrics.len() <= 64);
        }
        Err(refusal) => assert!(!refusal.reason().is_empty() && !refusal.to_string().is_empty()),
    }
}

#[test]
fn random_bytes_are_refused_as_events() {
    for seed in 0..20_000 {
        let seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed.0);
        let mut record = vec![0; random.usize(..2_000)];
        random.fill(&mut record);
        if random.bool() && record.len() >= 5 {
            record[..5].copy_from_slice(&SchemaId::Event.head());
        }
        let _ = judge(SchemaId::Event, &record);
        refuse_or_read(&record);
    }
    let limits = DateLimits {
        future_max_ms: 0,
        past_max_ms: 0,
    };
    let tombstone = read_event(None, BrokerTime::MIN, &limits);
    assert_eq!(
        tombstone.err(),
        Some(Refusal::Unreadable(DecodeError::NoFrame { length: 0 }))
    );
}
