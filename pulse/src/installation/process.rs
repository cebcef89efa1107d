//! Which process is meant: its pid and when it began, since a pid alone may be a stranger's by now.
//!
//! A signal goes through a descriptor of the process (`pidfd`), and the beginning is compared while
//! that is held: between the two the pid cannot change hands.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process, now and for as long as this machine is up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it began, in the kernel's ticks since this machine was started.
    pub began_ticks: u64,
}

impl ProcessId {
    /// The process that has this pid now.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = Stat::of(pid)?;
        Ok(Self {
            pid,
            began_ticks: stat.began_ticks,
        })
    }

    /// This process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// True while it runs.
    pub fn is_alive(self) -> bool {
        Stat::of(self.pid).is_ok_and(|stat| stat.began_ticks == self.began_ticks && !stat.is_dead)
    }

    /// Signals it; false when it is gone.
    ///
    /// # Errors
    /// When it is somebody else's, whom we may not signal.
    pub fn signal(self, signal: Signal) -> io::Result<bool> {
        let Some(descriptor) = self.open()? else {
            return Ok(false);
        };
        if !self.is_alive() {
            return Ok(false);
        }
        match pidfd_send_signal(&descriptor, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn open(self) -> io::Result<Option<OwnedFd>> {
        let raw = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = raw else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What names this start of the machine: ticks of another one mean nothing.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// The part of `/proc/<pid>/stat` that is used here.
struct Stat {
    is_dead: bool,
    began_ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::read(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/…/stat"))
    }

    fn read(text: &str) -> Option<Self> {
        // The program's name stands in parentheses and may hold anything, parentheses too.
        let (_, rest) = text.rsplit_once(") ")?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        // `state` is the 3rd field, the beginning the 22nd.
        let began_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self {
            is_dead: matches!(state, "Z" | "X"),
            began_ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 12345 99 1";
        let stat = Stat::read(text).unwrap();
        assert_eq!(stat.began_ticks, 12_345);
        assert!(!stat.is_dead);
        assert!(Stat::read("7 (a) Z").is_none());
    }

    #[test]
    fn a_process_is_signalled_and_a_stranger_with_its_pid_is_not() {
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        assert!(id.is_alive());
        let stranger = ProcessId {
            began_ticks: id.began_ticks + 1,
            ..id
        };
        assert!(!stranger.is_alive());
        assert!(!stranger.signal(Signal::KILL).unwrap());
        assert!(
            child.try_wait().unwrap().is_none(),
            "it must not have been signalled"
        );

        assert!(id.signal(Signal::KILL).unwrap());
        child.wait().unwrap();
        assert!(!id.is_alive());
        assert!(!id.signal(Signal::KILL).unwrap());
    }
}
