//! Which records are PulseStream's own: a keyed MAC in a header, where producers of a tenant's own
//! write to the same topic.
//!
//! What [`crate::refusal::reserved`] names carries it, and nothing else. The key is the
//! tenant's, so a record of one is nothing under another. A record that is copied with its header
//! is the same record: its key, value and identity are what they were, and it is a duplicate.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// The header that holds the MAC.
pub const HEADER: &str = "pulse-origin";

/// The key of one tenant's records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OriginKey([u8; 16]);

impl std::fmt::Debug for OriginKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OriginKey(…)")
    }
}

impl OriginKey {
    /// A key of these random bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The MAC of a record: SipHash-2-4, 128 bit, over the key behind its length, and the value.
    pub fn seal(&self, key: &[u8], value: &[u8]) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&(key.len() as u64).to_le_bytes());
        hasher.write(key);
        hasher.write(value);
        hasher.finish128().as_bytes()
    }

    /// True when `mac` is the record's.
    pub fn is_own(&self, mac: &[u8], key: &[u8], value: &[u8]) -> bool {
        let own = u128::from_le_bytes(self.seal(key, value));
        // One comparison of numbers: how long it takes says nothing of where they differ.
        <[u8; 16]>::try_from(mac).is_ok_and(|mac| u128::from_le_bytes(mac) == own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: OriginKey = OriginKey::new([7; 16]);

    #[test]
    fn a_mac_is_of_its_record_under_its_key_alone() {
        let mac = KEY.seal(b"coinbase:BTC-USD", b"value");
        assert!(KEY.is_own(&mac, b"coinbase:BTC-USD", b"value"));
        for (key, value) in [
            (b"coinbase:BTC-USD".as_slice(), b"valuf".as_slice()),
            (b"coinbase:BTC-USE", b"value"),
            (b"coinbase:BTC-USDv", b"alue"),
            (b"", b"coinbase:BTC-USDvalue"),
        ] {
            assert!(!KEY.is_own(&mac, key, value));
        }
        let other = OriginKey::new([8; 16]);
        assert!(!other.is_own(&mac, b"coinbase:BTC-USD", b"value"));
        for bad in [&mac[..15], &[], &[mac.as_slice(), b"x"].concat()] {
            assert!(!KEY.is_own(bad, b"coinbase:BTC-USD", b"value"));
        }
    }

    #[test]
    fn a_mac_stays_the_same_for_ever() {
        // Records that lie on topics carry it.
        let mac = KEY.seal(b"coinbase:BTC-USD", b"value");
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        // By the reference implementation in another language.
        assert_eq!(hex, "f9daf0019b1172f4288b03a16f18f961");
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{KEY:?}"), "OriginKey(…)");
    }
}
