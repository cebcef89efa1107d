//! Bodies of a megabyte or less that unpack to a gigabyte, and the memory that refusing them takes:
//! the peak of a process that does nothing else, so that every allocator counts.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use api::body::{Bounds, read};
use axum::body::HttpBody;
use bytes::Bytes;
use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, FlushCompress, Status};
use http::{HeaderMap, header};
use hyper::body::Frame;

/// What each of them unpacks to.
const GIB: usize = 1 << 30;
/// What refusing one may take.
const PEAK_BYTES_MAX: u64 = 32 << 20;

/// A body in frames as they come from a socket.
struct Framed(Bytes);

impl HttpBody for Framed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.0.len().min(16 * 1024);
        let data = self.0.split_to(length);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(data))))
    }
}

/// A gigabyte of zeros in deflate: one piece that ends at a whole byte, again and again.
fn deflated() -> Vec<u8> {
    const PIECE: usize = 16 << 20;
    let mut compress = flate2::Compress::new(Compression::new(6), false);
    let mut piece = Vec::with_capacity(1 << 16);
    let status = compress.compress_vec(&vec![0; PIECE], &mut piece, FlushCompress::Sync);
    assert_eq!(status.unwrap(), Status::Ok);
    assert_eq!(compress.total_in(), PIECE as u64);
    let mut all = piece.repeat(GIB / PIECE);
    // A last block without anything in it.
    all.extend_from_slice(&[3, 0]);
    all
}

/// What an encoder writes before anything goes into it, and the bomb behind it.
fn behind(mut head: Vec<u8>, head_bytes: usize) -> Vec<u8> {
    head.truncate(head_bytes);
    head.extend(deflated());
    head
}

fn gzip() -> Vec<u8> {
    let head = GzEncoder::new(vec![], Compression::new(6)).finish();
    behind(head.unwrap(), 10)
}

fn zlib() -> Vec<u8> {
    let head = ZlibEncoder::new(vec![], Compression::new(6)).finish();
    behind(head.unwrap(), 2)
}

fn zstd() -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(vec![], 1).unwrap();
    encoder.window_log(23).unwrap();
    for _ in 0..GIB >> 20 {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap()
}

/// A gigabyte of zeros with the largest window, written by Node's encoder: `brotliCompress` with
/// quality 9 and lgwin 24. A block of it, over and over.
fn brotli() -> Vec<u8> {
    const HEAD: &str = "cfffff7f002400e2b14072";
    const BLOCK: &str = "effff9ffff0f8004401c1680eefd3fffffff01900088c302d0bdffe7ffff3f001200715800baf7ff\
         fcffff074002200e0b40f7fe9fffffff004800c46101e8defff3ffff1f000980382c00ddfb7ffeffff032001108705\
         a07bffcfffff7f002400e2b00074";
    const TAIL: &str = "effff9ffff0f8004401c1680eefd3fffffff01900088c302d0bdffe7ffff3f001200715800baf7ff\
         fcffff074002200e0b40f7fe9fffffff004800c46101e8defff3ffff1f000980382c00ddfb7ffeffff032001108705\
         a07bff3f";
    let digits = [HEAD, &BLOCK.repeat(7), TAIL].concat();
    (0..digits.len() / 2)
        .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

/// A figure of this process, in bytes.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

#[tokio::test]
async fn a_bomb_of_a_gibibyte_is_refused_in_32_mib() {
    // What making the bombs leaves in the allocators' hands counts as well.
    let before = memory("VmRSS");
    for (encoding, bomb) in [
        ("gzip", gzip()),
        ("deflate", zlib()),
        ("deflate", deflated()),
        ("zstd", zstd()),
        ("br", brotli()),
    ] {
        assert!(bomb.len() < 1_100_000, "{encoding}: {}", bomb.len());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        let body = Framed(bomb.into());
        // The highest so far is forgotten.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let error = read(&headers, body, &Bounds::of(10_000_000))
            .await
            .unwrap_err();
        let peak = memory("VmHWM") - before;
        assert_eq!(error.status(), 413, "{encoding}: {error}");
        println!("{encoding}: {} KiB more at the peak", peak >> 10);
        assert!(peak < PEAK_BYTES_MAX, "{encoding}: {peak} bytes");
    }
}
