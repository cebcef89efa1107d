//! The machine itself: system, memory, open files.

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::cli::text;

/// Memory below which the local servers do not fit.
const MEMORY_BYTES_MIN: u64 = 2_500_000_000;
/// Memory that should be free when they start.
const AVAILABLE_BYTES_MIN: u64 = 1_500_000_000;
/// Open files below which a broker with a few tenants runs out of them.
const FILES_MIN: u64 = 4_096;

/// What works on a system that the local servers are not made for.
pub const OWN_SERVERS: &str = "bring your own Kafka and ClickHouse: set PULSE_KAFKA_BROKERS to \
    host:port and PULSE_CLICKHOUSE_URL to http(s)://host:port";

/// Whether the local servers are made for this system.
pub fn system(os: &str, architecture: &str, is_glibc: bool) -> Finding {
    let found = format!("{os} on {architecture}");
    match (os, architecture, is_glibc) {
        ("linux", "x86_64", true) => Finding::ok("system", found),
        ("linux", "x86_64", false) => {
            let found = format!("{found}, without glibc, which the local ClickHouse needs");
            Finding::error("system", found, OWN_SERVERS)
        }
        _ => {
            let found = format!("{found}: the local Kafka and ClickHouse are for linux on x86_64");
            Finding::error("system", found, OWN_SERVERS)
        }
    }
}

/// This machine's.
pub fn this_system() -> Finding {
    let is_glibc = cfg!(target_env = "gnu");
    system(std::env::consts::OS, std::env::consts::ARCH, is_glibc)
}

/// Whether there is enough memory, by `/proc/meminfo`.
pub fn memory(meminfo: &str) -> Finding {
    let bytes = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace()
            .nth(1)?
            .parse::<u64>()
            .ok()
            .map(|kib| kib * 1_024)
    };
    let (Some(total), Some(available)) = (bytes("MemTotal:"), bytes("MemAvailable:")) else {
        return Finding::warning("memory", "is not known", "see how much /proc/meminfo names");
    };
    let (total_text, available_text) = (text::bytes(total), text::bytes(available));
    let found = format!("{total_text}, of which {available_text} are free");
    if total < MEMORY_BYTES_MIN {
        let mend = format!(
            "the local servers need {}: use a larger machine, or {OWN_SERVERS}",
            text::bytes(MEMORY_BYTES_MIN)
        );
        return Finding::error("memory", found, mend);
    }
    if available < AVAILABLE_BYTES_MIN {
        let mend = format!(
            "close programs until {} are free",
            text::bytes(AVAILABLE_BYTES_MIN)
        );
        return Finding::warning("memory", found, mend);
    }
    Finding::ok("memory", found)
}

/// This machine's.
pub fn this_memory() -> Finding {
    memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

/// Whether a process may open enough files.
pub fn files(limit: Option<u64>) -> Finding {
    match limit {
        None => Finding::ok("open files", "no limit"),
        Some(limit) if limit >= FILES_MIN => {
            Finding::ok("open files", format!("at most {limit} in a process"))
        }
        Some(limit) => Finding::warning(
            "open files",
            format!("at most {limit} in a process"),
            format!("raise it before `pulse up`: ulimit -n {}", FILES_MIN * 16),
        ),
    }
}

/// This process's, which those that it starts inherit.
pub fn these_files() -> Finding {
    files(getrlimit(Resource::Nofile).current)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn meminfo(total_kib: u64, available_kib: u64) -> String {
        format!("MemTotal: {total_kib} kB\nMemFree: 1 kB\nMemAvailable:   {available_kib} kB\n")
    }

    #[test]
    fn too_little_is_an_error_and_little_is_a_warning() {
        let level = |finding: Finding| finding.level;
        assert_eq!(level(memory(&meminfo(24_000_000, 22_000_000))), Level::Ok);
        assert_eq!(
            level(memory(&meminfo(4_000_000, 1_000_000))),
            Level::Warning
        );
        assert_eq!(level(memory(&meminfo(2_000_000, 1_900_000))), Level::Error);
        assert_eq!(level(memory("")), Level::Warning);
        assert_eq!(level(files(None)), Level::Ok);
        assert_eq!(level(files(Some(1_048_576))), Level::Ok);
        assert_eq!(level(files(Some(1_024))), Level::Warning);
    }

    #[test]
    fn other_systems_are_told_what_works_there() {
        assert_eq!(system("linux", "x86_64", true).level, Level::Ok);
        for finding in [
            system("macos", "aarch64", false),
            system("linux", "x86_64", false),
        ] {
            assert_eq!(finding.level, Level::Error);
            assert!(finding.mend.unwrap().contains("PULSE_KAFKA_BROKERS"));
        }
    }
}
