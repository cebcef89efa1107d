//! What tenants are accounted for: counted, kept, shown to gateways, told.
//!
//! In: rows of ClickHouse. Out: `usage` records on `pulse.control`, by which gateways hold tenants
//! to their monthly quotas; a `system_event` of a tenant that has reached 80 % or 100 % of its own;
//! `GET /api/v1/usage`.
//!
//! An identity belongs to the month in which the log took it first, so that a month that is over
//! does not change. What was counted to an instant that every partition's rows have passed is kept
//! and never counted again ([`ledger`]); behind it, rows are counted by when the log took them,
//! with as much before as repeats of them may lie in ([`count`]). So a count costs what came
//! lately, however much the month holds.
//!
//! Where ClickHouse, the brokers or this process are away, the last figure stands, and gateways go
//! on with what they took since.

pub mod count;
pub mod keeper;
pub mod ledger;
pub mod route;

use runtime::config::Key;

pub use ledger::Ledger;

/// All of this part's keys.
pub const KEYS: &[Key] = &[keeper::INTERVAL];

/// What is counted together: an hour has a whole number of them, as each of its ends has.
pub const SLICE_MS: i64 = 300_000;
/// An hour.
pub const HOUR_MS: i64 = 3_600_000;
/// A day.
pub const DAY_MS: i64 = 24 * HOUR_MS;
