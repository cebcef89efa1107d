//! What a process has used, as `/proc` tells.

use std::fs;

/// Clock ticks per second in `/proc`; 100 on every Linux that we run on.
const TICKS: f64 = 100.0;

/// CPU seconds, user and system, of a process; of this one for `None`.
pub fn cpu_seconds(pid: Option<u32>) -> f64 {
    let stat = fs::read_to_string(path(pid, "stat")).unwrap_or_default();
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|f| f.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / TICKS
}

/// CPU seconds of the calling thread, up to date to a few milliseconds: a clock on the wall counts
/// what other programs take as well.
pub fn thread_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|field| field.parse().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

/// The most memory that a process had resident, in MB.
pub fn peak_megabytes(pid: Option<u32>) -> f64 {
    status(pid, "VmHWM") / 1_024.0
}

/// The memory that a process has resident, in MB.
pub fn resident_megabytes(pid: Option<u32>) -> f64 {
    status(pid, "VmRSS") / 1_024.0
}

fn status(pid: Option<u32>, field: &str) -> f64 {
    let status = fs::read_to_string(path(pid, "status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0.0)
}

fn path(pid: Option<u32>, file: &str) -> String {
    match pid {
        Some(pid) => format!("/proc/{pid}/{file}"),
        None => format!("/proc/self/{file}"),
    }
}
