//! Topics are made once, with the settings that exactness hangs on, and refused when they differ.

use std::time::Duration;

use runtime::fate::Fate;
use runtime::kafka::admin::{AdminError, Ensured, TopicSpec, partition_count};
use runtime::kafka::{Admin, Outgoing};
use schemas::ids::{Stream, TenantId};

use crate::broker;

const WAIT: Duration = Duration::from_secs(10);

fn tenant() -> TenantId {
    broker::name("t").replace('.', "-").parse().unwrap()
}

#[tokio::test]
async fn a_tenants_topics_are_made_once_and_found_again() {
    let kafka = broker::shared();
    let admin = Admin::new(&kafka).unwrap();
    let tenant = tenant();
    let specs: Vec<_> = Stream::ALL
        .iter()
        .map(|stream| TopicSpec::of(&tenant.topic(*stream), &kafka))
        .collect();
    assert_eq!(
        admin.ensure(&specs).await.unwrap(),
        vec![Ensured::Made; specs.len()]
    );
    assert_eq!(
        admin.ensure(&specs).await.unwrap(),
        vec![Ensured::Found; specs.len()]
    );
    let topics = admin.topics(WAIT).unwrap();
    for stream in Stream::ALL {
        let expected = partition_count(stream, &kafka);
        assert_eq!(
            topics.get(&tenant.topic(stream).to_string()),
            Some(&expected),
            "{stream:?}"
        );
    }
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    admin.delete_topics(&names).await.unwrap();
    admin.delete_topics(&names).await.unwrap();
    broker::until(|| admin.partition_count(names[0], WAIT).unwrap().is_none());
}

#[tokio::test]
async fn a_topic_with_another_partition_count_is_refused() {
    let kafka = broker::shared();
    let admin = Admin::new(&kafka).unwrap();
    let spec = TopicSpec::new(broker::name("count"), 2, &kafka).kept(3_600_000);
    admin.ensure(std::slice::from_ref(&spec)).await.unwrap();
    let other = TopicSpec {
        partition_count: 3,
        ..spec
    };
    let error = admin.ensure(&[other]).await.unwrap_err();
    assert!(
        matches!(
            error,
            AdminError::Partitions {
                expected: 3,
                found: 2,
                ..
            }
        ),
        "unexpected {error}"
    );
    assert_eq!(error.fate(), Fate::Halt);
}

#[tokio::test]
async fn a_topic_whose_settings_break_exactness_is_refused() {
    let kafka = broker::shared();
    let admin = Admin::new(&kafka).unwrap();
    let right = TopicSpec::new(broker::name("setting"), 1, &kafka).compacted();
    let wrong = right.clone().set("message.timestamp.type", "CreateTime");
    admin.ensure(&[wrong]).await.unwrap();
    let error = admin.ensure(&[right]).await.unwrap_err();
    assert!(
        matches!(
            error,
            AdminError::Setting {
                setting: "message.timestamp.type",
                ..
            }
        ),
        "unexpected {error}"
    );
}

#[tokio::test]
async fn the_largest_record_that_events_take_fits_into_a_dead_letter() {
    let kafka = broker::shared();
    let admin = Admin::new(&kafka).unwrap();
    let tenant = tenant();
    let [events, letters] =
        [Stream::Events, Stream::DeadLetters].map(|stream| tenant.topic(stream));
    let specs = [&events, &letters].map(|topic| TopicSpec::of(topic, &kafka));
    admin.ensure(&specs).await.unwrap();
    let publisher = broker::publisher(&kafka);
    let garbage = broker::garbage(1_060_000);
    let (events, letters) = (events.to_string(), letters.to_string());
    let taken = Outgoing::keyed(&events, b"k", &garbage[..1_048_000]);
    assert!(
        publisher.publish(&[taken]).await.is_empty(),
        "events take almost 1 MiB"
    );
    let refused = publisher
        .publish(&[Outgoing::keyed(&events, b"k", &garbage)])
        .await;
    assert_eq!(refused.len(), 1, "events do not take more than 1 MiB");
    assert_eq!(refused[0].failure.fate(), Fate::Reject);
    let taken = Outgoing::keyed(&letters, b"k", &garbage);
    assert!(
        publisher.publish(&[taken]).await.is_empty(),
        "dead letters take the envelope"
    );
}
