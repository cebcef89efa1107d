//! A set of identities, which are hashes already: open addressing in one piece of memory, so that
//! to look for one is to wait for the memory once, and its place can be asked for ahead.
//!
//! A place follows from the identity's upper bits, so a set that grows moves its identities in
//! their order, from one end of the memory to the other.

use runtime::prefetch::prefetch;

/// Identities; none is ever taken out.
#[derive(Debug, Default)]
pub(super) struct IdSet {
    /// Zero stands for nobody.
    places: Box<[u128]>,
    count: usize,
    has_zero: bool,
}

/// Places for the first identities.
const PLACES_MIN: usize = 4;

impl IdSet {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// True for none.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes an identity in; false when it was there.
    #[inline]
    pub(super) fn insert(&mut self, id: u128) -> bool {
        if id == 0 {
            let is_new = !self.has_zero;
            self.has_zero = true;
            self.count += usize::from(is_new);
            return is_new;
        }
        // At most three quarters are taken: beyond that a look takes many steps.
        if self.count >= self.places.len() / 4 * 3 {
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

/// Where an identity belongs among so many places.
#[inline]
fn place(id: u128, count: usize) -> usize {
    (((id >> 64) * count as u128) >> 64) as usize
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
    fn an_identity_is_new_once() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        for spread in [1, 64, 127] {
            let (mut set, mut known) = (IdSet::default(), HashSet::new());
            assert!(set.is_empty());
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
