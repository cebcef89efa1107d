//! Writes definitions: for the one process of an installation that may.

use std::collections::BTreeMap;
use std::time::Duration;

use schemas::control::{ControlKey, ControlRecord, Definition};
use schemas::ids::{CONTROL_TOPIC, Offset};
use schemas::time::EventTime;
use schemas::wire::Text;

use super::{Control, ControlConfig, Refusal};
use crate::clock;
use crate::kafka::publisher::{PublisherError, Undelivered};
use crate::kafka::reader::ReadError;
use crate::kafka::{Isolation, KafkaConfig, Outgoing, Partition, Publisher, PublisherSettings};
use crate::kafka::{Reader, Record, Start};

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

/// What the topic holds under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// The highest that was signed, also where nobody of this release could read what it says.
    pub version: i64,
    /// When it was changed.
    pub changed_at: EventTime,
    /// The definition's text as it was published; absent once it was deleted.
    pub body: Option<String>,
}

/// A record to be written under a version that the caller has counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What it defines.
    pub key: ControlKey,
    /// Higher than any before under this key.
    pub version: i64,
    /// When it was changed.
    pub changed_at: EventTime,
    /// The definition; absent to delete it.
    pub body: Option<String>,
}

/// Some records were not written.
#[derive(Debug, thiserror::Error)]
#[error("{safe_count} control records were written, and then one was not: {cause}")]
pub struct Stopped {
    /// How many of them, from the first on, are on every in-sync replica.
    pub safe_count: usize,
    /// Why the next one is not, or nobody knows whether it is.
    pub cause: Undelivered,
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

    /// All that holds now, deletions included, word for word.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub async fn read_published(&self) -> Result<BTreeMap<ControlKey, Published>, WriteError> {
        let (kafka, config) = (self.kafka.clone(), self.config.clone());
        let read = tokio::task::spawn_blocking(move || read_published(&kafka, &config));
        Ok(read.await.expect("reading does not panic")?)
    }

    /// Writes records in their order, whatever the topic holds. Writing one again changes nothing
    /// for those who follow the topic.
    ///
    /// # Errors
    /// How many of them are safe, and why not more.
    pub async fn publish(&self, changes: &[Change]) -> Result<(), Stopped> {
        let encoded = changes.iter().map(|change| {
            let key = change.key.to_string();
            let body = change.body.as_deref();
            let value = encode(&self.config, &key, change.version, change.changed_at, body);
            (key, value)
        });
        let encoded: Vec<_> = encoded.collect();
        let records = encoded
            .iter()
            .map(|(key, value)| Outgoing::keyed(CONTROL_TOPIC, key.as_bytes(), value));
        let records: Vec<_> = records.collect();
        let undelivered = self.publisher.publish(&records).await;
        match undelivered.into_iter().min_by_key(|record| record.index) {
            Some(cause) => Err(Stopped {
                safe_count: cause.index,
                cause,
            }),
            None => Ok(()),
        }
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
    let mut control = Control::default();
    let end = read_records(kafka, |record| {
        // What the view refuses is reported by those who follow the topic all the time.
        let _ = control.apply(config, record.offset(), record.key(), record.value());
    })?;
    control.offset = control.offset.max(end);
    Ok(control)
}

fn read_published(
    kafka: &KafkaConfig,
    config: &ControlConfig,
) -> Result<BTreeMap<ControlKey, Published>, ReadError> {
    let (mut control, mut published) = (Control::default(), BTreeMap::new());
    read_records(kafka, |record| {
        let applied = control.apply(config, record.offset(), record.key(), record.value());
        let is_readable = match applied {
            Ok(_) => true,
            Err(Refusal::Definition(_)) => false,
            Err(_) => return,
        };
        take(&mut published, record, is_readable);
    })?;
    Ok(published)
}

/// Takes in a record that carries our MAC.
fn take(published: &mut BTreeMap<ControlKey, Published>, record: Record<'_>, is_readable: bool) {
    let text = record.key().and_then(|key| std::str::from_utf8(key).ok());
    let key = text.and_then(|text| text.parse::<ControlKey>().ok());
    let decoded = record.value().map(ControlRecord::decode);
    let (Some(key), Some(Ok(decoded))) = (key, decoded) else {
        return;
    };
    let entry = published.entry(key).or_insert(Published {
        version: 0,
        changed_at: decoded.changed_at,
        body: None,
    });
    entry.version = entry.version.max(decoded.version);
    if is_readable {
        entry.changed_at = decoded.changed_at;
        entry.body = decoded.body.map(|body| body.as_str().to_owned());
    }
}

/// Hands every record to `take`, up to the end that the topic has now; returns that end.
fn read_records(
    kafka: &KafkaConfig,
    mut take: impl FnMut(Record<'_>),
) -> Result<Offset, ReadError> {
    let spans = [(Partition::new(CONTROL_TOPIC, 0), Start::Beginning)];
    let reader = Reader::open(kafka, "pulse-control", Isolation::Committed, &spans)?;
    let end = reader.watermarks(Isolation::Committed, PATIENCE)?[0].high;
    reader.read_until(&[end], PATIENCE, |_, record| take(record))?;
    Ok(end)
}
