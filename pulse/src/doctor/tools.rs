//! The programs that are needed, and what was fetched.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Finding;
use crate::stack::fetch::{CLICKHOUSE_VERSION, Cached, KAFKA_VERSION};
use crate::stack::{self, Cache};

/// The oldest Java that runs this Kafka.
const JAVA_MIN: u32 = 17;

/// Our own programs, each beside `pulse`.
const PROGRAMS: [&str; 4] = [
    "pulse-coinbase",
    "pulse-metrics",
    "pulse-clickhouse",
    "pulse-clickhouse-server",
];

/// Java, new enough for Kafka.
pub fn java() -> Finding {
    let mend = "apt-get install -y openjdk-17-jre-headless, or your system's Java 17 or later";
    match output("java", &["-version"]) {
        None => Finding::error("java", "is missing", mend),
        Some(text) => match java_version(&text) {
            Some(version) if version >= JAVA_MIN => Finding::ok("java", format!("{version}")),
            Some(version) => {
                let found = format!("{version} is too old: Kafka needs {JAVA_MIN}");
                Finding::error("java", found, mend)
            }
            None => Finding::warning("java", "tells no version", mend),
        },
    }
}

/// `17.0.15`, `21`, and `1.8.0` for Java 8.
fn java_version(text: &str) -> Option<u32> {
    let (_, quoted) = text.split_once("version \"")?;
    let mut numbers = quoted.split(['.', '"', '-', '+']);
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        version => Some(version),
    }
}

/// A program of the system's.
pub fn system_tool(check: &'static str, name: &str, package: &str) -> Finding {
    match find(name) {
        Some(path) => Finding::ok(check, path.display().to_string()),
        None => {
            let found = format!("{name} is missing");
            Finding::error(check, found, format!("apt-get install -y {package}"))
        }
    }
}

/// Our own programs.
pub fn programs() -> Finding {
    let missing = PROGRAMS.iter().filter(|name| stack::binary(name).is_err());
    let missing: Vec<&str> = missing.copied().collect();
    match missing.is_empty() {
        true => Finding::ok("programs", "all are built"),
        false => Finding::error(
            "programs",
            format!("not built: {}", missing.join(", ")),
            "cargo build --workspace --bins",
        ),
    }
}

/// Kafka in the cache, and what would fetch it.
pub fn kafka(cache: &Cache, state: &Cached) -> Vec<Finding> {
    let found = cached("kafka cache", KAFKA_VERSION, cache, state);
    let tool = (*state == Cached::Absent).then(|| system_tool("maven", "mvn", "maven"));
    std::iter::once(found).chain(tool).collect()
}

/// ClickHouse in the cache or on `PATH`, and what would fetch it.
pub fn clickhouse(cache: &Cache, state: &Cached) -> Vec<Finding> {
    let is_absent = *state == Cached::Absent;
    if is_absent && find("clickhouse").is_some() {
        return vec![Finding::ok(
            "clickhouse cache",
            "not needed: clickhouse is on PATH",
        )];
    }
    let found = cached("clickhouse cache", CLICKHOUSE_VERSION, cache, state);
    let tool = is_absent.then(|| system_tool("npm", "npm", "nodejs npm"));
    std::iter::once(found).chain(tool).collect()
}

fn cached(check: &'static str, version: &str, cache: &Cache, state: &Cached) -> Finding {
    let root = cache.root().display();
    match state {
        Cached::Whole => Finding::ok(check, format!("{version}, as it was pinned, in {root}")),
        Cached::Absent => Finding::ok(
            check,
            format!("{version} is fetched by the next `pulse up`"),
        ),
        Cached::Spoilt(file) => Finding::error(
            check,
            format!("{file} is not what was pinned"),
            format!("remove {root}: the next `pulse up` fetches it again"),
        ),
    }
}

/// What a program says; some say it on standard error.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Where a program is, as `PATH` says.
fn find(name: &str) -> Option<PathBuf> {
    let script = "command -v -- \"$1\"";
    let found = output("sh", &["-c", script, "sh", name])?;
    let path = found.lines().next()?.trim();
    (!path.is_empty() && path.starts_with('/')).then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::stack::fetch;

    #[test]
    fn java_tells_its_version_in_several_ways() {
        let check = |text, expect| assert_eq!(java_version(text), expect, "{text}");
        check("openjdk version \"17.0.15\" 2025-04-15\n", Some(17));
        check("openjdk version \"21\" 2023-09-19", Some(21));
        check("java version \"1.8.0_401\"", Some(8));
        check("openjdk version \"24-ea\"", Some(24));
        check("java: command not found", None);
    }

    #[test]
    fn tools_are_found_where_the_shell_finds_them() {
        assert_eq!(system_tool("shell", "sh", "dash").level, Level::Ok);
        let missing = system_tool("x", "no-such-program-anywhere", "a-package");
        assert_eq!(missing.level, Level::Error);
        assert_eq!(
            missing.mend.as_deref(),
            Some("apt-get install -y a-package")
        );
    }

    #[test]
    fn an_empty_cache_is_no_fault_and_a_spoilt_one_is() {
        let temporary = tempfile::tempdir().unwrap();
        let cache = Cache::at(temporary.path());
        let kafka = || kafka(&cache, &fetch::cached_kafka(&cache)).remove(0);
        let clickhouse = || clickhouse(&cache, &fetch::cached_clickhouse(&cache)).remove(0);
        assert_eq!(kafka().level, Level::Ok);
        assert_eq!(clickhouse().level, Level::Ok);
        std::fs::create_dir_all(temporary.path().join("kafka-4.3.1/lib")).unwrap();
        assert_eq!(kafka().level, Level::Error);
        std::fs::create_dir_all(temporary.path().join("clickhouse-26.7.3")).unwrap();
        assert_eq!(clickhouse().level, Level::Error);
    }
}
