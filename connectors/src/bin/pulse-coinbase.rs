//! Reads Coinbase's public feeds for all tenants that want them: frames in, events out.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::service::main("pulse-coinbase", connectors::coinbase::run)
}
