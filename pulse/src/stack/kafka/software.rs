//! Kafka's programs: the one that formats a folder, and the broker.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::listeners::Certificates;
use super::{KafkaError, KafkaOptions, Purpose, failed, fault, properties};
use crate::stack::fetch;
use crate::stack::process::{Launch, Orphan, Process, Tenure};

/// Kafka's jars, and what makes them start faster.
#[derive(Clone, Debug)]
pub(super) struct Software {
    classpath: OsString,
    archive: ClassArchive,
}

/// What a Java has to do with the file that holds Kafka's classes ready.
#[derive(Clone, Debug)]
pub(super) enum ClassArchive {
    /// There is none.
    Absent,
    /// It is made by the broker, when that ends in order.
    Made(PathBuf),
    /// It is there.
    Used(PathBuf),
}

impl Software {
    /// The jars in `lib`, without an archive.
    pub(super) fn of(lib: &Path) -> Result<Self, KafkaError> {
        Ok(Self {
            classpath: classpath(lib)?,
            archive: ClassArchive::Absent,
        })
    }

    /// The same with an archive.
    pub(super) fn with(self, archive: ClassArchive) -> Self {
        Self { archive, ..self }
    }

    pub(super) fn archive(&self) -> &ClassArchive {
        &self.archive
    }

    /// Makes the folder a broker's, unless it is one already: what says so is written last.
    pub(super) async fn format(
        &self,
        options: &KafkaOptions,
        secured: Option<&Certificates>,
    ) -> Result<(), KafkaError> {
        if properties::data(&options.folder)
            .join("meta.properties")
            .is_file()
        {
            return Ok(());
        }
        let tool = self
            .java(Purpose::Test, options.folder.join("format.log"))
            .args(["kafka.tools.StorageTool", "format", "--standalone", "-t"])
            .arg(cluster_id())
            .arg("-c")
            .arg(properties::path(&options.folder))
            .args(secured.into_iter().flat_map(Certificates::scram_user))
            .spawn()?;
        match tool.exited().await.success() {
            true => Ok(()),
            false => Err(failed("formatting Kafka's folder", &tool)),
        }
    }

    pub(super) fn launch(
        &self,
        options: &KafkaOptions,
        tenure: Tenure,
    ) -> Result<Process, KafkaError> {
        let orphan = match options.purpose {
            Purpose::Serve => Orphan::Ends,
            Purpose::Test => Orphan::IsKilled,
        };
        let dump = match &self.archive {
            ClassArchive::Made(path) => Some(fetch::option("-XX:ArchiveClassesAtExit=", path)),
            _ => None,
        };
        let broker = self
            .java(options.purpose, log(&options.folder))
            .args(dump)
            .arg("kafka.Kafka")
            .arg(properties::path(&options.folder))
            .orphan(orphan)
            .holding(tenure);
        Ok(broker.spawn()?)
    }

    /// The broker's controller alone.
    pub(super) fn launch_controller(&self, options: &KafkaOptions) -> Result<Process, KafkaError> {
        let controller = self
            .java(Purpose::Test, options.folder.join("controller.log"))
            .arg("-Dorg.slf4j.simpleLogger.log.org.apache.kafka.controller=info")
            .arg("kafka.Kafka")
            .arg(properties::controller_path(&options.folder))
            .orphan(Orphan::IsKilled);
        Ok(controller.spawn()?)
    }

    /// A Java that has everything but the class to run. The C1 compiler alone and the serial
    /// collector halve the CPU of a start; a broker that serves gets the full ones.
    fn java(&self, purpose: Purpose, log: PathBuf) -> Launch {
        let sized: &[&str] = match purpose {
            Purpose::Serve => &[
                "-Xms256m",
                "-Xmx1g",
                "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=20",
            ],
            Purpose::Test => &["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
        };
        let archive = match &self.archive {
            ClassArchive::Used(path) => Some(fetch::option("-XX:SharedArchiveFile=", path)),
            _ => None,
        };
        Launch::new("java", log)
            .args(sized)
            .args(["-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"])
            .args(LOG_LEVELS)
            .args(archive)
            .arg("-cp")
            .arg(&self.classpath)
    }
}

/// Warnings, and what a broker does about groups and transactions.
const LOG_LEVELS: [&str; 4] = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.coordinator=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
];

/// Where the broker's log is.
pub(super) fn log(folder: &Path) -> PathBuf {
    folder.join("kafka.log")
}

/// The jars in one fixed order: the class archive holds for exactly one class path.
fn classpath(lib: &Path) -> Result<OsString, KafkaError> {
    let entries = std::fs::read_dir(lib).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut jars: Vec<_> = entries
        .map_err(fault(lib))?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    jars.sort();
    let mut classpath = OsString::new();
    for jar in jars {
        if !classpath.is_empty() {
            classpath.push(":");
        }
        classpath.push(jar);
    }
    Ok(classpath)
}

/// A cluster's id: 16 bytes in URL-safe base64, 22 characters, of which the last holds 2 bits.
fn cluster_id() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // It starts with a letter, since a dash would look like an option to the tool.
    let first = fastrand::usize(..52);
    let middle = std::iter::repeat_with(|| fastrand::usize(..64)).take(20);
    let last = fastrand::usize(..4) * 16;
    let digits = std::iter::once(first)
        .chain(middle)
        .chain(std::iter::once(last));
    digits.map(|digit| char::from(ALPHABET[digit])).collect()
}
