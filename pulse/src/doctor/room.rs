//! Room to work: disks, the data folder, ports, and what an earlier run left behind.

use std::net::TcpListener;
use std::path::Path;

use runtime::clock;

use super::Finding;
use crate::cli::{hints, text};
use crate::installation::run_file::Found;
use crate::installation::{DataFolder, RunFile};

/// Room below which nothing is started.
const DISK_BYTES_MIN: u64 = 1_000_000_000;
/// Room below which a day of a busy feed may fill the disk.
const DISK_BYTES_GOOD: u64 = 5_000_000_000;
/// Room that Kafka and ClickHouse take in the cache.
const CACHE_BYTES: u64 = 800_000_000;

/// The ports that `pulse up` would like.
const PORTS: [(&str, u16); 6] = [
    ("kafka", 9092),
    ("clickhouse", 8123),
    ("clickhouse (native)", 9000),
    ("pulse-coinbase", 9101),
    ("pulse-metrics", 9102),
    ("pulse-clickhouse", 9103),
];

/// Whether so much room is enough for the data.
pub fn disk(free: u64, place: &Path) -> Finding {
    let found = format!("{} free for {}", text::bytes(free), place.display());
    let elsewhere = "make room, or name a folder on another disk with --data";
    match free {
        free if free < DISK_BYTES_MIN => {
            let least = text::bytes(DISK_BYTES_MIN);
            Finding::error(
                "disk",
                found,
                format!("at least {least} are needed: {elsewhere}"),
            )
        }
        free if free < DISK_BYTES_GOOD => Finding::warning("disk", found, elsewhere),
        _ => Finding::ok("disk", found),
    }
}

/// The room on the disk of a data folder, which need not exist yet.
pub fn this_disk(folder: &DataFolder) -> Finding {
    match free_bytes(folder.path()) {
        Ok(free) => disk(free, folder.path()),
        Err(error) => Finding::warning("disk", format!("is not known: {error}"), "see `df`"),
    }
}

/// Whether the cache can take what has to be fetched.
pub fn cache_disk(cache: &Path) -> Finding {
    match free_bytes(cache) {
        Ok(free) if free < CACHE_BYTES => Finding::error(
            "cache disk",
            format!("{} free for {}", text::bytes(free), cache.display()),
            format!(
                "{} are needed: make room, or set PULSE_CACHE",
                text::bytes(CACHE_BYTES)
            ),
        ),
        Ok(free) => Finding::ok("cache disk", format!("{} free", text::bytes(free))),
        Err(error) => Finding::warning("cache disk", format!("is not known: {error}"), "see `df`"),
    }
}

fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let there = path
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(there)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether files can be made in the data folder.
pub fn writable(folder: &DataFolder) -> Finding {
    let path = folder.path();
    let tried = folder
        .make()
        .map_err(|error| error.to_string())
        .and_then(|()| tempfile::tempfile_in(path).map_err(|error| error.to_string()));
    match tried {
        Ok(_) => Finding::ok("data folder", path.display().to_string()),
        Err(error) => Finding::error(
            "data folder",
            error,
            format!(
                "make {} yours, or name another one with --data",
                path.display()
            ),
        ),
    }
}

/// What the run file says: nothing runs, something does, or something was killed.
pub fn run_file(folder: &DataFolder) -> Finding {
    let down = hints::of(folder, "down");
    match RunFile::find(folder) {
        Ok(Found::Nothing) => Finding::ok("run file", "nothing runs"),
        Ok(Found::Running(run)) => {
            let span = text::span((clock::now_ms() - run.began_at_ms).max(0));
            let pid = run.supervisor.pid;
            Finding::ok(
                "run file",
                format!("`pulse up` (pid {pid}) has run for {span}"),
            )
        }
        Ok(Found::Stale(run)) => {
            let left = run.alive().len();
            let found = format!("`pulse up` was killed and left {left} processes behind");
            Finding::warning(
                "run file",
                found,
                format!("`{down}` clears up; so does `pulse up`"),
            )
        }
        Err(error) => {
            let mend = "remove run.json once nothing of it runs any more";
            Finding::error("run file", error.to_string(), mend)
        }
    }
}

/// Which of the usual ports are taken; no fault, since others are used then.
pub fn ports() -> Finding {
    let is_taken = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_err();
    let taken = PORTS.iter().filter(|(_, port)| is_taken(*port));
    let taken: Vec<_> = taken
        .map(|(name, port)| format!("{port} ({name})"))
        .collect();
    match taken.is_empty() {
        true => Finding::ok("ports", "the usual ones are free"),
        false => Finding::warning(
            "ports",
            format!("taken: {}", taken.join(", ")),
            "nothing to do: the next free ones are used, and `pulse status` shows them",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use runtime::config::Environment;

    fn folder(path: &Path) -> DataFolder {
        DataFolder::find(Some(path), &mut Environment::of::<String, String>([])).unwrap()
    }

    #[test]
    fn room_is_judged_by_what_a_day_takes() {
        let level = |free| disk(free, Path::new("/d")).level;
        assert_eq!(level(100_000_000_000), Level::Ok);
        assert_eq!(level(2_000_000_000), Level::Warning);
        assert_eq!(level(999_999_999), Level::Error);
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_is_on_its_parents_disk() {
        let temporary = tempfile::tempdir().unwrap();
        let new = temporary.path().join("a/b/c");
        assert!(free_bytes(&new).unwrap() > 0);
        assert_eq!(writable(&folder(&new)).level, Level::Ok);
        assert_eq!(
            writable(&folder(Path::new("/proc/new"))).level,
            Level::Error
        );
    }

    #[test]
    fn what_was_killed_shows() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path());
        assert_eq!(run_file(&folder).level, Level::Ok);
        let mut run = RunFile::begin(0).unwrap();
        run.supervisor.began_ticks += 1;
        run.write(&folder).unwrap();
        let finding = run_file(&folder);
        assert_eq!(finding.level, Level::Warning);
        assert!(finding.mend.unwrap().contains(" down --data "));
    }
}
