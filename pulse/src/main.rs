//! The operator's tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    pulse::cli::main()
}
