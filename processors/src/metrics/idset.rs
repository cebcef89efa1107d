//! A set of identities: open addressing in one piece of memory, so that to look for one is to wait
//! for the memory once, and its place can be asked for ahead.
//!
//! Identities are hashes already, but whoever sends events can search for many that begin alike.
//! So a place follows from the identity and a secret of the process, and nobody can make many meet
//! in one place. The order of the places stays the same in every size: a set that grows moves its
//! identities from one end of the memory to the other.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use runtime::prefetch::prefetch;

/// Identities; none is ever taken out.
#[derive(Debug, Default)]
pub(super) struct IdSet {
    /// Zero stands for nobody.
    places: Box<[u128]>,
    /// Four bytes are enough: these would be 64 GB.
    count: u32,
    has_zero: bool,
}

/// Places for the first identities: fewer of them than these have room for lie in a list.
const PLACES_MIN: usize = 12;

impl IdSet {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    /// Takes an identity in; false when it was there.
    #[inline]
    pub(super) fn insert(&mut self, id: u128) -> bool {
        if id == 0 {
            let is_new = !self.has_zero;
            self.has_zero = true;
            self.count += u32::from(is_new);
            return is_new;
        }
        // At most three quarters are taken: beyond that a look takes many steps.
        if self.len() >= self.places.len() / 4 * 3 {
            self.grow();
        }
        let mut at = place(id, self.places.len());
        loop {
            match self.places[at] {
                0 => break,
                known if known == id => return false,
                _ => at = next(at, self.places.len()),
            }
        }
        self.places[at] = id;
        self.count += 1;
        true
    }

    /// Asks the memory for an identity's place.
    #[inline]
    pub(super) fn warm(&self, id: u128) {
        if !self.places.is_empty() {
            prefetch(&self.places[place(id, self.places.len())]);
        }
    }

    #[cold]
    fn grow(&mut self) {
        let count = (self.places.len() / 2 * 3).max(PLACES_MIN);
        let mut places = vec![0; count].into_boxed_slice();
        for id in self.places.iter().filter(|id| **id != 0) {
            let mut at = place(*id, count);
            while places[at] != 0 {
                at = next(at, count);
            }
            places[at] = *id;
        }
        self.places = places;
    }
}

/// What nobody outside the process knows. Nothing but the order in memory depends on it.
static SECRET: LazyLock<[u64; 2]> = LazyLock::new(|| {
    let random = RandomState::new();
    [0_u64, 1].map(|of| random.hash_one(of))
});

/// Where an identity belongs among so many places.
#[inline]
fn place(id: u128, count: usize) -> usize {
    let [first, second] = *SECRET;
    let product = u128::from((id >> 64) as u64 ^ first) * u128::from(id as u64 ^ second);
    let mixed = (product >> 64) as u64 ^ product as u64;
    ((u128::from(mixed) * count as u128) >> 64) as usize
}

#[inline]
fn next(at: usize, count: usize) -> usize {
    if at + 1 == count { 0 } else { at + 1 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn identities_that_begin_or_end_alike_do_not_meet() {
        let alike: [fn(u128) -> u128; 4] =
            [|n| 7 << 120 | n, |n| n << 64, |n| n << 40 | 9, |n| n << 90];
        for of in alike {
            let mut set = IdSet::default();
            assert!((1..100_000).all(|n| set.insert(of(n))));
            let runs = set.places.split(|id| *id == 0).map(<[u128]>::len);
            assert!(runs.max() < Some(1_000), "a look would take long");
        }
    }

    #[test]
    fn an_identity_is_new_once() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        for spread in [1, 64, 127] {
            let (mut set, mut known) = (IdSet::default(), HashSet::new());
            assert_eq!(set.len(), 0);
            for _ in 0..20_000 {
                // Also many that want the same place, the last one and the one that means nobody.
                let id = match rng.u8(0..10) {
                    0 => 0,
                    1 => u128::MAX - rng.u128(0..9),
                    _ => rng.u128(..) >> rng.u32(0..spread),
                };
                assert_eq!(set.insert(id), known.insert(id), "{id:x}");
                set.warm(id);
                assert_eq!(set.len(), known.len());
            }
            assert!(known.iter().all(|id| !set.insert(*id)));
        }
    }
}
