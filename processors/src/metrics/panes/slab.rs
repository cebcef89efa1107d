//! Memory of equal pieces, in chunks that stay where they are and go when nobody needs them.

/// Pieces of one length in words.
#[derive(Debug)]
pub(super) struct Slab {
    word_count: usize,
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    used: u32,
    /// The chunk that became empty last: it keeps its memory, since it is taken from next.
    empty: Option<usize>,
}

#[derive(Debug, Default)]
struct Chunk {
    /// None while nobody needs it.
    words: Box<[u64]>,
    taken_count: usize,
}

/// Pieces in a chunk: large enough to cost little, small enough not to waste much.
const CHUNK: usize = 1_024;

impl Slab {
    pub(super) fn new(word_count: usize) -> Self {
        Self {
            word_count,
            chunks: vec![],
            free: vec![],
            used: 0,
            empty: None,
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
            self.empty = None;
        }
        chunk.taken_count += 1;
        index
    }

    pub(super) fn give(&mut self, index: u32) {
        self.free.push(index);
        let at = index as usize / CHUNK;
        self.chunks[at].taken_count -= 1;
        if self.chunks[at].taken_count == 0
            && let Some(older) = self.empty.replace(at)
        {
            self.chunks[older].words = Box::default();
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
        let held = |slab: &Slab| -> Vec<usize> {
            let chunks = slab.chunks.iter().enumerate();
            let held = chunks.filter(|(_, chunk)| !chunk.words.is_empty());
            held.map(|(at, _)| at).collect()
        };
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..3 {
            let mut taken: Vec<u32> = (0..5 * CHUNK).map(|_| slab.take()).collect();
            assert_eq!(held(&slab), [0, 1, 2, 3, 4]);
            for index in &taken {
                slab.words_mut(*index).fill(u64::from(*index));
            }
            let is_own = |index: &u32| slab.words(*index) == [u64::from(*index); 2];
            assert!(taken.iter().all(is_own));
            rng.shuffle(&mut taken);
            taken.iter().for_each(|index| slab.give(*index));
            // The next piece comes from the one that is left.
            let left = held(&slab);
            assert_eq!(left.len(), 1);
            for _ in 0..3 {
                let index = slab.take();
                assert_eq!(
                    (index as usize / CHUNK, held(&slab)),
                    (left[0], left.clone())
                );
                slab.give(index);
                assert_eq!(held(&slab), left);
            }
        }
    }
}
