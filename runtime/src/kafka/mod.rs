//! Kafka: everything that speaks to a broker, and nearly all of the unsafe code.
//!
//! In: topic names, records, positions. Out: records, acknowledgements, outcomes of transactions.
//!
//! Everything here is synchronous and belongs to one thread at a time, since its callers are plain
//! loops on threads of their own; [`publisher`] and the changes of [`admin`] are awaited, since
//! tasks share them.
//! Nothing here knows what is inside a record, and nothing here decides what a failure means for a
//! tenant: errors say what the broker said and answer [`crate::fate::Fate`].
//!
//! Read in this order: [`client`], [`admin`], [`record`], [`publisher`], [`reader`], [`group`],
//! [`transactional`].

pub mod admin;
pub mod client;
mod committed;
mod context;
mod delivery;
pub mod failure;
pub mod group;
#[cfg(test)]
pub(crate) mod mock;
mod native;
mod offsets;
pub mod probe;
pub mod publisher;
pub mod reader;
pub mod record;
pub mod transactional;
mod waker;

pub use admin::Admin;
pub use client::{KEYS, KafkaConfig, Sasl, Security, Tls};
pub use failure::Failure;
pub use group::{Committed, Event, GroupConsumer, GroupMetadata, GroupSettings, Standing};
pub use native::Batch;
pub use publisher::{Publisher, PublisherSettings};
pub use reader::{Isolation, Reader, Start, Watermarks};
pub use record::{Outgoing, Partition, Record};
pub use transactional::{Outcome, Position, Transactional, TransactionalSettings};
pub use waker::Alarm;
