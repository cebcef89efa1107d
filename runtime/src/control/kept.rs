//! The definitions as a file, for a process that starts while the brokers are away.
//!
//! In: the records that the view has taken from the topic, byte by byte. Out: the same records, at
//! the next start, for as long as the topic cannot be read.
//!
//! What can never happen: a record counts that does not carry this installation's MAC, as on the
//! topic; one of them is left out, put in or taken from another file, since all of them together
//! carry a MAC too; half a file is read, since one is replaced by its whole successor. Whoever can
//! write the folder can put an older whole file there, and that is all.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use schemas::control::ControlKey;
use schemas::ids::Offset;
use sha2::Sha256;

use super::{Control, ControlConfig};
use crate::clock;
use crate::service::Shutdown;

/// The file's name in its folder.
const NAME: &str = "definitions.kept";

/// How often a view that changed is written.
const INTERVAL: Duration = Duration::from_secs(2);

/// A larger file is neither written nor read: some hundred thousand definitions.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a file of this form begins with.
const MAGIC: &[u8; 16] = b"pulse-control-1\n";

/// Magic, offset, time and count.
const HEAD_BYTES: usize = 16 + 3 * 8;

const MAC_BYTES: usize = 32;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeptError {
    /// It cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It is larger than any that is written.
    #[error("kept definitions of more than {BYTES_MAX} bytes are not used")]
    TooLarge,
    /// It is no such file, is damaged, or was written under another secret.
    #[error("kept definitions do not carry this installation's MAC")]
    Foreign,
}

/// A view that was kept.
#[derive(Debug)]
pub(super) struct Found {
    /// What it says.
    pub(super) control: Control,
    /// When it was written, in ms since the epoch.
    pub(super) kept_at_ms: i64,
}

/// The file, and what goes into it next. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Keeper {
    path: PathBuf,
    config: ControlConfig,
    records: Arc<Mutex<Records>>,
}

/// The newest record under each key, as it lies on the topic.
#[derive(Default)]
struct Records {
    by_key: BTreeMap<ControlKey, Box<[u8]>>,
    offset: Offset,
    /// False while the topic's end was not reached: what is known yet is not all.
    is_complete: bool,
    is_changed: bool,
}

impl Keeper {
    /// The file in this folder, which need not be there yet.
    pub(super) fn new(folder: &Path, config: &ControlConfig) -> Self {
        Self {
            path: folder.join(NAME),
            config: config.clone(),
            records: Arc::default(),
        }
    }

    /// What an earlier process has kept; `None` where none has.
    pub(super) fn read(&self) -> Result<Option<Found>, KeptError> {
        let mut bytes = vec![];
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(self.unusable(cause)),
        };
        // One byte more tells a file that is too large.
        let read = file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|cause| self.unusable(cause))?;
        match bytes.len() <= BYTES_MAX {
            true => found(&self.config, &bytes).map(Some),
            false => Err(KeptError::TooLarge),
        }
    }

    /// Takes in a record that the view has taken in, at `offset`.
    pub(super) fn take(&self, key: ControlKey, value: &[u8], offset: Offset) {
        let mut records = self.locked();
        records.by_key.insert(key, value.into());
        records.offset = offset + 1;
        records.is_changed = true;
    }

    /// From now on the records are all that the topic holds.
    pub(super) fn complete(&self) {
        self.locked().is_complete = true;
    }

    /// Writes what has changed, again and again, until the process stops; and then once more. That
    /// it cannot be written is told once, and again when it could meanwhile.
    pub(super) fn run(&self, shutdown: &Shutdown) {
        let mut is_told = false;
        loop {
            let is_last = shutdown.wait_at_most(INTERVAL);
            match self.write_if_changed() {
                Ok(()) => is_told = false,
                Err(_) if is_told => {}
                Err(error) => {
                    is_told = true;
                    let effect = "a start without brokers would find older definitions";
                    tracing::warn!(%error, effect, "the definitions were not kept");
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// Writes the records, where they are all and have changed since the last time.
    pub(super) fn write_if_changed(&self) -> Result<(), KeptError> {
        let bytes = {
            let mut records = self.locked();
            if !records.is_complete || !records.is_changed {
                return Ok(());
            }
            records.is_changed = false;
            file_of(
                &self.config,
                &records.by_key,
                records.offset,
                clock::now_ms(),
            )
        };
        let written = match bytes.len() <= BYTES_MAX {
            true => self.replace(&bytes).map_err(|cause| self.unusable(cause)),
            false => Err(KeptError::TooLarge),
        };
        if written.is_err() {
            self.locked().is_changed = true;
        }
        written
    }

    /// The file is the old one or the new one, whenever the machine stops.
    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.path.parent().expect("the file lies in a folder");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let draft = self.path.with_extension("draft");
        let mut options = File::options();
        let mut file = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, &self.path)?;
        File::open(folder)?.sync_all()
    }

    fn unusable(&self, cause: io::Error) -> KeptError {
        KeptError::File {
            path: self.path.clone(),
            cause,
        }
    }

    fn locked(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mac(config: &ControlConfig, bytes: &[u8]) -> Hmac<Sha256> {
    let key = config.derive("pulse kept definitions");
    let mut mac = Hmac::<Sha256>::new_from_slice(key.reveal().as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(bytes);
    mac
}

fn file_of(
    config: &ControlConfig,
    records: &BTreeMap<ControlKey, Box<[u8]>>,
    offset: Offset,
    kept_at_ms: i64,
) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(offset.to_le_bytes());
    bytes.extend(kept_at_ms.to_le_bytes());
    bytes.extend((records.len() as u64).to_le_bytes());
    for (key, value) in records {
        for part in [key.to_string().as_bytes(), value] {
            let length = u32::try_from(part.len()).expect("a record is far below 4 GiB");
            bytes.extend(length.to_le_bytes());
            bytes.extend(part);
        }
    }
    let mac = mac(config, &bytes).finalize().into_bytes();
    bytes.extend(mac);
    bytes
}

fn found(config: &ControlConfig, bytes: &[u8]) -> Result<Found, KeptError> {
    let end = bytes.len().checked_sub(MAC_BYTES);
    let (signed, seal) = bytes.split_at(end.ok_or(KeptError::Foreign)?);
    if !signed.starts_with(MAGIC) || mac(config, signed).verify_slice(seal).is_err() {
        return Err(KeptError::Foreign);
    }
    // From here on the bytes are our own; that they can be read is looked at all the same.
    let number = |at: usize| {
        let eight = signed.get(at..at + 8)?;
        Some(i64::from_le_bytes(eight.try_into().ok()?))
    };
    let head = (number(16), number(24), number(32));
    let (Some(offset), Some(kept_at_ms), Some(count)) = head else {
        return Err(KeptError::Foreign);
    };
    let mut rest = &signed[HEAD_BYTES..];
    let mut control = Control::default();
    for _ in 0..count {
        let (key, value) = part(&mut rest)
            .zip(part(&mut rest))
            .ok_or(KeptError::Foreign)?;
        // What this release cannot read it ignores here as on the topic.
        if let Err(refusal) = control.apply(config, offset - 1, Some(key), Some(value)) {
            tracing::warn!(%refusal, "a kept definition was ignored");
        }
    }
    control.offset = offset;
    Ok(Found {
        control,
        kept_at_ms,
    })
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let part = behind.get(..length)?;
    *rest = &behind[length..];
    Some(part)
}

#[cfg(test)]
mod tests {
    use schemas::control::{Definition, Tenant};
    use schemas::time::EventTime;

    use super::*;
    use crate::config::Secret;
    use crate::control::writer::encode;

    fn config(secret: &str) -> ControlConfig {
        ControlConfig::new(Secret::new(secret))
    }

    fn key(tenant: &str) -> ControlKey {
        format!("{tenant}/tenant/self").parse().unwrap()
    }

    fn record(config: &ControlConfig, tenant: &str, version: i64, is_there: bool) -> Vec<u8> {
        let body = Definition::Tenant(Tenant::new(tenant)).body();
        let body = is_there.then_some(body.as_str());
        let key = key(tenant).to_string();
        encode(config, &key, version, EventTime::from_ms(1), body)
    }

    /// A keeper that has been told of these tenants.
    fn keeper(folder: &Path, records: &[(&str, Vec<u8>)]) -> Keeper {
        let keeper = Keeper::new(folder, &config("a secret of this test"));
        for (at, (tenant, record)) in (0..).zip(records) {
            keeper.take(key(tenant), record, at);
        }
        keeper
    }

    #[test]
    fn what_was_kept_is_found_and_nothing_before_all_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let own = config("a secret of this test");
        let records = [
            ("acme", record(&own, "acme", 3, true)),
            ("gone", record(&own, "gone", 2, false)),
        ];
        let keeper = keeper(folder.path(), &records);
        keeper.write_if_changed().unwrap();
        assert!(keeper.read().unwrap().is_none(), "not all is known yet");
        keeper.complete();
        keeper.write_if_changed().unwrap();
        let found = keeper.read().unwrap().unwrap();
        assert_eq!(found.control.offset, 2);
        let tenants: Vec<_> = found.control.tenants().map(|(id, _)| id.as_str()).collect();
        assert_eq!(tenants, ["acme"]);
        // An old record stays old, of what was deleted too.
        assert_eq!(found.control.version(&key("gone")), 2);
    }

    #[test]
    fn a_file_that_was_changed_by_a_bit_or_a_byte_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let own = config("a secret of this test");
        let keeper = keeper(folder.path(), &[("acme", record(&own, "acme", 1, true))]);
        keeper.complete();
        keeper.write_if_changed().unwrap();
        let path = folder.path().join(NAME);
        let sound = std::fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(
                matches!(keeper.read(), Err(KeptError::Foreign)),
                "byte {at}"
            );
            std::fs::write(&path, &sound[..at]).unwrap();
            assert!(
                matches!(keeper.read(), Err(KeptError::Foreign)),
                "{at} bytes"
            );
        }
        std::fs::write(&path, &sound).unwrap();
        assert!(keeper.read().unwrap().is_some());
        let other = Keeper::new(folder.path(), &config("another secret of it"));
        assert!(matches!(other.read(), Err(KeptError::Foreign)));
    }

    #[test]
    fn a_record_without_our_mac_is_ignored_in_a_file_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let forged = record(&config("another secret of it"), "evil", 1, true);
        let keeper = keeper(folder.path(), &[("evil", forged)]);
        keeper.complete();
        keeper.write_if_changed().unwrap();
        let found = keeper.read().unwrap().unwrap();
        assert_eq!(found.control.tenants().count(), 0);
    }

    #[test]
    fn it_is_the_owners_alone_and_written_when_something_changed() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        let own = config("a secret of this test");
        let inside = folder.path().join("made");
        let keeper = keeper(&inside, &[("acme", record(&own, "acme", 1, true))]);
        keeper.complete();
        keeper.write_if_changed().unwrap();
        let path = inside.join(NAME);
        let first = path.metadata().unwrap();
        assert_eq!(first.permissions().mode() & 0o777, 0o600);
        keeper.write_if_changed().unwrap();
        assert_eq!(
            path.metadata().unwrap().ino(),
            first.ino(),
            "not written again"
        );
        keeper.take(key("acme"), &record(&own, "acme", 2, true), 9);
        keeper.write_if_changed().unwrap();
        let found = keeper.read().unwrap().unwrap();
        assert_eq!(found.control.version(&key("acme")), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("taken");
        std::fs::write(&place, "a file where the folder should be").unwrap();
        let own = config("a secret of this test");
        let keeper = keeper(&place, &[("acme", record(&own, "acme", 1, true))]);
        keeper.complete();
        assert!(matches!(
            keeper.write_if_changed(),
            Err(KeptError::File { .. })
        ));
        std::fs::remove_file(&place).unwrap();
        keeper.write_if_changed().unwrap();
        assert!(keeper.read().unwrap().is_some());
    }
}
