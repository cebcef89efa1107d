//! The memory of windows: runs of words in chunks, so that a million windows cost what their cells
//! need and little more. Windows that are done, which is nearly all that are held, lie packed.

mod packed;
mod slab;

use hashbrown::HashMap;
use schemas::sketch::Sketch;

use super::layout::Carry;
pub use packed::Packed;
use packed::{PACKED_WORDS_MAX, WORDS_MAX};
use slab::Slab;

/// A window's place in a [`Panes`].
///
/// Of a packed window the highest bit is set; then five bits say in how many words it lies, the
/// others where among those of as many.
pub type Slot = u32;

/// A window's length in words, and whether it has sketches beside them.
pub type Kind = (usize, bool);

/// Windows of one length in words.
#[derive(Debug)]
pub struct Panes {
    open: Slab,
    /// By their length in words, beginning with one.
    packed: Vec<Slab>,
    /// What the sums of a window carried beyond their 128 bits, by word; nearly always empty.
    carries: HashMap<Slot, Vec<Carry>>,
    /// The sketches of each window; `None` where they have none.
    sketches: Option<HashMap<Slot, Box<[Sketch]>>>,
}

const PACKED: Slot = 1 << 31;
const INDEX_BITS: u32 = 26;
const INDEX: Slot = (1 << INDEX_BITS) - 1;
// The size of all ones stands for no place at all: `NO_SLOT`.
const _: () = assert!(WORDS_MAX < 31);

impl Panes {
    /// For windows of `word_count` words.
    pub fn new(word_count: usize) -> Self {
        Self {
            open: Slab::new(word_count),
            packed: vec![],
            carries: HashMap::new(),
            sketches: None,
        }
    }

    /// For windows of `word_count` words that have sketches beside them, where it is said.
    pub fn for_kind((word_count, is_sketched): Kind) -> Self {
        Self {
            sketches: is_sketched.then(HashMap::new),
            ..Self::new(word_count)
        }
    }

    /// Of which kind the windows are.
    pub fn kind(&self) -> Kind {
        (self.word_count(), self.sketches.is_some())
    }

    /// Words in a window.
    pub fn word_count(&self) -> usize {
        self.open.word_count()
    }

    /// A place whose words are those of whoever had it before.
    pub fn take(&mut self) -> Slot {
        self.open.take()
    }

    /// Gives a place back.
    pub fn give(&mut self, slot: Slot) {
        if let Some(sketches) = &mut self.sketches {
            sketches.remove(&slot);
        }
        self.give_words(slot);
    }

    /// Gives the place of words back.
    fn give_words(&mut self, slot: Slot) {
        if is_packed(slot) {
            return self.packed[size_of(slot) - 1].give(slot & INDEX);
        }
        if !self.carries.is_empty() {
            self.carries.remove(&slot);
        }
        self.open.give(slot);
    }

    /// The words of a window that is not packed.
    #[inline]
    pub fn words(&self, slot: Slot) -> &[u64] {
        self.open.words(slot)
    }

    /// The words of a window that is not packed, to be changed.
    #[inline]
    pub fn words_mut(&mut self, slot: Slot) -> &mut [u64] {
        self.open.words_mut(slot)
    }

    /// Any window's words, to be changed: one that is packed is unpacked into another place.
    #[inline]
    pub fn unpacked_mut(&mut self, slot: &mut Slot) -> &mut [u64] {
        if is_packed(*slot) {
            self.unpack(slot);
        }
        self.open.words_mut(*slot)
    }

    #[cold]
    fn unpack(&mut self, slot: &mut Slot) {
        let packed = *slot;
        *slot = self.open.take();
        let bytes = self.packed[size_of(packed) - 1].words(packed & INDEX);
        packed::unpack(bytes, self.open.words_mut(*slot));
        self.give_words(packed);
        self.move_sketches(packed, *slot);
    }

    /// A window's words have moved, and its sketches go with them.
    fn move_sketches(&mut self, from: Slot, to: Slot) {
        if let Some(sketches) = &mut self.sketches
            && let Some(moved) = sketches.remove(&from)
        {
            sketches.insert(to, moved);
        }
    }

    /// Gives a window sketches, instead of those that it may have.
    pub fn put_sketches(&mut self, slot: Slot, new: Box<[Sketch]>) {
        if let Some(sketches) = &mut self.sketches {
            sketches.insert(slot, new);
        }
    }

    /// A window's sketches; none where the windows have none.
    #[inline]
    pub fn sketches(&self, slot: Slot) -> &[Sketch] {
        let sketches = self.sketches.as_ref().and_then(|all| all.get(&slot));
        sketches.map_or(&[], |sketches| sketches)
    }

    /// A window's sketches, to be changed.
    pub fn sketches_mut(&mut self, slot: Slot) -> &mut [Sketch] {
        let sketches = self.sketches.as_mut().and_then(|all| all.get_mut(&slot));
        sketches.map_or(&mut [], |sketches| sketches)
    }

    /// Writes any window's words behind those of `words`.
    pub fn copy(&self, slot: Slot, words: &mut Vec<u64>) {
        if !is_packed(slot) {
            return words.extend_from_slice(self.open.words(slot));
        }
        let start = words.len();
        words.resize(start + self.word_count(), 0);
        let bytes = self.packed[size_of(slot) - 1].words(slot & INDEX);
        packed::unpack(bytes, &mut words[start..]);
    }

    /// Packs a window that will hardly change again, where that saves anything; gives its place.
    pub fn pack(&mut self, slot: Slot) -> Slot {
        let word_count = self.word_count();
        if is_packed(slot) || word_count > WORDS_MAX || !self.carries(slot).is_empty() {
            return slot;
        }
        let mut packed = [0; PACKED_WORDS_MAX];
        let size = Packed::of(self.open.words(slot)).fill(&mut packed);
        let Some(place) = self.keep(&packed[..size]) else {
            return slot;
        };
        self.open.give(slot);
        self.move_sketches(slot, place);
        place
    }

    /// Puts a window back from packed bytes of as many words as these windows have; it stays packed
    /// when it is done, which one with carries never is.
    pub fn put_back(&mut self, packed: &Packed, is_done: bool) -> Slot {
        if is_done {
            let mut words = [0; PACKED_WORDS_MAX];
            let size = packed.fill(&mut words);
            if let Some(place) = self.keep(&words[..size]) {
                return place;
            }
        }
        let slot = self.open.take();
        packed.unpack(self.open.words_mut(slot));
        slot
    }

    /// Takes a place for packed words, where they are fewer than the window's.
    fn keep(&mut self, packed: &[u64]) -> Option<Slot> {
        let size = packed.len();
        if size >= self.word_count() {
            return None;
        }
        while self.packed.len() < size {
            self.packed.push(Slab::new(self.packed.len() + 1));
        }
        let slab = &mut self.packed[size - 1];
        let index = slab.take();
        if index > INDEX {
            // 67 million of one size: the others stay as they are.
            slab.give(index);
            return None;
        }
        slab.words_mut(index).copy_from_slice(packed);
        Some(PACKED | (size as Slot) << INDEX_BITS | index)
    }

    /// Adds carries to a window's.
    #[cold]
    pub fn add_carries(&mut self, slot: Slot, carries: &mut Vec<Carry>) {
        if carries.is_empty() {
            return;
        }
        let known = self.carries.entry(slot).or_default();
        for (word, carry) in carries.drain(..) {
            match known.binary_search_by_key(&word, |(of, _)| *of) {
                Ok(at) => known[at].1 += carry,
                Err(at) => known.insert(at, (word, carry)),
            }
        }
        known.retain(|(_, carry)| *carry != 0);
        if known.is_empty() {
            self.carries.remove(&slot);
        }
    }

    /// All carries of a window, by word.
    #[inline]
    pub fn carries(&self, slot: Slot) -> &[Carry] {
        if self.carries.is_empty() {
            return &[];
        }
        self.carries.get(&slot).map_or(&[], Vec::as_slice)
    }
}

/// True for the place of a packed window.
#[inline]
pub fn is_packed(slot: Slot) -> bool {
    slot & PACKED != 0
}

/// Words that a packed window lies in.
fn size_of(slot: Slot) -> usize {
    ((slot & !PACKED) >> INDEX_BITS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_carries_do_not_stay() {
        let mut panes = Panes::new(3);
        let slots: Vec<Slot> = (0..2_000).map(|_| panes.take()).collect();
        for slot in &slots {
            panes.words_mut(*slot).fill(u64::from(*slot));
        }
        assert!(
            slots
                .iter()
                .all(|slot| panes.words(*slot) == [u64::from(*slot); 3])
        );
        panes.add_carries(7, &mut vec![(1, 5), (2, 1), (2, -1)]);
        assert_eq!(panes.carries(7), [(1, 5)]);
        assert_eq!(panes.carries(8), []);
        panes.give(7);
        assert_eq!(panes.take(), 7);
        assert_eq!(panes.carries(7), []);
    }

    #[test]
    fn a_packed_window_is_the_same_and_takes_less() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        for word_count in [1, 2, 3, 16, 17, WORDS_MAX, WORDS_MAX + 1] {
            let mut panes = Panes::new(word_count);
            let mut known: Vec<(Slot, Vec<u64>)> = vec![];
            for _ in 0..3_000 {
                let word = |_| rng.u64(..) >> rng.u32(0..64) >> rng.u32(0..64).min(63);
                let words: Vec<u64> = (0..word_count).map(word).collect();
                let slot = panes.take();
                panes.words_mut(slot).copy_from_slice(&words);
                known.push((panes.pack(slot), words));
                if rng.u8(0..3) == 0 {
                    let at = rng.usize(0..known.len());
                    panes.unpacked_mut(&mut known[at].0)[0] = 7;
                    known[at].1[0] = 7;
                }
                if rng.u8(0..4) == 0 {
                    let (slot, _) = known.swap_remove(rng.usize(0..known.len()));
                    panes.give(slot);
                }
            }
            let mut copy = vec![];
            for (slot, words) in &known {
                copy.clear();
                panes.copy(*slot, &mut copy);
                assert_eq!(copy, *words);
            }
            let packed = known.iter().filter(|(slot, _)| is_packed(*slot)).count();
            assert_eq!(packed > 0, (2..=WORDS_MAX).contains(&word_count));
        }
    }

    #[test]
    fn a_window_with_carries_is_not_packed() {
        let mut panes = Panes::new(16);
        let slot = panes.take();
        panes.words_mut(slot).fill(0);
        panes.add_carries(slot, &mut vec![(1, 5)]);
        assert_eq!(panes.pack(slot), slot);
    }
}
