//! A key's text: made once, shown once, and hashed from then on.
//!
//! `pulse_sk_` or `pulse_pk_`, then 32 letters and digits of 160 random bits. The prefix tells
//! people and scanners of repositories what it is; nothing here trusts it.

use schemas::access::{KeyHash, KeyKind};
use sha2::{Digest, Sha256};

/// Characters after the prefix, 5 bits each.
const LENGTH: usize = 32;
/// Lower case without those that look alike: base 32 as Crockford has it.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Longer texts are nobody's key, and are not hashed.
pub const LENGTH_MAX: usize = 128;

/// A new key's text.
///
/// # Errors
/// When the system has no random bytes.
pub fn generate(kind: KeyKind) -> Result<String, getrandom::Error> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes)?;
    let prefix = match kind {
        KeyKind::Secret => "pulse_sk_",
        KeyKind::Public => "pulse_pk_",
    };
    let letters = bytes.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    Ok(prefix.chars().chain(letters).collect())
}

/// What a key is recognised by.
pub fn hash(key: &str) -> KeyHash {
    KeyHash::new(Sha256::digest(key.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_made_twice_and_its_prefix_tells_its_kind() {
        let keys: std::collections::BTreeSet<_> = (0..1_000)
            .map(|_| generate(KeyKind::Secret).unwrap())
            .collect();
        assert_eq!(keys.len(), 1_000);
        assert!(
            keys.iter()
                .all(|key| key.len() == 41 && key.starts_with("pulse_sk_"))
        );
        assert!(generate(KeyKind::Public).unwrap().starts_with("pulse_pk_"));
    }

    #[test]
    fn a_hash_is_the_sha_256_of_the_text() {
        let expect = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash("abc").to_string(), expect);
    }
}
