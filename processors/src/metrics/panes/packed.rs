//! Words without the zero bytes that they begin with: a candle's sixteen take nine or ten.
//!
//! First half a byte for each word says how many bytes it has left; then come those, the lowest
//! first.

/// Words of the longest window that is packed.
pub(super) const WORDS_MAX: usize = 28;
/// What packed words of the longest window may take at most, with room to write whole words.
pub(super) const PACKED_WORDS_MAX: usize = WORDS_MAX + WORDS_MAX / 16 + 2;

const BYTES: usize = PACKED_WORDS_MAX * 8;

/// Packs at most [`WORDS_MAX`] words; gives how many words the packed take.
pub(super) fn pack(words: &[u64], out: &mut [u64; PACKED_WORDS_MAX]) -> usize {
    let mut bytes = [0_u8; BYTES];
    let mut at = words.len().div_ceil(2);
    for (index, word) in words.iter().enumerate() {
        let length = 8 - word.leading_zeros() as usize / 8;
        bytes[index / 2] |= (length as u8) << (index % 2 * 4);
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        at += length;
    }
    let (packed, _) = bytes.as_chunks::<8>();
    for (out, packed) in out.iter_mut().zip(packed) {
        *out = u64::from_le_bytes(*packed);
    }
    at.div_ceil(8)
}

/// Fills `words` with what was packed.
pub(super) fn unpack(packed: &[u64], words: &mut [u64]) {
    let mut bytes = [0_u8; BYTES];
    for (bytes, packed) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(packed) {
        *bytes = packed.to_le_bytes();
    }
    let mut at = words.len().div_ceil(2);
    for (index, word) in words.iter_mut().enumerate() {
        let length = usize::from(bytes[index / 2] >> (index % 2 * 4) & 0xf);
        let mut whole = [0; 8];
        whole[..length].copy_from_slice(&bytes[at..at + length]);
        *word = u64::from_le_bytes(whole);
        at += length;
    }
}
