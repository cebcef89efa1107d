//! A real ClickHouse server on this machine: HTTP and native protocol, MergeTree on disk.
//!
//! A `clickhouse` on `PATH` is used when there is one that is new enough. Otherwise the engine
//! comes as a library and `pulse-clickhouse-server` is the process around it; see there. Both read
//! the same settings and users, and what either has acknowledged outlives `kill -9`: it is in the
//! kernel's hands by then.

mod access;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use runtime::config::Secret;

use super::cache::{Cache, Progress};
use super::fetch::{self, FetchError};
use super::ports::{Port, PortError, PortWish};
use super::process::{Launch, LaunchError, Orphan, Process, Tenure, TenureError};
use access::Access;

/// How long the server may take to answer; it takes half a second on little data.
const READY_MAX: Duration = Duration::from_secs(120);
/// How long it may take to end.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How long an earlier server in the same folder may take to end, which was told to.
const EARLIER_MAX: Duration = Duration::from_secs(15);
/// How often other ports are tried when somebody took ours in the very moment of the start.
const PORT_TRIES_MAX: u32 = 3;
/// The oldest `clickhouse` on `PATH` that is used, year and month.
const BINARY_VERSION_MIN: (u32, u32) = (25, 3);

/// Why ClickHouse is not there.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    /// The engine could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// No port was free.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The process could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Another server has its folder.
    #[error(transparent)]
    Tenure(#[from] TenureError),
    /// Its folder cannot be used.
    #[error("ClickHouse's folder {} cannot be used", path.display())]
    Folder {
        /// The folder or a file in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The launcher is not there.
    #[error("ClickHouse cannot be launched")]
    Launcher(#[source] io::Error),
    /// The server did not come up.
    #[error("starting ClickHouse failed: {last_words}")]
    Failed {
        /// How the process ended and what it said.
        last_words: String,
    },
}

/// How a server is to be.
#[derive(Clone, Debug)]
pub struct ClickHouseOptions {
    /// Its folder: data, settings, users, passwords and log file.
    pub folder: PathBuf,
    /// The port for HTTP.
    pub http_port: PortWish,
    /// The port for the native protocol.
    pub tcp_port: PortWish,
    /// The memory that all queries and merges together may take.
    pub memory_bytes_max: u64,
    /// What becomes of it when its parent is gone.
    pub orphan: Orphan,
}

impl ClickHouseOptions {
    /// The server of `pulse up`.
    pub fn serve(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            http_port: PortWish::From(8_123),
            tcp_port: PortWish::From(9_000),
            memory_bytes_max: 4 << 30,
            orphan: Orphan::Ends,
        }
    }

    /// A server for a test.
    pub fn test(folder: impl Into<PathBuf>) -> Self {
        Self {
            http_port: PortWish::Any,
            tcp_port: PortWish::Any,
            memory_bytes_max: 2 << 30,
            orphan: Orphan::IsKilled,
            ..Self::serve(folder)
        }
    }
}

/// One who may log in.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

/// A server. Dropping it kills it.
#[derive(Debug)]
pub struct ClickHouse {
    options: ClickHouseOptions,
    engine: Engine,
    http: Port,
    tcp: Port,
    access: Access,
    process: Process,
}

/// What runs the server.
#[derive(Clone, Debug)]
enum Engine {
    /// `clickhouse`, from `PATH`.
    Binary,
    /// The library, by our launcher.
    Library { launcher: PathBuf, library: PathBuf },
}

impl ClickHouse {
    /// Starts a server in a folder that is new or was a server's before, and waits until it
    /// answers.
    ///
    /// # Errors
    /// When ClickHouse cannot be fetched, a port or the folder cannot be had, or it does not come
    /// up; the last lines of its log say why.
    pub async fn start(
        options: ClickHouseOptions,
        cache: &Cache,
        progress: Progress<'_>,
    ) -> Result<Self, ClickHouseError> {
        let engine = Engine::find(cache, progress).await?;
        let mut tries_left = PORT_TRIES_MAX;
        loop {
            // First of all: an earlier server has our ports until it is gone.
            let tenure = Tenure::take(&log(&options.folder), EARLIER_MAX).await?;
            let access = Access::of(&options.folder).map_err(fault(&options.folder))?;
            let http = Port::claim(options.http_port)?;
            let tcp = Port::claim(options.tcp_port)?;
            write_settings(&options, &engine, &access, [&http, &tcp])?;
            let process = engine.launch(&options, tenure)?;
            tries_left -= 1;
            match ready(&process, &http, access.writer()).await {
                Ok(()) => {
                    return Ok(Self {
                        options,
                        engine,
                        http,
                        tcp,
                        access,
                        process,
                    });
                }
                Err(_) if tries_left > 0 && process.lost_its_port() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        url(&self.http)
    }

    /// `host:port` of the native protocol.
    pub fn native_address(&self) -> String {
        self.tcp.address()
    }

    /// Who may do everything: our sinks.
    pub fn writer(&self) -> &Account {
        self.access.writer()
    }

    /// Who may read the database `pulse` and sees each row once (`final = 1`): Grafana, people.
    pub fn reader(&self) -> &Account {
        self.access.reader()
    }

    /// A client that has logged in.
    pub fn client(&self, account: &Account) -> clickhouse::Client {
        client(&self.http, account)
    }

    /// The server's folder.
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

    /// Stops it.
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
    pub async fn restart(&mut self) -> Result<(), ClickHouseError> {
        self.process.kill9().await;
        let tenure = Tenure::take(&log(&self.options.folder), EARLIER_MAX).await?;
        self.process = self.engine.launch(&self.options, tenure)?;
        ready(&self.process, &self.http, self.access.writer()).await
    }
}

impl Engine {
    async fn find(cache: &Cache, progress: Progress<'_>) -> Result<Self, ClickHouseError> {
        if binary_version()
            .await
            .is_some_and(|version| version >= BINARY_VERSION_MIN)
        {
            return Ok(Self::Binary);
        }
        let launcher =
            super::binary("pulse-clickhouse-server").map_err(ClickHouseError::Launcher)?;
        Ok(Self::Library {
            launcher,
            library: fetch::clickhouse(cache, progress).await?,
        })
    }

    fn launch(
        &self,
        options: &ClickHouseOptions,
        tenure: Tenure,
    ) -> Result<Process, ClickHouseError> {
        let log = log(&options.folder);
        let server = match self {
            Self::Binary => Launch::new("clickhouse", log).arg("server"),
            Self::Library { launcher, library } => Launch::new(launcher, log).arg(library),
        };
        let config = fetch::option("--config-file=", options.folder.join("config.xml"));
        Ok(server
            .arg(config)
            .orphan(options.orphan)
            .holding(tenure)
            .folder(&options.folder)
            .spawn()?)
    }
}

/// The version of the `clickhouse` on `PATH`, where there is one.
async fn binary_version() -> Option<(u32, u32)> {
    let mut command = tokio::process::Command::new("clickhouse");
    let answer = command
        .args(["local", "--version"])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(10), answer)
        .await
        .ok()?
        .ok()?;
    version(&String::from_utf8_lossy(&output.stdout))
}

/// The first `<year>.<month>` in a text: `ClickHouse local version 26.7.3.5 (official build).`
fn version(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.split('.').map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

fn write_settings(
    options: &ClickHouseOptions,
    engine: &Engine,
    access: &Access,
    [http, tcp]: [&Port; 2],
) -> Result<(), ClickHouseError> {
    let folder = &options.folder;
    // The library's log comes by the launcher's arguments; here it would become a trace of all.
    let logger = match engine {
        Engine::Binary => "<logger><level>warning</level><console>true</console></logger>",
        Engine::Library { .. } => "",
    };
    let config = format!(
        "<clickhouse>
  {logger}
  <path>{data}/</path>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{http}</http_port>
  <tcp_port>{tcp}</tcp_port>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
  <mark_cache_size>67108864</mark_cache_size>
  <user_directories><users_xml><path>{users}</path></users_xml></user_directories>
</clickhouse>
",
        data = access::escaped(&folder.join("data").to_string_lossy()),
        users = access::escaped(&folder.join("users.xml").to_string_lossy()),
        http = http.number(),
        tcp = tcp.number(),
        memory = options.memory_bytes_max,
    );
    let users = access.users_xml(matches!(engine, Engine::Library { .. }));
    for (name, text) in [("config.xml", config), ("users.xml", users)] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(fault(&path))?;
    }
    Ok(())
}

/// Waits until the server answers a query of the writer's.
async fn ready(process: &Process, http: &Port, writer: &Account) -> Result<(), ClickHouseError> {
    const ANSWER_MAX: Duration = Duration::from_secs(2);
    let client = client(http, writer);
    let is_there = || async {
        let answer = client.query("SELECT 1").fetch_one::<u8>();
        matches!(tokio::time::timeout(ANSWER_MAX, answer).await, Ok(Ok(1)))
    };
    match process.until(READY_MAX, is_there).await {
        true => Ok(()),
        false => Err(ClickHouseError::Failed {
            last_words: process.last_words(),
        }),
    }
}

fn client(http: &Port, account: &Account) -> clickhouse::Client {
    clickhouse::Client::default()
        .with_url(url(http))
        .with_user(&account.user)
        .with_password(account.password.reveal())
}

/// Where the server's log is.
fn log(folder: &Path) -> PathBuf {
    folder.join("clickhouse.log")
}

fn url(http: &Port) -> String {
    format!("http://{}", http.address())
}

fn fault(path: &Path) -> impl FnOnce(io::Error) -> ClickHouseError {
    let path = path.to_owned();
    |source| ClickHouseError::Folder { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_clickhouse_says() {
        let check = |text, expect| assert_eq!(version(text), expect, "{text}");
        check(
            "ClickHouse local version 26.7.3.5 (official build).\n",
            Some((26, 7)),
        );
        check("ClickHouse client version 18.16.1.\n", Some((18, 16)));
        check("ClickHouse\n", None);
        check("", None);
    }
}
