//! What the brokers answered to the records of a transaction.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::kafka::context;
use crate::kafka::failure::Failure;

/// Acknowledgements, counted for those who wait for room in the queue.
#[derive(Default)]
pub(super) struct AckCount {
    count: AtomicU64,
    refusals: Mutex<BTreeMap<String, Failure>>,
    lock: Mutex<()>,
    more: Condvar,
    waiting: AtomicU64,
}

impl AckCount {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    fn add(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.more.notify_all();
        }
    }

    pub(super) fn wait_beyond(&self, seen: u64, wait: Duration) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing_new = |_: &mut ()| self.count.load(Ordering::SeqCst) == seen;
        drop(self.more.wait_timeout_while(guard, wait, nothing_new));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn reset(&self) {
        self.take_refusals();
    }

    fn refuse(&self, topic: &str, failure: Failure) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.insert(topic.to_owned(), failure);
    }

    pub(super) fn take_refusals(&self) -> BTreeMap<String, Failure> {
        std::mem::take(&mut *self.refusals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) struct Acks {
    pub(super) count: Arc<AckCount>,
}

impl ClientContext for Acks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        context::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::report(&error, reason);
    }
}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        if let Err((error, record)) = delivered {
            let failure = Failure::of_crate(error);
            // Records that an abort purged say nothing about their topic.
            if !matches!(failure.code, Code::PurgeQueue | Code::PurgeInflight) {
                self.count.refuse(record.topic(), failure);
            }
        }
        self.count.add();
    }
}
