//! API keys: what of them travels on `pulse.control`, which is never the key itself.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a key may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Send events.
    Ingest,
    /// Read events, metrics and definitions.
    Read,
    /// Change keys, meters, feeds and whatever else the tenant defines.
    Manage,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Read, Self::Manage];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Manage => "manage",
        }
    }
}

/// Who holds a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Somebody's server; nobody else may see it.
    Secret,
    /// A page in a browser, so everybody may see it: it ingests from allowed origins, and no more.
    Public,
}

/// The SHA-256 of a key, which is all that anybody but its holder keeps.
///
/// A key has 160 random bits or more, so its hash needs no salt and no slow function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// A hash that was computed.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key's hash is 64 hexadecimal digits")]
pub struct KeyHashError;

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, KeyHashError> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(KeyHashError);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(KeyHashError);
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = digit(pair[0])? * 16 + digit(pair[1])?;
            *byte = u8::try_from(value).expect("two hexadecimal digits are below 256");
        }
        Ok(Self(bytes))
    }
}

impl Serialize for KeyHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An API key as every process knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// What people call it.
    pub name: String,
    /// Who holds it.
    pub kind: KeyKind,
    /// By what it is recognised.
    pub hash: KeyHash,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// From which pages a public key is taken, `https://shop.example` for instance; of a secret key
    /// empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// From when on it is nothing, in milliseconds since 1970; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
    /// Events a second through this key, where it has a limit of its own below the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<u32>,
}

/// Characters in a key's name.
pub const KEY_NAME_LENGTH_MAX: usize = 100;
/// Origins of one public key.
pub const ORIGINS_MAX: usize = 32;
/// Events a second through a public key that names no limit of its own.
pub const PUBLIC_EVENTS_PER_SECOND: u32 = 100;

impl ApiKey {
    /// What is wrong with it, each fault with the field's name.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        let name_length = self.name.chars().count();
        if name_length == 0 || name_length > KEY_NAME_LENGTH_MAX {
            faults.push(format!(
                "name has {name_length} characters, and must have 1 to {KEY_NAME_LENGTH_MAX}"
            ));
        }
        if self.scopes.is_empty() {
            faults.push("scopes is empty: name one or more of ingest, read and manage".into());
        }
        if self.events_per_second == Some(0) {
            faults.push("events_per_second is 0, and must be 1 or more, or left out".into());
        }
        match self.kind {
            KeyKind::Secret if !self.origins.is_empty() => {
                faults.push("origins are for public keys alone".into());
            }
            KeyKind::Secret => {}
            KeyKind::Public => faults.extend(self.public_faults()),
        }
        faults
    }

    fn public_faults(&self) -> Vec<String> {
        let mut faults = vec![];
        if self.scopes.iter().any(|scope| *scope != Scope::Ingest) {
            faults.push("scopes of a public key are [\"ingest\"] and nothing else".into());
        }
        let count = self.origins.len();
        if count == 0 || count > ORIGINS_MAX {
            faults.push(format!(
                "origins has {count} items, and a public key must have 1 to {ORIGINS_MAX}"
            ));
        }
        for (at, origin) in self.origins.iter().enumerate() {
            if !is_origin(origin) {
                let shown: String = origin.chars().take(80).collect();
                faults.push(format!(
                    "origins[{at}] is {shown:?}, and an origin is scheme://host or \
                     scheme://host:port in lower case, for instance https://shop.example"
                ));
            }
        }
        faults
    }
}

/// True for what a browser would send as `Origin`, and `null` is none.
fn is_origin(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else {
        return false;
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !rest.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    let is_address = host.starts_with('[')
        && host.ends_with(']')
        && host[1..host.len() - 1]
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || b == b':');
    let is_host = !host.is_empty() && (host.bytes().all(is_name) || is_address);
    is_host && text.len() <= 256 && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: KeyKind, scopes: &[Scope], origins: &[&str]) -> ApiKey {
        ApiKey {
            name: "checkout".into(),
            kind,
            hash: KeyHash::new([0xa7; 32]),
            scopes: scopes.iter().copied().collect(),
            origins: origins.iter().map(|origin| (*origin).into()).collect(),
            expires_at_ms: None,
            events_per_second: None,
        }
    }

    #[test]
    fn hashes_read_back_as_written_and_nothing_else_is_one() {
        let hash = KeyHash::new(std::array::from_fn(|at| u8::try_from(at * 8).unwrap()));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for bad in ["", "ab", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(bad.parse::<KeyHash>(), Err(KeyHashError), "{bad}");
        }
    }

    #[track_caller]
    fn check(key: &ApiKey, expect: &str) {
        let faults = key.faults().join("; ");
        match expect {
            "" => assert_eq!(faults, ""),
            _ => assert!(faults.contains(expect), "{faults}"),
        }
    }

    #[test]
    fn a_public_key_ingests_from_pages_and_does_nothing_else() {
        let page = "https://shop.example";
        check(&key(KeyKind::Public, &[Scope::Ingest], &[page]), "");
        check(&key(KeyKind::Public, &[Scope::Ingest], &[]), "0 items");
        let both = [Scope::Ingest, Scope::Read];
        check(&key(KeyKind::Public, &both, &[page]), "nothing else");
        check(&key(KeyKind::Secret, &both, &[page]), "public keys alone");
        check(&key(KeyKind::Secret, &both, &[]), "");
        check(&key(KeyKind::Secret, &[], &[]), "scopes is empty");
    }

    #[test]
    fn origins_are_what_browsers_send() {
        for good in [
            "https://shop.example",
            "http://localhost:3000",
            "http://[::1]:8080",
            "http://127.0.0.1",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "*",
            "null",
            "shop.example",
            "https://",
            "https://shop.example/",
            "https://Shop.example",
            "https://shop.example:99999",
            "https://a b",
            "https://*.example",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
