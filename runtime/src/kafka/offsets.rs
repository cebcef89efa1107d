//! Where partitions begin and end, asked for many of them in one request per broker.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::ptr::{NonNull, null_mut};
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys as sys;

use super::failure::Failure;
use super::reader::Isolation;
use super::record::Partition;
use crate::clock::Deadline;

/// Which offset of a partition is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edge {
    /// The first that the log still holds.
    Low,
    /// The one that the next record will get.
    High,
}

/// The edge of each of `partitions`, in their order.
///
/// Blocks for at most `wait`. The outer failure concerns the whole request, an inner one its
/// partition.
pub(super) fn edges<C: ClientContext>(
    client: &Client<C>,
    partitions: &[Partition],
    which: (Edge, Isolation),
    wait: Duration,
) -> Result<Vec<Result<i64, Failure>>, Failure> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let deadline = Deadline::after(wait);
    let found = ask(client, partitions, which, wait)?;
    let is_stale =
        |(_, found): &(&Partition, &Result<i64, Failure>)| found.as_ref().is_err_and(has_moved_on);
    let stale: BTreeSet<&str> = partitions
        .iter()
        .zip(&found)
        .filter(is_stale)
        .map(|(partition, _)| &*partition.topic)
        .collect();
    if stale.is_empty() {
        return Ok(found);
    }
    // A client that fetches nothing from there would learn of the new leader when its metadata
    // expire, a minute or more from now.
    let learn = |topic| client.fetch_metadata(Some(topic), deadline.left());
    if stale.into_iter().any(|topic| learn(topic).is_err()) {
        return Ok(found);
    }
    // The first answer holds for the others in any case.
    Ok(ask(client, partitions, which, deadline.left()).unwrap_or(found))
}

/// True when the broker knows of a leadership that the client does not.
fn has_moved_on(failure: &Failure) -> bool {
    matches!(
        failure.code,
        Code::FencedLeaderEpoch | Code::UnknownLeaderEpoch | Code::NotLeaderForPartition
    )
}

fn ask<C: ClientContext>(
    client: &Client<C>,
    partitions: &[Partition],
    (edge, isolation): (Edge, Isolation),
    wait: Duration,
) -> Result<Vec<Result<i64, Failure>>, Failure> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    let spec = match edge {
        Edge::Low => Offset::Beginning,
        Edge::High => Offset::End,
    };
    for partition in partitions {
        list.add_partition_offset(&partition.topic, partition.number, spec)?;
    }
    let answer = Answer::ask(client.native_ptr(), &list, isolation, wait)?;
    let found = match answer.offsets() {
        Ok(found) => found,
        // No partition has a leader, which most often means that there is no such topic.
        Err(failure) if failure.code == Code::NoEnt => {
            return partitions
                .iter()
                .map(|wanted| Ok(Err(absence(client, wanted, wait))))
                .collect();
        }
        Err(failure) => return Err(failure),
    };
    let missing = || Err(Failure::of(Code::UnknownPartition));
    let edge_of = |wanted: &Partition| {
        let same = |(partition, _): &&(Partition, _)| partition == wanted;
        found
            .iter()
            .find(same)
            .map_or_else(missing, |(_, offset)| offset.clone())
    };
    Ok(partitions.iter().map(edge_of).collect())
}

/// Why a partition has no leader.
fn absence<C: ClientContext>(client: &Client<C>, wanted: &Partition, wait: Duration) -> Failure {
    let metadata = match client.fetch_metadata(Some(&wanted.topic), wait) {
        Ok(metadata) => metadata,
        Err(error) => return error.into(),
    };
    let topic = metadata
        .topics()
        .iter()
        .find(|topic| topic.name() == &*wanted.topic);
    let error = topic.and_then(|topic| topic.error()).map(Code::from);
    Failure::of(error.unwrap_or(Code::LeaderNotAvailable))
}

struct Answer(NonNull<sys::rd_kafka_event_t>);

impl Answer {
    fn ask(
        client: *mut sys::rd_kafka_t,
        list: &TopicPartitionList,
        isolation: Isolation,
        wait: Duration,
    ) -> Result<Self, Failure> {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let isolation = match isolation {
            Isolation::Committed => {
                sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
            }
            Isolation::Uncommitted => {
                sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
            }
        };
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        // SAFETY: the client is alive; options and queue are made and destroyed here, and
        // librdkafka copies the list. An answer that comes too late goes to a queue that only it
        // still holds.
        let event = unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client, operation);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, wait_ms, null_mut(), 0);
            let refused = sys::rd_kafka_AdminOptions_set_isolation_level(options, isolation);
            debug_assert!(refused.is_null(), "both levels are known");
            let queue = sys::rd_kafka_queue_new(client);
            sys::rd_kafka_ListOffsets(client, list.ptr(), options, queue);
            let event = sys::rd_kafka_queue_poll(queue, wait_ms);
            sys::rd_kafka_queue_destroy(queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            event
        };
        NonNull::new(event)
            .map(Self)
            .ok_or_else(|| Failure::of(Code::OperationTimedOut))
    }

    fn offsets(&self) -> Result<Vec<(Partition, Result<i64, Failure>)>, Failure> {
        let event = self.0.as_ptr();
        // SAFETY: the event is valid until it is dropped; all that it lends is copied here.
        unsafe {
            if let Some(mut failure) = Failure::of_response(sys::rd_kafka_event_error(event)) {
                let text = sys::rd_kafka_event_error_string(event);
                if !text.is_null() {
                    failure.text = CStr::from_ptr(text).to_string_lossy().into_owned();
                }
                return Err(failure);
            }
            let result = sys::rd_kafka_event_ListOffsets_result(event);
            let mut count = 0;
            let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
            let infos = (0..count).map(|at| *infos.add(at));
            Ok(infos.map(|info| offset(&*info)).collect())
        }
    }
}

fn offset(info: &sys::rd_kafka_ListOffsetsResultInfo_t) -> (Partition, Result<i64, Failure>) {
    // SAFETY: the info is valid, and so is the element in it, with a C string as its topic.
    let (topic, element) = unsafe {
        let element = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
        (CStr::from_ptr(element.topic).to_string_lossy(), element)
    };
    let partition = Partition::new(&topic, element.partition);
    match Failure::of_response(element.err) {
        Some(failure) => (partition, Err(failure)),
        None if element.offset < 0 => (partition, Err(Failure::of(Code::LeaderNotAvailable))),
        None => (partition, Ok(element.offset)),
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: the event is ours, and nothing borrows from it any more.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}
