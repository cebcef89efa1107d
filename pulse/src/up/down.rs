//! Takes an installation down that another process brought up.

use std::time::Duration;

use anyhow::Context;
use runtime::clock::Deadline;
use rustix::process::Signal;

use crate::installation::{DataFolder, ProcessId, RunFile, run_file::Found};

/// How long `pulse up` may take to stop all that it keeps.
const STOP_MAX: Duration = Duration::from_secs(90);
/// How long those may take that it left behind.
const LEFTOVERS_MAX: Duration = Duration::from_secs(15);
/// How often one looks.
const LOOKED_EVERY: Duration = Duration::from_millis(50);

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Down {
    /// Nothing ran.
    NothingRan,
    /// All was stopped in order.
    Stopped,
    /// `pulse up` itself was gone; so many processes that it had left behind were stopped.
    LeftoversStopped(usize),
}

/// Stops what runs in a folder, and returns when nothing of it does any more.
///
/// # Errors
/// When something cannot be signalled, or does not end.
pub async fn down(folder: &DataFolder) -> anyhow::Result<Down> {
    match RunFile::find(folder)? {
        Found::Nothing => Ok(Down::NothingRan),
        Found::Running(run) => {
            run.supervisor
                .signal(Signal::TERM)
                .context("`pulse up` cannot be signalled")?;
            let is_gone = wait(STOP_MAX, || !run.supervisor.is_alive()).await;
            anyhow::ensure!(
                is_gone,
                "`pulse up` (pid {}) did not end within {} s",
                run.supervisor.pid,
                STOP_MAX.as_secs()
            );
            // Nobody but it is left to do that, had it been killed in the middle of it.
            clear(folder, &run).await?;
            Ok(Down::Stopped)
        }
        Found::Stale(run) => clear(folder, &run).await.map(Down::LeftoversStopped),
    }
}

/// Stops what a `pulse up` that is gone has left behind, and removes its run file.
///
/// # Errors
/// When something cannot be signalled, or does not end.
pub async fn clear(folder: &DataFolder, run: &RunFile) -> anyhow::Result<usize> {
    let left: Vec<(String, ProcessId)> = run
        .alive()
        .into_iter()
        .map(|(entry, process)| (entry.name.clone(), process))
        .collect();
    for (name, process) in left.iter().rev() {
        for signal in [Signal::TERM, Signal::KILL] {
            process
                .signal(signal)
                .with_context(|| format!("{name} cannot be signalled"))?;
            if wait(LEFTOVERS_MAX, || !process.is_alive()).await {
                break;
            }
        }
        anyhow::ensure!(
            !process.is_alive(),
            "{name} (pid {}) does not end",
            process.pid
        );
    }
    RunFile::remove(folder)?;
    Ok(left.len())
}

/// Waits until something is so; false when it is not within `most`.
async fn wait(most: Duration, is_so: impl Fn() -> bool) -> bool {
    let deadline = Deadline::after(most);
    while !is_so() {
        if deadline.has_passed() {
            return false;
        }
        tokio::time::sleep(LOOKED_EVERY).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installation::{Entry, EntryState};
    use runtime::config::Environment;
    use std::process::{Command, Stdio};

    #[tokio::test]
    async fn what_was_left_behind_is_stopped_and_strangers_are_not() {
        let temporary = tempfile::tempdir().unwrap();
        let mut env = Environment::of::<String, String>([]);
        let folder = DataFolder::find(Some(temporary.path()), &mut env).unwrap();
        assert_eq!(down(&folder).await.unwrap(), Down::NothingRan);

        let spawn = || {
            Command::new("sleep")
                .arg("60")
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        };
        let (mut ours, mut stranger) = (spawn(), spawn());
        let entry = |name: &str, process| Entry {
            name: name.into(),
            process: Some(process),
            address: String::new(),
            health: None,
            log: None,
            state: EntryState::Running,
            restart_count: 0,
            reason: None,
        };
        let mut run = RunFile::begin(0).unwrap();
        run.supervisor.began_ticks += 1;
        let reused = ProcessId {
            began_ticks: 1,
            ..ProcessId::of(stranger.id()).unwrap()
        };
        run.processes = vec![
            entry("ours", ProcessId::of(ours.id()).unwrap()),
            entry("stranger", reused),
        ];
        run.write(&folder).unwrap();
        assert_eq!(down(&folder).await.unwrap(), Down::LeftoversStopped(1));
        assert!(!ours.wait().unwrap().success());
        assert!(stranger.try_wait().unwrap().is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        assert_eq!(RunFile::find(&folder).unwrap(), Found::Nothing);
    }
}
