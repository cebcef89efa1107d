//! Loads a disk log from a process of its own: the victim of the tests that kill it, starve it and
//! measure it.
//!
//! `append <folder> <round> <published>`: eight clients append one record after the other, saying
//! each that is stored, while the drain writes to a file; it ends when it is killed.
//! `fill <folder> <segment bytes> <clients> <requests> <records> <value bytes>`: that many requests
//! of each client, until one is refused, and how fast. `drain <folder>`: all that is there.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use api::disk_log::{Admission, DiskLog, DiskLogConfig, Outcome, Outlet, Record, Stored};
use runtime::clock;
use runtime::health::Health;
use runtime::service::Shutdown;
use runtime::telemetry::Metrics;

const CLIENTS: u64 = 8;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["append", folder, round, published] => append(folder, round, published).await,
        ["fill", folder, ref sizes @ ..] => {
            let sizes: Result<Vec<u64>, _> = sizes.iter().map(|size| size.parse()).collect();
            fill(folder, &sizes?).await
        }
        ["drain", folder] => drain(folder).await,
        _ => anyhow::bail!("the first word is append, fill or drain"),
    }
}

fn open(folder: &str, segment_bytes: u64) -> anyhow::Result<Arc<DiskLog>> {
    let config = DiskLogConfig {
        segment_bytes,
        free_bytes_min: 0,
        ..DiskLogConfig::new(folder)
    };
    let log = DiskLog::open(&config, &Metrics::default(), &Health::default())?;
    Ok(Arc::new(log))
}

async fn append(folder: &str, round: &str, published: &str) -> anyhow::Result<()> {
    let log = open(folder, 64 * 1024)?;
    for client in 0..CLIENTS {
        let (log, round) = (Arc::clone(&log), round.to_owned());
        tokio::spawn(async move {
            for number in 0_u64.. {
                let text = format!("{round} {client} {number}");
                let filling = vec![b'.'; fastrand::usize(..2_000)];
                let value = [text.as_bytes(), b"\n", &filling].concat();
                let record = Record {
                    topic: "pulse.demo.events",
                    key: b"k",
                    value: &value,
                };
                let place = log.admit().await;
                log.append(&[record]).await.expect("the log has room");
                if let Admission::Behind(place) = place {
                    drop(place);
                }
                println!("{text}");
            }
        });
    }
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).append(true).open(published)?;
    let outlet = Notes {
        file: Mutex::new(file),
    };
    log.drain(&outlet, &Shutdown::default()).await;
    Ok(())
}

/// Writes down what is published; now and then it takes nothing.
struct Notes {
    file: Mutex<std::fs::File>,
}

impl Outlet for Notes {
    async fn publish(&self, records: &[Stored]) -> Vec<Outcome> {
        if fastrand::u8(..3) == 0 {
            return vec![Outcome::Retry; records.len()];
        }
        let text = |stored: &Stored| String::from_utf8_lossy(stored.value()).into_owned();
        let first = |stored| text(stored).lines().next().unwrap_or_default().to_owned();
        let lines: String = records.iter().map(|one| first(one) + "\n").collect();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        match file.write_all(lines.as_bytes()) {
            Ok(()) => vec![Outcome::Published; records.len()],
            Err(_) => vec![Outcome::Retry; records.len()],
        }
    }
}

async fn fill(folder: &str, sizes: &[u64]) -> anyhow::Result<()> {
    let &[segment_bytes, clients, requests, records, value_bytes] = sizes else {
        anyhow::bail!("fill takes five sizes");
    };
    let log = open(folder, segment_bytes)?;
    let value = vec![b'x'; usize::try_from(value_bytes)?];
    let stored = Arc::new(AtomicU64::new(0));
    let begun = clock::monotonic();
    let mut tasks = vec![];
    for _ in 0..clients {
        let (log, value, stored) = (Arc::clone(&log), value.clone(), Arc::clone(&stored));
        tasks.push(tokio::spawn(async move {
            let record = Record {
                topic: "pulse.demo.events",
                key: b"k",
                value: &value,
            };
            let request = vec![record; usize::try_from(records).expect("few")];
            for _ in 0..requests {
                log.append(&request).await?;
                stored.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), api::disk_log::AppendError>(())
        }));
    }
    let mut refused = String::new();
    for task in tasks {
        if let Err(error) = task.await? {
            refused = error.to_string();
        }
    }
    let (took, stored) = (begun.elapsed(), stored.load(Ordering::Relaxed));
    let rate = stored as f64 / took.as_secs_f64();
    println!("{stored} requests stored of {records} records, {rate:.0} requests a second");
    println!("refused: {refused}");
    println!("{}", memory()?);
    Ok(())
}

async fn drain(folder: &str) -> anyhow::Result<()> {
    let log = open(folder, 64 * 1024)?;
    let (outlet, shutdown) = (Count::default(), Shutdown::default());
    let begun = clock::monotonic();
    let empty = async {
        while !log.is_empty() {
            tokio::task::yield_now().await;
        }
        shutdown.request();
    };
    tokio::join!(log.drain(&outlet, &shutdown), empty);
    let (took, count) = (begun.elapsed(), outlet.count.load(Ordering::Relaxed));
    let rate = count as f64 / took.as_secs_f64();
    println!("{count} records drained, {rate:.0} a second");
    println!("{}", memory()?);
    Ok(())
}

#[derive(Default)]
struct Count {
    count: AtomicU64,
}

impl Outlet for Count {
    async fn publish(&self, records: &[Stored]) -> Vec<Outcome> {
        self.count
            .fetch_add(records.len() as u64, Ordering::Relaxed);
        vec![Outcome::Published; records.len()]
    }
}

/// The most that this process ever had in memory.
fn memory() -> anyhow::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    Ok(line.context("the kernel says it")?.to_owned())
}
