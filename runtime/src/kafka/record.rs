//! A record where it lies, and a record on its way out.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::ptr::{null, null_mut};

use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

/// A partition of a topic.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Partition {
    /// The topic's name.
    pub topic: std::sync::Arc<str>,
    /// Its number, from 0.
    pub number: i32,
}

impl Partition {
    /// The partition `number` of `topic`.
    pub fn new(topic: &str, number: i32) -> Self {
        Self {
            topic: topic.into(),
            number,
        }
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.topic, self.number)
    }
}

/// A record in librdkafka's memory.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    message: &'a sys::rd_kafka_message_t,
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (partition, offset) = (self.partition(), self.offset());
        write!(f, "Record({partition}, {offset})")
    }
}

impl<'a> Record<'a> {
    pub(super) fn new(message: &'a sys::rd_kafka_message_t) -> Self {
        Self { message }
    }

    /// Its place in the partition.
    pub fn offset(self) -> i64 {
        self.message.offset
    }

    /// Its partition's number.
    pub fn partition(self) -> i32 {
        self.message.partition
    }

    /// When the broker appended it, in ms since the epoch; on a topic without LogAppendTime, when
    /// its producer says that it was made.
    pub fn appended_at_ms(self) -> i64 {
        // SAFETY: the message is valid, and a null type means "not wanted".
        unsafe { sys::rd_kafka_message_timestamp(self.message, null_mut()) }
    }

    /// Its key.
    pub fn key(self) -> Option<&'a [u8]> {
        // SAFETY: the key is null or `key_len` bytes, which live as long as the message.
        unsafe { bytes(self.message.key.cast(), self.message.key_len) }
    }

    /// Its value; `None` is a tombstone.
    pub fn value(self) -> Option<&'a [u8]> {
        // SAFETY: the payload is null or `len` bytes, which live as long as the message.
        unsafe { bytes(self.message.payload.cast(), self.message.len) }
    }

    /// The value of the first header of that name.
    pub fn header(self, name: &str) -> Option<&'a [u8]> {
        self.headers()
            .find(|(key, _)| *key == name.as_bytes())
            .and_then(|(_, value)| value)
    }

    /// All headers in order.
    pub fn headers(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut list = null_mut();
        // SAFETY: the message is valid; its headers, where it has any, live as long as it does.
        let found = unsafe { sys::rd_kafka_message_headers(self.message, &mut list) };
        let list = if found == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            list
        } else {
            null_mut()
        };
        (0..).map_while(move |at| self.header_at(list, at))
    }

    fn header_at(
        self,
        list: *const sys::rd_kafka_headers_t,
        at: usize,
    ) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        if list.is_null() {
            return None;
        }
        let (mut name, mut value, mut size) = (null(), null(), 0);
        // SAFETY: the list is valid; name and value live as long as the message.
        unsafe {
            let found = sys::rd_kafka_header_get_all(list, at, &mut name, &mut value, &mut size);
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            Some((CStr::from_ptr(name).to_bytes(), bytes(value.cast(), size)))
        }
    }
}

/// # Safety
/// `start` must be null or `count` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const u8, count: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    Some(unsafe { std::slice::from_raw_parts(start, count) })
}

/// A record to be published. Its bytes are copied when it is handed over.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Where it goes.
    pub topic: &'a str,
    /// Which partition; `None` lets murmur2 of the key decide.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, by name.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl<'a> Outgoing<'a> {
    /// A record whose key decides its partition.
    pub fn keyed(topic: &'a str, key: &'a [u8], value: &'a [u8]) -> Self {
        Self {
            topic,
            partition: None,
            key: Some(key),
            value: Some(value),
            headers: &[],
        }
    }

    /// The mark that a compacted topic may forget `key`.
    pub fn tombstone(topic: &'a str, key: &'a [u8]) -> Self {
        Self {
            topic,
            partition: None,
            key: Some(key),
            value: None,
            headers: &[],
        }
    }

    /// The same for a chosen partition.
    pub fn in_partition(self, number: i32) -> Self {
        Self {
            partition: Some(number),
            ..self
        }
    }
}
