//! Closes windows: events in, metrics out, exactly once.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::service::main("pulse-metrics", processors::metrics::run)
}
