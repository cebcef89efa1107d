//! How ownership changes: what goes is given up, what comes waits for its position.

use super::*;

/// How a member stands with its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It has not been taken in, or was lost since.
    Out,
    /// It has been taken in, or has nothing to read.
    In {
        /// Partitions that are read.
        read: usize,
        /// Partitions that are its own and whose positions are not known yet.
        waiting: usize,
    },
}

impl GroupConsumer {
    /// How this member stands with its group at present.
    pub fn standing(&self) -> Standing {
        let is_in = || native::is_member(self.consumer.client().native_ptr());
        match self.topics.is_empty() || is_in() {
            true => Standing::In {
                read: self.owned.len(),
                waiting: self.intake.partitions().count(),
            },
            false => Standing::Out,
        }
    }

    pub(super) fn is_going(&self, partition: &Partition) -> bool {
        self.going
            .as_ref()
            .is_some_and(|going| going.contains(partition))
    }

    /// Lets go of the partitions that the last call announced.
    pub(super) fn give_up(&mut self) {
        let Some(going) = self.going.take() else {
            return;
        };
        let mut list = TopicPartitionList::with_capacity(going.len());
        for partition in &going {
            list.add_partition(&partition.topic, partition.number);
            self.owned.remove(partition);
            self.intake.forget(partition);
        }
        // Whoever has not been told yet that they go has no call left in which to commit for them.
        for event in &mut self.events {
            if let Event::Revoked { partition } = event
                && going.contains(partition)
            {
                let partition = partition.clone();
                *event = Event::Lost { partition };
            }
        }
        self.consumer.context().release(&self.consumer, &list);
    }

    pub(super) fn apply(&mut self, change: Change) -> Result<(), GroupError> {
        self.give_up();
        match change {
            Change::Assign(partitions) => {
                self.is_out = false;
                self.assign(partitions)?;
                self.look_again()?;
            }
            Change::Revoke(partitions) => {
                let ours: Vec<_> = self.owned_of(&partitions).collect();
                let has_pending = !ours.is_empty();
                let revoked = ours
                    .into_iter()
                    .map(|partition| Event::Revoked { partition });
                self.events.extend(revoked);
                self.going = Some(partitions);
                // Of a partition that was never read nothing can be pending.
                if !has_pending {
                    self.give_up();
                }
            }
            Change::Lose(partitions) => {
                let lost = self.owned_of(&partitions);
                let lost: Vec<_> = lost.map(|partition| Event::Lost { partition }).collect();
                self.events.extend(lost);
                self.is_out = true;
                self.going = Some(partitions);
                self.give_up();
            }
        }
        Ok(())
    }

    /// Leaves without a word to the coordinator: as a static member it may be back at once.
    pub(super) fn leave(&mut self) {
        let rebalances = Arc::clone(self.consumer.context());
        rebalances.close();
        let unserved = self
            .going
            .take()
            .map(Change::Revoke)
            .into_iter()
            .chain(rebalances.take());
        for change in unserved {
            rebalances.comply(&self.consumer, &change);
        }
    }

    /// Puts a new member of the same name in the place of one that the broker does not know any
    /// more; all that it had is lost.
    pub(super) fn join_anew(&mut self) -> Result<(), GroupError> {
        self.leave();
        let owned = std::mem::take(&mut self.owned);
        let lost = owned.into_keys().map(|partition| Event::Lost { partition });
        self.events.extend(lost);
        self.intake = Intake::default();
        let consumer = consumer(&self.kafka, &self.settings).map_err(GroupError::Join)?;
        let bell = Queue::of_consumer(consumer.client().native_ptr());
        bell.wake(self.waker.pipe());
        // The old queue before its client.
        self.bell = bell;
        self.consumer = consumer;
        self.has_looked_again = false;
        self.is_out = false;
        let topics = std::mem::take(&mut self.topics);
        self.subscribe(topics)
    }

    pub(super) fn owned_of(&self, partitions: &[Partition]) -> impl Iterator<Item = Partition> {
        partitions
            .iter()
            .filter(|partition| self.owned.contains_key(partition))
            .cloned()
    }

    /// Takes partitions on, paused and with queues of their own, so that nothing is fetched before
    /// their position is known.
    pub(super) fn assign(&mut self, partitions: Vec<Partition>) -> Result<(), GroupError> {
        let failed = GroupError::refused("assign");
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(0))
                .map_err(&failed)?;
            self.intake
                .add(self.consumer.client().native_ptr(), partition);
        }
        if list.count() > 0 {
            self.consumer.pause(&list).map_err(&failed)?;
        }
        self.consumer.incremental_assign(&list).map_err(failed)
    }

    /// Makes the group look at its topics once more when the first assignment lacks one of ours.
    ///
    /// A static member that comes back is handed its old assignment without a rebalance, even when
    /// it now reads more topics; nobody would ever be given those. So it joins a second time, with
    /// another subscription, by the name of a topic that does not exist.
    pub(super) fn look_again(&mut self) -> Result<(), GroupError> {
        if std::mem::replace(&mut self.has_looked_again, true) {
            return Ok(());
        }
        let assigned: BTreeSet<&str> = self
            .owned
            .keys()
            .chain(self.intake.partitions())
            .map(|p| &*p.topic)
            .collect();
        if self
            .topics
            .iter()
            .all(|topic| assigned.contains(topic.as_str()))
        {
            return Ok(());
        }
        let names: Vec<&str> = self
            .topics
            .iter()
            .map(String::as_str)
            .chain([NO_TOPIC])
            .collect();
        self.consumer
            .subscribe(&names)
            .map_err(GroupError::refused("subscribe"))
    }

    /// Starts to read the partitions whose positions have become known.
    pub(super) fn welcome(&mut self) -> Result<(), GroupError> {
        let client = self.consumer.client().native_ptr();
        let answers = self.intake.poll(client, &self.settings.group);
        let answers = answers.map_err(GroupError::refused("committed positions"))?;
        let known = self.with_starts(stable(answers));
        let moved = self.seek_all(
            known
                .iter()
                .map(|(partition, _, start)| (partition, *start)),
        )?;
        let moved: BTreeSet<_> = moved
            .into_iter()
            .filter(|e| e.failure.is_none())
            .map(|e| e.partition)
            .collect();
        let known: Vec<_> = known
            .into_iter()
            .filter(|(p, ..)| moved.contains(p))
            .collect();
        let mut list = TopicPartitionList::with_capacity(known.len());
        for (partition, ..) in &known {
            list.add_partition(&partition.topic, partition.number);
        }
        if list.count() > 0 {
            self.consumer
                .resume(&list)
                .map_err(GroupError::refused("resume"))?;
        }
        for (partition, committed, start) in known {
            let Some(queue) = self.intake.forget(&partition) else {
                continue;
            };
            queue.wake(self.waker.pipe());
            let queue = PartitionQueue::new(queue, start);
            self.owned.insert(
                partition.clone(),
                Owned {
                    queue,
                    is_paused: false,
                },
            );
            self.has_more.set(true);
            self.events.push(Event::Assigned {
                partition,
                committed,
            });
        }
        Ok(())
    }

    /// Where each partition is to be read from: its position, or else the log's beginning. Those
    /// whose beginning is not known yet are left for the next answer.
    pub(super) fn with_starts(
        &self,
        known: Vec<(Partition, Option<Committed>)>,
    ) -> Vec<(Partition, Option<Committed>, i64)> {
        let is_new = |(_, committed): &&(Partition, Option<Committed>)| committed.is_none();
        let new: Vec<_> = known
            .iter()
            .filter(is_new)
            .map(|(p, _)| p.clone())
            .collect();
        let lows = self
            .beginnings(&new, committed::ANSWER_WAIT)
            .unwrap_or_else(|failure| {
                tracing::warn!(%failure, "beginnings are not known yet");
                Vec::new()
            });
        let lows: BTreeMap<_, _> = new.into_iter().zip(lows).collect();
        let start = |(partition, committed): (Partition, Option<Committed>)| {
            let start = match (&committed, lows.get(&partition)) {
                (Some(committed), _) => committed.offset,
                (None, Some(Ok(low))) => *low,
                (None, _) => return None,
            };
            Some((partition, committed, start))
        };
        known.into_iter().filter_map(start).collect()
    }

    /// Moves partitions; a partition's own failure, that it has not begun for instance, comes with
    /// it.
    pub(super) fn seek_all<'p>(
        &self,
        starts: impl IntoIterator<Item = (&'p Partition, i64)>,
    ) -> Result<Vec<native::Element>, GroupError> {
        let failed = GroupError::refused("seek");
        let mut list = TopicPartitionList::new();
        for (partition, start) in starts {
            let offset = Offset::Offset(start);
            list.add_partition_offset(&partition.topic, partition.number, offset)
                .map_err(&failed)?;
        }
        if list.count() == 0 {
            return Ok(Vec::new());
        }
        let moved = self
            .consumer
            .seek_partitions(list, committed::ANSWER_WAIT)
            .map_err(failed)?;
        Ok(native::elements_of(&moved))
    }
}

fn stable(answers: Vec<(Partition, Answer)>) -> Vec<(Partition, Option<Committed>)> {
    let stable = |(partition, answer)| match answer {
        Answer::Stable(committed) => Some((partition, committed)),
        Answer::Unstable => None,
        Answer::Refused(failure) => {
            tracing::warn!(%partition, %failure, "committed position is not known yet");
            None
        }
    };
    answers.into_iter().filter_map(stable).collect()
}
