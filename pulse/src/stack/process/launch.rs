//! What a process is to be, and how it comes to be.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use super::{Process, Tenure};

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
    held: Option<Arc<Tenure>>,
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
            held: None,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets one variable on top of our own environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
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

    /// Makes the process hold its log, and so its folder, for as long as it lives.
    pub fn holding(mut self, tenure: Tenure) -> Self {
        self.held = Some(Arc::new(tenure));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the log cannot be opened or nothing can be forked. A program that `setpriv` cannot find
    /// shows as a process that ended with 127 and said so in its log.
    pub fn spawn(&self) -> Result<Process, LaunchError> {
        let log_error = |source| LaunchError::Log {
            path: self.log.clone(),
            source,
        };
        let log = match &self.held {
            Some(tenure) => tenure.log(),
            None => File::options().create(true).append(true).open(&self.log),
        };
        let log = log.map_err(log_error)?;
        shorten(&self.log, &log).map_err(log_error)?;
        let log_start = log.metadata().map_err(log_error)?.len();
        let errors = log.try_clone().map_err(log_error)?;

        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0);
        let program = self.program.to_string_lossy().into_owned();
        let child = fork_on_lasting_thread(command).map_err(|source| LaunchError::Spawn {
            program: program.clone(),
            source,
        })?;
        Ok(Process::watch(
            program,
            child,
            self.log.clone(),
            log_start,
            self.orphan,
        ))
    }

    fn command(&self) -> Command {
        let mut command = match self.orphan.signal() {
            Some(signal) => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--pdeathsig", signal, "--"])
                    .arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command
            .args(&self.arguments)
            .envs(self.environment.iter().cloned());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }
}

struct Fork {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

/// Forks on the one thread that lives as long as this process; see [`super`].
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
    forks
        .send(Fork { command, reply })
        .expect("the forking thread never ends");
    answer
        .recv()
        .expect("the forking thread answers every request")
}

/// Puts what a log holds aside once it has grown large, over what was put aside before. The file
/// stays the same one: its lock may be held.
fn shorten(path: &Path, log: &File) -> io::Result<()> {
    const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
    if log.metadata()?.len() > LOG_BYTES_MAX {
        std::fs::copy(path, path.with_extension("old.log"))?;
        log.set_len(0)?;
    }
    Ok(())
}
