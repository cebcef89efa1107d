//! Records and frames that nobody could use: listed, looked into, and put back.
//!
//! In: a tenant's `dead-letters`, as the log holds it; no group is joined, so looking costs nobody
//! a position. Out: tables, bytes, and, for `replay --execute` alone, records on the topic that
//! they came from, each with a mark beside its letter.
//!
//! What can never happen: a record is put on another tenant's topic, or on one that processors
//! alone write; one goes round for ever ([`replay`]).
//!
//! Read in this order: [`filter`], [`mark`], [`letters`], [`hex`], [`list`], [`replay`], `run`.

pub mod filter;
pub mod hex;

pub mod letters;
pub mod mark;

pub mod list;
pub mod replay;

pub mod run;

pub use run::{DlqCommand, run};
