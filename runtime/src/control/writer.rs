//! Writes definitions: for the one process of an installation that may.

use std::time::Duration;

use schemas::control::{ControlKey, ControlRecord, Definition};
use schemas::ids::CONTROL_TOPIC;
use schemas::time::EventTime;
use schemas::wire::Text;

use super::{Control, ControlConfig};
use crate::clock;
use crate::kafka::publisher::{PublisherError, Undelivered};
use crate::kafka::reader::ReadError;
use crate::kafka::{Isolation, KafkaConfig, Outgoing, Partition, Publisher, PublisherSettings};
use crate::kafka::{Reader, Start};

/// How long reading the topic may make no progress.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a definition was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What is there already could not be read.
    #[error("control topic cannot be read: {0}")]
    Read(#[from] ReadError),
    /// No publisher.
    #[error(transparent)]
    Publisher(#[from] PublisherError),
    /// The brokers did not take the record.
    #[error("control record was not written: {0}")]
    Undelivered(#[from] Undelivered),
}

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// The topic holds a new version.
    Version(i64),
    /// It was so already; nothing was written.
    Unchanged,
}

/// Writes definitions. There must be one at a time in an installation: versions are counted here.
pub struct ControlWriter {
    kafka: KafkaConfig,
    config: ControlConfig,
    publisher: Publisher,
}

impl ControlWriter {
    /// A writer to these brokers.
    ///
    /// # Errors
    /// When no publisher can be made.
    pub fn new(kafka: &KafkaConfig, config: &ControlConfig) -> Result<Self, WriteError> {
        let mut settings = PublisherSettings::new("pulse-control");
        settings.linger = Duration::ZERO;
        let publisher = Publisher::new(kafka, &settings)?;
        Ok(Self {
            kafka: kafka.clone(),
            config: config.clone(),
            publisher,
        })
    }

    /// All that is defined now, read from the topic.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub async fn read(&self) -> Result<Control, WriteError> {
        let (kafka, config) = (self.kafka.clone(), self.config.clone());
        let read = tokio::task::spawn_blocking(move || read_all(&kafka, &config));
        Ok(read.await.expect("reading does not panic")?)
    }

    /// Writes a definition, unless it is there already word for word.
    ///
    /// # Errors
    /// When the topic cannot be read or written.
    pub async fn put(
        &self,
        key: &ControlKey,
        definition: &Definition,
    ) -> Result<Written, WriteError> {
        debug_assert_eq!(
            key.kind,
            definition.kind(),
            "a key names its definition's kind"
        );
        let held = self.read().await?;
        if held.definition(key).as_ref() == Some(definition) {
            return Ok(Written::Unchanged);
        }
        self.write(key, held.version(key) + 1, Some(&definition.body()))
            .await
    }

    /// Deletes a definition, by a signed record that says so; a tombstone could be anybody's.
    ///
    /// # Errors
    /// When the topic cannot be read or written.
    pub async fn delete(&self, key: &ControlKey) -> Result<Written, WriteError> {
        let held = self.read().await?;
        if held.definition(key).is_none() {
            return Ok(Written::Unchanged);
        }
        self.write(key, held.version(key) + 1, None).await
    }

    async fn write(
        &self,
        key: &ControlKey,
        version: i64,
        body: Option<&str>,
    ) -> Result<Written, WriteError> {
        let key = key.to_string();
        let changed_at = EventTime::from_us(clock::now_us());
        let value = encode(&self.config, &key, version, changed_at, body);
        let records = [Outgoing::keyed(CONTROL_TOPIC, key.as_bytes(), &value)];
        match self.publisher.publish(&records).await.pop() {
            Some(undelivered) => Err(undelivered.into()),
            None => Ok(Written::Version(version)),
        }
    }
}

/// A signed record's bytes.
pub(super) fn encode(
    config: &ControlConfig,
    key: &str,
    version: i64,
    changed_at: EventTime,
    body: Option<&str>,
) -> Vec<u8> {
    let mut record = ControlRecord {
        version,
        changed_at,
        body: body.map(Text::new),
        mac: &[],
    };
    let mac = config.sign(key, &record);
    record.mac = &mac;
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

fn read_all(kafka: &KafkaConfig, config: &ControlConfig) -> Result<Control, ReadError> {
    let spans = [(Partition::new(CONTROL_TOPIC, 0), Start::Beginning)];
    let reader = Reader::open(kafka, "pulse-control", Isolation::Committed, &spans)?;
    let end = reader.watermarks(Isolation::Committed, PATIENCE)?[0].high;
    let mut control = Control::default();
    reader.read_until(&[end], PATIENCE, |_, record| {
        // What the view refuses is reported by those who follow the topic all the time.
        let _ = control.apply(config, record.offset(), record.key(), record.value());
    })?;
    control.offset = control.offset.max(end);
    Ok(control)
}
