//! The log against a naive one, which is a vector: over crashes, faults and damage.

use std::sync::{Arc, Mutex};

use runtime::health::Health;
use runtime::service::Shutdown;
use runtime::telemetry::Metrics;
use runtime::testing::until;

use super::*;

mod damage;
mod order;
mod simulation;

const TOPIC: &str = "pulse.demo.events";

/// A log in this folder with segments of 8 KiB and a bound of 64.
fn small(folder: &tempfile::TempDir) -> DiskLogConfig {
    DiskLogConfig {
        bytes_max: 64 * 1024,
        free_bytes_min: 0,
        segment_bytes: 8 * 1024,
        ..DiskLogConfig::new(folder.path())
    }
}

fn open(config: &DiskLogConfig) -> DiskLog {
    DiskLog::open(config, &Metrics::default(), &Health::default()).unwrap()
}

fn record<'a>(value: &'a [u8]) -> Record<'a> {
    Record {
        topic: TOPIC,
        key: b"shop",
        value,
    }
}

async fn append(log: &DiskLog, values: &[&str]) -> Result<(), AppendError> {
    let records: Vec<_> = values.iter().map(|v| record(v.as_bytes())).collect();
    log.append(&records).await
}

/// Everything that a folder holds from its position on, and how many entries were lost.
fn read_all(config: &DiskLogConfig) -> (Vec<Stored>, u64) {
    let found = recovery::open(&config.folder).unwrap();
    let shelf = Shelf::new(config, found.segments, found.position);
    let mut reader = Reader::new(config.folder.clone(), found.position);
    let (mut records, mut lost_count) = (vec![], 0);
    loop {
        let batch = reader.next_batch(&shelf).unwrap();
        if batch.end == shelf.position() {
            assert!(
                shelf.is_empty(),
                "what was read and lost is all that there was"
            );
            return (records, lost_count);
        }
        records.extend(batch.records);
        lost_count += batch.lost_count;
        shelf.advance(batch.end);
    }
}

fn texts(records: &[Stored]) -> Vec<String> {
    let text = |stored: &Stored| String::from_utf8(stored.value().to_vec()).unwrap();
    records.iter().map(text).collect()
}

/// An outlet that keeps what it is given, and answers as it is told.
struct Kept<F> {
    values: Arc<Mutex<Vec<String>>>,
    outcome: F,
}

impl<F: Fn(&str) -> Outcome + Sync> Outlet for Kept<F> {
    async fn publish(&self, records: &[Stored]) -> Vec<Outcome> {
        let one = |text: String| {
            let outcome = (self.outcome)(&text);
            if outcome == Outcome::Published {
                locked(&self.values).push(text);
            }
            outcome
        };
        texts(records).into_iter().map(one).collect()
    }
}

/// Drains until the log is empty; what was published.
async fn drained(log: &DiskLog, outcome: impl Fn(&str) -> Outcome + Sync) -> Vec<String> {
    let values = Arc::new(Mutex::new(vec![]));
    let outlet = Kept {
        values: Arc::clone(&values),
        outcome,
    };
    let shutdown = Shutdown::default();
    let empty = async {
        let what = "the log becomes empty";
        runtime::testing::eventually(what, async || match log.is_empty() {
            true => Ok(()),
            false => Err(format!("{:?}", log.depth())),
        })
        .await;
        shutdown.request();
    };
    tokio::join!(log.drain(&outlet, &shutdown), empty);
    locked(&values).clone()
}

#[tokio::test]
async fn what_was_stored_comes_back_in_order_and_through_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    let log = open(&config);
    append(&log, &["a", "b"]).await.unwrap();
    append(&log, &[]).await.unwrap();
    append(&log, &["c"]).await.unwrap();
    drop(log);
    let log = open(&config);
    append(&log, &["d"]).await.unwrap();
    assert_eq!(log.depth().entry_count, 4);
    let published = drained(&log, |_| Outcome::Published).await;
    assert_eq!(published, ["a", "b", "c", "d"]);
    assert_eq!((log.depth().entry_count, log.depth().bytes), (0, 0));
    drop(log);
    let log = open(&config);
    assert!(log.is_empty());
    append(&log, &["e"]).await.unwrap();
    assert_eq!(drained(&log, |_| Outcome::Published).await, ["e"]);
}

#[tokio::test]
async fn who_can_never_be_served_does_not_hold_up_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&small(&folder));
    append(&log, &["a", "gone", "slow", "b"]).await.unwrap();
    append(&log, &["c"]).await.unwrap();
    let slow = Mutex::new(3);
    let published = drained(&log, |text| match text {
        "gone" => Outcome::Gone,
        "slow" if *locked(&slow) > 0 => {
            *locked(&slow) -= 1;
            Outcome::Retry
        }
        _ => Outcome::Published,
    });
    // The batch is handed over again without what was settled.
    assert_eq!(published.await, ["a", "b", "c", "slow"]);
}

#[tokio::test]
async fn it_is_full_at_its_bound_and_takes_more_once_it_is_drained() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    let log = open(&config);
    let value = "x".repeat(1_000);
    let mut stored = 0;
    let refused = loop {
        match append(&log, &[&value]).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::Full);
    let used: u64 = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with("segment-"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(
        used <= config.bytes_max && used > config.bytes_max - 10_000,
        "{used}"
    );
    assert_eq!(log.depth().used_bytes, used);
    assert!(matches!(
        figures::condition(&log.depth(), &config),
        runtime::health::Condition::NotReady(_)
    ));
    assert_eq!(drained(&log, |_| Outcome::Published).await.len(), stored);
    append(&log, &[&value]).await.unwrap();
    assert!(
        log.depth().used_bytes <= config.segment_bytes,
        "what is settled is deleted"
    );
}

#[tokio::test]
async fn a_request_that_no_segment_can_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&small(&folder));
    let value = "x".repeat(8 * 1024);
    let refused = append(&log, &[&value]).await.unwrap_err();
    assert!(
        matches!(refused, AppendError::TooLarge { max: 8_064, .. }),
        "{refused}"
    );
    assert!(log.is_empty());
}

#[tokio::test]
async fn the_free_part_of_the_disk_is_left_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let config = DiskLogConfig {
        free_bytes_min: 1 << 60,
        ..small(&folder)
    };
    let log = open(&config);
    assert_eq!(append(&log, &["a"]).await, Err(AppendError::Full));
    assert!(log.is_empty());
}

#[test]
fn a_folder_is_for_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    let log = open(&config);
    let Err(error) = DiskLog::open(&config, &Metrics::default(), &Health::default()) else {
        panic!("two logs have one folder");
    };
    let told = error.to_string();
    let ours = format!(
        "is in use by process {}: each needs its own",
        std::process::id()
    );
    assert!(told.ends_with(&ours), "{told}");
    drop(log);
    until(|| DiskLog::open(&config, &Metrics::default(), &Health::default()).is_ok());
}

#[test]
fn figures_show_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::default();
    let config = small(&folder);
    let log = DiskLog::open(&config, &metrics, &Health::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        append(&log, &["a", "b"]).await.unwrap();
        log.tell();
        let shown = metrics.encode();
        for line in [
            "pulse_disk_log_entries 2",
            "pulse_disk_log_appended_total 2",
            "pulse_disk_log_drained_total{fate=\"gone\"} 0",
            "pulse_disk_log_refused_total{fate=\"full\"} 0",
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
        drained(&log, |_| Outcome::Published).await;
        log.tell();
    });
    let shown = metrics.encode();
    for line in [
        "pulse_disk_log_entries 0",
        "pulse_disk_log_oldest_seconds 0",
        "pulse_disk_log_drained_total{fate=\"published\"} 2",
        "pulse_disk_log_damaged_total 0",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
}
