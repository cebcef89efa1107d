//! All checks in their order, and those of them without which nothing is started.

use super::{Finding, Level, finding, machine, room, servers, tools};
use crate::installation::{Access, DataFolder};
use crate::stack::Cache;
use crate::stack::fetch::{self, Cached};
use crate::up::servers::Own;

/// Looks at everything.
pub async fn examine(access: &Access, own: &Own) -> Vec<Finding> {
    let mut findings = here(&access.folder, own);
    findings.push(room::run_file(&access.folder));
    if access.running().is_none() {
        findings.push(room::ports());
    }
    findings.extend(caches(own));
    findings.extend(servers::kafka(access).await);
    findings.extend(servers::guard(access).await);
    findings.push(servers::clickhouse(access).await);
    findings.push(servers::coinbase(access).await);
    findings
}

/// What must be so before anything is started.
///
/// # Errors
/// All that is wrong, with how to mend it.
pub fn before_up(folder: &DataFolder, own: &Own) -> anyhow::Result<()> {
    let mut findings = here(folder, own);
    findings.retain(|finding| finding.level == Level::Error);
    match findings.is_empty() {
        true => Ok(()),
        false => anyhow::bail!(
            "this cannot run here yet\n\n{}",
            finding::to_text(&findings)
        ),
    }
}

/// What this machine has.
fn here(folder: &DataFolder, own: &Own) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !own.is_all() {
        findings.push(machine::this_system());
        findings.push(machine::this_memory());
    }
    findings.push(room::this_disk(folder));
    findings.push(room::writable(folder));
    findings.push(machine::these_files());
    findings.push(tools::system_tool("setpriv", "setpriv", "util-linux"));
    if own.brokers.is_none() {
        findings.push(tools::java());
    }
    findings.push(tools::programs());
    findings
}

/// What was fetched, byte for byte; only asked for where it is used.
fn caches(own: &Own) -> Vec<Finding> {
    if own.is_all() {
        return Vec::new();
    }
    let cache = match Cache::of_user() {
        Ok(cache) => cache,
        Err(error) => {
            return vec![Finding::error(
                "cache",
                error.to_string(),
                "set PULSE_CACHE",
            )];
        }
    };
    let kafka = own.brokers.is_none().then(|| fetch::cached_kafka(&cache));
    let clickhouse = own
        .clickhouse_url
        .is_none()
        .then(|| fetch::cached_clickhouse(&cache));
    let mut findings = Vec::new();
    findings.extend(kafka.iter().flat_map(|state| tools::kafka(&cache, state)));
    findings.extend(
        clickhouse
            .iter()
            .flat_map(|state| tools::clickhouse(&cache, state)),
    );
    if [kafka, clickhouse].contains(&Some(Cached::Absent)) {
        findings.push(room::cache_disk(cache.root()));
    }
    findings
}
