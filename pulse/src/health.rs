//! `pulse health`: asks a process of ours how it is, for container engines and scripts.

use std::process::ExitCode;

use clap::Args;

use crate::status::http;

/// What `pulse health` says at the end of its help.
pub const HELP: &str = "\
It prints the process's own answer and ends with 0 when the process can do its work, and with 1 when
it cannot or does not answer.

Examples:
  pulse health 127.0.0.1:9102                    asks /health/ready
  pulse health http://127.0.0.1:9102/health/live
                                                 whether it lives, ready or not";

/// What `pulse health` is told.
#[derive(Args, Clone, Debug)]
pub struct HealthArguments {
    /// Where it listens: `host:port`, or a whole `http://` address; `/health/ready` when that names
    /// no path.
    pub address: String,
}

/// Runs the command: the process's own answer on standard output.
pub async fn run(arguments: &HealthArguments) -> ExitCode {
    let (address, path) = parts(&arguments.address);
    match http::get(address, path).await {
        Ok(answer) => {
            println!("{}", answer.body);
            if answer.status == 200 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parts(text: &str) -> (&str, &str) {
    let rest = text.strip_prefix("http://").unwrap_or(text);
    match rest.find('/') {
        Some(at) if rest.len() > at + 1 => rest.split_at(at),
        Some(at) => (&rest[..at], "/health/ready"),
        None => (rest, "/health/ready"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_be_short() {
        assert_eq!(parts("localhost:9101"), ("localhost:9101", "/health/ready"));
        assert_eq!(
            parts("http://localhost:9101/"),
            ("localhost:9101", "/health/ready")
        );
        assert_eq!(
            parts("http://[::1]:1/health/live"),
            ("[::1]:1", "/health/live")
        );
    }
}
