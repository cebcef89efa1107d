//! What a group has committed, with metadata, asked without blocking.
//!
//! For whoever goes on from a position only a stable one counts: while a transaction that commits
//! to the partition is undecided, the broker says so, and the question must be put again.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::ptr::{NonNull, null_mut};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;

use super::failure::Failure;
use super::native::{Element, elements};
use super::record::Partition;
use crate::clock::Deadline;
use crate::fate::Fate;

/// How long to wait before an undecided position is asked for again.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How long one question may take.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// A position that a group committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The offset of the next record to be read.
    pub offset: i64,
    /// What was committed with it; empty when nothing was.
    pub metadata: Vec<u8>,
}

/// What became of the question for one partition.
#[derive(Debug)]
pub(super) enum Answer {
    /// The stable position, if the group ever committed one.
    Stable(Option<Committed>),
    /// A transaction is undecided: ask again.
    Unstable,
    /// The broker refused.
    Refused(Failure),
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// Positions that no transaction is about to change: to go on from.
    Stable,
    /// Positions as they stand: to look at.
    Present,
}

/// A question on its way. Dropping it forgets the answer.
pub(super) struct Inquiry {
    queue: NonNull<sys::rd_kafka_queue_t>,
    asked: Vec<Partition>,
}

// SAFETY: librdkafka guards its queues with locks; any thread may poll one.
unsafe impl Send for Inquiry {}

impl Inquiry {
    /// Asks for the positions of `group` in `asked`. The broker has `wait` to answer.
    pub(super) fn ask(
        client: *mut sys::rd_kafka_t,
        group: &str,
        asked: Vec<Partition>,
        (wanted, wait): (Wanted, Duration),
    ) -> Self {
        let group = CString::new(group).expect("group names hold no zero byte");
        let mut list = TopicPartitionList::with_capacity(asked.len());
        for partition in &asked {
            list.add_partition(&partition.topic, partition.number);
        }
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
        // SAFETY: the client is alive; librdkafka copies the request and the options, which are
        // made and destroyed here. The queue is ours until we are dropped.
        let queue = unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client, operation);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, wait_ms, null_mut(), 0);
            let refused = sys::rd_kafka_AdminOptions_set_require_stable_offsets(
                options,
                i32::from(wanted == Wanted::Stable),
            );
            debug_assert!(refused.is_null(), "the option is known");
            let mut request =
                sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), list.ptr());
            let queue = sys::rd_kafka_queue_new(client);
            sys::rd_kafka_ListConsumerGroupOffsets(client, &mut request, 1, options, queue);
            sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
            sys::rd_kafka_AdminOptions_destroy(options);
            queue
        };
        let queue = NonNull::new(queue).expect("librdkafka aborts when it has no memory");
        Self { queue, asked }
    }

    /// The answer, one for each partition asked for, once it is there; waits at most `wait`.
    #[allow(clippy::type_complexity)]
    pub(super) fn poll(&self, wait: Duration) -> Option<Result<Vec<(Partition, Answer)>, Failure>> {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is ours; an event that it returns is ours to destroy, after all that is
        // read from it was copied.
        let found = unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue.as_ptr(), wait_ms);
            if event.is_null() {
                return None;
            }
            let found = positions(event);
            sys::rd_kafka_event_destroy(event);
            found
        };
        Some(found.map(|found| self.sorted(found)))
    }

    fn sorted(&self, mut found: Vec<Element>) -> Vec<(Partition, Answer)> {
        let answer = |partition: &Partition| {
            let at = found
                .iter()
                .position(|element| element.partition == *partition);
            at.map_or(Answer::Stable(None), |at| answer_of(found.swap_remove(at)))
        };
        let answers: Vec<_> = self.asked.iter().map(answer).collect();
        self.asked.iter().cloned().zip(answers).collect()
    }
}

/// The stable positions of `group` in `partitions`. Blocks for at most `wait`.
///
/// # Errors
/// When the broker refuses, or a transaction stays undecided for so long.
pub(super) fn stable(
    client: *mut sys::rd_kafka_t,
    group: &str,
    partitions: &[Partition],
    wait: Duration,
) -> Result<Vec<Option<Committed>>, Failure> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let deadline = Deadline::after(wait);
    loop {
        // librdkafka may sit on a question while it looks for a coordinator that moved: ask afresh.
        let wait = ANSWER_WAIT.min(deadline.left());
        let inquiry = Inquiry::ask(client, group, partitions.to_vec(), (Wanted::Stable, wait));
        let answers = inquiry.poll(wait);
        match answers
            .unwrap_or(Err(Failure::of(Code::OperationTimedOut)))
            .and_then(all_stable)
        {
            Err(failure) if failure.fate() == Fate::Retry && !deadline.has_passed() => {
                std::thread::sleep(ASK_AGAIN.min(deadline.left()));
            }
            result => return result,
        }
    }
}

fn all_stable(answers: Vec<(Partition, Answer)>) -> Result<Vec<Option<Committed>>, Failure> {
    let stable = |(_, answer)| match answer {
        Answer::Stable(committed) => Ok(committed),
        Answer::Unstable => Err(Failure::of(Code::UnstableOffsetCommit)),
        Answer::Refused(failure) => Err(failure),
    };
    answers.into_iter().map(stable).collect()
}

fn answer_of(element: Element) -> Answer {
    match element.failure {
        Some(failure) if failure.code == Code::UnstableOffsetCommit => Answer::Unstable,
        Some(failure) => Answer::Refused(failure),
        None if element.offset < 0 => Answer::Stable(None),
        None => Answer::Stable(Some(Committed {
            offset: element.offset,
            metadata: element.metadata,
        })),
    }
}

/// # Safety
/// `event` must be a valid event that answers this question.
unsafe fn positions(event: *mut sys::rd_kafka_event_t) -> Result<Vec<Element>, Failure> {
    // SAFETY: promised by the caller; what the result lends lives as long as the event.
    unsafe {
        if let Some(failure) = Failure::of_response(sys::rd_kafka_event_error(event)) {
            return Err(failure);
        }
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event);
        let mut count = 0;
        let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
        if count == 0 {
            return Ok(Vec::new());
        }
        let error = sys::rd_kafka_group_result_error(*groups);
        if !error.is_null() {
            return Err(Failure::of(sys::rd_kafka_error_code(error).into()));
        }
        let list = sys::rd_kafka_group_result_partitions(*groups);
        Ok(if list.is_null() {
            Vec::new()
        } else {
            elements(list)
        })
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        // SAFETY: our reference ends here; an answer that comes later finds a queue that librdkafka
        // alone holds, and is dropped with it.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}
