//! Both codecs read and write the same.

use apache_avro::types::Value;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use schemas::event::{EventType, EventView};
use schemas::wire::SchemaId;

use crate::codecs;
use crate::reference::{self, Block, ONE_BLOCK, write_in_blocks};
use crate::values::any_value;

/// Runs as many cases as `PROPTEST_CASES` says, else 256.
fn runner() -> TestRunner {
    TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    })
}

/// A law that each schema's values obey; a failure shows the least value that breaks it.
fn law(law: impl Fn(SchemaId, &Value)) {
    for id in SchemaId::ALL {
        runner()
            .run(&any_value(reference::schema(id)), |value| {
                law(id, &value);
                Ok(())
            })
            .unwrap_or_else(|broken| panic!("{id:?}: {broken}"));
    }
}

#[track_caller]
fn body(id: SchemaId, record: &[u8]) -> &[u8] {
    record
        .strip_prefix(&id.head())
        .expect("a frame comes first")
}

fn framed(id: SchemaId, body: &[u8]) -> Vec<u8> {
    [&id.head(), body].concat()
}

#[test]
fn both_codecs_write_and_read_the_same() {
    law(|id, value| {
        let ours = codecs::encode(id, value);
        let theirs = reference::write(id, value);
        // A map may be in any order; the codecs are handed the same one, and so keep it.
        assert_eq!(body(id, &ours), theirs);
        assert_eq!(write_in_blocks(value, &ONE_BLOCK), theirs);
        assert_eq!(reference::read(id, body(id, &ours)).as_ref(), Some(value));
        assert_eq!(codecs::decode(id, &framed(id, &theirs)).as_ref(), Ok(value));
    });
}

#[test]
fn arrays_and_maps_may_come_in_any_blocks() {
    let blocks = || {
        let block = (1_usize..5, any::<bool>());
        vec(
            block.prop_map(|(items_max, sized)| Block { items_max, sized }),
            1..4,
        )
    };
    for id in [
        SchemaId::Event,
        SchemaId::Metric,
        SchemaId::MetricDetail,
        SchemaId::Book,
    ] {
        runner()
            .run(
                &(any_value(reference::schema(id)), blocks()),
                |(value, blocks)| {
                    let theirs = write_in_blocks(&value, &blocks);
                    assert_eq!(reference::read(id, &theirs).as_ref(), Some(&value));
                    assert_eq!(
                        codecs::decode(id, &framed(id, &theirs)).as_ref(),
                        Ok(&value)
                    );
                    Ok(())
                },
            )
            .unwrap_or_else(|broken| panic!("{id:?}: {broken}"));
    }
}

#[test]
fn an_event_with_fields_of_its_own_is_the_same_record() {
    let id = SchemaId::Event;
    runner()
        .run(
            &(any_value(reference::schema(id)), 0..EventType::ALL.len()),
            |(value, at)| {
                let Value::Record(mut fields) = value else {
                    unreachable!("an event is a record");
                };
                fields[1].1 = Value::String(EventType::ALL[at].as_str().to_owned());
                let value = Value::Record(fields);
                let record = codecs::encode(id, &value);
                let event = EventView::decode(&record).unwrap().to_owned().unwrap();
                let mut again = vec![];
                event.encode(&mut again);
                assert_eq!(codecs::decode(id, &again).as_ref(), Ok(&value));
                assert_eq!(EventView::decode(&again).unwrap().to_owned(), Some(event));
                Ok(())
            },
        )
        .unwrap();
}

#[test]
fn an_event_of_an_unknown_type_is_read_but_not_owned() {
    let mut record = SchemaId::Event.head().to_vec();
    // "x" as id and "y" as type; all that follows is null, zero or empty.
    record.extend([2, b'x', 2, b'y']);
    record.extend([0; 17]);
    let view = EventView::decode(&record).unwrap();
    assert_eq!(view.event_type, "y");
    assert_eq!(view.to_owned(), None);
}

#[test]
fn a_name_that_comes_twice_has_the_last_value() {
    let mut record = SchemaId::Event.head().to_vec();
    record.extend([2, b'x', 2, b'y']);
    record.extend([0; 14]);
    // Two blocks with the same name, then the end; then the same for numbers.
    record.extend([2, 2, b'n', 2, b'1', 2, 2, b'n', 2, b'2', 0]);
    record.extend([4, 2, b'n', 2, 1, 2, b'n', 2, 2, 0]);
    record.push(0);
    let view = EventView::decode(&record).unwrap();
    assert_eq!(view.tags.len(), 2);
    assert_eq!(view.tags.get("n").unwrap(), "2");
    assert_eq!(view.tags.get("m"), None);
    assert_eq!(view.metrics.get("n").unwrap().units(), 2);
    assert_eq!(view.tags.iter().len(), 2);
    let theirs = reference::read(SchemaId::Event, &record[5..]);
    assert_eq!(codecs::decode(SchemaId::Event, &record).ok(), theirs);
}
