//! Producers of the tenants' own that write straight to Kafka.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod examples;
mod provenance;
mod registry;
mod rights;

use std::path::{Path, PathBuf};

use tests::python;

/// A file of this repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Python as the example wants it.
async fn with_confluent_kafka() -> PathBuf {
    let requirements = include_str!("../../../docs/examples/requirements.txt");
    python::python("python-confluent-kafka", requirements).await
}
