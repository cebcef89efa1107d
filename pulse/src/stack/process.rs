//! Child processes that never outlive us, not even when we are killed with `kill -9`.
//!
//! Each runs in a process group of its own (so a Ctrl-C at the terminal reaches us alone and we stop
//! them in order), with no standard input and with its output in a log file.
//!
//! **How they die with us.** Linux can send a child a signal when its parent is gone
//! (`PR_SET_PDEATHSIG`); asking for that between fork and exec needs `unsafe` in Rust, so `setpriv`
//! of util-linux asks for it and then becomes the program: same pid, nothing stays in between. The
//! signal comes when the *thread* that forked ends, and threads of an async runtime come and go, so
//! all children are forked by one thread that ends with the process and not before.
//!
//! A pid is never signalled after it was reaped: both happen under one lock, so it cannot be that of
//! a stranger by then.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::watch;

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program, or `setpriv`, is not on this machine.
    #[error("{program} cannot be started")]
    Spawn {
        /// What was to run.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The log file cannot be opened.
    #[error("log file {} cannot be opened", path.display())]
    Log {
        /// Where the log was to be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What becomes of a process when the one that started it is gone without stopping it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Orphan {
    /// It is told to end (`SIGTERM`), and may still put its things in order.
    Ends,
    /// It is killed at once (`SIGKILL`), also while frozen.
    IsKilled,
    /// It goes on; dropping its [`Process`] leaves it alone as well.
    GoesOn,
}

impl Orphan {
    /// The signal's name as `setpriv` wants it.
    fn signal(self) -> Option<&'static str> {
        match self {
            Self::Ends => Some("TERM"),
            Self::IsKilled => Some("KILL"),
            Self::GoesOn => None,
        }
    }
}

/// A process to be.
#[derive(Clone, Debug)]
pub struct Launch {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    log: PathBuf,
    orphan: Orphan,
}

impl Launch {
    /// Runs `program` (a path, or a name on `PATH`), its output appended to `log`.
    pub fn new(program: impl AsRef<OsStr>, log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: None,
            log: log.into(),
            orphan: Orphan::Ends,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets one variable on top of our own environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets variables on top of our own environment.
    pub fn envs<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        for (name, value) in variables {
            self = self.env(name, value);
        }
        self
    }

    /// Runs it in `folder` instead of ours.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// What becomes of it when we are gone; [`Orphan::Ends`] when this is not called.
    pub fn orphan(mut self, orphan: Orphan) -> Self {
        self.orphan = orphan;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the log cannot be opened or nothing can be forked. A program that `setpriv` cannot find
    /// shows as a process that ended with 127 and said so in its log.
    pub fn spawn(&self) -> Result<Process, LaunchError> {
        let log_error = |source| LaunchError::Log { path: self.log.clone(), source };
        rotate(&self.log);
        let log = File::options().create(true).append(true).open(&self.log).map_err(log_error)?;
        let log_start = log.metadata().map_err(log_error)?.len();
        let errors = log.try_clone().map_err(log_error)?;

        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let program = self.program.to_string_lossy().into_owned();
        let child = fork_on_lasting_thread(command)
            .map_err(|source| LaunchError::Spawn { program: program.clone(), source })?;
        Ok(Process::watch(program, child, self.log.clone(), log_start, self.orphan))
    }

    fn command(&self) -> Command {
        let mut command = match self.orphan.signal() {
            Some(signal) => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", signal, "--"]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }
}

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
        Self { program, pid, orphan, log, log_start, child, exit, reaper: Some(reaper) }
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
        let status = exit.wait_for(Option::is_some).await.expect("the reaper sends before it ends");
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
        format!("{} {ended}; its log ends:\n{}", self.program, self.log_tail(20))
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
    let status = child.take().and_then(|mut child| child.wait().ok()).unwrap_or_default();
    drop(child);
    exited.send_replace(Some(status));
}

fn lock(child: &Mutex<Option<Child>>) -> MutexGuard<'_, Option<Child>> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Fork {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

/// Forks on the one thread that lives as long as this process; see the module's head.
fn fork_on_lasting_thread(command: Command) -> io::Result<Child> {
    static FORKS: OnceLock<SyncSender<Fork>> = OnceLock::new();
    let forks = FORKS.get_or_init(|| {
        let (forks, requests) = sync_channel::<Fork>(16);
        std::thread::Builder::new()
            .name("fork".to_owned())
            .spawn(move || {
                for mut fork in requests {
                    let _ = fork.reply.send(fork.command.spawn());
                }
            })
            .expect("a process that may fork may start a thread");
        forks
    });
    let (reply, answer) = sync_channel(1);
    forks.send(Fork { command, reply }).expect("the forking thread never ends");
    answer.recv().expect("the forking thread answers every request")
}

/// Puts a log that has grown large aside, over the one put aside before.
fn rotate(log: &Path) {
    const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
    if std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        // When it cannot be renamed it grows on: no reason not to start.
        let _ = std::fs::rename(log, log.with_extension("old.log"));
    }
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
