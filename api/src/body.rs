//! Bodies as they were before somebody compressed them, and never larger than they may be.
//!
//! In: a request's headers and its body as it arrives. Out: the whole body, decoded.
//!
//! A body is decoded while it arrives, in pieces of at most 64 KiB, with a pause for other tasks
//! after each, so that no body holds a thread for long, whatever it unpacks to. What can never
//! happen: more than the bound is decoded, by more than one byte; a client that sends nothing, or
//! next to nothing, keeps its connection.
//!
//! One body takes its decoded bytes, a frame, and the decoder, whose window is never larger than
//! what it has decoded. How much all bodies take at the same time is the caller's to bound: it is
//! asked for [`Space`] as a body grows.

mod decoder;
mod encoding;
mod gzip;

use std::fmt::Display;
use std::pin::{Pin, pin};
use std::time::Duration;

use axum::body::HttpBody;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use self::decoder::Decoder;
use self::encoding::Encoding;
use crate::problem::ApiError;

/// Bytes that are decoded at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes that are made room for before any of them has come, whatever a client announces.
const TRUST_BYTES: usize = 256 * 1024;

/// What a body may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes, decoded.
    pub decoded_max: usize,
    /// How long nothing may come.
    pub idle_max: Duration,
    /// How long the body may take whatever its size.
    pub grace: Duration,
    /// Bytes as they are sent that must come for each second; who is faster is at most the grace
    /// ahead.
    pub bytes_per_second_min: u32,
    /// How long the whole body may take.
    pub whole_max: Duration,
}

/// Where decoded bytes go.
pub trait Space {
    /// There will be so many bytes in all, of a body that came compressed or not.
    ///
    /// # Errors
    /// When there is no space for them; then the body is given up.
    fn make(
        &mut self,
        bytes: usize,
        is_compressed: bool,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;
}

/// Space for bodies that are so small that they are bounded by the number of connections.
struct Enough;

impl Space for Enough {
    async fn make(&mut self, _bytes: usize, _is_compressed: bool) -> Result<(), ApiError> {
        Ok(())
    }
}

impl Bounds {
    /// For a body of so many bytes: nothing for 10 s, less than 8 KiB a second for 10 s, and more
    /// than 2 minutes in all are too slow.
    pub const fn of(decoded_max: usize) -> Self {
        Self {
            decoded_max,
            idle_max: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            bytes_per_second_min: 8 * 1024,
            whole_max: Duration::from_secs(120),
        }
    }

    /// Bytes as they are sent. What cannot be compressed becomes a little larger by it.
    fn encoded_max(&self, encoding: Option<Encoding>) -> usize {
        match encoding {
            None => self.decoded_max,
            Some(_) => self.decoded_max + self.decoded_max / 64 + 1_024,
        }
    }
}

/// Reads all of a body, decoded by its `Content-Encoding`.
///
/// # Errors
/// 400: not of the encoding that it says, cut off, or with something behind its end; or the client
/// left. 408: it comes too slowly. 413: larger than `bounds` allow, by its `Content-Length` or once
/// that shows. 415: an encoding that is not known, or several.
pub async fn read<B>(headers: &HeaderMap, body: B, bounds: &Bounds) -> Result<Bytes, ApiError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Display,
{
    read_into(headers, body, bounds, &mut Enough).await
}

/// The same, with space for it that is asked for as it grows.
///
/// # Errors
/// As [`read`], and those of the space.
pub async fn read_into<B>(
    headers: &HeaderMap,
    body: B,
    bounds: &Bounds,
    space: &mut impl Space,
) -> Result<Bytes, ApiError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Display,
{
    let encoding = Encoding::of(headers)?;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let encoded_max = bounds.encoded_max(encoding);
    if announced > encoded_max {
        return Err(too_large(bounds));
    }
    let arrival = Arrival {
        body: pin!(body),
        bounds,
        encoded_max,
        ends: Instant::now() + bounds.whole_max,
        too_slow_at: Instant::now() + bounds.grace,
        received: 0,
    };
    match encoding {
        None => plain(arrival, announced, space).await,
        Some(encoding) => decoded(arrival, encoding, space).await,
    }
}

async fn plain<B>(
    mut arrival: Arrival<'_, B>,
    announced: usize,
    space: &mut impl Space,
) -> Result<Bytes, ApiError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Display,
{
    let Some(first) = arrival.next().await? else {
        return Ok(Bytes::new());
    };
    space.make(first.len(), false).await?;
    if arrival.body.is_end_stream() {
        return Ok(first);
    }
    let mut all = Vec::with_capacity(announced.min(TRUST_BYTES).max(first.len()));
    all.extend_from_slice(&first);
    drop(first);
    while let Some(data) = arrival.next().await? {
        space.make(all.len() + data.len(), false).await?;
        all.extend_from_slice(&data);
    }
    Ok(all.into())
}

async fn decoded<B>(
    mut arrival: Arrival<'_, B>,
    encoding: Encoding,
    space: &mut impl Space,
) -> Result<Bytes, ApiError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Display,
{
    let mut decoder = Decoder::new(encoding);
    let mut out = Pieces::new();
    while let Some(data) = arrival.next().await? {
        let mut input = &data[..];
        loop {
            let room = out.room(arrival.bounds.decoded_max);
            let room_bytes = room.len();
            let step = decoder.step(input, room).map_err(|broken| {
                ApiError::bad_request(format!("the body is no sound {encoding}: {broken}"))
            })?;
            input = &input[step.read..];
            if out.wrote(step.written) > arrival.bounds.decoded_max {
                return Err(too_large(arrival.bounds));
            }
            space.make(out.bytes, true).await?;
            if step.written == room_bytes {
                // There may be more, and others want to go on as well.
                tokio::task::yield_now().await;
            } else if input.is_empty() {
                break;
            } else if step.read == 0 && step.written == 0 {
                let reason = format!("the body is no sound {encoding}: it does not go on");
                return Err(ApiError::bad_request(reason));
            }
        }
    }
    if !decoder.is_at_end() {
        return Err(ApiError::bad_request(format!(
            "the body is no sound {encoding}: it is cut off"
        )));
    }
    // Its window goes before the pieces become one.
    drop(decoder);
    Ok(out.join())
}

/// A body on its way.
struct Arrival<'b, B> {
    body: Pin<&'b mut B>,
    bounds: &'b Bounds,
    encoded_max: usize,
    /// By when all of it has to be there.
    ends: Instant,
    /// When what has come is less than it should be.
    too_slow_at: Instant,
    received: usize,
}

impl<B> Arrival<'_, B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Display,
{
    /// What comes next, never empty; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let deadline = self.deadline();
        loop {
            let frame = match timeout_at(deadline, self.body.frame()).await {
                Err(_) => return Err(too_slow()),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    let detail = format!("the body could not be read: {error}");
                    return Err(ApiError::bad_request(detail));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers say nothing to us.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.received += data.len();
            if self.received > self.encoded_max {
                return Err(too_large(self.bounds));
            }
            if !data.is_empty() {
                self.earn(data.len());
                return Ok(Some(data));
            }
        }
    }

    /// What comes buys time, and never more than the grace: who was fast may not rest for it.
    fn earn(&mut self, bytes: usize) {
        let earned = Duration::from_secs(bytes as u64) / self.bounds.bytes_per_second_min.max(1);
        let most = Instant::now() + self.bounds.grace;
        self.too_slow_at = most.min(self.too_slow_at + earned);
    }

    /// By when something has to come.
    fn deadline(&self) -> Instant {
        let idle_until = Instant::now() + self.bounds.idle_max;
        self.ends.min(self.too_slow_at).min(idle_until)
    }
}

/// Decoded bytes, in pieces that never move until all are there.
struct Pieces {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
    last_bytes: usize,
    bytes: usize,
}

impl Pieces {
    fn new() -> Self {
        Self {
            full: vec![],
            last: vec![],
            last_bytes: 0,
            bytes: 0,
        }
    }

    /// Where to write next: at least one byte, and at most one byte more than `max` in all.
    fn room(&mut self, max: usize) -> &mut [u8] {
        if self.last_bytes == self.last.len() {
            // The first piece is small, as most bodies are.
            let length = match self.bytes {
                0 => PIECE_BYTES / 4,
                _ => PIECE_BYTES,
            };
            let length = length.min(max + 1 - self.bytes);
            let full = std::mem::replace(&mut self.last, vec![0; length]);
            if !full.is_empty() {
                self.full.push(full);
            }
            self.last_bytes = 0;
        }
        &mut self.last[self.last_bytes..]
    }

    /// So many bytes of the room are used; how many there are in all.
    fn wrote(&mut self, count: usize) -> usize {
        self.last_bytes += count;
        self.bytes += count;
        self.bytes
    }

    fn join(mut self) -> Bytes {
        self.last.truncate(self.last_bytes);
        if self.full.is_empty() {
            return self.last.into();
        }
        let mut all = Vec::with_capacity(self.bytes);
        for piece in self.full.into_iter().chain([self.last]) {
            all.extend_from_slice(&piece);
        }
        all.into()
    }
}

fn too_large(bounds: &Bounds) -> ApiError {
    let max = bounds.decoded_max;
    closing(ApiError::too_large(format!(
        "a body here has at most {max} bytes, once it is unpacked"
    )))
}

fn too_slow() -> ApiError {
    closing(ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "too_slow",
        "the body came too slowly, or stopped coming",
    ))
}

/// What is left of the body is not waited for, so the connection is of no more use.
fn closing(error: ApiError) -> ApiError {
    error.with_header(header::CONNECTION, HeaderValue::from_static("close"))
}

#[cfg(test)]
mod tests;
