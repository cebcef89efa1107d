//! Takes events, changes definitions and reads what is known, over HTTP.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::service::main("pulse-api", api::service::run)
}
