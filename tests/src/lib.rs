//! What the real tests stand on: an installation of its own, with real servers and our own programs
//! as processes.
//!
//! Nothing here is a mock. A test that kills something starts an installation of its own.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

pub mod documented;
pub mod folder;
pub mod http;
pub mod installation;
pub mod market;
pub mod python;
pub mod recording;
pub mod registry;
pub mod relay;
pub mod samples;
pub mod servers;
pub mod tables;
pub mod topic;
pub mod trades;

pub use installation::Installation;
pub use runtime::testing::{PATIENCE, eventually, is_soak, throughout};
