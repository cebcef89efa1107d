//! A certificate authority of this machine's own, made with `openssl`: for a broker's secured
//! listeners, and for tests that speak TLS.

use std::io;
use std::path::{Path, PathBuf};

use super::process::{Launch, LaunchError};

/// How long the certificates hold: a test's, or a try-out's, life.
const VALID_DAYS: &str = "30";
const NAME: &str = "authority";

/// Instead of the system's settings, which make everything that is signed here an authority too.
const SETTINGS: &str = "[req]\ndistinguished_name = name\n[name]\n";
const SETTINGS_FILE: &str = "openssl.cnf";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its folder cannot be used.
    #[error("the certificates' folder {} cannot be used", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `openssl` could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// `openssl` failed.
    #[error("making certificates with openssl failed: {last_words}")]
    Failed {
        /// How it ended and what it said.
        last_words: String,
    },
}

/// An authority; all that it signs lies beside it.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
}

/// A certificate and its key, PEM; the key is PKCS #8 and not encrypted.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one in a folder of its own.
    ///
    /// # Errors
    /// When the folder cannot be made, or `openssl` fails.
    pub async fn make(folder: impl Into<PathBuf>) -> Result<Self, AuthorityError> {
        let folder = folder.into();
        let made = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join(SETTINGS_FILE), SETTINGS));
        // A name of its own: of two with one name, clients could only say that a signature is bad.
        let name = made.and_then(|()| super::random_hex());
        let name = name.map_err(|source| AuthorityError::Folder {
            path: folder.clone(),
            source,
        })?;
        let subject = format!("/CN=pulse local authority {name}");
        let signs = ["-addext", "basicConstraints=critical,CA:TRUE"];
        let arguments = [&["-subj", subject.as_str()], &signs[..]].concat();
        openssl(&folder, NAME, &arguments).await?;
        Ok(Self { folder })
    }

    /// Its own certificate, PEM: whom clients trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join(format!("{NAME}.pem"))
    }

    /// Signs a certificate for a server on this machine.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub async fn server(&self, name: &str) -> Result<Signed, AuthorityError> {
        let named = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"];
        self.sign(name, "/CN=localhost", &named).await
    }

    /// Signs a certificate for a client.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub async fn client(&self, name: &str) -> Result<Signed, AuthorityError> {
        self.sign(name, "/CN=pulse", &[]).await
    }

    async fn sign(
        &self,
        name: &str,
        subject: &str,
        more: &[&str],
    ) -> Result<Signed, AuthorityError> {
        let signed = ["-CA", "authority.pem", "-CAkey", "authority.key"];
        let ends = ["-addext", "basicConstraints=critical,CA:FALSE"];
        let arguments = [&["-subj", subject], &signed[..], &ends, more].concat();
        openssl(&self.folder, name, &arguments).await?;
        Ok(Signed {
            certificate: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
        })
    }
}

/// Makes `<name>.key` and `<name>.pem`.
async fn openssl(folder: &Path, name: &str, arguments: &[&str]) -> Result<(), AuthorityError> {
    let tool = Launch::new("openssl", folder.join("openssl.log"))
        .args(["req", "-config", SETTINGS_FILE])
        .args(["-x509", "-nodes", "-days", VALID_DAYS])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        .args([
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.pem"),
        ])
        .args(arguments)
        .folder(folder)
        .spawn()?;
    match tool.exited().await.success() {
        true => Ok(()),
        false => Err(AuthorityError::Failed {
            last_words: tool.last_words(),
        }),
    }
}
