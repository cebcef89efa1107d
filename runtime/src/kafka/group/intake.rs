//! Partitions that are ours but whose position is not known yet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Deadline;
use crate::fate::Fate;
use crate::kafka::committed::{ANSWER_WAIT, ASK_AGAIN, Answer, Inquiry, Wanted};
use crate::kafka::failure::Failure;
use crate::kafka::native::Queue;
use crate::kafka::record::Partition;

/// The partitions, each with its queue, and the question for their positions.
#[derive(Default)]
pub(super) struct Intake {
    waiting: BTreeMap<Partition, Queue>,
    /// With the time after which it is put afresh, in case that its own end does not come.
    inquiry: Option<(Inquiry, Deadline)>,
    ask_again: Option<Deadline>,
}

impl Intake {
    /// Takes a partition in; must come before it is assigned.
    pub(super) fn add(&mut self, client: *mut rdkafka_sys::rd_kafka_t, partition: Partition) {
        let queue = Queue::of_partition(client, &partition.topic, partition.number);
        self.waiting.insert(partition, queue);
        // An answer to an older question may speak of a time when the partition was another's.
        self.inquiry = None;
        self.ask_again = None;
    }

    /// Lets a partition go: it has begun, or is no longer ours.
    pub(super) fn forget(&mut self, partition: &Partition) -> Option<Queue> {
        self.waiting.remove(partition)
    }

    /// The partitions that wait.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.waiting.keys()
    }

    /// How long the owner may sleep; `None` when there is nothing to ask.
    pub(super) fn patience(&self) -> Option<Duration> {
        let ask_again = || self.ask_again.map_or(Duration::ZERO, Deadline::left);
        (!self.waiting.is_empty()).then(|| match self.inquiry {
            Some(_) => Duration::from_millis(2),
            None => ask_again(),
        })
    }

    /// Puts the question where none is on its way, and returns the answers that are there, of
    /// partitions that still wait.
    ///
    /// # Errors
    /// When asking again will not help.
    pub(super) fn poll(
        &mut self,
        client: *mut rdkafka_sys::rd_kafka_t,
        group: &str,
    ) -> Result<Vec<(Partition, Answer)>, Failure> {
        if self.waiting.is_empty() {
            self.inquiry = None;
            return Ok(Vec::new());
        }
        let Some((inquiry, until)) = &self.inquiry else {
            if self.ask_again.is_none_or(Deadline::has_passed) {
                let asked = self.waiting.keys().cloned().collect();
                let inquiry = Inquiry::ask(client, group, asked, (Wanted::Stable, ANSWER_WAIT));
                self.inquiry = Some((inquiry, Deadline::after(ANSWER_WAIT * 2)));
            }
            return Ok(Vec::new());
        };
        let Some(answer) = inquiry.poll(Duration::ZERO) else {
            if until.has_passed() {
                self.inquiry = None;
            }
            return Ok(Vec::new());
        };
        self.inquiry = None;
        self.ask_again = Some(Deadline::after(ASK_AGAIN));
        match answer {
            Ok(mut answers) => {
                answers.retain(|(partition, _)| self.waiting.contains_key(partition));
                Ok(answers)
            }
            Err(failure) if failure.fate() == Fate::Halt => Err(failure),
            Err(failure) => {
                tracing::warn!(%failure, "committed positions are not known yet");
                Ok(Vec::new())
            }
        }
    }
}
