//! How a command ends, for scripts.

use std::process::ExitCode;

/// How a command ends. 2 is clap's: the command line was wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// 0: done, and all is as it should be.
    Done,
    /// 1: it failed, or what was looked at is not as it should be.
    Failed,
    /// 3: `up` found another one at work in the folder, or `status` nothing that runs there.
    Elsewhere,
}

/// The codes, for the help.
pub const HELP: &str = "\
Exit codes:
  0  done, and all is as it should be
  1  it failed, or what was looked at is not as it should be
  2  the command line was wrong
  3  of `up`: something runs in this folder already; of `status`: nothing does

Where a command reads or changes what is on the log, PULSE_KAFKA_BROKERS, PULSE_CLICKHOUSE_URL and
the other settings of docs/configuration.md win over what runs in the folder. PULSE_LOG=info shows
what this program itself logs.";

impl Exit {
    /// Done when it is so, failed otherwise.
    pub fn when(is_so: bool) -> Self {
        if is_so { Self::Done } else { Self::Failed }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
            Exit::Elsewhere => Self::from(3),
        }
    }
}
