//! Whose record stands in the way of everybody's.

use schemas::time::BrokerTime;

use super::*;
use crate::kafka::TransactionalSettings;
use crate::kafka::mock::mock;
use crate::step::{Output, Place};
use crate::task::metadata::{BatchId, CommitMetadata};

fn sealed(tenant: &str, value_bytes: usize) -> Sealed {
    let mut output = Output::default();
    let key = |bytes: &mut Vec<u8>| bytes.push(b'k');
    output.put(Stream::Metrics, Some(0), key, |value| {
        value.resize(value.len() + value_bytes, b'v');
    });
    Sealed {
        place: Place {
            tenant: tenant.parse().unwrap(),
            partition: 0,
        },
        output,
        next: 1,
        metadata: CommitMetadata {
            batch: BatchId(1),
            clock: BrokerTime::from_ms(0),
            state_at: 0,
        },
        before: None,
        flush: None,
    }
}

#[test]
fn a_record_that_is_refused_names_its_tenant_and_the_others_commit_without_it() {
    let (_broker, kafka, group) = mock(&["pulse.one.metrics", "pulse.two.metrics"]);
    let mut settings = TransactionalSettings::new("name", Duration::from_secs(6));
    settings.record_bytes_max = 10_000;
    let mut desk = Desk {
        producer: Transactional::open(&kafka, settings).unwrap(),
        topics: BTreeMap::new(),
    };
    let mut transact = |batches: &[Sealed]| desk.transact(batches, &[], &group);

    let both = [sealed("one", 100), sealed("two", 20_000)];
    let Outcome::Aborted { refused, reason } = transact(&both) else {
        panic!("a record larger than any may be is committed");
    };
    let [one, two] = both;
    assert_eq!(refused, BTreeSet::from([two.place.tenant]), "{reason}");
    let outcome = transact(std::slice::from_ref(&one));
    assert_eq!(outcome, Outcome::Committed);
}
