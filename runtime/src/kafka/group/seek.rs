//! Where a partition of ours is read on.

use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::{GroupConsumer, GroupError};
use crate::kafka::record::Partition;

impl GroupConsumer {
    /// Reads a partition from `offset` on.
    ///
    /// # Errors
    /// When librdkafka refuses, for a partition that is not ours for instance.
    pub fn seek(&self, partition: &Partition, offset: i64) -> Result<(), GroupError> {
        let mut moved = self.seek_all([(partition, offset)])?;
        match moved.pop().and_then(|element| element.failure) {
            None => {}
            // librdkafka stops to fetch where a position is outside the log, and moves only what it
            // fetches.
            Some(failure) if failure.code == Code::State => self.begin_anew(partition, offset)?,
            Some(failure) => {
                return Err(GroupError::Refused {
                    act: "seek",
                    failure,
                });
            }
        }
        if let Some(owned) = self.owned.get(partition) {
            owned.queue.reset(offset);
        }
        Ok(())
    }

    /// Lets a partition of ours go and takes it on at once, without a word to the coordinator.
    fn begin_anew(&self, partition: &Partition, offset: i64) -> Result<(), GroupError> {
        let failed = GroupError::refused("seek");
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(offset))
            .map_err(&failed)?;
        self.consumer.incremental_unassign(&list).map_err(&failed)?;
        self.consumer.incremental_assign(&list).map_err(failed)
    }
}
