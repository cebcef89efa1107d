//! The operator's tool, and the local stack that it and the tests run on.
//!
//! In: a command line. Out: an installation that runs ([`up`]), what it says of itself ([`status`],
//! [`top`], [`dlq`], [`doctor`]), and changes of its definitions.
//!
//! What can never happen: a process outlives the `pulse up` that started it ([`stack`]); a process
//! that is not ours is signalled ([`installation`]); anything but a command that says so changes
//! what is on the log.
//!
//! Read in this order: [`stack`], [`installation`], [`status`], [`up`], [`top`], [`dlq`],
//! [`doctor`], [`cli`].

pub mod stack;

pub mod simulator;

pub mod installation;
pub mod status;

pub mod health;
pub mod init;

pub mod up;

pub mod top;

pub mod dlq;
pub mod tenant;

pub mod definer;
pub mod doctor;

pub mod cli;
