//! Kafka's classes, as the JVM lays them out in memory, kept in a file: starting with it takes half
//! the time and half the CPU (measured on 2 cores: 0.8 s instead of 1.5 s to the first answer).
//!
//! The JVM makes the archive itself when a first broker ends. One that another JVM made it ignores,
//! in silence; so nothing depends on the archive, and failing to make it is no failure. Beside it
//! lies a note of the JVM that made it: a broker that turns out to run on another one drops both.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::software::{ClassArchive, Software};
use super::{Cache, Kafka, KafkaError, KafkaOptions, Progress};

const NAME: &str = "kafka-4.3.1.jsa";
/// The extension of the note, and of an archive that is not whole yet.
const NOTE: &str = "jvm";
const DRAFT: &str = "draft";

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
    let Ok(_lock) = cache.lock(NAME, progress).await else {
        return ClassArchive::Absent;
    };
    if !archive.is_file() {
        progress("preparing Kafka's classes, once, for faster starts");
        if let Err(error) = make(software, &archive).await {
            tracing::debug!(%error, "no class archive; Kafka starts without one");
            return ClassArchive::Absent;
        }
    }
    ClassArchive::Used(archive)
}

/// Removes an archive that another JVM made, so that the next start makes its own.
pub(super) fn drop_if_foreign(kafka: &Kafka) {
    let ClassArchive::Used(archive) = kafka.software.archive() else {
        return;
    };
    let note = std::fs::read_to_string(archive.with_extension(NOTE)).ok();
    if note != jvm(kafka.pid()) {
        // Where it cannot be removed, starts stay slower: no more than that.
        let _ = std::fs::remove_file(archive);
    }
}

/// Runs a broker in a folder of its own until it answers, and lets it write its classes as it ends.
async fn make(software: &Software, archive: &Path) -> Result<(), KafkaError> {
    let draft = archive.with_extension(DRAFT);
    let note = archive.with_extension(NOTE);
    let folder = tempfile::tempdir().map_err(super::fault(&std::env::temp_dir()))?;
    let dumping = software.clone().with(ClassArchive::Made(draft.clone()));
    let kafka = Kafka::start_with(KafkaOptions::test(folder.path()), dumping).await?;
    let jvm = jvm(kafka.pid()).unwrap_or_default();
    kafka.stop().await;
    std::fs::write(&note, jvm).map_err(super::fault(&note))?;
    std::fs::rename(&draft, archive).map_err(super::fault(archive))
}

/// Which JVM a process runs on: its program's path, and when and how large that was made.
fn jvm(pid: u32) -> Option<String> {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let metadata = program.metadata().ok()?;
    Some(format!(
        "{} {} {}",
        program.display(),
        metadata.ctime(),
        metadata.len()
    ))
}
