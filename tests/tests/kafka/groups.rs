//! Partitions move one way at a time, with their positions, and what is pending may go with them.

use std::time::{Duration, Instant};

use runtime::kafka::group::GroupError;
use runtime::kafka::{Event, Outgoing, Partition, Position};

use crate::broker;
use crate::broker::{Member, PATIENCE};

#[tokio::test]
async fn two_members_share_and_what_is_pending_is_committed_before_it_goes() {
    let kafka = broker::shared();
    let input = broker::topic(&kafka, "shared", 4).await;
    let name = broker::name("shared");
    let mut first = Member::join(&kafka, &name, "a", [&input]);
    first.until_owned(4);
    let mut producer = broker::transactional(&kafka, &name);
    let mut second = Member::join(&kafka, &name, "b", [&input]);
    let mut handed_over = Vec::new();
    let mut taken_over = Vec::new();
    broker::until(|| {
        let revoked: Vec<Partition> = first
            .poll()
            .into_iter()
            .filter_map(|event| match event {
                Event::Revoked { partition } => Some(partition),
                Event::Assigned { .. } => None,
                Event::Lost { partition } => panic!("{partition} was lost"),
            })
            .collect();
        if !revoked.is_empty() {
            // Still ours until the next poll: a transaction may commit its positions.
            let positions: Vec<_> = revoked
                .iter()
                .map(|partition| Position {
                    partition: partition.clone(),
                    offset: 0,
                    metadata: format!("bye {}", partition.number),
                })
                .collect();
            producer.begin().unwrap();
            let group = first.group.metadata().unwrap();
            broker::assert_committed(producer.commit(&positions, &group));
            handed_over.extend(revoked);
        }
        taken_over.extend(second.poll());
        first.owned() == 2 && second.owned() == 2
    });
    assert_eq!(handed_over.len(), 2);
    for event in taken_over {
        let Event::Assigned {
            partition,
            committed,
        } = event
        else {
            panic!("{event:?}")
        };
        assert!(handed_over.contains(&partition));
        let metadata = committed.unwrap().metadata;
        assert_eq!(metadata, format!("bye {}", partition.number).into_bytes());
    }
}

#[tokio::test]
async fn a_partition_that_stays_keeps_flowing_through_a_rebalance() {
    let kafka = broker::shared();
    let input = broker::topic(&kafka, "flowing", 2).await;
    let publisher = broker::publisher(&kafka);
    let name = broker::name("flowing");
    let mut first = Member::join(&kafka, &name, "a", [&input]);
    first.until_owned(2);
    let publish = async |from: usize| {
        let values: Vec<_> = (from..from + 500).map(|n| n.to_string()).collect();
        let records: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(n, v)| Outgoing::keyed(&input, b"k", v.as_bytes()).in_partition((n % 2) as i32))
            .collect();
        assert!(publisher.publish(&records).await.is_empty());
    };
    publish(0).await;
    broker::until(|| {
        first.poll();
        first.read();
        first.seen.values().map(Vec::len).sum::<usize>() == 500
    });
    let mut second = Member::join(&kafka, &name, "b", [&input]);
    publish(500).await;
    broker::until(|| {
        first.poll();
        first.read();
        second.poll();
        first.owned() == 1 && second.owned() == 1
    });
    publish(1_000).await;
    let kept = first.group.owned().next().unwrap().clone();
    broker::until(|| {
        first.poll();
        first.read();
        first.seen[&kept].len() == 750
    });
    let offsets = &first.seen[&kept];
    assert!(
        offsets.iter().copied().eq(0..750),
        "each record once, in order"
    );
}

#[tokio::test]
async fn a_member_that_comes_back_takes_over_at_once() {
    let kafka = broker::shared();
    let input = broker::topic(&kafka, "back", 4).await;
    let name = broker::name("back");
    let mut settings = broker::group_settings(&name, "a");
    // Whoever waited for the end of the session before would be out of patience.
    settings.session_timeout = PATIENCE * 2;
    let mut before = Member::join_with(&kafka, settings.clone(), [&input]);
    before.until_owned(4);
    drop(before);
    let mut after = Member::join_with(&kafka, settings, [&input]);
    after.until_owned(4);
}

#[tokio::test]
async fn two_processes_with_one_name_end_the_elder() {
    let kafka = broker::shared();
    let input = broker::topic(&kafka, "twice", 1).await;
    let name = broker::name("twice");
    let mut elder = Member::join(&kafka, &name, "a", [&input]);
    elder.until_owned(1);
    let mut heir = Member::join(&kafka, &name, "a", [&input]);
    let mut fenced = None;
    broker::until(|| {
        heir.poll();
        fenced = elder.group.poll().err();
        fenced.is_some() && heir.owned() == 1
    });
    assert!(matches!(fenced, Some(GroupError::Fenced(_))), "{fenced:?}");
}

#[tokio::test]
async fn an_undecided_position_keeps_its_partition_waiting_and_no_other() {
    let kafka = broker::shared();
    let (undecided, free) = (
        broker::topic(&kafka, "undecided", 1).await,
        broker::topic(&kafka, "free", 1).await,
    );
    let name = broker::name("undecided");
    let mut producer = broker::transactional(&kafka, &name);
    let place = Partition::new(&undecided, 0);
    {
        let mut member = Member::join(&kafka, &name, "a", [&undecided]);
        member.until_owned(1);
        producer.begin().unwrap();
        let position = Position {
            partition: place.clone(),
            offset: 3,
            metadata: "pending".into(),
        };
        producer
            .add_positions(&[position], &member.group.metadata().unwrap())
            .unwrap();
    }
    let mut member = Member::join(&kafka, &name, "a", [&undecided, &free]);
    member.until_owned(1);
    for _ in 0..20 {
        member.group.wait(Duration::from_millis(10));
        assert!(member.poll().is_empty(), "its transaction is undecided");
    }
    assert_eq!(member.group.owned().next(), Some(&Partition::new(&free, 0)));
    let group = member.group.metadata().unwrap();
    broker::assert_committed(producer.commit(&[], &group));
    let mut events = Vec::new();
    broker::until(|| {
        events.extend(member.poll());
        member.owned() == 2
    });
    let [
        Event::Assigned {
            partition,
            committed: Some(committed),
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((partition, committed.offset), (&place, 3));
}

#[tokio::test]
async fn positions_reach_the_end_behind_marks() {
    let kafka = broker::shared();
    let input = broker::topic(&kafka, "end", 1).await;
    let lonely = broker::lonely_group(&kafka);
    let mut producer = broker::transactional(&kafka, &broker::name("end"));
    for _ in 0..3 {
        producer.begin().unwrap();
        producer.send(&Outgoing::keyed(&input, b"k", b"v")).unwrap();
        broker::assert_committed(producer.commit(&[], &lonely));
    }
    let mut member = Member::join(&kafka, &broker::name("end"), "a", [&input]);
    member.until_owned(1);
    let place = Partition::new(&input, 0);
    let ends = member
        .group
        .ends(std::slice::from_ref(&place), Duration::from_secs(10))
        .unwrap();
    assert_eq!(*ends[0].as_ref().unwrap(), 6, "3 records and 3 marks");
    broker::until(|| {
        member.poll();
        member.read();
        member.group.position(&place) == Some(6)
    });
    assert_eq!(member.seen[&place], [0, 2, 4]);
}

#[tokio::test]
async fn paused_partitions_give_nothing_and_lose_nothing() {
    let kafka = broker::shared();
    let input = broker::topic(&kafka, "paused", 1).await;
    let publisher = broker::publisher(&kafka);
    let mut member = Member::join(&kafka, &broker::name("paused"), "a", [&input]);
    member.until_owned(1);
    let place = Partition::new(&input, 0);
    member.group.set_paused(&place, true);
    let records = vec![Outgoing::keyed(&input, b"k", b"v"); 10];
    assert!(publisher.publish(&records).await.is_empty());
    for _ in 0..20 {
        member.group.wait(Duration::from_millis(10));
        member.poll();
        member.read();
    }
    assert!(member.seen.is_empty(), "it was paused");
    member.group.set_paused(&place, false);
    broker::until(|| {
        member.poll();
        member.read();
        member
            .seen
            .get(&place)
            .is_some_and(|offsets| offsets.len() == 10)
    });
    member.group.seek(&place, 4).unwrap();
    broker::until(|| {
        member.poll();
        member.read();
        member.seen[&place].len() == 16
    });
    assert!(member.seen[&place].iter().copied().eq((0..10).chain(4..10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn arrivals_end_a_sleep() {
    let kafka = broker::shared();
    let input = broker::topic(&kafka, "sleep", 1).await;
    let publisher = broker::publisher(&kafka);
    let mut member = Member::join(&kafka, &broker::name("sleep"), "a", [&input]);
    member.until_owned(1);
    let place = Partition::new(&input, 0);
    for n in 0..20 {
        // Empty every queue first, as the caller of `wait` must.
        member.poll();
        member.read();
        let began = Instant::now();
        let publish = publisher.clone();
        let topic = input.clone();
        let published = tokio::spawn(async move {
            publish
                .publish(&[Outgoing::keyed(&topic, b"k", b"v")])
                .await
        });
        let count = n + 1;
        tokio::task::block_in_place(|| {
            while member
                .seen
                .get(&place)
                .is_none_or(|offsets| offsets.len() < count)
            {
                member.group.wait(Duration::from_secs(20));
                member.poll();
                member.read();
                assert!(began.elapsed() < Duration::from_secs(10), "nobody rang");
            }
        });
        assert!(published.await.unwrap().is_empty());
    }
}
