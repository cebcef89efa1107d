//! A stack for tests: on free ports, in a folder of its own, gone without a trace afterwards.
//!
//! Gone also when the test panics (by `Drop`), and when it is killed with `kill -9`: the servers
//! die with it ([`super::process`]), and a janitor, a shell that waits for the end of a pipe that
//! only the test holds, then removes the folder. The janitor does the same for
//! [`TestStack::shared`], since what lives in a `static` is never dropped.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio::sync::OnceCell;

use super::cache::Cache;
use super::clickhouse::{ClickHouse, ClickHouseError, ClickHouseOptions};
use super::fetch::FetchError;
use super::kafka::{Kafka, KafkaError, KafkaOptions};

/// Why a test has no stack.
#[derive(Debug, thiserror::Error)]
pub enum TestStackError {
    /// There is no place for what is fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Kafka is not there.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// ClickHouse is not there.
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    /// The test's folder or its janitor cannot be made.
    #[error("a folder for the test cannot be made")]
    Folder(#[from] io::Error),
}

/// A Kafka and a ClickHouse of a test's own.
#[derive(Debug)]
pub struct TestStack {
    /// The broker.
    pub kafka: Kafka,
    /// The server.
    pub clickhouse: ClickHouse,
    // Last, so that it is removed when nobody writes to it any more.
    folder: TestFolder,
}

impl TestStack {
    /// Starts both, as tests mostly want them.
    ///
    /// # Errors
    /// When either cannot be had or does not come up.
    pub async fn start() -> Result<Self, TestStackError> {
        Self::start_with(|options| options).await
    }

    /// Starts both, with a broker that differs from what tests mostly want.
    ///
    /// # Errors
    /// When either cannot be had or does not come up.
    pub async fn start_with(
        kafka: impl FnOnce(KafkaOptions) -> KafkaOptions,
    ) -> Result<Self, TestStackError> {
        let cache = Cache::of_user()?;
        let folder = TestFolder::make()?;
        let kafka = kafka(KafkaOptions::test(folder.path().join("kafka")));
        let clickhouse = ClickHouseOptions::test(folder.path().join("clickhouse"));
        let (kafka, clickhouse) = tokio::try_join!(
            async { Ok::<_, TestStackError>(Kafka::start(kafka, &cache, &tell).await?) },
            async { Ok(ClickHouse::start(clickhouse, &cache, &tell).await?) },
        )?;
        Ok(Self {
            kafka,
            clickhouse,
            folder,
        })
    }

    /// The one stack that the tests of this program share, each with tenants of its own. It starts
    /// when the first test asks and goes when the program ends; who kills a server starts its own.
    ///
    /// # Errors
    /// When either cannot be had or does not come up; the next test tries again.
    pub async fn shared() -> Result<&'static Self, TestStackError> {
        static SHARED: OnceCell<TestStack> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// A folder for the test's own files, removed with the stack.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The variables that point a process of ours at this stack, as the ClickHouse writer.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let writer = self.clickhouse.writer();
        vec![
            ("PULSE_KAFKA_BROKERS", self.kafka.brokers()),
            ("PULSE_CLICKHOUSE_URL", self.clickhouse.url()),
            ("PULSE_CLICKHOUSE_USER", writer.user.clone()),
            (
                "PULSE_CLICKHOUSE_PASSWORD",
                writer.password.reveal().to_owned(),
            ),
        ]
    }
}

/// A fetch takes long, and a test that is silent meanwhile looks stuck.
fn tell(text: &str) {
    eprintln!("{text}");
}

/// A folder that is removed when it is dropped, or when the process is gone, however it went.
#[derive(Debug)]
pub struct TestFolder {
    path: PathBuf,
    janitor: Child,
}

impl TestFolder {
    /// Makes a folder.
    ///
    /// # Errors
    /// When the system's folder for temporary files cannot be written or no shell can be started.
    pub fn make() -> io::Result<Self> {
        let path = tempfile::Builder::new()
            .prefix("pulse-test-")
            .tempdir()?
            .keep();
        // Whatever still writes there is being killed at the same moment, hence several tries.
        let script = "cat; for try in 1 2 3 4 5 6 7 8 9 10; do
            rm -rf -- \"$1\" 2>/dev/null && exit; sleep 0.2
        done";
        let janitor = Command::new("sh")
            .args(["-c", script, "pulse-test-janitor"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { path, janitor })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        // Both ends: the janitor removes the folder when its pipe closes, and we wait for that.
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner() {
        let folder = TestFolder::make().unwrap();
        let path = folder.path().to_owned();
        std::fs::create_dir(path.join("full")).unwrap();
        std::fs::write(path.join("full/file"), "of things").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
