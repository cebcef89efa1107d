//! How an installation is: its processes, the lag of its groups, and whether a replay is through.
//!
//! In: the run file, each process's own port, the brokers. Out: a [`Status`], true at the moment at
//! which it was taken; what does not answer is said to be away, not guessed.
//!
//! Nothing here changes anything.
//!
//! Read in this order: [`http`], [`exposition`], [`clickhouse`], [`lag`], [`report`], [`drained`],
//! [`survey`].

pub mod clickhouse;
pub mod exposition;
pub mod http;

pub mod lag;

pub mod report;

pub mod drained;
pub mod survey;

pub use report::{Condition, ProcessStatus, Status};
pub use survey::Survey;
