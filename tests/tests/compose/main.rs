//! `docker-compose.yml` and what belongs to it: what can be known of it without an engine.
//!
//! The file is checked against the Compose Specification's own schema (`tests/fixtures`), and by
//! rules of ours. Then every role of ours runs, outside containers, with exactly the command, the
//! environment and the health check of the file, on a real Kafka and a real ClickHouse; only
//! addresses and paths of containers are replaced by those of the test. The dashboards' queries run
//! on the rows that come out of it.
//!
//! What is not shown here: that the images build, and that the other images do what their own
//! documentation says.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod dashboards;
mod file;
mod image;
mod monitoring;
mod roles;
mod rules;
mod schema;
