//! Events become metrics.
//!
//! In: records of a tenant's `events`, in partition order. Out: records and state changes, to be
//! committed together with the input position that produced them.
//!
//! Nothing in the steps does I/O, reads a clock or awaits: they are functions of what they were
//! handed, so the same records give the same bytes on any machine, in any process, after any crash.
//! The shell that reads, commits and restores is `runtime::task`.
//!
//! Read in this order: [`metrics`], and in it `clock`, `layout`, `panes`, `series`, `ids`, `step`.

pub mod metrics;
