//! `pulse up --detach`: the same `pulse up` in the background, and its words until all is up.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;

use crate::cli::text;
use crate::installation::{DataFolder, ProcessId, RunFile, RunState, run_file::Found};

/// How often its words are looked for.
const LOOKED_EVERY: Duration = Duration::from_millis(50);

/// Starts it, says what it says, and returns when it is up.
///
/// # Errors
/// When it cannot be started, or ends before it is up; its own words have told why by then.
pub async fn detach(folder: &DataFolder, arguments: &[OsString]) -> anyhow::Result<()> {
    let log = folder.log("up");
    let mut child = start(&log, arguments)?;
    let mut words = File::open(&log)?;
    loop {
        relay(&mut words)?;
        if is_up(folder, child.id())? {
            // It says its last words before it says in the run file that it is up.
            return Ok(relay(&mut words)?);
        }
        if let Some(status) = child.try_wait()? {
            relay(&mut words)?;
            anyhow::bail!(
                "`pulse up` ended before it was up: {status} (log: {})",
                log.display()
            );
        }
        tokio::select! {
            () = tokio::time::sleep(LOOKED_EVERY) => {}
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                // It says that it stops, and ends; then so do we.
                ProcessId::of(child.id())?.signal(Signal::TERM)?;
            }
        }
    }
}

/// In a session of its own, so that it outlives the terminal: `setsid` asks for that and then
/// becomes the program, with the same pid.
fn start(log: &Path, arguments: &[OsString]) -> anyhow::Result<Child> {
    let out = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
    let program = std::env::current_exe()?;
    let mut command = Command::new("setsid");
    command.arg(program).args(arguments);
    command
        .stdin(Stdio::null())
        .stderr(out.try_clone()?)
        .stdout(out);
    command
        .spawn()
        .context("setsid (of util-linux) cannot be started")
}

fn is_up(folder: &DataFolder, pid: u32) -> anyhow::Result<bool> {
    Ok(match RunFile::find(folder)? {
        Found::Running(run) => run.supervisor.pid == pid && run.state == RunState::Running,
        _ => false,
    })
}

fn relay(words: &mut File) -> io::Result<()> {
    let mut bytes = Vec::new();
    words.read_to_end(&mut bytes)?;
    text::print(&String::from_utf8_lossy(&bytes))
}
