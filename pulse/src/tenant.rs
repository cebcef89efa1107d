//! `pulse tenant`: producers of a tenant's own, and what they may do on the brokers.
//!
//! Read in this order: [`rights`], [`guard`], [`mod@run`].

pub mod rights;

pub mod guard;

pub mod run;

pub use run::{TenantCommand, run};
