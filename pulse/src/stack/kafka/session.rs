//! The end of a killed broker's session, before the next broker begins.
//!
//! A broker that starts on what a killed one left behind takes itself for the leader of everything,
//! until its controller ends the earlier session some seconds later. Transactions that were decided
//! and not marked are taken up in between, and forgotten when the leaders go (Kafka 4.3.1): what
//! they wrote hangs for ever. So where a broker was killed its controller starts first, alone and
//! with little patience, notes that the broker is gone, and ends in order. The broker then leads
//! nothing before it is let in, and no longer waits for that: both together take as long as the
//! wait did.

use std::path::Path;
use std::time::Duration;

use super::software::Software;
use super::{KafkaError, KafkaOptions, Ports, properties};
use crate::stack::process::Process;

/// How long the controller may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(30);
/// How long it may then take to note that the broker is gone; where one was killed before it was
/// let in, that is known already, and waited for in vain.
const NOTE_MAX: Duration = Duration::from_secs(5);
/// How long it may take to end.
const STOP_MAX: Duration = Duration::from_secs(10);

/// What the broker leaves in its data when it ends in order, and removes when it begins.
const ENDED_IN_ORDER: &str = ".kafka_cleanshutdown";

/// Ends the session of the broker that was killed in this folder, if one was.
///
/// A controller that cannot begin is no reason not to try the broker, which would say why again.
///
/// # Errors
/// When the folder cannot be written or nothing can be started.
pub(super) async fn end(
    software: &Software,
    options: &KafkaOptions,
    ports: &Ports,
) -> Result<(), KafkaError> {
    if !was_killed(&properties::data(&options.folder)) {
        return Ok(());
    }
    properties::write_controller(options, ports)?;
    let controller = software.launch_controller(options)?;
    let begins = || says(&controller, "Becoming the active controller");
    let has_begun = controller.until(BEGIN_MAX, begins).await;
    if !has_begun || !has_noted(&controller, &properties::data(&options.folder)).await {
        let log = controller.log().display();
        tracing::warn!(%log, "the controller did not end the killed broker's session");
    }
    controller.stop(STOP_MAX).await;
    Ok(())
}

/// Waits until the controller has noted that the broker is gone, and until that is in its log: it
/// writes in order, and writes something now and then, so what came before the third writing from
/// now on is there.
async fn has_noted(controller: &Process, data: &Path) -> bool {
    let notes = || says(controller, "Fencing broker");
    if !controller.until(NOTE_MAX, notes).await {
        return false;
    }
    for _ in 0..3 {
        let before = log_bytes(data);
        let has_written = async || log_bytes(data) != before;
        if !controller.until(NOTE_MAX, has_written).await {
            return false;
        }
    }
    true
}

/// How much the controller's log holds.
fn log_bytes(data: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(data.join("__cluster_metadata-0")) else {
        return 0;
    };
    let is_log = |path: &Path| path.extension().is_some_and(|name| name == "log");
    files
        .filter_map(|file| Some(file.ok()?.path()).filter(|path| is_log(path)))
        .filter_map(|path| Some(path.metadata().ok()?.len()))
        .sum()
}

/// True when a broker was at work here and did not end in order.
fn was_killed(data: &Path) -> bool {
    data.join("recovery-point-offset-checkpoint").exists() && !data.join(ENDED_IN_ORDER).exists()
}

async fn says(process: &Process, what: &str) -> bool {
    process.log_tail(usize::MAX).contains(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_killed_brokers_only_after_one_was_at_work() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let touch = |name: &str| std::fs::write(data.join(name), "").unwrap();
        assert!(!was_killed(data), "new");
        touch("meta.properties");
        assert!(!was_killed(data), "formatted");
        touch("recovery-point-offset-checkpoint");
        assert!(was_killed(data));
        touch(ENDED_IN_ORDER);
        assert!(!was_killed(data));
    }
}
