//! The metrics step: events in, fired windows out, in event time, each event counted once.
//!
//! Each subject is a stream with a clock of its own ([`clock`]). A meter's group holds the subject,
//! so every window has exactly one clock. Aggregates are compiled into cells ([`layout`]) that lie
//! densely in memory ([`panes`]); a group's windows are a [`series`], and what they compute is one
//! of the [`meters`]. Identities of events that would not yet be late are remembered ([`ids`],
//! `slice` by slice). [`step`] puts these together, `fold` brings events into windows, `takeover`
//! spares the longer ones most of that, `firing` says when windows fire and leave, `install` takes
//! definitions into force and `state` writes everything down.

pub mod clock;
pub mod definitions;
mod emit;
pub mod ends;
pub mod figures;
mod firing;
mod fold;
pub mod ids;
mod idset;
mod install;
pub mod layout;
pub mod meters;
pub mod panes;
pub mod partial;
mod restore;
pub mod series;
pub mod service;
mod sessions;
mod slice;
mod split;
mod state;
pub mod step;
pub mod subjects;
mod takeover;
pub mod totals;
mod warm;

pub use definitions::{Definitions, NamedMeter};
pub use service::run;
pub use step::MetricsStep;
pub use totals::TotalsStep;
