//! Topics: made with the right settings, checked when they are there already, deleted.
//!
//! Making is idempotent: whoever comes second finds the topic and compares. A partition count never
//! changes after a topic was made, since a key's partition hangs on it; a topic that has another
//! count, or settings on which exactness hangs, is refused and not mended.

mod acl;
mod topics;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::KafkaConfig;
use super::committed::{Answer, Committed, Inquiry, Wanted};
use super::context::{Context, serve};
use super::failure::Failure;
use super::reader::{Isolation, ReadError, Watermarks, watermarks};
use super::record::Partition;
use crate::fate::Fate;

pub use acl::{Acl, Authorization, Operation, Resource, authorization};
pub use topics::{ENVELOPE_BYTES_MAX, TopicSpec, partition_count};

/// How long the cluster may take over one request.
const REQUEST_WAIT: Duration = Duration::from_secs(30);

/// What [`Admin::ensure`] found or did for a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ensured {
    /// It was not there.
    Made,
    /// It was there, as it should be.
    Found,
}

/// Why topics are not as they should be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdminError {
    /// The client could not be made, or the cluster did not answer.
    #[error("{act}: {failure}")]
    Request {
        /// What was asked for.
        act: &'static str,
        /// What was answered.
        failure: Failure,
    },
    /// The cluster refused one topic.
    #[error("{topic}: {failure}")]
    Refused {
        /// The topic.
        topic: String,
        /// What the cluster said.
        failure: Failure,
    },
    /// The topic is there, with another number of partitions.
    #[error("{topic} has {found} partitions and should have {expected}")]
    Partitions {
        /// The topic.
        topic: String,
        /// How many it should have.
        expected: i32,
        /// How many it has.
        found: i32,
    },
    /// The topic is there, with a setting that would break what readers rely on.
    #[error("{topic} has {setting}={found} and should have {expected}")]
    Setting {
        /// The topic.
        topic: String,
        /// Kafka's name of the setting.
        setting: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
}

impl AdminError {
    /// What becomes of the work.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Request { failure, .. } | Self::Refused { failure, .. } => failure.fate(),
            Self::Partitions { .. } | Self::Setting { .. } => Fate::Halt,
        }
    }

    fn request(act: &'static str, failure: impl Into<Failure>) -> Self {
        Self::Request {
            act,
            failure: failure.into(),
        }
    }
}

/// Settings on which exactness hangs: another value is refused, where others are the operator's
/// own.
const CHECKED: [&str; 2] = ["message.timestamp.type", "cleanup.policy"];

/// The group that the client for positions is configured with. It never joins that group and
/// commits nothing there, so no broker comes to know it: the name only has to be there.
const POSITIONS_GROUP: &str = "pulse-admin";

/// A client for topics and groups.
pub struct Admin {
    client: AdminClient<Context>,
    /// Asks for positions; made by the first question, since few ask. In a client that is no
    /// group's consumer, librdkafka dereferences null when a broker answers that it does not
    /// coordinate the group.
    positions: Mutex<Option<Arc<BaseConsumer<Context>>>>,
    kafka: KafkaConfig,
}

impl Admin {
    /// A client of these brokers.
    ///
    /// # Errors
    /// When librdkafka refuses the settings.
    pub fn new(kafka: &KafkaConfig) -> Result<Self, AdminError> {
        let client = settings(kafka)
            .create_with_context(Context)
            .map_err(|error| AdminError::request("admin client", error))?;
        Ok(Self {
            client,
            positions: Mutex::new(None),
            kafka: kafka.clone(),
        })
    }

    /// Makes the topics that are missing, compares those that are there, and returns once all of
    /// them can be written to.
    ///
    /// # Errors
    /// The first topic that is refused or is not as it should be; those before it were made.
    pub async fn ensure(&self, specs: &[TopicSpec]) -> Result<Vec<Ensured>, AdminError> {
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        let topics: Vec<_> = specs.iter().map(|spec| self.new_topic(spec)).collect();
        let answers = self.client.create_topics(&topics, &options()).await;
        let answers = answers.map_err(|error| AdminError::request("create topics", error))?;
        let mut ensured = Vec::with_capacity(specs.len());
        for (spec, answer) in specs.iter().zip(answers) {
            ensured.push(match answer {
                Ok(_) => Ensured::Made,
                Err((_, Code::TopicAlreadyExists)) => Ensured::Found,
                Err((topic, code)) => {
                    return Err(AdminError::Refused {
                        topic,
                        failure: Failure::of(code),
                    });
                }
            });
            self.check_partitions(spec).await?;
        }
        let found: Vec<_> = specs
            .iter()
            .zip(&ensured)
            .filter(|(_, e)| **e == Ensured::Found)
            .collect();
        self.check_settings(found.into_iter().map(|(spec, _)| spec))
            .await?;
        Ok(ensured)
    }

    /// Deletes topics; those that are not there are no error.
    ///
    /// # Errors
    /// The first topic that the cluster refused to delete.
    pub async fn delete_topics(&self, names: &[&str]) -> Result<(), AdminError> {
        if names.is_empty() {
            return Ok(());
        }
        let answers = self.client.delete_topics(names, &options()).await;
        let answers = answers.map_err(|error| AdminError::request("delete topics", error))?;
        let refused = answers.into_iter().filter_map(Result::err);
        match refused
            .into_iter()
            .find(|(_, code)| !is_unknown_topic(*code))
        {
            Some((topic, code)) => Err(AdminError::Refused {
                topic,
                failure: Failure::of(code),
            }),
            None => Ok(()),
        }
    }

    /// Deletes groups without members, with their positions; those that are not there are no error.
    ///
    /// # Errors
    /// The first group that the cluster refused to delete.
    pub async fn delete_groups(&self, names: &[&str]) -> Result<(), AdminError> {
        if names.is_empty() {
            return Ok(());
        }
        let answers = self.client.delete_groups(names, &options()).await;
        let answers = answers.map_err(|error| AdminError::request("delete groups", error))?;
        let refused = answers.into_iter().filter_map(Result::err);
        match refused
            .into_iter()
            .find(|(_, code)| *code != Code::GroupIdNotFound)
        {
            Some((topic, code)) => Err(AdminError::Refused {
                topic,
                failure: Failure::of(code),
            }),
            None => Ok(()),
        }
    }

    /// All topics of the cluster with their partition counts. Blocks for at most `wait`.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn topics(&self, wait: Duration) -> Result<BTreeMap<String, i32>, AdminError> {
        let metadata = self.client.inner().fetch_metadata(None, wait);
        let metadata = metadata.map_err(|error| AdminError::request("list topics", error))?;
        let count = |topic: &rdkafka::metadata::MetadataTopic| {
            i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX)
        };
        Ok(metadata
            .topics()
            .iter()
            .map(|topic| (topic.name().into(), count(topic)))
            .collect())
    }

    /// The partition count of a topic, if it exists. Blocks for at most `wait`.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn partition_count(&self, topic: &str, wait: Duration) -> Result<Option<i32>, AdminError> {
        let metadata = self.client.inner().fetch_metadata(Some(topic), wait);
        let metadata = metadata.map_err(|error| AdminError::request("describe topic", error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let Some(found) = found else { return Ok(None) };
        match found.error().map(Code::from) {
            None => Ok(Some(
                i32::try_from(found.partitions().len()).unwrap_or(i32::MAX),
            )),
            Some(code) if is_unknown_topic(code) => Ok(None),
            Some(code) => Err(AdminError::request("describe topic", Failure::of(code))),
        }
    }

    /// The edges of partitions. Blocks for at most twice `wait`.
    ///
    /// # Errors
    /// The first partition whose edges could not be learnt.
    pub fn watermarks(
        &self,
        partitions: &[Partition],
        isolation: Isolation,
        wait: Duration,
    ) -> Result<Vec<Watermarks>, ReadError> {
        watermarks(self.client.inner(), partitions, isolation, wait)
    }

    /// The committed positions of a group in `partitions` as they stand, to look at; `None` where
    /// there is none. Blocks for at most `wait`.
    ///
    /// # Errors
    /// When the cluster does not answer, or refuses a partition.
    pub fn committed(
        &self,
        group: &str,
        partitions: &[Partition],
        wait: Duration,
    ) -> Result<Vec<Option<Committed>>, AdminError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |failure| AdminError::Request {
            act: "committed positions",
            failure,
        };
        let consumer = self.positions()?;
        let client = consumer.client().native_ptr();
        let inquiry = Inquiry::ask(client, group, partitions.to_vec(), (Wanted::Present, wait));
        let answers = inquiry
            .poll(wait)
            .unwrap_or(Err(Failure::of(Code::OperationTimedOut)));
        serve(&consumer);
        let answers = match answers {
            Ok(answers) => answers,
            Err(failure) if failure.code == Code::GroupIdNotFound => {
                return Ok(vec![None; partitions.len()]);
            }
            Err(failure) => return Err(failed(failure)),
        };
        let position = |(_, answer)| match answer {
            Answer::Stable(committed) => Ok(committed),
            Answer::Unstable => Err(failed(Failure::of(Code::UnstableOffsetCommit))),
            Answer::Refused(failure) => Err(failed(failure)),
        };
        answers.into_iter().map(position).collect()
    }
}

impl Admin {
    fn positions(&self) -> Result<Arc<BaseConsumer<Context>>, AdminError> {
        let mut made = self
            .positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(consumer) = &*made {
            return Ok(Arc::clone(consumer));
        }
        let consumer: BaseConsumer<Context> = settings(&self.kafka)
            .set("group.id", POSITIONS_GROUP)
            .create_with_context(Context)
            .map_err(|error| AdminError::request("client for positions", error))?;
        Ok(Arc::clone(made.insert(Arc::new(consumer))))
    }

    fn new_topic<'a>(&self, spec: &'a TopicSpec) -> NewTopic<'a> {
        let replication = TopicReplication::Fixed(self.kafka.replication_factor);
        let topic = NewTopic::new(&spec.name, spec.partition_count, replication);
        spec.settings
            .iter()
            .fold(topic, |topic, (name, value)| topic.set(name, value))
    }

    /// A topic that was just made may be unknown to a broker for a moment.
    async fn check_partitions(&self, spec: &TopicSpec) -> Result<(), AdminError> {
        let topic = || spec.name.clone();
        let deadline = crate::clock::Deadline::after(REQUEST_WAIT);
        loop {
            match self.partition_count(&spec.name, REQUEST_WAIT)? {
                Some(found) if found == spec.partition_count => return Ok(()),
                Some(found) if found > 0 => {
                    let expected = spec.partition_count;
                    return Err(AdminError::Partitions {
                        topic: topic(),
                        expected,
                        found,
                    });
                }
                _ if deadline.has_passed() => {
                    let failure = Failure::of(Code::UnknownTopicOrPartition);
                    return Err(AdminError::Refused {
                        topic: topic(),
                        failure,
                    });
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn check_settings(
        &self,
        specs: impl Iterator<Item = &TopicSpec>,
    ) -> Result<(), AdminError> {
        let specs: BTreeMap<_, _> = specs.map(|spec| (spec.name.as_str(), spec)).collect();
        if specs.is_empty() {
            return Ok(());
        }
        let resources: Vec<_> = specs
            .keys()
            .map(|name| ResourceSpecifier::Topic(name))
            .collect();
        let described = self.client.describe_configs(&resources, &options()).await;
        let described = described.map_err(|error| AdminError::request("describe topics", error))?;
        for resource in described {
            let resource = resource
                .map_err(|code| AdminError::request("describe topics", Failure::of(code)))?;
            let rdkafka::admin::OwnedResourceSpecifier::Topic(name) = &resource.specifier else {
                continue;
            };
            let Some(spec) = specs.get(name.as_str()) else {
                continue;
            };
            for setting in CHECKED {
                let expected = spec.settings.get(setting).cloned().unwrap_or_default();
                let found = resource.get(setting).and_then(|entry| entry.value.clone());
                let found = found.unwrap_or_default();
                if found != expected {
                    let topic = name.clone();
                    return Err(AdminError::Setting {
                        topic,
                        setting,
                        expected,
                        found,
                    });
                }
            }
        }
        Ok(())
    }
}

fn settings(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = kafka.client("pulse-admin");
    config.set("topic.metadata.refresh.interval.ms", "30000");
    config
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST_WAIT))
        .operation_timeout(Some(REQUEST_WAIT - Duration::from_secs(1)))
}

fn is_unknown_topic(code: Code) -> bool {
    matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition)
}

#[cfg(test)]
mod tests;
