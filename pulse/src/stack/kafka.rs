//! A real Kafka broker on this machine: one node, KRaft, its controller in the same process.
//!
//! It is ready when it answers for itself as a broker of its cluster, not when its port opens. Its
//! ports and its data outlive a kill, so that clients find after [`Kafka::restart`] what they knew.

mod archive;
mod listeners;
mod probe;
mod properties;
mod session;
mod software;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::authority::AuthorityError;
use super::cache::{Cache, Progress};
use super::fetch::{self, FetchError};
use super::ports::{Port, PortError, PortWish};
use super::process::{LaunchError, Process, Tenure, TenureError};
use software::Software;

pub use listeners::{Certificates, Secured};

/// How long a broker may take to answer: it starts in 1 to 2 s on an idle machine.
const READY_MAX: Duration = Duration::from_secs(90);
/// How long it may take to close its log in order; it takes half a second.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How long an earlier broker in the same folder may take to end, which was told to.
const EARLIER_MAX: Duration = Duration::from_secs(15);
/// How often other ports are tried when somebody took ours in the very moment of the start.
const PORT_TRIES_MAX: u32 = 3;

/// Why Kafka is not there.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// Its jars could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// No port was free.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A process could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// There are no certificates for its listeners.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Another broker has its folder.
    #[error(transparent)]
    Tenure(#[from] TenureError),
    /// Its folder cannot be used.
    #[error("Kafka's folder {} cannot be used", path.display())]
    Folder {
        /// The folder or a file in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Formatting or the broker itself failed.
    #[error("{act} failed: {last_words}")]
    Failed {
        /// What was tried.
        act: &'static str,
        /// How the process ended and what it said.
        last_words: String,
    },
}

/// What the broker is run for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To serve `pulse up`: room for load, and a clean stop when its parent is gone.
    Serve,
    /// To be started often and thrown away: quick to start, eager to compact, soon gone.
    Test,
}

/// Which listeners the broker has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listeners {
    /// PLAINTEXT alone.
    Plain,
    /// PLAINTEXT, SSL with client certificates, and SASL_SSL with PLAIN and SCRAM.
    PlainAndSecured,
}

/// How a broker is to be.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Its folder: data, settings, certificates and log file.
    pub folder: PathBuf,
    /// The clients' port.
    pub port: PortWish,
    /// What it is run for.
    pub purpose: Purpose,
    /// Which listeners it has.
    pub listeners: Listeners,
    /// Lines for `server.properties`, which win over ours: `("message.max.bytes", "10000000")`.
    pub properties: Vec<(String, String)>,
}

impl KafkaOptions {
    /// The broker of `pulse up`.
    pub fn serve(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            port: PortWish::From(9_092),
            purpose: Purpose::Serve,
            listeners: Listeners::Plain,
            properties: Vec::new(),
        }
    }

    /// A broker for a test.
    pub fn test(folder: impl Into<PathBuf>) -> Self {
        Self {
            port: PortWish::Any,
            purpose: Purpose::Test,
            ..Self::serve(folder)
        }
    }

    /// Sets a line of `server.properties`.
    pub fn property(mut self, name: &str, value: impl ToString) -> Self {
        self.properties.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A broker. Dropping it kills it.
#[derive(Debug)]
pub struct Kafka {
    options: KafkaOptions,
    software: Software,
    ports: Ports,
    secured: Option<Certificates>,
    process: Process,
}

/// The ports of one broker.
#[derive(Debug)]
struct Ports {
    clients: Port,
    controller: Port,
    ssl: Option<Port>,
    sasl_ssl: Option<Port>,
}

impl Kafka {
    /// Starts a broker in a folder that is new or was a broker's before, and waits until it
    /// answers.
    ///
    /// # Errors
    /// When Kafka cannot be fetched, a port or the folder cannot be had, or it does not come up;
    /// the last lines of its log say why.
    pub async fn start(
        options: KafkaOptions,
        cache: &Cache,
        progress: Progress<'_>,
    ) -> Result<Self, KafkaError> {
        let lib = fetch::kafka(cache, progress).await?;
        let software = Software::of(&lib)?;
        let archive = archive::ensure(cache, &software, progress).await;
        let kafka = Self::start_with(options, software.with(archive)).await?;
        archive::drop_if_foreign(&kafka);
        Ok(kafka)
    }

    async fn start_with(options: KafkaOptions, software: Software) -> Result<Self, KafkaError> {
        let mut tries_left = PORT_TRIES_MAX;
        loop {
            // First of all: an earlier broker has our ports until it is gone.
            let tenure = Tenure::take(&software::log(&options.folder), EARLIER_MAX).await?;
            let secured = match options.listeners {
                Listeners::Plain => None,
                Listeners::PlainAndSecured => Some(Certificates::make(&options.folder).await?),
            };
            let ports = Ports::claim(&options)?;
            properties::write(&options, &ports, secured.as_ref())?;
            software.format(&options, secured.as_ref()).await?;
            session::end(&software, &options, &ports).await?;
            let process = software.launch(&options, tenure)?;
            tries_left -= 1;
            match ready(&process, &ports).await {
                Ok(()) => {
                    return Ok(Self {
                        options,
                        software,
                        ports,
                        secured,
                        process,
                    });
                }
                Err(_) if tries_left > 0 && process.lost_its_port() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// `host:port` for `bootstrap.servers`.
    pub fn brokers(&self) -> String {
        self.ports.clients.address()
    }

    /// The SSL and SASL_SSL listeners, where it has them.
    pub fn secured(&self) -> Option<Secured<'_>> {
        let (Some(ssl), Some(sasl_ssl)) = (&self.ports.ssl, &self.ports.sasl_ssl) else {
            return None;
        };
        let certificates = self.secured.as_ref()?;
        Some(Secured {
            ssl: ssl.address(),
            sasl_ssl: sasl_ssl.address(),
            certificates,
        })
    }

    /// The broker's folder.
    pub fn folder(&self) -> &Path {
        &self.options.folder
    }

    /// Its process: to freeze, to look at.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Stops it in order, or kills it when that takes too long.
    pub async fn stop(&self) -> ExitStatus {
        self.process.stop(STOP_MAX).await
    }

    /// Kills it as `kill -9` does and waits until it is gone; data and ports stay.
    pub async fn kill9(&self) {
        self.process.kill9().await;
    }

    /// Starts it again on its data and its ports, after a stop or a kill; kills it first if it
    /// runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<(), KafkaError> {
        self.process.kill9().await;
        let tenure = Tenure::take(&software::log(&self.options.folder), EARLIER_MAX).await?;
        session::end(&self.software, &self.options, &self.ports).await?;
        self.process = self.software.launch(&self.options, tenure)?;
        ready(&self.process, &self.ports).await
    }
}

impl Ports {
    fn claim(options: &KafkaOptions) -> Result<Self, PortError> {
        let secured = || match options.listeners {
            Listeners::Plain => Ok(None),
            Listeners::PlainAndSecured => Port::claim(PortWish::Any).map(Some),
        };
        Ok(Self {
            clients: Port::claim(options.port)?,
            controller: Port::claim(PortWish::Any)?,
            ssl: secured()?,
            sasl_ssl: secured()?,
        })
    }
}

/// Waits until the broker answers a metadata request with itself.
async fn ready(process: &Process, ports: &Ports) -> Result<(), KafkaError> {
    let address = ports.clients.address();
    let is_there = || async { matches!(probe::broker_count(&address).await, Ok(1..)) };
    match process.until(READY_MAX, is_there).await {
        true => Ok(()),
        false => Err(failed("starting Kafka", process)),
    }
}

fn failed(act: &'static str, process: &Process) -> KafkaError {
    KafkaError::Failed {
        act,
        last_words: process.last_words(),
    }
}

fn fault(path: &Path) -> impl FnOnce(io::Error) -> KafkaError {
    let path = path.to_owned();
    |source| KafkaError::Folder { path, source }
}
