//! Passwords and the addresses of those who have them.
//!
//! A password has 12 characters or more and at most 128 bytes, any of them, and is none of those
//! that everybody tries first (OWASP ASVS 2.1). It is kept as argon2id, with OWASP's parameters,
//! and hashed away from the threads that answer requests, few at a time: each takes 19 MiB.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use runtime::config::Secret;
use tokio::sync::Semaphore;

use crate::problem::{ApiError, FieldFault};

const CHARACTERS_MIN: usize = 12;
const BYTES_MAX: usize = 128;
const EMAIL_BYTES_MAX: usize = 254;

/// Hashes at the same time.
const HASHES_MAX: usize = 2;

/// The commonest passwords of 12 characters and more, in lower case; shorter ones are refused for
/// their length.
const WEAKEST: [&str; 40] = [
    "000000000000",
    "111111111111",
    "112233445566",
    "123123123123",
    "1234567890ab",
    "123456789012",
    "1234567890123",
    "12345678901234",
    "123456789abc",
    "1q2w3e4r5t6y",
    "1q2w3e4r5t6y7u8i",
    "1qaz2wsx3edc",
    "1qaz2wsx3edc4rfv",
    "abc123abc123",
    "abcdefghijkl",
    "abcdefghijklmnopqrstuvwxyz",
    "administrator",
    "changemechangeme",
    "changeme1234",
    "correcthorsebatterystaple",
    "iloveyou1234",
    "letmeinletmein",
    "letmeinplease",
    "mypassword123",
    "p@ssw0rd1234",
    "passw0rd1234",
    "password!123",
    "password1234",
    "password12345",
    "password123456",
    "passwordpassword",
    "qazwsxedcrfv",
    "qwerty123456",
    "qwerty12345678",
    "qwertyqwerty",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiopasdfghjkl",
    "welcome12345",
    "zxcvbnmasdfghjkl",
];

/// What is wrong with a password; `others` are what whoever guesses it knows.
pub fn fault(pointer: &str, password: &str, others: &[&str]) -> Option<FieldFault> {
    let lower = password.to_lowercase();
    let is_one_letter = password
        .chars()
        .next()
        .is_some_and(|first| password.chars().all(|c| c == first));
    let is_known = others.iter().any(|other| other.to_lowercase() == lower);
    let reason = if password.chars().count() < CHARACTERS_MIN {
        format!("has {CHARACTERS_MIN} characters or more")
    } else if password.len() > BYTES_MAX {
        format!("has {BYTES_MAX} bytes or less")
    } else if WEAKEST.contains(&lower.as_str()) || is_one_letter || is_known {
        "is one of those that are tried first: choose another".to_owned()
    } else {
        return None;
    };
    Some(FieldFault::new(pointer, reason))
}

/// True for what can be an address: something without blanks before an `@`, and a host behind it.
/// Whether anybody reads it only a message to it can tell.
pub fn is_email(text: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[],;:\\\"".contains(c);
    let Some((local, host)) = text.rsplit_once('@') else {
        return false;
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    let is_host = host.split('.').all(is_label);
    let is_local = (1..=64).contains(&local.len()) && !local.contains('@');
    text.len() <= EMAIL_BYTES_MAX && is_local && local.chars().all(is_plain) && is_host
}

/// Makes and checks hashes. Cheap to clone; all clones share their places.
#[derive(Clone)]
pub struct Hasher {
    places: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(HASHES_MAX)),
        }
    }
}

impl Hasher {
    /// A password's hash, as a PHC string with a salt of its own.
    ///
    /// # Errors
    /// 500 when the system has no random bytes.
    pub async fn hash(&self, password: Secret) -> Result<String, ApiError> {
        let hash = move || {
            let hash: Result<PasswordHash, _> =
                Argon2::default().hash_password(password.reveal().as_bytes());
            hash.map(|hash| hash.to_string())
        };
        let hashed = self.aside(hash).await;
        hashed.map_err(|error| ApiError::internal(&error))
    }

    /// True when the password is the one that the hash is of.
    pub async fn is_of(&self, password: Secret, hash: String) -> bool {
        let verify = move || {
            let parsed = PasswordHash::new(&hash);
            parsed.is_ok_and(|hash| {
                let password = password.reveal().as_bytes();
                Argon2::default().verify_password(password, &hash).is_ok()
            })
        };
        self.aside(verify).await
    }

    /// Does it on a thread of its own, when there is a place.
    async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let work = move || {
            let done = work();
            drop(place);
            done
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.expect("hashing does not panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(password: &str, expect: &str) {
        let fault = fault("/p", password, &["owner@acme.example", "acme-company"]);
        let reason = fault.map_or("sound".into(), |fault| fault.reason);
        assert!(reason.contains(expect), "{password}: {reason}");
    }

    #[test]
    fn a_password_is_long_and_not_one_that_everybody_tries() {
        check("correct horse", "sound");
        check("ünïcödé wörds", "sound");
        check("hunter2", "12 characters");
        check(&"ab".repeat(64), "sound");
        check(&"ab".repeat(65), "128 bytes");
        check("Password1234", "tried first");
        check("zzzzzzzzzzzzzz", "tried first");
        check("Owner@Acme.example", "tried first");
        check("acme-company", "tried first");
    }

    #[test]
    fn the_list_holds_what_could_be_given() {
        for weak in WEAKEST {
            assert!(
                weak.len() >= CHARACTERS_MIN && weak == weak.to_lowercase(),
                "{weak}"
            );
        }
    }

    #[test]
    fn an_address_has_two_sides() {
        for good in [
            "a@b",
            "o.w+ner@acme.example",
            "ö@bücher.example",
            "a@10.0.0.1",
        ] {
            assert!(is_email(good), "{good}");
        }
        let long = format!("{}@b", "a".repeat(65));
        for bad in [
            "", "a", "@b", "a@", "a b@c", "a@b@c", "a@-b", "a@b..c", "<a>@b", &long,
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let hasher = Hasher::default();
        let hash = hasher.hash(Secret::new("correct horse")).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        let other = hasher.hash(Secret::new("correct horse")).await.unwrap();
        assert_ne!(hash, other, "each has its salt");
        assert!(
            hasher
                .is_of(Secret::new("correct horse"), hash.clone())
                .await
        );
        assert!(!hasher.is_of(Secret::new("correct horsf"), hash).await);
        assert!(!hasher.is_of(Secret::new("x"), "nonsense".into()).await);
    }
}
