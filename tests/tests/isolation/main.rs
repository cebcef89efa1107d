//! The isolation table: every route, at every door, with every credential, of one's own tenant and
//! of another.
//!
//! A [`rows::Row`] says of a route where it is served, how it is asked, and what its own tenant and
//! a foreign one get. Everything else follows from what the route needs in `api::routes::TABLE`
//! ([`cells::expected`]). What a foreign tenant, or nobody, is told of a thing that exists is
//! compared byte by byte with what it is told of one that does not.
//!
//! Read in this order: [`rows`], [`credentials`], [`place`], [`cells`]; then [`foreign`], what no
//! table can say, and [`leaks`], what processes tell of secrets.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod cells;
mod credentials;
mod foreign;
mod leaks;
mod place;
mod rows;
