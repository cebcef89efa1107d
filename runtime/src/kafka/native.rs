//! The thin layer over librdkafka's pointers: queues, batches of messages, offset lists.
//!
//! librdkafka's functions are thread-safe; what Rust must add is that nothing here outlives the
//! client that it came from. [`Queue`] and [`Batch`] are therefore kept and lent by the consumers
//! of this module, which drop them before their client.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{NonNull, null_mut};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaTopicPartition, RDKafkaTopicPartitionList};
use rdkafka_sys as sys;

use super::failure::Failure;
use super::record::{Partition, Record};

/// A queue of librdkafka: a partition's, or a consumer's own.
pub(super) struct Queue(NonNull<sys::rd_kafka_queue_t>);

// SAFETY: librdkafka guards its queues with locks; any thread may use one.
unsafe impl Send for Queue {}

impl Queue {
    /// The partition's own queue, from now on not forwarded to the consumer's.
    ///
    /// Must be asked for before the partition is assigned: the mark that the application chose the
    /// forwarding makes librdkafka leave it alone when fetching starts, so no message slips
    /// through.
    pub(super) fn of_partition(client: *mut sys::rd_kafka_t, topic: &str, number: i32) -> Self {
        let name = CString::new(topic).expect("topic names hold no zero byte");
        // SAFETY: the client is alive, the name is copied; consumers always have such a queue.
        let queue = unsafe { sys::rd_kafka_queue_get_partition(client, name.as_ptr(), number) };
        let queue = NonNull::new(queue).expect("the client is a consumer");
        // SAFETY: the queue is valid, and null means "deliver here".
        unsafe { sys::rd_kafka_queue_forward(queue.as_ptr(), null_mut()) };
        Self(queue)
    }

    /// The queue on which a consumer's rebalances and errors arrive.
    pub(super) fn of_consumer(client: *mut sys::rd_kafka_t) -> Self {
        // SAFETY: the client is alive.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(client) };
        Self(NonNull::new(queue).expect("the client is a consumer of a group"))
    }

    /// True when nothing waits in it.
    pub(super) fn is_empty(&self) -> bool {
        // SAFETY: the queue is valid.
        unsafe { sys::rd_kafka_queue_length(self.0.as_ptr()) == 0 }
    }

    /// Writes one byte to `pipe` whenever something arrives in the empty queue.
    pub(super) fn wake(&self, pipe: BorrowedFd<'_>) {
        static BYTE: u8 = 1;
        // SAFETY: the queue is valid; the payload is copied; the caller keeps the pipe open for as
        // long as the queue lives (see `Waker`).
        unsafe {
            let payload = (&raw const BYTE).cast::<c_void>();
            sys::rd_kafka_queue_io_event_enable(self.0.as_ptr(), pipe.as_raw_fd(), payload, 1);
        }
    }

    /// Appends up to `max_count` messages to `buffer`, waiting at most `wait` for the first.
    fn fill(
        &self,
        buffer: &mut Vec<*mut sys::rd_kafka_message_t>,
        max_count: usize,
        wait: Duration,
    ) {
        debug_assert!(buffer.is_empty());
        buffer.reserve(max_count);
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the buffer has room for `max_count` pointers; librdkafka writes the first `count`
        // of them, each a message that is now ours to destroy.
        unsafe {
            let slots = buffer.as_mut_ptr();
            let count =
                sys::rd_kafka_consume_batch_queue(self.0.as_ptr(), wait_ms, slots, max_count);
            buffer.set_len(usize::try_from(count).unwrap_or(0));
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: we hold one reference, which ends here; an event that is still to come must not
        // write to a pipe that may be closed by then.
        unsafe {
            sys::rd_kafka_queue_io_event_enable(self.0.as_ptr(), -1, null_mut(), 0);
            sys::rd_kafka_queue_destroy(self.0.as_ptr());
        }
    }
}

/// A partition's queue, its reusable buffer, and how far it has been read.
pub(super) struct PartitionQueue {
    buffer: Cell<Vec<*mut sys::rd_kafka_message_t>>,
    position: Cell<i64>,
    fault: Cell<Option<Failure>>,
    queue: Queue,
}

// SAFETY: the buffer's pointers are librdkafka's messages, which may move between threads; between
// calls it is empty.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    pub(super) fn new(queue: Queue, start: i64) -> Self {
        Self {
            buffer: Cell::default(),
            position: Cell::new(start),
            fault: Cell::new(None),
            queue,
        }
    }

    /// The offset after the last record or mark of the log that was handed out.
    pub(super) fn position(&self) -> i64 {
        self.position.get()
    }

    /// Sets where reading goes on, after a seek.
    pub(super) fn reset(&self, position: i64) {
        self.position.set(position);
        self.fault.set(None);
    }

    pub(super) fn advance(&self, position: i64) {
        self.position.set(self.position.get().max(position));
    }

    /// The next records, at most `max_count`, waiting at most `wait` for the first.
    ///
    /// # Errors
    /// What librdkafka reported for the partition, after the records that came before it.
    pub(super) fn take(&self, max_count: usize, wait: Duration) -> Result<Batch<'_>, Failure> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let mut batch = Batch {
            messages: self.buffer.take(),
            home: Some(self),
            lent: PhantomData,
        };
        self.queue.fill(&mut batch.messages, max_count, wait);
        batch.messages.retain(|message| self.admit(*message));
        match self.fault.take() {
            Some(fault) if batch.messages.is_empty() => Err(fault),
            fault => {
                self.fault.set(fault);
                Ok(batch)
            }
        }
    }

    /// Keeps a record; notes what an error or an end-of-partition mark says, and destroys it.
    fn admit(&self, message: *mut sys::rd_kafka_message_t) -> bool {
        // SAFETY: librdkafka just handed us this message, which nobody else refers to.
        let (code, offset) = unsafe { (Code::from((*message).err), (*message).offset) };
        match code {
            Code::NoError => {
                self.position.set(offset + 1);
                return true;
            }
            Code::PartitionEOF => self.advance(offset),
            code => self.fault.set(Some(Failure {
                code,
                text: message_text(message),
            })),
        }
        // SAFETY: as above; it is not kept, so this is its only end.
        unsafe { sys::rd_kafka_message_destroy(message) };
        false
    }
}

fn message_text(message: *const sys::rd_kafka_message_t) -> String {
    // SAFETY: the message is valid; the text lives as long as it does and is copied here.
    unsafe {
        CStr::from_ptr(sys::rd_kafka_message_errstr(message))
            .to_string_lossy()
            .into_owned()
    }
}

/// Records as they lie in librdkafka's memory, in offset order; given back when dropped.
pub struct Batch<'a> {
    messages: Vec<*mut sys::rd_kafka_message_t>,
    home: Option<&'a PartitionQueue>,
    lent: PhantomData<&'a sys::rd_kafka_message_t>,
}

impl Batch<'_> {
    /// No records.
    pub(super) fn empty() -> Self {
        Self {
            messages: Vec::new(),
            home: None,
            lent: PhantomData,
        }
    }

    /// How many records there are.
    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// True when nothing had arrived.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The records, oldest first.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        // SAFETY: each pointer is a message that this batch owns and that lives until it is
        // dropped.
        self.messages
            .iter()
            .map(|message| Record::new(unsafe { &**message }))
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in self.messages.drain(..) {
            // SAFETY: the batch owned the message, and no record borrows from it any more.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
        if let Some(home) = self.home {
            home.buffer.set(std::mem::take(&mut self.messages));
        }
    }
}

/// One element of an offset list, with metadata that need not be text.
pub(super) struct Element {
    pub(super) partition: Partition,
    pub(super) offset: i64,
    pub(super) metadata: Vec<u8>,
    pub(super) failure: Option<Failure>,
}

/// Copies a list out. The crate's own accessor panics on metadata that is not UTF-8, and any client
/// may write that to a group.
///
/// # Safety
/// `list` must be a valid list.
pub(super) unsafe fn elements(list: *const RDKafkaTopicPartitionList) -> Vec<Element> {
    // SAFETY: the caller promises a valid list, which holds `cnt` elements.
    let elements = unsafe {
        match (*list).cnt {
            0 => &[],
            count => std::slice::from_raw_parts((*list).elems, count as usize),
        }
    };
    elements.iter().map(element).collect()
}

/// The same for a list of the crate.
pub(super) fn elements_of(list: &TopicPartitionList) -> Vec<Element> {
    // SAFETY: the crate keeps its list valid.
    unsafe { elements(list.ptr()) }
}

fn element(raw: &RDKafkaTopicPartition) -> Element {
    // SAFETY: an element's topic is a C string, and its metadata is null or that many bytes.
    let (topic, metadata) = unsafe {
        let topic = CStr::from_ptr(raw.topic).to_string_lossy();
        let metadata = match raw.metadata.is_null() {
            true => &[],
            false => std::slice::from_raw_parts(raw.metadata.cast::<u8>(), raw.metadata_size),
        };
        (topic, metadata.to_vec())
    };
    let partition = Partition::new(&topic, raw.partition);
    Element {
        partition,
        offset: raw.offset,
        metadata,
        failure: Failure::of_response(raw.err),
    }
}

/// The position of the application in a partition, as librdkafka knows it; it moves over control
/// records too, which are never handed out. `None` where nothing was read yet.
pub(super) fn position(client: *mut sys::rd_kafka_t, partition: &Partition) -> Option<i64> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&partition.topic, partition.number);
    // SAFETY: client and list are valid; the call fills in offsets and keeps nothing.
    unsafe { sys::rd_kafka_position(client, list.ptr()) };
    elements_of(&list)
        .first()
        .map(|element| element.offset)
        .filter(|offset| *offset >= 0)
}

/// True while this consumer knows of no end of its membership since the group's coordinator took
/// it in.
pub(super) fn is_member(client: *mut sys::rd_kafka_t) -> bool {
    // SAFETY: the client is alive. The metadata is ours to destroy, after all that is read from it.
    unsafe {
        let Some(metadata) = NonNull::new(sys::rd_kafka_consumer_group_metadata(client)) else {
            return false;
        };
        let metadata = metadata.as_ptr();
        let id = sys::rd_kafka_consumer_group_metadata_member_id(metadata);
        let has_id = !id.is_null() && *id != 0;
        let generation = sys::rd_kafka_consumer_group_metadata_generation_id(metadata);
        sys::rd_kafka_consumer_group_metadata_destroy(metadata);
        has_id && generation >= 0
    }
}
