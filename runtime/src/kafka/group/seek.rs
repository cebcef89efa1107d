//! Where a partition of ours is read on.

use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::{GroupConsumer, GroupError};
use crate::kafka::failure::Failure;
use crate::kafka::record::Partition;

impl GroupConsumer {
    /// Reads a partition from `offset` on.
    ///
    /// # Errors
    /// When librdkafka refuses: for a partition that is not ours, or one that it has stopped to
    /// fetch since its position is outside the log.
    pub fn seek(&self, partition: &Partition, offset: i64) -> Result<(), GroupError> {
        let mut moved = self.seek_all([(partition, offset)])?;
        if let Some(failure) = moved.pop().and_then(|element| element.failure) {
            let act = "seek";
            return Err(GroupError::Refused { act, failure });
        }
        self.moved(partition, offset);
        Ok(())
    }

    /// The same for whom it does no harm to work on a partition that has just become another
    /// member's: also where the position is outside the log, by letting the partition go and taking
    /// it on again.
    ///
    /// # Errors
    /// As [`Self::seek`], and while a rebalance is under way: to be tried again.
    pub fn seek_out_of_range(&self, partition: &Partition, offset: i64) -> Result<(), GroupError> {
        match self.seek(partition, offset) {
            Err(GroupError::Refused { failure, .. }) if failure.code == Code::State => {}
            sought => return sought,
        }
        // It would be taken for the answer to that rebalance.
        if self.going.is_some() || !self.bell.is_empty() {
            let failure = Failure::of(Code::RebalanceInProgress);
            return Err(GroupError::Refused {
                act: "seek",
                failure,
            });
        }
        let failed = GroupError::refused("seek");
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(offset))
            .map_err(&failed)?;
        self.consumer.incremental_unassign(&list).map_err(&failed)?;
        self.consumer.incremental_assign(&list).map_err(&failed)?;
        self.moved(partition, offset);
        Ok(())
    }

    fn moved(&self, partition: &Partition, offset: i64) {
        if let Some(owned) = self.owned.get(partition) {
            owned.queue.reset(offset);
        }
    }
}
