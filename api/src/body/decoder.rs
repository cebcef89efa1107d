//! Decoders that are handed what comes and room for what it stands for, and say how much of both
//! they used.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

use super::encoding::Encoding;
use super::gzip::Gzip;

/// The largest window of a zstd body, as a power of two: 8 MiB, which RFC 8878 asks of everybody.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A decoder of one body.
pub(super) enum Decoder {
    Gzip(Gzip),
    Deflate(Deflate),
    Brotli(Box<Brotli>),
    Zstd(Zstd),
}

/// What a decoder has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes of the input that need not be handed in again.
    pub(super) read: usize,
    /// Bytes of the room that are used. Where there are fewer than there is room, more need input.
    pub(super) written: usize,
}

/// Why a body cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// It does not begin as it should.
    #[error("it does not begin like one")]
    Head,
    /// It goes on in a way that nobody writes.
    #[error("it is damaged")]
    Damaged,
    /// What it stands for is not what was compressed.
    #[error("its checksum is another one")]
    Checksum,
    /// There is something behind its end.
    #[error("something follows its end")]
    Trailing,
    /// It asks for more memory than a body may take.
    #[error("it needs a window of more than 8 MiB")]
    Window,
}

impl Decoder {
    pub(super) fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Gzip => Self::Gzip(Gzip::new()),
            Encoding::Deflate => Self::Deflate(Deflate::default()),
            Encoding::Brotli => Self::Brotli(Box::new(Brotli::new())),
            Encoding::Zstd => Self::Zstd(Zstd::new()),
        }
    }

    /// Decodes as much as there is input or room for.
    pub(super) fn step(&mut self, input: &[u8], room: &mut [u8]) -> Result<Step, Broken> {
        if input.is_empty() && self.is_at_end() {
            return Ok(Step {
                read: 0,
                written: 0,
            });
        }
        match self {
            Self::Gzip(gzip) => gzip.step(input, room),
            Self::Deflate(deflate) => deflate.step(input, room),
            Self::Brotli(brotli) => brotli.step(input, room),
            Self::Zstd(zstd) => zstd.step(input, room),
        }
    }

    /// Whether it could end here.
    pub(super) fn is_at_end(&self) -> bool {
        match self {
            Self::Gzip(gzip) => gzip.is_at_end(),
            Self::Deflate(deflate) => deflate.is_at_end,
            Self::Brotli(brotli) => brotli.is_at_end,
            Self::Zstd(zstd) => zstd.is_at_end,
        }
    }
}

/// One stream of deflate.
#[derive(Default)]
pub(super) struct Deflate {
    /// None before the first byte says which of its two forms this is.
    inflate: Option<Decompress>,
    is_at_end: bool,
}

impl Deflate {
    fn step(&mut self, input: &[u8], room: &mut [u8]) -> Result<Step, Broken> {
        if self.is_at_end {
            return Err(Broken::Trailing);
        }
        let inflate = match (&mut self.inflate, input.first()) {
            (Some(inflate), _) => inflate,
            (None, None) => return Err(Broken::Head),
            // A header of zlib says 8 in its low bits; what begins so without one is a block that
            // is stored and has a bit set that everybody leaves at 0.
            (none, Some(first)) => {
                none.insert(Decompress::new(first & 0x0f == 8 && first >> 4 <= 7))
            }
        };
        let (step, is_at_end) = inflated(inflate, input, room)?;
        self.is_at_end = is_at_end;
        Ok(step)
    }
}

/// Inflates as much as there is input or room for, and says whether the stream has ended.
pub(super) fn inflated(
    inflate: &mut Decompress,
    input: &[u8],
    room: &mut [u8],
) -> Result<(Step, bool), Broken> {
    let (start_in, start_out) = (inflate.total_in(), inflate.total_out());
    let count = |now: u64, start: u64| usize::try_from(now - start).expect("it fits a slice");
    let mut step = Step {
        read: 0,
        written: 0,
    };
    // It may keep decoded bytes to itself, and hand out only those in its next call.
    loop {
        let before = step;
        let status = inflate
            .decompress(
                &input[step.read..],
                &mut room[step.written..],
                FlushDecompress::None,
            )
            .map_err(|_| Broken::Damaged)?;
        step.read = count(inflate.total_in(), start_in);
        step.written = count(inflate.total_out(), start_out);
        let is_at_end = status == Status::StreamEnd;
        if is_at_end || step == before || step.written == room.len() {
            return Ok((step, is_at_end));
        }
    }
}

/// One stream of brotli, with windows of at most 16 MiB, as RFC 7932 has them.
pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    is_at_end: bool,
}

impl Brotli {
    fn new() -> Self {
        let alloc = StandardAlloc::default;
        Self {
            state: BrotliState::new_strict(alloc(), alloc(), alloc()),
            is_at_end: false,
        }
    }

    fn step(&mut self, input: &[u8], room: &mut [u8]) -> Result<Step, Broken> {
        if self.is_at_end {
            return Err(Broken::Trailing);
        }
        let (mut input_left, mut read) = (input.len(), 0);
        let (mut room_left, mut written, mut total) = (room.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut input_left,
            &mut read,
            input,
            &mut room_left,
            &mut written,
            room,
            &mut total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => return Err(Broken::Damaged),
            BrotliResult::ResultSuccess => self.is_at_end = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
        Ok(Step { read, written })
    }
}

/// Frames of zstd, one behind the other.
pub(super) struct Zstd {
    decoder: zstd::stream::raw::Decoder<'static>,
    is_at_end: bool,
}

impl Zstd {
    fn new() -> Self {
        let mut decoder =
            zstd::stream::raw::Decoder::new().expect("an empty dictionary is always sound");
        decoder
            .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
            .expect("the window is one of those that there are");
        Self {
            decoder,
            is_at_end: false,
        }
    }

    fn step(&mut self, input: &[u8], room: &mut [u8]) -> Result<Step, Broken> {
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(room);
        let wanted = self.decoder.run(&mut input, &mut output);
        // Its errors have no kinds, only texts.
        let wanted = wanted.map_err(|error| match error.to_string() {
            text if text.contains("too much memory") => Broken::Window,
            text if text.contains("Unknown frame") => Broken::Head,
            text if text.contains("checksum") => Broken::Checksum,
            _ => Broken::Damaged,
        })?;
        self.is_at_end = wanted == 0;
        Ok(Step {
            read: input.pos(),
            written: output.pos(),
        })
    }
}
