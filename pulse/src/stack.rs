//! The local stack: a real Kafka and a real ClickHouse on this machine, without a container engine.
//!
//! In: a folder for their data and, the first time, what Maven and npm bring. Out: two servers on
//! the loopback interface, their addresses and the credentials for them. `pulse up` runs its roles
//! on it; the tests get one of their own with [`TestStack`].
//!
//! What can never happen: a process of the stack outlives the one that started it ([`process`]); a
//! server is called ready before it answers; software that is not the pinned one, byte for byte, is
//! run ([`fetch`]); a stack reaches beyond the loopback interface.
//!
//! Read in this order: [`process`], [`ports`], [`cache`], [`fetch`], [`authority`], [`kafka`],
//! [`clickhouse`], [`testing`].

pub mod process;

pub mod ports;

pub mod cache;
pub mod fetch;

pub mod authority;

pub mod clickhouse;
pub mod kafka;

pub mod testing;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

pub use cache::{Cache, KEYS, Progress};
pub use clickhouse::{ClickHouse, ClickHouseOptions};
pub use kafka::{Kafka, KafkaOptions};
pub use ports::{Port, PortWish};
pub use process::{Launch, Orphan, Process};
pub use testing::TestStack;

/// The path of one of this workspace's own programs, built beside the one that runs.
pub fn binary(name: &str) -> io::Result<PathBuf> {
    let folder = std::env::current_exe()?;
    // A test lies one folder below the programs, in `deps`.
    let candidates = folder
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name));
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            let text = format!("{name} is not built: run `cargo build --workspace --bins`");
            io::Error::new(io::ErrorKind::NotFound, text)
        })
}

/// 128 random bits, as 32 hexadecimal digits: a password.
fn random_hex() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(fetch::hex(&bytes))
}
