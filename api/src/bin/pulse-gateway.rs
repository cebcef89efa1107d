//! Takes events over HTTP.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::service::main("pulse-gateway", api::gateway::run)
}
