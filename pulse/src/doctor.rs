//! What is wrong on this machine, and how to mend it.
//!
//! In: a data folder and the environment. Out: a [`Finding`] for each thing that was looked at, the
//! good ones too. Nothing here changes anything but a file that it writes to see whether it can.
//!
//! Read in this order: [`finding`], [`machine`], [`tools`], [`room`], [`servers`], [`run`].

pub mod finding;

pub mod machine;
pub mod room;
pub mod tools;

pub mod servers;

pub mod run;

pub use finding::{Finding, Level};
pub use run::{before_up, examine};
