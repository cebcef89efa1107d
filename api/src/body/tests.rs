//! Bodies in every encoding, sound and broken, and clients that are slow. What a bomb takes is in
//! `tests/bombs.rs`, a process of its own.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::response::IntoResponse;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http_body_util::Full;
use hyper::body::Frame;

use super::*;

const BOUNDS: Bounds = Bounds::of(1_000_000);

/// A body that comes in frames of so many bytes, without saying how many there are.
struct Framed {
    left: Bytes,
    frame_bytes: usize,
}

impl HttpBody for Framed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.frame_bytes.min(self.left.len());
        let data = self.left.split_to(length);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(data))))
    }
}

async fn read_framed(encoding: &str, body: &[u8], frame_bytes: usize) -> Result<Bytes, ApiError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
    let left = Bytes::copy_from_slice(body);
    read(&headers, Framed { left, frame_bytes }, &BOUNDS).await
}

/// What is told of a body that is refused, the same however it comes.
async fn refused(encoding: &str, body: &[u8]) -> String {
    let mut told = vec![];
    for frame_bytes in [1, 7, 100_000] {
        let error = read_framed(encoding, body, frame_bytes).await.unwrap_err();
        told.push(error.to_string());
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    told.swap_remove(0)
}

/// Something that can be compressed, and not too well.
fn text(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = Vec::with_capacity(bytes);
    while text.len() < bytes {
        writeln!(text, "{{\"event_id\": \"{}\"}}", random.u32(..)).unwrap();
    }
    text.truncate(bytes);
    text
}

fn compressed(encoding: &str, text: &[u8]) -> Vec<u8> {
    let level = Compression::new(6);
    match encoding {
        "gzip" => {
            let mut encoder = GzEncoder::new(vec![], level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(vec![], level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "raw" => {
            let mut encoder = DeflateEncoder::new(vec![], level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => {
            let mut encoder = zstd::stream::Encoder::new(vec![], 3).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "br" => stored_brotli(text),
        other => panic!("{other} is not one of them"),
    }
}

/// A stream of brotli that compresses nothing (RFC 7932, 9.2), since there is no encoder here.
fn stored_brotli(text: &[u8]) -> Vec<u8> {
    // A window of 64 KiB is one bit, 0; each head is 1 bit for the last block, 2 for the number of
    // nibbles, four of these, and 1 for stored; then comes padding to a whole byte.
    let mut out = vec![];
    for (at, block) in text.chunks(1 << 16).enumerate() {
        let length = (block.len() - 1) as u32;
        let head = (length << 3) | 1 << 19;
        let shift = u32::from(at == 0);
        out.extend_from_slice(&(head << shift).to_le_bytes()[..3]);
        out.extend_from_slice(block);
    }
    // The last block, and empty.
    out.push(3);
    out
}

/// What the encoding is called in a header.
fn name(encoding: &str) -> &str {
    if encoding == "raw" {
        "deflate"
    } else {
        encoding
    }
}

const ENCODINGS: [&str; 5] = ["gzip", "deflate", "raw", "br", "zstd"];

#[tokio::test]
async fn every_encoding_is_undone_however_it_comes() {
    for encoding in ENCODINGS {
        for bytes in [1, 100, 16_384, 65_536, 200_000, 1_000_000] {
            let text = text(bytes);
            let body = compressed(encoding, &text);
            for frame_bytes in [1_013, 1_000_000] {
                let read = read_framed(name(encoding), &body, frame_bytes).await;
                let is_same = read.as_ref().is_ok_and(|read| *read == text);
                assert!(is_same, "{encoding} {bytes} {frame_bytes} {:?}", read.err());
            }
        }
        let (text, mut all) = (text(300), vec![]);
        for frame_bytes in 1..40 {
            let body = compressed(encoding, &text);
            all.push(
                read_framed(name(encoding), &body, frame_bytes)
                    .await
                    .unwrap(),
            );
        }
        assert!(all.iter().all(|read| *read == text), "{encoding}");
    }
    // Written by the encoder that browsers and Node have.
    let body = "1b3800809d07768c83406d30a83f771d46a8f416f94adb5b6170a9c3d21720e09003f76b16b634908a74\
                0a912e687d70f1151e07c1d31e";
    let body: Vec<u8> = (0..body.len() / 2)
        .map(|i| u8::from_str_radix(&body[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    let text = r#"{"event_type": "api_call", "source": {"service": "shop"}}"#;
    assert_eq!(read_framed("br", &body, 5).await.unwrap(), text);
}

#[tokio::test]
async fn a_body_that_is_not_compressed_is_as_it_was() {
    for bytes in [0, 1, 100_000, 1_000_000] {
        let text = Bytes::from(text(bytes));
        let headers = HeaderMap::new();
        let read_whole = read(&headers, Full::new(text.clone()), &BOUNDS)
            .await
            .unwrap();
        assert_eq!(read_whole, text);
        if bytes > 0 {
            assert_eq!(read_whole.as_ptr(), text.as_ptr(), "it was copied");
        }
        assert_eq!(read_framed("identity", &text, 1_013).await.unwrap(), text);
    }
}

#[tokio::test]
async fn what_is_cut_off_is_told_as_such() {
    for encoding in ENCODINGS {
        let body = compressed(encoding, &text(5_000));
        let expect = format!(
            "400 Bad Request: the body is no sound {}: it is cut off",
            name(encoding)
        );
        for length in [1, 2, body.len() / 2, body.len() - 1] {
            assert_eq!(
                refused(name(encoding), &body[..length]).await,
                expect,
                "{length}"
            );
        }
    }
    let told = read_framed("gzip", b"", 1).await.unwrap_err().to_string();
    assert!(told.ends_with("it is cut off"), "{told}");
}

#[tokio::test]
async fn what_is_none_of_it_is_told_as_such() {
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        for garbage in [
            &b"{\"event_type\": \"api_call\"}"[..],
            &[0xff; 64],
            &[0x1f; 64],
        ] {
            let told = refused(encoding, garbage).await;
            let start = format!("400 Bad Request: the body is no sound {encoding}: ");
            assert!(told.starts_with(&start), "{told}");
        }
    }
    let mut body = compressed("gzip", &text(100));
    let at = body.len() - 5;
    body[at] ^= 1;
    assert!(
        refused("gzip", &body)
            .await
            .ends_with("its checksum is another one")
    );
    let mut body = compressed("zstd", &text(100));
    *body.last_mut().unwrap() ^= 1;
    assert!(
        refused("zstd", &body)
            .await
            .ends_with("its checksum is another one")
    );
}

#[tokio::test]
async fn bodies_with_any_byte_changed_end_in_bytes_or_an_error() {
    for encoding in ENCODINGS {
        let body = compressed(encoding, &text(400));
        for at in 0..body.len() {
            let mut damaged = body.clone();
            damaged[at] ^= 1 << (at % 8);
            // Either is right; neither is a panic, nor goes on for ever.
            drop(read_framed(name(encoding), &damaged, 64).await);
        }
    }
}

#[tokio::test]
async fn members_and_frames_may_follow_one_another_and_nothing_else_may() {
    for encoding in ENCODINGS {
        let once = compressed(encoding, b"one ");
        let twice = [once.clone(), compressed(encoding, b"two")].concat();
        match encoding {
            "gzip" | "zstd" => {
                for frame_bytes in [1, 9, 1_000] {
                    let read = read_framed(encoding, &twice, frame_bytes).await.unwrap();
                    assert_eq!(read, "one two");
                }
                let told = refused(encoding, &[once, b"garbage".into()].concat()).await;
                assert!(told.starts_with("400"), "{told}");
            }
            _ => assert!(
                refused(name(encoding), &twice)
                    .await
                    .ends_with("follows its end")
            ),
        }
    }
}

#[tokio::test]
async fn heads_of_gzip_with_everything_in_them_are_read_over() {
    let mut body = flate2::GzBuilder::new()
        .extra(vec![7; 300])
        .filename("a.json")
        .comment("none")
        .write(vec![], Compression::new(1));
    body.write_all(b"text").unwrap();
    let body = body.finish().unwrap();
    for frame_bytes in [1, 50, 1_000] {
        assert_eq!(
            read_framed("gzip", &body, frame_bytes).await.unwrap(),
            "text"
        );
    }
    let endless = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0][..], &[b'x'; 10_000]].concat();
    assert!(
        refused("gzip", &endless)
            .await
            .ends_with("it does not begin like one")
    );
}

#[tokio::test]
async fn a_body_has_a_bound_by_what_it_says_and_by_what_it_is() {
    let expect =
        "413 Payload Too Large: a body here has at most 1000000 bytes, once it is unpacked";
    let text = text(1_000_001);
    for encoding in ENCODINGS {
        assert_eq!(
            refused(name(encoding), &compressed(encoding, &text)).await,
            expect
        );
    }
    assert_eq!(refused("identity", &text).await, expect);
    // It says so beforehand, and nothing of it is asked for.
    let announced = Full::new(Bytes::from(text));
    let told = read(&HeaderMap::new(), announced, &BOUNDS)
        .await
        .unwrap_err();
    assert_eq!(told.to_string(), expect);
    let headers = told.into_response();
    assert_eq!(headers.headers()[header::CONNECTION], "close");
}

#[tokio::test]
async fn a_window_that_is_too_large_is_refused() {
    let mut encoder = zstd::stream::Encoder::new(vec![], 3).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&text(100_000)).unwrap();
    let body = encoder.finish().unwrap();
    assert!(
        refused("zstd", &body)
            .await
            .ends_with("a window of more than 8 MiB")
    );
}

/// A body of which a byte comes each time that the interval has passed, for ever.
struct Dripping(tokio::time::Interval);

impl HttpBody for Dripping {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let byte = Bytes::from_static(b" ");
        self.0.poll_tick(cx).map(|_| Some(Ok(Frame::data(byte))))
    }
}

/// After how long a body is given up of which a byte comes after each `tick`.
async fn given_up_after(tick: Duration) -> Duration {
    let bounds = Bounds {
        idle_max: Duration::from_millis(100),
        grace: Duration::from_millis(300),
        bytes_per_second_min: 1_000,
        ..BOUNDS
    };
    let start = Instant::now();
    let body = Dripping(tokio::time::interval_at(start + tick, tick));
    let error = read(&HeaderMap::new(), body, &bounds).await.unwrap_err();
    assert_eq!(error.status(), 408);
    assert_eq!(error.into_response().headers()[header::CONNECTION], "close");
    start.elapsed()
}

#[tokio::test]
async fn clients_that_stop_or_drip_are_cut_off() {
    let stopped = given_up_after(Duration::from_secs(3_600)).await;
    assert!(stopped >= Duration::from_millis(100), "{stopped:?}");
    // It never stops for long, and at 100 bytes a second where 1,000 are due it gets a tenth more.
    let dripping = given_up_after(Duration::from_millis(10)).await;
    assert!(dripping >= Duration::from_millis(300), "{dripping:?}");
}

#[tokio::test]
async fn a_client_that_leaves_is_an_error() {
    let frames = [Ok(Frame::data(Bytes::from_static(b"a"))), Err("reset")];
    let body = Failing(frames.into_iter().collect());
    let error = read(&HeaderMap::new(), body, &BOUNDS).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "400 Bad Request: the body could not be read: reset"
    );
}

/// A body of these frames.
struct Failing(VecDeque<Result<Frame<Bytes>, &'static str>>);

impl HttpBody for Failing {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.0.pop_front())
    }
}

#[test]
fn a_body_may_be_read_on_any_thread() {
    fn check(_: impl Send) {}
    let headers = HeaderMap::new();
    check(read(&headers, axum::body::Body::empty(), &BOUNDS));
}
