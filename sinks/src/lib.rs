//! From topics to what lies outside: rows in ClickHouse, and whether they are all there.
//!
//! In: records of all tenants' topics. Out: rows, and committed positions.
//!
//! What can never happen here: a topic or a tenant is not chosen, nothing is written back to the
//! log, and no row depends on anything but its record and the record's place.
//!
//! Read in this order: [`clickhouse`], [`reconcile`].

pub mod clickhouse;
pub mod reconcile;
