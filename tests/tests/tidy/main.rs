//! The house rules, checked on every file.
//!
//! Each rule is a function from a file's text to what breaks it there, and has a sample that does.
//! A rule has no list of exceptions but the ones that its doc names.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod arrows;
mod documented;
mod heads;
mod lengths;
mod markdown;
mod names;
mod repository;
mod safety;
mod waits;
mod words;
