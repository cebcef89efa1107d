//! Every tenant's topics, in ClickHouse: each record a row, each row once for every reader.
//!
//! In: events, fired windows, late events and dead letters of all tenants, by a consumer group of
//! its own, committed records alone. Out: inserts, and positions once their rows are in ClickHouse.
//!
//! **Exactly once, by identity.** A row's identity is its table's sorting key, and its version is a
//! function of the record (the offset of an event, the revision of a metric). So inserting a record
//! again, by whomever and whenever, changes nothing that a reader with `final = 1` sees, and the
//! sink needs no memory of its own: whoever comes next inserts from the committed position. A retry
//! by the same process also carries the same token with the same bytes, which saves the server the
//! merge.
//!
//! **Nothing is lost**: a position is committed when the rows before it are confirmed ([`round`]).
//! While ClickHouse is away the rounds on their way are full, nothing more is read, the log keeps
//! the rest, and `/health/ready` says so. A block that is refused for what it is goes in parts
//! (`insert`). A record that cannot be read becomes a row of
//! `dead_letters` ([`rows`]); an event that nobody may use has no row, since the metrics step
//! writes its dead letter.
//!
//! What can never happen here: a row that is not a function of its record and place, a position
//! committed before its rows, a tenant taken from anywhere but the topic's name.
//!
//! Read in this order: [`table`], [`cells`], [`rows`], [`native`], [`round`], [`sink`]; and for the
//! server's side [`server`], [`migrations`], [`retention`].

pub mod cells;
pub mod table;

pub mod rows;

pub mod native;
pub mod row_binary;

pub mod round;

pub mod lz4;

pub mod failure;
pub mod server;

pub mod migrations;
pub mod retention;

pub mod figures;
pub mod settings;

mod check;
mod insert;
mod lanes;
pub mod sink;
mod trouble;

pub use insert::InsertError;
pub use settings::{Config, Retention, SinkConfig};
pub use sink::{GROUP, run};
