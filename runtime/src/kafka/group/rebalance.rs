//! What the group's coordinator decided, noted in the callback and acted on by the owner.
//!
//! librdkafka waits for the assignment or release that a callback asks for, so the owner may do it
//! a little later, on the same thread; while the consumer is being closed nobody is there to do so,
//! and the callback does it itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};

use crate::kafka::context;
use crate::kafka::native::elements_of;
use crate::kafka::record::Partition;

/// A decision of the coordinator.
#[derive(Debug)]
pub(super) enum Change {
    /// These partitions come to us.
    Assign(Vec<Partition>),
    /// These go to somebody else, once we let them.
    Revoke(Vec<Partition>),
    /// These may be somebody else's already.
    Lose(Vec<Partition>),
}

/// The decisions that were not acted on yet, in order.
#[derive(Default)]
pub(super) struct Rebalances {
    changes: Mutex<Vec<Change>>,
    is_closing: AtomicBool,
}

impl Rebalances {
    /// From now on the callback complies itself: the owner is gone.
    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    /// Does what the coordinator asks for, in the plainest way.
    pub(super) fn comply(&self, consumer: &BaseConsumer<Self>, change: &Change) {
        let (Change::Assign(partitions) | Change::Revoke(partitions) | Change::Lose(partitions)) =
            change;
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&partition.topic, partition.number);
        }
        match change {
            Change::Assign(_) => log_refusal("assign", consumer.incremental_assign(&list)),
            Change::Revoke(_) | Change::Lose(_) => self.release(consumer, &list),
        }
    }

    /// Lets partitions go. librdkafka may have done so already, after a fatal error for instance,
    /// so a refusal is worth a line and nothing more.
    pub(super) fn release(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        log_refusal("unassign", consumer.incremental_unassign(list));
    }

    pub(super) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Change>> {
        // A vector is never half pushed: poisoning cannot have left it wrong.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        context::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::report(&error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        decision: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = elements_of(list)
            .into_iter()
            .map(|element| element.partition)
            .collect();
        let change = match decision {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Assign(partitions),
            _ if consumer.assignment_lost() => Change::Lose(partitions),
            _ => Change::Revoke(partitions),
        };
        match self.is_closing.load(Ordering::Acquire) {
            true => self.comply(consumer, &change),
            false => self.lock().push(change),
        }
    }
}

fn log_refusal(act: &str, answer: KafkaResult<()>) {
    if let Err(error) = answer {
        tracing::warn!(act, %error, "librdkafka refused");
    }
}
