//! Names for events that came without one.

use std::cell::RefCell;
use std::fmt;

use schemas::time::EventTime;
use sha2::{Digest, Sha256};
use uuid::Builder;
use uuid::fmt::Hyphenated;

/// A client's promise that whoever sends this key with this body means the same events.
#[derive(Clone, Copy)]
pub struct Idempotency<'r> {
    key: &'r str,
    body_hash: [u8; 32],
}

impl<'r> Idempotency<'r> {
    /// Of the value of `Idempotency-Key` and the body as it was before it was compressed.
    pub fn new(key: &'r str, body: &[u8]) -> Self {
        Self {
            key,
            body_hash: Sha256::digest(body).into(),
        }
    }

    /// The SHA-256 of the body: the same key with another one is another request.
    pub fn body_hash(&self) -> &[u8; 32] {
        &self.body_hash
    }

    /// The id of the event at `index`, the same for ever: half of the SHA-256 of key, body and
    /// index, as 32 hexadecimal digits.
    fn event_id(&self, index: u32, out: &mut [u8; 36]) -> usize {
        let hash = Sha256::new()
            .chain_update((self.key.len() as u64).to_be_bytes())
            .chain_update(self.key)
            .chain_update(self.body_hash)
            .chain_update(index.to_be_bytes())
            .finalize();
        for (digits, byte) in out.chunks_exact_mut(2).zip(&hash[..16]) {
            let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
            digits.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        32
    }
}

impl fmt::Debug for Idempotency<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Idempotency(…)")
    }
}

/// Makes ids for one request's events.
pub(super) struct Ids {
    millis: u64,
    /// Random at first, then one more each time, so that they sort as they were made; none before
    /// the first is asked for.
    random: Option<[u8; 10]>,
    text: [u8; 36],
}

impl Ids {
    /// For a request that came at this time.
    pub(super) fn at(received_at: EventTime) -> Self {
        Self {
            millis: u64::try_from(received_at.as_ms()).unwrap_or(0),
            random: None,
            text: [0; 36],
        }
    }

    /// An id for the event at `index`: by the client's own key where it gave one, else a UUID of
    /// version 7.
    pub(super) fn id(&mut self, idempotency: Option<&Idempotency<'_>>, index: u32) -> &str {
        let length = match idempotency {
            Some(idempotency) => idempotency.event_id(index, &mut self.text),
            None => self.uuid(),
        };
        str::from_utf8(&self.text[..length]).expect("hexadecimal digits and hyphens")
    }

    fn uuid(&mut self) -> usize {
        let random = match &mut self.random {
            Some(random) => {
                increase(random);
                random
            }
            None => self.random.insert(random_start()),
        };
        let uuid = Builder::from_unix_timestamp_millis(self.millis, random).into_uuid();
        uuid.hyphenated().encode_lower(&mut self.text);
        Hyphenated::LENGTH
    }
}

/// Random bytes that are asked for together: to ask costs as much as to read an event.
struct Pool {
    bytes: [u8; 640],
    left: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool {
            bytes: [0; 640],
            left: 0,
        })
    };
}

impl Pool {
    /// Ten bytes that nobody else gets.
    fn take(&mut self) -> [u8; 10] {
        if self.left < 10 {
            getrandom::fill(&mut self.bytes).expect("the operating system has random bytes");
            self.left = self.bytes.len();
        }
        self.left -= 10;
        *self.bytes[self.left..]
            .first_chunk()
            .expect("ten were left")
    }
}

/// Ten random bytes, low enough that no request counts them over.
fn random_start() -> [u8; 10] {
    let mut random = POOL.with_borrow_mut(Pool::take);
    // Behind the two bits of the variant.
    random[2] &= 0x1f;
    random
}

/// Counts the last eight bytes up, which hold the variant in their highest bits.
fn increase(random: &mut [u8; 10]) {
    let counter = random
        .last_chunk_mut::<8>()
        .expect("eight of ten bytes are there");
    *counter = (u64::from_be_bytes(*counter) + 1).to_be_bytes();
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn made_ids_are_of_version_7_and_sort_as_they_were_made() {
        let mut ids = Ids::at(EventTime::from_ms(1_786_278_600_123));
        let made: Vec<String> = (0..1_000).map(|i| ids.id(None, i).to_owned()).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        for id in &made {
            assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
            assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
            assert!(id.starts_with("019fe680-5dbb-7"), "{id}");
        }
        // More requests than random bytes are asked for at a time.
        let others: HashSet<String> = (0..200)
            .map(|_| Ids::at(EventTime::from_ms(0)).id(None, 0)[15..].to_owned())
            .collect();
        assert_eq!(others.len(), 200);
    }

    #[test]
    fn derived_ids_hang_on_key_body_and_index_alone() {
        let id = |key, body: &[u8], index| {
            let idempotency = Idempotency::new(key, body);
            Ids::at(EventTime::from_ms(0))
                .id(Some(&idempotency), index)
                .to_owned()
        };
        assert_eq!(id("a", b"b", 0), id("a", b"b", 0));
        assert_eq!(id("a", b"b", 0).len(), 32);
        let others = [id("a", b"b", 1), id("a", b"c", 0), id("b", b"b", 0)];
        assert!(others.iter().all(|other| *other != id("a", b"b", 0)));
        // A change here would make a retry over an update count twice.
        assert_eq!(
            id("order-1041", b"[]", 7),
            "763f8cbcf2b8d0a9c1fa198482f1ded4"
        );
    }
}
