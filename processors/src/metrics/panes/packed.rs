//! Words without the zero bytes that they begin with: a candle's sixteen take nine or ten.
//!
//! First half a byte for each word says how many bytes it has left; then come those, the lowest
//! first. So windows lie in memory once they are done, and so all are written to the state.

/// Words of the longest window that is packed.
pub(super) const WORDS_MAX: usize = 28;
/// What packed words of the longest window may take at most, with room to write whole words.
pub(super) const PACKED_WORDS_MAX: usize = WORDS_MAX + WORDS_MAX / 16 + 2;

const BYTES: usize = PACKED_WORDS_MAX * 8;

/// The packed words of one window.
#[derive(Debug)]
pub struct Packed {
    /// Behind the length nothing but zeros.
    bytes: [u8; BYTES],
    length: usize,
}

impl Packed {
    /// True for as many words as can be packed.
    pub fn can_be_of(word_count: usize) -> bool {
        word_count <= WORDS_MAX
    }

    /// Packs as many words as [`Self::can_be_of`] allows.
    pub fn of(words: &[u64]) -> Self {
        let mut bytes = [0_u8; BYTES];
        let mut at = words.len().div_ceil(2);
        for (index, word) in words.iter().enumerate() {
            let length = 8 - word.leading_zeros() as usize / 8;
            bytes[index / 2] |= (length as u8) << (index % 2 * 4);
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            at += length;
        }
        Self { bytes, length: at }
    }

    /// What [`Self::as_bytes`] gave for so many words; `None` for bytes that cannot be that.
    pub fn read(bytes: &[u8], word_count: usize) -> Option<Self> {
        let header = word_count.div_ceil(2);
        if !Self::can_be_of(word_count) || bytes.len() < header {
            return None;
        }
        let lengths = (0..word_count).map(|index| length(bytes, index));
        let is_whole = header + lengths.clone().sum::<usize>() == bytes.len();
        if !is_whole || lengths.into_iter().any(|length| length > 8) {
            return None;
        }
        let mut all = [0; BYTES];
        all[..bytes.len()].copy_from_slice(bytes);
        Some(Self {
            bytes: all,
            length: bytes.len(),
        })
    }

    /// The packed bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Fills as many words as were packed.
    pub fn unpack(&self, words: &mut [u64]) {
        unpack_bytes(&self.bytes, words);
    }

    /// Writes them as words; gives how many.
    pub(super) fn fill(&self, out: &mut [u64; PACKED_WORDS_MAX]) -> usize {
        let (words, _) = self.bytes.as_chunks::<8>();
        for (out, bytes) in out.iter_mut().zip(words) {
            *out = u64::from_le_bytes(*bytes);
        }
        self.length.div_ceil(8)
    }
}

/// Bytes that the word of that index has left.
fn length(bytes: &[u8], index: usize) -> usize {
    usize::from(bytes[index / 2] >> (index % 2 * 4) & 0xf)
}

/// Fills `words` with what was packed.
pub(super) fn unpack(packed: &[u64], words: &mut [u64]) {
    let mut bytes = [0_u8; BYTES];
    for (bytes, packed) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(packed) {
        *bytes = packed.to_le_bytes();
    }
    unpack_bytes(&bytes, words);
}

fn unpack_bytes(bytes: &[u8; BYTES], words: &mut [u64]) {
    let mut at = words.len().div_ceil(2);
    for (index, word) in words.iter_mut().enumerate() {
        let length = length(bytes, index);
        // Whole words and a mask: copies of any length would be calls.
        let whole = bytes[at..at + 8].try_into().expect("eight bytes");
        *word = u64::from_le_bytes(whole) & KEEP[length];
        at += length;
    }
}

/// By a word's length in bytes, what it keeps of eight.
const KEEP: [u64; 9] = {
    let mut keep = [0; 9];
    let mut length = 1;
    while length < keep.len() {
        keep[length] = u64::MAX >> (64 - 8 * length);
        length += 1;
    }
    keep
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_nobody_packed_are_refused() {
        let words = [0, 1, 0x1234, u64::MAX, 7];
        let packed = Packed::of(&words);
        let bytes = packed.as_bytes().to_vec();
        assert_eq!(bytes.len(), 3 + 12);
        let again = Packed::read(&bytes, words.len()).unwrap();
        let (mut filled, mut unpacked) = ([0; PACKED_WORDS_MAX], [9; 5]);
        let size = again.fill(&mut filled);
        unpack(&filled[..size], &mut unpacked);
        assert_eq!(unpacked, words);
        for cut in 0..bytes.len() {
            assert!(Packed::read(&bytes[..cut], words.len()).is_none(), "{cut}");
        }
        assert!(Packed::read(&bytes, words.len() + 2).is_none());
        assert!(Packed::read(&[bytes.clone(), vec![0]].concat(), words.len()).is_none());
        assert!(Packed::read(&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1).is_none());
        assert!(Packed::read(&[0; 20], WORDS_MAX + 1).is_none());
    }
}
