//! Secrets in files that are readable for their owner alone, made once.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::FolderError;

/// Makes the secret in `path` where there is none yet: 256 random bits, as hexadecimal digits.
///
/// # Errors
/// When the file cannot be written.
pub fn ensure(path: &Path) -> Result<(), FolderError> {
    if path.is_file() {
        return Ok(());
    }
    let mut bytes = [0; 32];
    let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.map_err(FolderError::at(Path::new("/dev/urandom")))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write(path, &text)
}

/// Writes `text` to `path`, whole or not at all, for the owner's eyes alone.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, text: &str) -> Result<(), FolderError> {
    replace(path, text).map_err(FolderError::at(path))
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut options = File::options();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_made_once_and_is_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.secret");
        ensure(&path).unwrap();
        let first = std::fs::read_to_string(&path).unwrap();
        ensure(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
        assert_eq!(first.len(), 64);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
