//! The language that all parts share: what travels, how it is named and how it is written down.
//!
//! In: nothing. Out: nothing. This crate does no I/O, reads no clock and knows no runtime, so every
//! function here gives the same answer on every machine, today and in a replay next year.
//!
//! Read in this order: [`ids`], [`time`], [`decimal`], [`total`], [`event`], [`refusal`],
//! [`sketch`], [`metric`], [`meter`], [`access`], [`tier`], [`usage`], [`control`], [`wire`].

pub mod ids;
pub mod murmur2;
pub mod time;

pub mod decimal;
pub mod total;

pub mod wire;

pub mod event;
pub mod origin;
pub mod refusal;

pub mod metric;
pub mod sketch;

pub mod book;
pub mod dead_letter;
pub mod late;

pub mod access;
pub mod control;
pub mod meter;
pub mod tier;
pub mod usage;
