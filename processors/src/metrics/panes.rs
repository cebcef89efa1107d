//! The memory of windows: fixed-length runs of words in chunks, so that a million windows cost what
//! their cells need and little more.

use hashbrown::HashMap;

use super::layout::Carry;

/// A window's place in a [`Panes`].
pub type Slot = u32;

/// Windows of one length in words.
#[derive(Debug)]
pub struct Panes {
    word_count: usize,
    chunks: Vec<Box<[u64]>>,
    free: Vec<Slot>,
    used: Slot,
    /// What sums carried beyond their 128 bits; nearly always empty.
    carries: HashMap<(Slot, u16), i128>,
}

/// Windows in a chunk: large enough to cost little, small enough not to waste much.
const CHUNK: usize = 1_024;

impl Panes {
    /// For windows of `word_count` words.
    pub fn new(word_count: usize) -> Self {
        Self {
            word_count,
            chunks: vec![],
            free: vec![],
            used: 0,
            carries: HashMap::new(),
        }
    }

    /// Words in a window.
    pub fn word_count(&self) -> usize {
        self.word_count
    }

    /// A place whose words are those of whoever had it before.
    pub fn take(&mut self) -> Slot {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        if self.used as usize == self.chunks.len() * CHUNK {
            self.chunks
                .push(vec![0; CHUNK * self.word_count].into_boxed_slice());
        }
        self.used += 1;
        self.used - 1
    }

    /// Gives a place back.
    pub fn give(&mut self, slot: Slot) {
        if !self.carries.is_empty() {
            self.carries.retain(|(of, _), _| *of != slot);
        }
        self.free.push(slot);
    }

    /// A window's words.
    #[inline]
    pub fn words(&self, slot: Slot) -> &[u64] {
        let at = slot as usize % CHUNK * self.word_count;
        &self.chunks[slot as usize / CHUNK][at..at + self.word_count]
    }

    /// A window's words, to be changed.
    #[inline]
    pub fn words_mut(&mut self, slot: Slot) -> &mut [u64] {
        let at = slot as usize % CHUNK * self.word_count;
        &mut self.chunks[slot as usize / CHUNK][at..at + self.word_count]
    }

    /// Adds carries to a window's.
    #[cold]
    pub fn add_carries(&mut self, slot: Slot, carries: &mut Vec<Carry>) {
        for (word, carry) in carries.drain(..) {
            let sum = self.carries.entry((slot, word)).or_insert(0);
            *sum += carry;
            if *sum == 0 {
                self.carries.remove(&(slot, word));
            }
        }
    }

    /// All carries of a window, by word.
    pub fn carries(&self, slot: Slot) -> Vec<Carry> {
        if self.carries.is_empty() {
            return vec![];
        }
        let of =
            |((of, word), carry): (&(Slot, u16), &i128)| (*of == slot).then_some((*word, *carry));
        let mut carries: Vec<Carry> = self.carries.iter().filter_map(of).collect();
        carries.sort_unstable();
        carries
    }
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
}
