//! How a transaction ends, and what an end that nobody saw asks for.
#![allow(unsafe_code)]

use std::collections::BTreeSet;

use rdkafka::metadata::MetadataTopic;

use super::*;

/// How long the brokers may take to say which topics are there.
const METADATA_WAIT: Duration = Duration::from_secs(1);

impl Transactional {
    pub(super) fn client(&self) -> rdkafka::ClientConfig {
        let mut config = self.kafka.client(&self.settings.id);
        let ms = |span: Duration| span.as_millis().to_string();
        idempotent(
            &mut config,
            self.settings.linger,
            self.settings.record_bytes_max,
        );
        config
            .set("transactional.id", &self.settings.id)
            .set("transaction.timeout.ms", ms(self.settings.timeout))
            .set("message.timeout.ms", ms(self.settings.timeout))
            // As long as librdkafka allows, and longer than any call of ours: see the module's doc.
            .set(
                "socket.timeout.ms",
                ms(self.settings.timeout - Duration::from_millis(100)),
            )
            .set(
                "queue.buffering.max.messages",
                self.settings.queue_count.to_string(),
            )
            .set(
                "queue.buffering.max.kbytes",
                self.settings.queue_kilobytes.to_string(),
            );
        config
    }

    /// Leaves librdkafka no time to send a request twice.
    pub(super) fn call_timeout(&self) -> Duration {
        self.settings
            .timeout
            .mul_f64(0.9)
            .saturating_sub(Duration::from_millis(100))
    }

    pub(super) fn producer(&self) -> &Arc<ThreadedProducer<Acks>> {
        self.producer
            .as_ref()
            .expect("a stage other than spent has a producer")
    }

    /// Calls again while the call can be resumed and there is time.
    pub(super) fn until_settled(
        &self,
        deadline: Deadline,
        call: impl Fn(*mut sys::rd_kafka_t, i32) -> Result<(), CallFailure>,
    ) -> Result<(), CallFailure> {
        let native = self.producer().client().native_ptr();
        loop {
            let wait_ms = i32::try_from(deadline.left().as_millis())
                .unwrap_or(i32::MAX)
                .max(1);
            match call(native, wait_ms) {
                Err(failed) if verdict(&failed) == Verdict::Resume && !deadline.has_passed() => {
                    // Retriable answers come at once when the coordinator is away.
                    std::thread::sleep(Duration::from_millis(5).min(deadline.left()));
                }
                settled => return settled,
            }
        }
    }

    pub(super) fn abort_call(&self) -> Result<(), CallFailure> {
        self.until_settled(Deadline::after(self.call_timeout()), |native, wait_ms| {
            // SAFETY: the producer is alive, and its own thread serves the reports of purged
            // records.
            CallFailure::take(unsafe { sys::rd_kafka_abort_transaction(native, wait_ms) })
        })
    }

    /// What became of a transaction whose commit failed.
    pub(super) fn settle(&mut self, call: CallFailure) -> Outcome {
        match verdict(&call) {
            Verdict::Abort => match self.abort_call() {
                // An abort that the broker accepted proves that no commit had been.
                Ok(()) => {
                    self.stage = Stage::Spent;
                    Outcome::Aborted(self.reason(call.failure))
                }
                Err(abort) => self.undecided(abort),
            },
            _ => self.undecided(call),
        }
    }

    pub(super) fn undecided(&mut self, call: CallFailure) -> Outcome {
        self.stage = Stage::Spent;
        match verdict(&call) {
            Verdict::Fenced => Outcome::Fenced(call.failure),
            Verdict::Resume | Verdict::Abort | Verdict::Renew => Outcome::Unknown(call.failure),
        }
    }

    pub(super) fn reason(&self, failure: Failure) -> Reason {
        Reason {
            failure,
            topics: self.refusing(),
        }
    }

    /// The topics that did not take records for a cause of their own. Brokers that are away or slow
    /// let records of all topics time out, and so does a topic that is gone, which they can say.
    fn refusing(&self) -> BTreeMap<String, Failure> {
        let mut topics = self.acks.take_refusals();
        let is_said = |failure: &Failure| {
            // Of the topic, or of a record.
            failure.is_about_topic() || failure.fate() == Fate::Reject
        };
        if topics.values().all(is_said) {
            return topics;
        }
        let there = self.topics_there();
        topics.retain(|topic, failure| {
            let is_gone = there.as_ref().is_some_and(|there| !there.contains(topic));
            if !is_said(failure) && is_gone {
                *failure = Failure::of(Code::UnknownTopicOrPartition);
            }
            is_said(failure)
        });
        topics
    }

    /// The topics that are there and ours to see, as far as the brokers say so in time.
    fn topics_there(&self) -> Option<BTreeSet<String>> {
        let client = self.producer().client();
        let metadata = client.fetch_metadata(None, METADATA_WAIT).ok()?;
        let name = |topic: &MetadataTopic| topic.name().to_owned();
        Some(metadata.topics().iter().map(name).collect())
    }
}
