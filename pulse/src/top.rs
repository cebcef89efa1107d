//! The live view in a terminal: markets, the last updates, and how the pipeline is doing.
//!
//! In: a tenant's events as they reach the log, the groups' lags, candles for a market's day where
//! its quotes say nothing of it. Out: a screen, or plain lines where the output is no terminal.
//!
//! What is shown is a [`Board`]; drawing it is a pure function of it, the time and the screen's
//! size.
//! Nothing here changes anything, and nothing here joins a group: watching costs nobody a position.
//!
//! Read in this order: [`number`], [`market`], [`board`], [`draw`]; then [`source`], [`figures`],
//! [`screen`], [`lines`], [`run`].

pub mod number;

pub mod board;
pub mod market;

pub mod draw;

pub mod figures;
pub mod source;

pub mod lines;
pub mod screen;

pub mod run;

pub use board::Board;
pub use run::{TopArgs, top};
