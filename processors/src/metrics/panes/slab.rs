//! Memory of equal pieces, in chunks that stay where they are and go when nobody needs them.

/// Pieces of one length in words.
#[derive(Debug)]
pub(super) struct Slab {
    word_count: usize,
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    used: u32,
    /// Chunks that have memory and nobody in it.
    empty_count: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    /// None while nobody needs it.
    words: Box<[u64]>,
    taken_count: usize,
}

/// Pieces in a chunk: large enough to cost little, small enough not to waste much.
const CHUNK: usize = 1_024;
/// Chunks that stay with nobody in them: who gives the last piece back may take the next.
const EMPTY_MAX: usize = 1;

impl Slab {
    pub(super) fn new(word_count: usize) -> Self {
        Self {
            word_count,
            chunks: vec![],
            free: vec![],
            used: 0,
            empty_count: 0,
        }
    }

    pub(super) fn word_count(&self) -> usize {
        self.word_count
    }

    /// A piece whose words are any.
    pub(super) fn take(&mut self) -> u32 {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.used += 1;
                self.used - 1
            }
        };
        let at = index as usize / CHUNK;
        if at == self.chunks.len() {
            self.chunks.push(Chunk::default());
        }
        let chunk = &mut self.chunks[at];
        if chunk.words.is_empty() {
            chunk.words = vec![0; CHUNK * self.word_count].into_boxed_slice();
        } else if chunk.taken_count == 0 {
            self.empty_count -= 1;
        }
        chunk.taken_count += 1;
        index
    }

    pub(super) fn give(&mut self, index: u32) {
        self.free.push(index);
        let chunk = &mut self.chunks[index as usize / CHUNK];
        chunk.taken_count -= 1;
        if chunk.taken_count == 0 {
            if self.empty_count == EMPTY_MAX {
                chunk.words = Box::default();
            } else {
                self.empty_count += 1;
            }
        }
    }

    #[inline]
    pub(super) fn words(&self, index: u32) -> &[u64] {
        let at = index as usize % CHUNK * self.word_count;
        &self.chunks[index as usize / CHUNK].words[at..at + self.word_count]
    }

    #[inline]
    pub(super) fn words_mut(&mut self, index: u32) -> &mut [u64] {
        let at = index as usize % CHUNK * self.word_count;
        &mut self.chunks[index as usize / CHUNK].words[at..at + self.word_count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_nobody_needs_goes() {
        let mut slab = Slab::new(2);
        let held = |slab: &Slab| {
            let chunks = slab.chunks.iter().filter(|chunk| !chunk.words.is_empty());
            chunks.count()
        };
        for _ in 0..3 {
            let taken: Vec<u32> = (0..5 * CHUNK).map(|_| slab.take()).collect();
            assert_eq!((held(&slab), slab.empty_count), (5, 0));
            for index in &taken {
                slab.words_mut(*index).fill(u64::from(*index));
            }
            assert!(
                taken
                    .iter()
                    .all(|index| slab.words(*index) == [u64::from(*index); 2])
            );
            taken.iter().for_each(|index| slab.give(*index));
            assert_eq!((held(&slab), slab.empty_count), (EMPTY_MAX, EMPTY_MAX));
            // The last piece to be taken and given back costs no memory each time.
            let index = slab.take();
            let words = slab.words(index).as_ptr();
            slab.give(index);
            assert_eq!((held(&slab), slab.empty_count), (EMPTY_MAX, EMPTY_MAX));
            let again = slab.take();
            assert_eq!(slab.words(again).as_ptr(), words);
            slab.give(again);
        }
    }
}
