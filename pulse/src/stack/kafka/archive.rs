//! Kafka's classes, as the JVM lays them out in memory, kept in a file: starting with it takes half
//! the time and half the CPU (measured on 2 cores: 0.8 s instead of 1.5 s to the first answer).
//!
//! The JVM makes the archive itself when a first broker ends, and ignores one that another JVM or
//! another class path made; so nothing depends on it, and failing to make it is no failure.

use std::path::Path;

use super::{Cache, ClassArchive, Kafka, KafkaError, KafkaOptions, Progress, Software};

const NAME: &str = "kafka-4.3.1.jsa";

/// The archive, made when it is not there yet; absent when it cannot be.
pub(super) async fn ensure(
    cache: &Cache,
    software: &Software,
    progress: Progress<'_>,
) -> ClassArchive {
    let archive = cache.root().join(NAME);
    if archive.is_file() {
        return ClassArchive::Used(archive);
    }
    let Ok(_lock) = cache.lock(NAME, progress).await else { return ClassArchive::Absent };
    if !archive.is_file() {
        progress("preparing Kafka's classes, once, for faster starts");
        if let Err(error) = make(software, &archive).await {
            tracing::debug!(%error, "no class archive; Kafka starts without one");
            return ClassArchive::Absent;
        }
    }
    ClassArchive::Used(archive)
}

/// Removes an archive that the broker's JVM would not have, so that the next start makes its own.
pub(super) fn drop_if_foreign(kafka: &Kafka) {
    let ClassArchive::Used(archive) = &kafka.software.archive else { return };
    if kafka.process.log_tail(200).contains("[cds") {
        // Without it nothing but the start is slower.
        let _ = std::fs::remove_file(archive);
    }
}

/// Runs a broker in a folder of its own until it answers, and lets it write its classes as it ends.
async fn make(software: &Software, archive: &Path) -> Result<(), KafkaError> {
    let draft = archive.with_extension("draft");
    let folder = tempfile::tempdir().map_err(super::fault(&std::env::temp_dir()))?;
    let dumping = Software { archive: ClassArchive::Made(draft.clone()), ..software.clone() };
    let kafka = Kafka::start_with(KafkaOptions::test(folder.path()), dumping).await?;
    kafka.stop().await;
    std::fs::rename(&draft, archive).map_err(super::fault(archive))
}
