//! ClickHouse's compressed stream: frames of a checksum, sizes and an LZ4 block.
//!
//! The frames are made once and kept, so that a retry sends the same bytes.

use bytes::Bytes;

/// How much goes into a frame, before it is compressed.
const FRAME_BYTES: usize = 1 << 20;

/// A checksum of 128 bits.
const CHECKSUM_BYTES: usize = 16;

/// The method's byte and two sizes of 32 bits; the sizes count it too.
const HEAD_BYTES: usize = 9;

/// ClickHouse's number for LZ4.
const METHOD: u8 = 0x82;

/// Compresses what is put in, frame by frame.
#[derive(Debug, Default)]
pub struct Compressor {
    pending: Vec<u8>,
    frames: Vec<Bytes>,
}

impl Compressor {
    /// Takes the next bytes of the stream.
    pub fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = FRAME_BYTES - self.pending.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == FRAME_BYTES {
                self.end_frame();
            }
        }
    }

    /// All frames, in order.
    pub fn finish(mut self) -> Vec<Bytes> {
        if !self.pending.is_empty() {
            self.end_frame();
        }
        self.frames
    }

    fn end_frame(&mut self) {
        self.frames.push(frame(&self.pending));
        self.pending.clear();
    }
}

fn frame(raw: &[u8]) -> Bytes {
    const START: usize = CHECKSUM_BYTES + HEAD_BYTES;
    let mut frame = vec![0; START + lz4_flex::block::get_maximum_output_size(raw.len())];
    let size = lz4_flex::block::compress_into(raw, &mut frame[START..])
        .expect("the frame has room for the largest result");
    frame.truncate(START + size);
    let sizes = [size + HEAD_BYTES, raw.len()];
    let [packed, unpacked] = sizes.map(|size| {
        u32::try_from(size)
            .expect("a frame is about a mebibyte")
            .to_le_bytes()
    });
    frame[CHECKSUM_BYTES] = METHOD;
    frame[CHECKSUM_BYTES + 1..][..4].copy_from_slice(&packed);
    frame[CHECKSUM_BYTES + 5..][..4].copy_from_slice(&unpacked);
    // The checksum's halves stand the other way round than the number's.
    let checksum = cityhash_rs::cityhash_102_128(&frame[CHECKSUM_BYTES..]).rotate_left(64);
    frame[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(frames: &[Bytes]) -> Vec<u8> {
        let mut out = vec![];
        for frame in frames {
            let size = u32::from_le_bytes(frame[21..25].try_into().unwrap());
            let raw = lz4_flex::block::decompress(&frame[25..], size as usize).unwrap();
            out.extend_from_slice(&raw);
        }
        out
    }

    #[test]
    fn frames_hold_what_was_put_in() {
        for (size, frame_count) in [(0, 0), (1, 1), (FRAME_BYTES, 1), (3 * FRAME_BYTES + 7, 4)] {
            let bytes: Vec<u8> = (0..size).map(|at| (at / 3) as u8).collect();
            let mut compressor = Compressor::default();
            bytes.chunks(77_777).for_each(|chunk| compressor.put(chunk));
            let frames = compressor.finish();
            assert_eq!(frames.len(), frame_count);
            assert!(unpack(&frames) == bytes, "{size} bytes");
        }
    }

    /// A frame that ClickHouse 26.7 itself made of the same bytes (`compress=1`).
    #[test]
    fn the_checksum_is_the_servers() {
        let theirs = [
            0x78, 0x7e, 0x0b, 0x85, 0x9f, 0x85, 0xf8, 0x85, 0xb9, 0x19, 0x71, 0xb9, 0x02, 0x66,
            0x2c, 0x55,
        ];
        let mut compressor = Compressor::default();
        compressor.put(b"pulse\n");
        let frames = compressor.finish();
        assert_eq!(frames[0][..CHECKSUM_BYTES], theirs);
    }
}
