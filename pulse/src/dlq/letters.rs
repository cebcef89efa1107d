//! Reads dead letters from the log.
//!
//! Between the letters lie marks, records of their own that say which letters' records were put
//! back ([`super::mark`]): they are told apart here, and nobody else is handed one as a letter.

use std::collections::BTreeSet;
use std::time::Duration;

use runtime::kafka::admin::AdminError;
use runtime::kafka::reader::ReadError;
use runtime::kafka::{Admin, Isolation, KafkaConfig, Partition, Reader, Start};
use schemas::dead_letter::DeadLetter;
use schemas::ids::{Stream, TenantId};

use super::mark::Marks;

/// How long one question to the brokers may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long reading may make no progress.
const PATIENCE: Duration = Duration::from_secs(20);
/// The name under which brokers see us.
const NAME: &str = "pulse-dlq";

/// Why letters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The tenant has no such topic.
    #[error("tenant {0} has no topic of dead letters")]
    NoTopic(TenantId),
    /// The log holds no letter there.
    #[error("there is no letter {number} of tenant {tenant}: the log holds {low} to {high}")]
    NoLetter {
        /// The tenant.
        tenant: TenantId,
        /// What was asked for.
        number: i64,
        /// The first that the log holds.
        low: i64,
        /// The last that it holds.
        high: i64,
    },
    /// The brokers do not answer, or refuse.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The topic cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A letter where it lies.
pub struct Found<'a> {
    /// Its number: its offset in the topic, which has one partition.
    pub number: i64,
    /// When it was written, in ms since the epoch.
    pub written_at_ms: i64,
    /// What it says.
    pub letter: DeadLetter<'a>,
}

/// What lies on the topic besides letters.
#[derive(Debug, Default)]
pub struct Besides {
    /// The letters that marks name: their records have been put back.
    pub put_back: BTreeSet<i64>,
    /// Records that could be read as neither.
    pub unreadable_count: u64,
}

/// A tenant's dead letters.
pub struct Letters {
    kafka: KafkaConfig,
    tenant: TenantId,
    partition: Partition,
    /// The first and the one after the last.
    span: (i64, i64),
}

impl Letters {
    /// Those that the log holds now. Blocks, as all of this does.
    ///
    /// # Errors
    /// When the tenant has no such topic, or the brokers do not answer.
    pub fn open(kafka: &KafkaConfig, tenant: &TenantId) -> Result<Self, LettersError> {
        let topic = tenant.topic(Stream::DeadLetters).to_string();
        let admin = Admin::new(kafka)?;
        if admin.partition_count(&topic, ANSWER_MAX)?.is_none() {
            return Err(LettersError::NoTopic(tenant.clone()));
        }
        let partition = Partition::new(&topic, 0);
        let edges = admin.watermarks(
            std::slice::from_ref(&partition),
            Isolation::Committed,
            ANSWER_MAX,
        )?;
        let span = (edges[0].low, edges[0].high);
        Ok(Self {
            kafka: kafka.clone(),
            tenant: tenant.clone(),
            partition,
            span,
        })
    }

    /// The numbers of those whose records have been put back already.
    ///
    /// # Errors
    /// When the log cannot be read to its end.
    pub fn put_back(&self) -> Result<BTreeSet<i64>, LettersError> {
        Ok(self.each(|_| {})?.put_back)
    }

    /// Hands each letter on, the oldest first; returns what there was besides.
    ///
    /// # Errors
    /// When the log cannot be read to its end.
    pub fn each(&self, mut act: impl FnMut(Found<'_>)) -> Result<Besides, LettersError> {
        let mut besides = Besides::default();
        let mut marks = Marks::new(&self.tenant, self.span.0);
        let spans = [(self.partition.clone(), Start::At(self.span.0))];
        let reader = Reader::open(&self.kafka, NAME, Isolation::Committed, &spans)?;
        reader.read_until(&[self.span.1], PATIENCE, |_, record| {
            let Ok(letter) = DeadLetter::decode(record.value().unwrap_or_default()) else {
                besides.unreadable_count += 1;
                return;
            };
            let (number, written_at_ms) = (record.offset(), record.appended_at_ms());
            match marks.letter_of(number, written_at_ms, &letter) {
                Some(marked) => {
                    besides.put_back.insert(marked);
                }
                None => act(Found {
                    number,
                    written_at_ms,
                    letter,
                }),
            }
        })?;
        Ok(besides)
    }

    /// Hands one letter on.
    ///
    /// # Errors
    /// When the log holds none of that number.
    pub fn one<T>(&self, number: i64, act: impl FnOnce(Found<'_>) -> T) -> Result<T, LettersError> {
        let (low, end) = self.span;
        let missing = || LettersError::NoLetter {
            tenant: self.tenant.clone(),
            number,
            low,
            high: end - 1,
        };
        if !(low..end).contains(&number) {
            return Err(missing());
        }
        let spans = [(self.partition.clone(), Start::At(number))];
        let reader = Reader::open(&self.kafka, NAME, Isolation::Committed, &spans)?;
        let (mut act, mut done) = (Some(act), None);
        reader.read_until(&[number + 1], PATIENCE, |_, record| {
            let letter = DeadLetter::decode(record.value().unwrap_or_default());
            if let (true, Ok(letter)) = (record.offset() == number, letter)
                && let Some(act) = act.take()
            {
                let written_at_ms = record.appended_at_ms();
                done = Some(act(Found {
                    number,
                    written_at_ms,
                    letter,
                }));
            }
        })?;
        // A number may be that of a mark of a transaction's end.
        done.ok_or_else(missing)
    }
}
