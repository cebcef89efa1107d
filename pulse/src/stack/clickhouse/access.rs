//! Who may log in to the local ClickHouse: the writer and the reader, with passwords of this
//! installation's own.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use runtime::config::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Account;
use crate::stack::fetch::hex;
use crate::stack::random_hex;

const WRITER: &str = "pulse";
const READER: &str = "reader";

/// Both accounts.
#[derive(Debug)]
pub(super) struct Access {
    writer: Account,
    reader: Account,
}

/// The file that keeps the passwords, readable for its owner alone.
#[derive(Serialize, Deserialize)]
struct Passwords {
    pulse: String,
    reader: String,
}

impl Access {
    /// The accounts of the server in `folder`; its passwords are made when it has none yet.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let path = folder.join("passwords.json");
        let passwords = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_passwords(&path)?,
            Err(error) => return Err(error),
        };
        let account = |user: &str, password| Account {
            user: user.into(),
            password: Secret::new(password),
        };
        Ok(Self {
            writer: account(WRITER, passwords.pulse),
            reader: account(READER, passwords.reader),
        })
    }

    pub(super) fn writer(&self) -> &Account {
        &self.writer
    }

    pub(super) fn reader(&self) -> &Account {
        &self.reader
    }

    /// The server's `users.xml`; `for_library` also lets in the launcher's own session.
    ///
    /// That session logs in as `default` without a password before any port is open, and stays. One
    /// session is all that `default` may have, so nobody else gets in as it, and listening is all
    /// that it may do.
    pub(super) fn users_xml(&self, for_library: bool) -> String {
        let launcher = match for_library {
            true => {
                "
    <default>
      <password></password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>launcher</profile>
      <quota>default</quota>
      <grants><query>GRANT SYSTEM LISTEN ON *.*</query></grants>
    </default>"
            }
            false => "",
        };
        format!(
            "<clickhouse>
  <profiles>
    <default></default>
    <launcher><max_sessions_for_user>1</max_sessions_for_user></launcher>
    <reader><readonly>2</readonly><final>1</final></reader>
  </profiles>
  <quotas><default></default></quotas>
  <users>{launcher}
    <{WRITER}>
      <password_sha256_hex>{writer}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </{WRITER}>
    <{READER}>
      <password_sha256_hex>{reader}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>reader</profile>
      <quota>default</quota>
      <grants><query>GRANT SELECT ON pulse.*</query></grants>
    </{READER}>
  </users>
</clickhouse>
",
            writer = sha256_hex(&self.writer),
            reader = sha256_hex(&self.reader),
        )
    }
}

/// Made whole and then renamed: a torn file would lock everybody out of the data.
fn make_passwords(path: &Path) -> io::Result<Passwords> {
    let passwords = Passwords {
        pulse: random_hex()?,
        reader: random_hex()?,
    };
    let draft = path.with_extension("draft");
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(&serde_json::to_vec_pretty(&passwords)?)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    Ok(passwords)
}

fn sha256_hex(account: &Account) -> String {
    hex(&Sha256::digest(account.password.reveal()))
}

/// A text inside an XML element.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn passwords_are_made_once_and_are_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Access::of(folder.path()).unwrap();
        let again = Access::of(folder.path()).unwrap();
        assert_eq!(first.writer().password, again.writer().password);
        assert_ne!(first.writer().password, first.reader().password);
        assert_eq!(first.writer().password.reveal().len(), 32);
        let mode = folder
            .path()
            .join("passwords.json")
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = Access::of(tempfile::tempdir().unwrap().path()).unwrap();
        assert_ne!(other.writer().password, first.writer().password);
    }

    #[test]
    fn no_password_is_in_the_users_file() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access::of(folder.path()).unwrap();
        for account in [access.writer(), access.reader()] {
            assert!(!access.users_xml(true).contains(account.password.reveal()));
        }
        assert!(
            access
                .users_xml(true)
                .contains("<default>\n      <password></password>")
        );
        assert!(!access.users_xml(false).contains("<password></password>"));
    }
}
