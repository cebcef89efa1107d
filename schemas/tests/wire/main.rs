//! The hand-written codecs against `apache-avro`, against garbage and against time.
//!
//! Each schema's values are made, from the schema alone, as `apache-avro`'s own [`Value`]s, so both
//! codecs are given the same values and must give the same back.
//!
//! [`Value`]: apache_avro::types::Value

#![allow(
    clippy::unwrap_used,
    reason = "all of this is a test, its helping functions too"
)]

mod codecs;
mod reference;
mod values;

mod agreement;
mod documents;
mod evolution;
mod fingerprint;
mod garbage;
mod golden;
