//! The disk log on real disks, in processes that are killed, starved and measured.
#![allow(clippy::unwrap_used)] // Also in what is no #[test] itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use api::disk_log::{AppendError, DiskLog, DiskLogConfig, Outcome, Outlet, Record, Stored};
use runtime::health::Health;
use runtime::service::Shutdown;
use runtime::telemetry::Metrics;
use runtime::testing::{eventually, is_soak};

const LOAD: &str = env!("CARGO_BIN_EXE_disk-log-load");

fn open(config: &DiskLogConfig) -> DiskLog {
    DiskLog::open(config, &Metrics::default(), &Health::default()).unwrap()
}

/// What a load said: its lines.
fn said(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(Into::into).collect()
}

/// The first number of a line.
fn number(line: &str) -> u64 {
    let digits = line.split(|c: char| !c.is_ascii_digit());
    let first = digits.into_iter().find(|part| !part.is_empty());
    first.unwrap().parse().unwrap()
}

struct Kept(tokio::sync::Mutex<Vec<String>>);

impl Outlet for Kept {
    async fn publish(&self, records: &[Stored]) -> Vec<Outcome> {
        let first_line = |stored: &Stored| {
            let text = String::from_utf8_lossy(stored.value()).into_owned();
            text.lines().next().unwrap_or_default().to_owned()
        };
        self.0.lock().await.extend(records.iter().map(first_line));
        vec![Outcome::Published; records.len()]
    }
}

async fn drained(log: &DiskLog) -> Vec<String> {
    let (outlet, shutdown) = (Kept(Vec::new().into()), Shutdown::default());
    let empty = async {
        eventually("the log becomes empty", async || match log.is_empty() {
            true => Ok(()),
            false => Err(format!("{:?}", log.depth())),
        })
        .await;
        shutdown.request();
    };
    tokio::join!(log.drain(&outlet, &shutdown), empty);
    outlet.0.into_inner()
}

/// Appends, drains and is killed; again and again on the same folder.
#[tokio::test]
async fn what_was_acknowledged_is_there_after_kill_9() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let (log, published) = (folder.path().join("log"), folder.path().join("published"));
    let mut acknowledged = HashSet::new();
    for round in 0..if is_soak() { 100 } else { 10 } {
        let mut child = Command::new(LOAD)
            .arg("append")
            .args([&log, Path::new(&round.to_string()), &published])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let count = random.usize(1..400);
        acknowledged.extend(lines.by_ref().take(count).map(Result::unwrap));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines.map_while(Result::ok));
    }
    let log = open(&DiskLogConfig {
        free_bytes_min: 0,
        ..DiskLogConfig::new(&log)
    });
    let text = std::fs::read_to_string(&published).unwrap();
    let mut came: Vec<String> = text.lines().map(Into::into).collect();
    let before = came.len();
    came.extend(drained(&log).await);
    println!(
        "{} acknowledged; {before} came before the last kill, {} after it",
        acknowledged.len(),
        came.len() - before
    );
    let first: BTreeSet<&String> = came.iter().collect();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|one| !first.contains(one))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    // Repeats left out, each client's come in their order.
    let mut seen = HashSet::new();
    let mut last: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for one in came.iter().filter(|one| seen.insert(*one)) {
        let numbers: Vec<u64> = one.split(' ').map(|word| word.parse().unwrap()).collect();
        let before = last.insert((numbers[0], numbers[1]), numbers[2]);
        assert!(
            before.is_none_or(|before| before < numbers[2]),
            "{one} after {before:?}"
        );
    }
}

/// A file system of 1 MiB and few files; `None` where this user may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path());
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        is_mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Fills a disk through the log: what is refused is refused as full, and what was stored comes out.
async fn fills(disk: &SmallDisk, segment_bytes: u64) {
    let config = DiskLogConfig {
        free_bytes_min: 0,
        segment_bytes,
        ..DiskLogConfig::new(disk.0.path().join("log"))
    };
    let log = open(&config);
    for round in 0..3 {
        let mut stored = vec![];
        loop {
            let text = format!("{round} {}\n{}", stored.len(), "x".repeat(5_000));
            let record = Record {
                topic: "pulse.demo.events",
                key: b"k",
                value: text.as_bytes(),
            };
            match log.append(&[record]).await {
                Ok(()) => stored.push(text.lines().next().unwrap().to_owned()),
                Err(error) => break assert_eq!(error, AppendError::Full),
            }
        }
        println!("round {round}: {} records", stored.len());
        assert!(stored.len() > 10);
        assert!(log.depth().is_full);
        assert_eq!(drained(&log).await, stored);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    match (
        SmallDisk::mount("size=1m"),
        SmallDisk::mount("size=1m,nr_inodes=9"),
    ) {
        (Some(few_bytes), Some(few_files)) => {
            fills(&few_bytes, 64 * 1024).await;
            fills(&few_files, 32 * 1024).await;
        }
        _ => println!("no disk may be mounted here: the limit on files stands for it"),
    }
}

/// A write that fails half way, as on a full disk: the kernel ends it at the limit of a file.
#[test]
fn a_write_that_fails_half_way_leaves_whole_requests() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    // 100 KiB a file, while a segment would take 1 MiB; the signal is not to end the process.
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$@\"";
    let mut fill = Command::new("bash");
    fill.args(["-c", script, "-", LOAD, "fill"]).arg(&log);
    let filled = said(fill.args(["1048576", "1", "1000", "1", "3000"]));
    println!("{filled:?}");
    assert_eq!(filled[1], "refused: the disk log is full");
    let stored = number(&filled[0]);
    assert!(stored > 20);
    let drained = said(Command::new(LOAD).arg("drain").arg(&log));
    assert_eq!(number(&drained[0]), stored);
}

/// 200 MiB in the log, and its process as small as with none.
#[test]
fn memory_does_not_grow_with_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut fill = Command::new(LOAD);
    fill.arg("fill").arg(&log);
    let filled = said(fill.args(["16777216", "64", "33", "100", "1000"]));
    let drained = said(Command::new(LOAD).arg("drain").arg(&log));
    println!("{filled:?} {drained:?}");
    assert_eq!(number(&filled[0]), 64 * 33);
    assert_eq!(number(&drained[0]), 64 * 33 * 100);
    // Filling: 32 MiB may wait for the disk, with their encoded requests. Draining: a batch.
    assert!(number(&filled[2]) < 96 * 1024, "{}", filled[2]);
    assert!(number(&drained[1]) < 48 * 1024, "{}", drained[1]);
}
