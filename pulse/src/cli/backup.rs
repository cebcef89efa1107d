//! `pulse backup` and `pulse restore`: the control store to a file, and a file in its place.
//!
//! A backup comes from the pulse-api that runs, where one is known, and otherwise from the folder.
//! A restore is for a folder that no pulse-api has: one that runs would publish over it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use api::store;
use clap::Args;
use runtime::clock;
use runtime::config::Environment;

use super::exit::Exit;
use super::text;
use crate::definer;
use crate::installation::{Access, DataFolder};

/// What `pulse backup` says at the end of its help.
pub const BACKUP_HELP: &str = "\
Examples:
  pulse backup definitions.backup
  PULSE_API_INSTALLATION_URL=http://api:8082 pulse backup definitions.backup

The file holds hashes of passwords and of keys: keep it as you keep secrets. Events and metrics are
in Kafka and ClickHouse, which have backups of their own.";

/// What `pulse restore` says at the end of its help.
pub const RESTORE_HELP: &str = "\
Examples:
  pulse down; pulse restore definitions.backup; pulse up
  PULSE_API_DATA=/data/store pulse restore definitions.backup

Stop pulse-api first. What was defined is kept beside it, in a file that is named. Once pulse-api
runs again, what the backup says holds everywhere within a minute: what was defined later is gone,
and what was removed later is back. A key that was revoked after the backup is alive again: revoke
it once more.";

/// What `pulse backup` is told.
#[derive(Args, Clone, Debug)]
pub struct BackupArguments {
    /// A file that is not there yet.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What `pulse restore` is told.
#[derive(Args, Clone, Debug)]
pub struct RestoreArguments {
    /// What `pulse backup` has written.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Copies the store.
///
/// # Errors
/// When there is none, it cannot be reached, or the file cannot be written.
pub async fn back_up(arguments: &BackupArguments, access: &Access) -> anyhow::Result<Exit> {
    let file = &arguments.file;
    match definer::installation_of(access)? {
        Some(api) => {
            api.backup(file).await?;
        }
        None => store::backup_of(&store_folder(&access.folder), file).await?,
    }
    if let Err(error) = store::check_backup(file) {
        let _ = std::fs::remove_file(file);
        return Err(error.into());
    }
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    text::print(&format!("{}: {bytes} bytes\n", file.display()))?;
    Ok(Exit::Done)
}

/// Puts a backup into the store's place.
///
/// # Errors
/// When it is none, or a pulse-api has the store.
pub async fn restore(arguments: &RestoreArguments, folder: &DataFolder) -> anyhow::Result<Exit> {
    let folder = store_folder(folder);
    store::check_backup(&arguments.file)?;
    let before = folder.join(format!("before-restore-{}.backup", clock::now_ms()));
    let kept = match store::backup_of(&folder, &before).await {
        Ok(()) => format!("what was defined is kept in {}\n", before.display()),
        Err(store::BackupError::NoStore(_)) => String::new(),
        Err(error) => return Err(error).context("what is defined now could not be kept"),
    };
    let (file, place) = (arguments.file.clone(), folder.clone());
    let restoring = tokio::task::spawn_blocking(move || store::restore(&file, &place));
    if let Err(error) = restoring.await? {
        let _ = std::fs::remove_file(&before);
        return Err(error.into());
    }
    let at = folder.display();
    text::print(&format!(
        "{kept}restored into {at}: start pulse-api, and within a minute it holds everywhere\n"
    ))?;
    Ok(Exit::Done)
}

/// Where pulse-api keeps its store: as the environment says, else as `pulse up` has it.
fn store_folder(folder: &DataFolder) -> PathBuf {
    let mut env = Environment::of_process();
    let named = env
        .has(store::DATA.name)
        .then(|| env.parse::<PathBuf>(&store::DATA))
        .flatten();
    named.unwrap_or_else(|| Path::new(folder.path()).join("api"))
}
