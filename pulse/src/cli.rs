//! The command line: which command, in which folder, and with which exit code it ends.
//!
//! Read in this order: [`Cli`], [`exit`]; then what several commands share, [`text`] and [`hints`];
//! then commands that are small enough to live here, [`backup`], [`definitions`] and
//! [`reconcile`].

pub mod exit;

pub mod hints;
pub mod text;

pub mod backup;
pub mod definitions;
pub mod reconcile;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use runtime::clock;
use runtime::config::{Environment, Settings};
use runtime::service::Shutdown;
use runtime::telemetry::{LogConfig, log_to_stderr};

use crate::dlq::{self, DlqCommand};
use crate::health::{self, HealthArguments};
use crate::init::{self, InitArguments};
use crate::installation::{Access, DataFolder};
use crate::simulator::{self, SimulateArgs};
use crate::status::Survey;
use crate::tenant::{self, TenantCommand};
use crate::top::{self, TopArgs};
use crate::up::{self, Ended, UpArgs};
use crate::{doctor, installation};
use exit::Exit;

/// Run PulseStream on this machine, and look after it.
#[derive(Parser, Debug)]
#[command(name = "pulse", version, propagate_version = true, after_help = exit::HELP)]
pub struct Cli {
    /// The folder that keeps everything: logs, secrets, Kafka's and ClickHouse's data
    /// [default: PULSE_DATA, else .pulse]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Start everything and stream: Kafka, ClickHouse, every role, a tenant and its feed
    #[command(after_help = UP_HELP)]
    Up(UpArgs),
    /// Stop what `pulse up` started
    #[command(after_help = "\
It stops in order: who writes before who reads, the servers last. Data stays; the next `pulse up`
goes on from there.")]
    Down,
    /// How every process is, how far behind the log, and whether a replay is through
    #[command(after_help = STATUS_HELP)]
    Status {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Markets, the last updates and the pipeline's figures, live
    #[command(after_help = TOP_HELP)]
    Top(TopArgs),
    /// Look for what is wrong on this machine, and say how to mend it
    #[command(after_help = "\
It ends with 1 when something is an error; warnings alone end with 0.

  pulse doctor --json | jq '.[] | select(.level != \"ok\")'")]
    Doctor {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Serve an exchange's own protocol, with a made-up market or recorded frames
    #[command(after_help = SIMULATE_HELP)]
    Simulate(SimulateArgs),
    /// Compare ClickHouse with the log, row by row
    #[command(after_help = reconcile::HELP)]
    Reconcile(reconcile::ReconcileArgs),
    /// Look at records that nobody could use, and put them back
    #[command(subcommand, after_help = dlq::run::HELP)]
    Dlq(DlqCommand),
    /// Producers of a tenant's own: their rights on Kafka, and whether they are let in
    #[command(subcommand, after_help = tenant::run::HELP)]
    Tenant(TenantCommand),
    /// List, change and remove meters, without a restart
    #[command(subcommand, after_help = definitions::METER_HELP)]
    Meter(definitions::DefinitionCommand),
    /// List, change and remove feeds, without a restart
    #[command(subcommand, after_help = definitions::FEED_HELP)]
    Feed(definitions::DefinitionCommand),
    /// Make a tenant with its topics, meters and feed, where they are not there yet
    #[command(after_help = init::HELP)]
    Init(InitArguments),
    /// Copy what tenants have defined to a file: their keys, meters, feeds and limits
    #[command(after_help = backup::BACKUP_HELP)]
    Backup(backup::BackupArguments),
    /// Put such a file into the place of what is defined, while pulse-api is stopped
    #[command(after_help = backup::RESTORE_HELP)]
    Restore(backup::RestoreArguments),
    /// Ask a process of ours whether it can do its work
    #[command(after_help = health::HELP)]
    Health(HealthArguments),
}

const UP_HELP: &str = "\
Examples:
  pulse up                                       live, or the simulator where Coinbase is not reached
  pulse up --feed sim --detach                   a simulated market, in the background
  pulse up --feed replay:day.jsonl.zst --speed max
                                                 recorded frames, as fast as they are read
  PULSE_KAFKA_BROKERS=kafka:9092 PULSE_CLICKHOUSE_URL=https://clickhouse:8443 pulse up
                                                 with servers of your own

Ctrl-C stops all of it in order. What it made stays: the next `pulse up` goes on from there.
A process that dies is started again, after a wait that grows up to 30 s.";

const TOP_HELP: &str = "\
q, Esc or Ctrl-C ends it. What is old is dimmed and says since when. NO_COLOR=1 does without colours.

When the output is no terminal, each update is a line:
  pulse top | grep --line-buffered ' trade '";

const STATUS_HELP: &str = "\
It ends with 0 when everything is well, with 1 when something is not, with 3 when nothing runs.

In --json, `drained` is true once a replay was served and everything of it is in ClickHouse;
`not_drained_because` says what is still missing:
  until pulse status --json | jq -e .drained; do sleep 1; done";

const SIMULATE_HELP: &str = "\
Examples:
  pulse simulate coinbase --seed 7 --disconnect 0.001
  pulse simulate coinbase --replay recorded.jsonl.zst --speed max

It serves ws://ADDRESS/exchange and ws://ADDRESS/advanced; http://ADDRESS/status tells how far it
is. What is made up follows from the seed, so a run can be had again.

`pulse up --feed sim` starts one by itself. To have this one read instead, give it a tenant of its
own, so that nothing made up gets among real trades:
  PULSE_COINBASE_EXCHANGE_URL=ws://127.0.0.1:9300/exchange \\
  PULSE_COINBASE_ADVANCED_URL=ws://127.0.0.1:9300/advanced \\
  PULSE_COINBASE_TENANTS=lab pulse up --tenant lab
and remove its feed before Coinbase itself is read again:
  pulse feed remove coinbase --tenant lab";

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_when_asked();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("pulse: {error}");
            return Exit::Failed.into();
        }
    };
    let ended = runtime.block_on(run(cli));
    // What blocks must not hold the process.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => Exit::Done.into(),
        Err(error) => {
            eprintln!("pulse: {error:#}");
            Exit::Failed.into()
        }
    }
}

/// Logs would disturb what is printed, so they are for those who ask: by `PULSE_LOG`.
fn log_when_asked() {
    let mut env = Environment::of_process();
    if !env.has("PULSE_LOG") {
        return;
    }
    let config = LogConfig::read(&mut env);
    match env.finish(config) {
        Ok(config) => log_to_stderr(&config),
        Err(error) => eprintln!("pulse: {error}"),
    }
}

/// Whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let folder = DataFolder::find(cli.data.as_deref(), &mut Environment::of_process())?;
    match cli.command {
        Command::Up(args) => match up::up(&folder, &args).await? {
            Ended::WasUp | Ended::Interrupted => Ok(Exit::Done),
            Ended::Taken => Ok(Exit::Elsewhere),
        },
        Command::Down => down(&folder).await,
        Command::Status { json } => status(folder, json).await,
        Command::Top(args) => {
            top::top(&args, Access::of(folder)?).await?;
            Ok(Exit::Done)
        }
        Command::Doctor { json } => examine(folder, json).await,
        Command::Simulate(args) => {
            let shutdown = Shutdown::default();
            shutdown.request_on_signal()?;
            simulator::run(args, shutdown).await?;
            Ok(Exit::Done)
        }
        Command::Reconcile(args) => reconcile::run(&args, &Access::of(folder)?).await,
        Command::Dlq(command) => dlq::run(command, &Access::of(folder)?).await,
        Command::Tenant(command) => tenant::run(command, &Access::of(folder)?).await,
        Command::Meter(command) => {
            definitions::run(&command, definitions::What::Meter, &Access::of(folder)?).await
        }
        Command::Feed(command) => {
            definitions::run(&command, definitions::What::Feed, &Access::of(folder)?).await
        }
        Command::Init(InitArguments {
            env: Some(path), ..
        }) => {
            init::env_file::write(&path)
                .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
            Ok(Exit::Done)
        }
        Command::Init(arguments) => {
            init::run(&arguments, &Access::of(folder)?).await?;
            Ok(Exit::Done)
        }
        Command::Backup(arguments) => backup::back_up(&arguments, &Access::of(folder)?).await,
        Command::Restore(arguments) => backup::restore(&arguments, &folder).await,
        Command::Health(arguments) => match health::run(&arguments).await {
            code if code == ExitCode::SUCCESS => Ok(Exit::Done),
            _ => Ok(Exit::Failed),
        },
    }
}

async fn down(folder: &DataFolder) -> anyhow::Result<Exit> {
    let said = match up::down::down(folder).await? {
        up::down::Down::NothingRan => "nothing ran".to_owned(),
        up::down::Down::Stopped => "stopped".to_owned(),
        up::down::Down::LeftoversStopped(count) => {
            format!("`pulse up` was gone already; stopped what it had left behind: {count}")
        }
    };
    text::print(&format!("{said}\n"))?;
    Ok(Exit::Done)
}

async fn status(folder: DataFolder, json: bool) -> anyhow::Result<Exit> {
    let access = Access::of(folder)?;
    let Some(run) = access.found.run_file() else {
        eprintln!("pulse: nothing runs in {}", access.folder.path().display());
        return Ok(Exit::Elsewhere);
    };
    let survey = Survey::take(&access, run).await;
    let status = survey.status(&access.folder.path().display().to_string(), run);
    if access.running().is_none() {
        eprintln!(
            "pulse: `pulse up` was killed: `{}` clears up",
            hints::of(&access.folder, "down")
        );
    }
    match json {
        true => text::print_json(&status)?,
        false => text::print(&status.to_text(clock::now_ms()))?,
    }
    Ok(Exit::when(status.healthy && access.running().is_some()))
}

async fn examine(folder: DataFolder, json: bool) -> anyhow::Result<Exit> {
    let own = up::servers::Own::read(&mut Environment::of_process());
    let access = Access {
        found: installation::RunFile::find(&folder)?,
        folder,
    };
    let findings = doctor::examine(&access, &own).await;
    match json {
        true => text::print_json(&findings)?,
        false => text::print(&doctor::finding::to_text(&findings))?,
    }
    Ok(Exit::when(
        findings
            .iter()
            .all(|finding| finding.level < doctor::Level::Error),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_folder_may_stand_before_and_behind_the_command() {
        for line in [
            ["pulse", "--data", "/d", "down"],
            ["pulse", "down", "--data", "/d"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.data.unwrap(), PathBuf::from("/d"));
        }
    }

    #[test]
    fn a_wrong_feed_is_refused_with_what_would_be_right() {
        let error = Cli::try_parse_from(["pulse", "up", "--feed", "binance"]).unwrap_err();
        assert!(
            error.to_string().contains("live, sim or replay:FILE"),
            "{error}"
        );
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_closed_pipe_is_no_fault() {
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&closed.context("printing")));
        assert!(!is_broken_pipe(&anyhow::anyhow!("broken pipe")));
    }
}
