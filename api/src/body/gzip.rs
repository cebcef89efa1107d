//! Gzip (RFC 1952): members one behind the other, each a head, a stream of deflate, and eight bytes
//! that say what must have come out of it.

use flate2::{Crc, Decompress};

use super::decoder::{Broken, Step, inflated};

/// Bytes of a member's head, with the names and comments that somebody put there.
const HEAD_BYTES_MAX: usize = 4_096;
/// Bytes behind a member's stream.
const TAIL_BYTES: usize = 8;

/// The members of one body.
pub(super) struct Gzip {
    place: Place,
    /// What has come of a head or tail that is not yet whole.
    part: Vec<u8>,
    inflate: Decompress,
    crc: Crc,
    member_count: usize,
}

/// Where in a member we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Stream,
    Tail,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Head,
            part: vec![],
            inflate: Decompress::new(false),
            crc: Crc::new(),
            member_count: 0,
        }
    }

    /// Between two members.
    pub(super) fn is_at_end(&self) -> bool {
        self.place == Place::Head && self.part.is_empty() && self.member_count > 0
    }

    pub(super) fn step(&mut self, input: &[u8], room: &mut [u8]) -> Result<Step, Broken> {
        let read = match self.place {
            Place::Head => self.head(input)?,
            Place::Tail => self.tail(input)?,
            Place::Stream => {
                let (step, is_at_end) = inflated(&mut self.inflate, input, room)?;
                self.crc.update(&room[..step.written]);
                if is_at_end {
                    self.place = Place::Tail;
                }
                return Ok(step);
            }
        };
        Ok(Step { read, written: 0 })
    }

    /// Takes what belongs to the head.
    fn head(&mut self, input: &[u8]) -> Result<usize, Broken> {
        let before = self.part.len();
        let taken = input.len().min(HEAD_BYTES_MAX - before);
        self.part.extend_from_slice(&input[..taken]);
        let Some(length) = head_length(&self.part)? else {
            return match self.part.len() {
                HEAD_BYTES_MAX => Err(Broken::Head),
                _ => Ok(taken),
            };
        };
        self.part.clear();
        self.place = Place::Stream;
        self.inflate.reset(false);
        self.crc.reset();
        // Without all of them it was not whole before.
        Ok(length - before)
    }

    /// Takes what belongs to the tail, and compares.
    fn tail(&mut self, input: &[u8]) -> Result<usize, Broken> {
        let taken = input.len().min(TAIL_BYTES - self.part.len());
        self.part.extend_from_slice(&input[..taken]);
        if let Some(tail) = self.part.first_chunk::<TAIL_BYTES>() {
            let [a, b, c, d, e, f, g, h] = *tail;
            let (sum, length) = (
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
            );
            if (sum, length) != (self.crc.sum(), self.crc.amount()) {
                return Err(Broken::Checksum);
            }
            self.part.clear();
            self.place = Place::Head;
            self.member_count += 1;
        }
        Ok(taken)
    }
}

/// How long the head is; `None` when it is not yet whole.
fn head_length(part: &[u8]) -> Result<Option<usize>, Broken> {
    const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
    let known = part.len().min(MAGIC.len());
    if part[..known] != MAGIC[..known] {
        return Err(Broken::Head);
    }
    let Some((start, mut rest)) = part.split_at_checked(10) else {
        return Ok(None);
    };
    let flags = start[3];
    if flags & 0xe0 != 0 {
        return Err(Broken::Head);
    }
    if flags & 4 != 0 {
        let Some(([low, high], behind)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let Some(behind) = behind.get(length..) else {
            return Ok(None);
        };
        rest = behind;
    }
    // A name, and a comment.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let Some(end) = memchr::memchr(0, rest) else {
                return Ok(None);
            };
            rest = &rest[end + 1..];
        }
    }
    if flags & 2 != 0 {
        let Some(behind) = rest.get(2..) else {
            return Ok(None);
        };
        rest = behind;
    }
    Ok(Some(part.len() - rest.len()))
}
