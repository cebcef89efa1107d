//! Puts every tenant's events, metrics, late events and dead letters into ClickHouse.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::service::main("pulse-clickhouse", sinks::clickhouse::run)
}
