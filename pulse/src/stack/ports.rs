//! Ports on the loopback interface, claimed so that no two stacks of one user get the same one.
//!
//! To look for a free port and then let a server bind it leaves a gap in which somebody else may
//! take it. Two measures close it as far as it can be closed: ports are chosen below the range that
//! the kernel gives to outgoing connections, and a claimed port stays ours by a file lock, also
//! while its server is down between a kill and a restart. A program that is not ours may still take
//! one: starting a server then fails, and its start tries others.

use std::fs::{DirBuilder, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// Where ports that nobody asked for by number are chosen: below Linux's default
/// `ip_local_port_range`, above the well-known servers.
const CHOSEN_FROM: std::ops::Range<u16> = 20_000..32_000;

/// How many ports are tried before giving up.
const TRIES_MAX: u16 = 512;

/// Why no port could be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The folder that holds the claims cannot be used.
    #[error("ports cannot be claimed in {}", folder.display())]
    Claims {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Every port that was tried is taken.
    #[error("no free port after {TRIES_MAX} tries")]
    NoneFree,
}

/// Which port is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortWish {
    /// Any free one.
    Any,
    /// This one, or the next free one after it.
    From(u16),
}

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Its lock is the claim.
    _claim: File,
}

impl Port {
    /// Claims a port.
    ///
    /// # Errors
    /// When the claims' folder cannot be written or hundreds of ports in a row are taken.
    pub fn claim(wish: PortWish) -> Result<Self, PortError> {
        let folder = claims_folder()?;
        for attempt in 0..TRIES_MAX {
            let number = match wish {
                PortWish::Any => fastrand::u16(CHOSEN_FROM),
                PortWish::From(first) => match first.checked_add(attempt) {
                    Some(number) => number,
                    None => break,
                },
            };
            let source = |source| PortError::Claims {
                folder: folder.clone(),
                source,
            };
            let claim = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(folder.join(number.to_string()))
                .map_err(source)?;
            if claim.try_lock().is_ok() && is_free(number) {
                return Ok(Self {
                    number,
                    _claim: claim,
                });
            }
        }
        Err(PortError::NoneFree)
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:<number>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

/// True when a server could bind it now.
fn is_free(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
}

fn claims_folder() -> Result<PathBuf, PortError> {
    let user = rustix::process::getuid().as_raw();
    let folder = std::env::temp_dir()
        .join(format!("pulsestream-{user}"))
        .join("ports");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|source| PortError::Claims {
            folder: folder.clone(),
            source,
        })?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_port_is_given_to_nobody_else_until_it_is_dropped() {
        let first = Port::claim(PortWish::Any).unwrap();
        let second = Port::claim(PortWish::From(first.number())).unwrap();
        assert!(second.number() > first.number());
        let number = first.number();
        drop(first);
        let again = Port::claim(PortWish::From(number)).unwrap();
        assert_eq!(again.number(), number);
    }

    #[test]
    fn a_port_with_a_listener_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = taken.local_addr().unwrap().port();
        assert_ne!(
            Port::claim(PortWish::From(number)).unwrap().number(),
            number
        );
    }

    #[test]
    fn the_last_port_ends_the_search() {
        let _last = Port::claim(PortWish::From(u16::MAX));
        assert!(matches!(
            Port::claim(PortWish::From(u16::MAX)),
            Err(PortError::NoneFree)
        ));
    }
}
