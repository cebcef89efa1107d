//! Where the log lies, and what it may take.

use std::path::PathBuf;

use runtime::config::{Environment, Key};

use super::segment;

const FOLDER: Key = Key {
    name: "PULSE_DISK_LOG",
    default: None,
    doc: "The folder in which the gateway keeps events while the brokers are away, for itself \
          alone, and beside them what it knows of tenants and keys; left out, it answers 503 \
          instead.",
};
const BYTES_MAX: Key = Key {
    name: "PULSE_DISK_LOG_BYTES_MAX",
    default: Some("1073741824"),
    doc: "How many bytes that folder may hold; once it is full the gateway answers 503.",
};
const FREE_BYTES_MIN: Key = Key {
    name: "PULSE_DISK_LOG_FREE_BYTES_MIN",
    default: Some("268435456"),
    doc: "How many bytes of that folder's disk are left free for others.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[FOLDER, BYTES_MAX, FREE_BYTES_MIN];

/// The least that a log may be bounded by: four segments.
const BYTES_LEAST: u64 = 4 * SEGMENT_BYTES;
/// The most: 64 TiB.
const BYTES_MOST: u64 = 1 << 46;
/// A segment's greatest size, and so the most that one request may take.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Where the log lies, and what it may take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskLogConfig {
    /// The folder, for this log alone.
    pub folder: PathBuf,
    /// The bytes that all segments may have together.
    pub bytes_max: u64,
    /// The bytes of the disk that are left to others.
    pub free_bytes_min: u64,
    /// The bytes of a segment. One request's records lie in one segment.
    pub segment_bytes: u64,
}

impl DiskLogConfig {
    /// A log in this folder with the bounds that hold unless somebody sets others.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            bytes_max: 1 << 30,
            free_bytes_min: 1 << 28,
            segment_bytes: SEGMENT_BYTES,
        }
    }

    /// The settings of a process where the log is switched on; `Some(None)` where it is not.
    pub fn read(env: &mut Environment) -> Option<Option<Self>> {
        if !env.has(FOLDER.name) {
            env.refuse_ignored(&[BYTES_MAX, FREE_BYTES_MIN], "no PULSE_DISK_LOG is set")?;
            return Some(None);
        }
        let folder = env.parse::<PathBuf>(&FOLDER);
        let bytes_max = env.number(&BYTES_MAX, BYTES_LEAST..=BYTES_MOST);
        let free_bytes_min = env.number(&FREE_BYTES_MIN, 0..=BYTES_MOST);
        Some(Some(Self {
            folder: folder?,
            bytes_max: bytes_max?,
            free_bytes_min: free_bytes_min?,
            segment_bytes: SEGMENT_BYTES,
        }))
    }

    /// The most that one request's entries may take.
    pub fn request_bytes_max(&self) -> u64 {
        self.segment_bytes.saturating_sub(segment::HEAD_BYTES)
    }

    /// True when a request of usual size would find room, with `used` bytes taken.
    pub(super) fn has_room(&self, used: u64) -> bool {
        let more = self.segment_bytes / 16;
        used + more <= self.bytes_max && self.free_bytes().is_none_or(|free| free >= more)
    }

    /// What of the disk may still be taken; `None` where the disk does not say.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.folder).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Some(free.saturating_sub(self.free_bytes_min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<DiskLogConfig>, String> {
        let mut env = Environment::of(pairs.iter().copied());
        let read = DiskLogConfig::read(&mut env);
        env.finish(read).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_off_unless_a_folder_is_named() {
        assert_eq!(read(&[]), Ok(None));
        let on = read(&[("PULSE_DISK_LOG", "/var/lib/pulse")]);
        assert_eq!(on, Ok(Some(DiskLogConfig::new("/var/lib/pulse"))));
    }

    #[test]
    fn a_bound_without_a_log_or_below_four_segments_is_refused() {
        let told = read(&[("PULSE_DISK_LOG_BYTES_MAX", "1073741824")]).unwrap_err();
        assert!(told.contains("would be ignored"), "{told}");
        let small = [("PULSE_DISK_LOG", "x"), ("PULSE_DISK_LOG_BYTES_MAX", "1")];
        let told = read(&small).unwrap_err();
        assert!(told.contains("must be from 67108864"), "{told}");
    }
}
