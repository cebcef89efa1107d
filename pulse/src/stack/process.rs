//! Child processes that never outlive us, not even when we are killed with `kill -9`.
//!
//! Each runs in a process group of its own (so a Ctrl-C at the terminal reaches us alone and we
//! stop them in order), with nothing to read and with its output in a log file.
//!
//! **How they die with us.** Linux can send a child a signal when its parent is gone
//! (`PR_SET_PDEATHSIG`); asking for that between fork and exec needs `unsafe` in Rust, so `setpriv`
//! of util-linux asks for it and then becomes the program: same pid, nothing stays in between. The
//! signal comes when the *thread* that forked ends, and threads of an async runtime come and go, so
//! all children are forked by one thread that ends with the process and not before.
//!
//! A pid is never signalled after it was reaped: both happen under one lock, so it cannot be that
//! of a stranger by then.

mod launch;
mod tenure;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use runtime::clock::Deadline;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::watch;

pub use launch::{Launch, LaunchError, Orphan};
pub use tenure::{Tenure, TenureError};

/// A running child process, or what is left of it.
///
/// Dropping it kills it and waits until it is gone, unless it was launched to go on.
#[derive(Debug)]
pub struct Process {
    program: String,
    pid: Pid,
    orphan: Orphan,
    log: PathBuf,
    /// Where this run's output begins in the log.
    log_start: u64,
    /// The child until it is reaped; its lock is held to signal and to reap.
    child: Arc<Mutex<Option<Child>>>,
    exit: watch::Receiver<Option<ExitStatus>>,
    reaper: Option<JoinHandle<()>>,
}

impl Process {
    fn watch(program: String, child: Child, log: PathBuf, log_start: u64, orphan: Orphan) -> Self {
        let pid = Pid::from_child(&child);
        let child = Arc::new(Mutex::new(Some(child)));
        let (exited, exit) = watch::channel(None);
        let reaper = {
            let child = Arc::clone(&child);
            std::thread::Builder::new()
                .name(format!("reap-{}", pid.as_raw_nonzero()))
                .spawn(move || reap(pid, &child, &exited))
                .expect("a machine that can fork can start a thread")
        };
        Self {
            program,
            pid,
            orphan,
            log,
            log_start,
            child,
            exit,
            reaper: Some(reaper),
        }
    }

    /// Its process id, which is also that of its group.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, once it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// True until it has ended.
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// Waits until it has ended.
    pub async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let status = exit
            .wait_for(Option::is_some)
            .await
            .expect("the reaper sends before it ends");
        status.expect("waited for this")
    }

    /// Asks it to end: `SIGTERM`.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it from running on, without its knowing: `SIGSTOP`.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it run on after [`Process::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it as `kill -9` does and waits until it is gone.
    pub async fn kill9(&self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.exited().await
    }

    /// Asks it to end and waits; kills it when it has not ended after `grace`.
    pub async fn stop(&self, grace: Duration) -> ExitStatus {
        self.terminate();
        // A frozen process would not hear it.
        self.thaw();
        match tokio::time::timeout(grace, self.exited()).await {
            Ok(status) => status,
            Err(_) => self.kill9().await,
        }
    }

    /// The file that its output goes to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of what this run has written, at most `lines_max` lines.
    pub fn log_tail(&self, lines_max: usize) -> String {
        tail(&self.log, self.log_start, lines_max).unwrap_or_default()
    }

    /// Asks again and again; false when it has ended, or not come so far after `wait`.
    pub(super) async fn until<F: Future<Output = bool>>(
        &self,
        wait: Duration,
        is_there: impl Fn() -> F,
    ) -> bool {
        const ASKED_EVERY: Duration = Duration::from_millis(20);
        let deadline = Deadline::after(wait);
        while self.is_running() && !deadline.has_passed() {
            if is_there().await {
                return true;
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
        false
    }

    /// True when it ended because somebody else has taken its port meanwhile.
    pub(super) fn lost_its_port(&self) -> bool {
        !self.is_running() && self.log_tail(200).contains("Address already in use")
    }

    /// How it ended and its last words, for an error message.
    pub fn last_words(&self) -> String {
        let ended = match self.exit_status() {
            None => "is still running".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with {code}"),
                (_, Some(signal)) => format!("was ended by signal {signal}"),
                _ => "ended".to_owned(),
            },
        };
        format!(
            "{} {ended}; its log ends:\n{}",
            self.program,
            self.log_tail(40)
        )
    }

    fn signal(&self, signal: Signal) {
        if lock(&self.child).is_some() {
            // The one error left is that every process of the group is a zombie by now.
            let _ = kill_process_group(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.orphan == Orphan::GoesOn {
            return;
        }
        self.signal(Signal::KILL);
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
    }
}

/// Waits for the end of `pid` and makes it known.
fn reap(pid: Pid, child: &Mutex<Option<Child>>, exited: &watch::Sender<Option<ExitStatus>>) {
    // Without reaping: until the lock is held, the pid must stay the child's.
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(error) = waitid(WaitId::Pid(pid), ended) {
        if error != rustix::io::Errno::INTR {
            break;
        }
    }
    let mut child = lock(child);
    let status = child
        .take()
        .and_then(|mut child| child.wait().ok())
        .unwrap_or_default();
    drop(child);
    exited.send_replace(Some(status));
}

fn lock(child: &Mutex<Option<Child>>) -> MutexGuard<'_, Option<Child>> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tail(path: &Path, start: u64, lines_max: usize) -> io::Result<String> {
    const BYTES_MAX: u64 = 64 * 1024;
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(start.max(end.saturating_sub(BYTES_MAX))))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(lines_max)..].join("\n"))
}

#[cfg(test)]
mod tests;
