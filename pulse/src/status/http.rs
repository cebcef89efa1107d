//! A few bytes of HTTP, to a process of ours on this machine: `GET` of its own port, and the
//! operator's routes of pulse-api.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a process may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The longest answer that is read; metrics of many tenants are some 100 KB.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// What came after the head.
    pub body: String,
}

/// Asks `address`, a `host:port`, for `path`.
///
/// # Errors
/// When nobody answers in time, or what answers does not speak HTTP.
pub async fn get(address: &str, path: &str) -> io::Result<Answer> {
    // 1.0: the answer ends with the connection, and its body is not cut into chunks.
    let text = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    within(ANSWER_MAX, ask(address, text)).await
}

/// A request with a JSON body, or an empty one.
pub struct Request<'a> {
    /// `PUT` and so on.
    pub method: &'a str,
    /// The path, as it goes over the wire.
    pub path: &'a str,
    /// The value of `Authorization`.
    pub authorization: &'a str,
    /// The body.
    pub body: &'a str,
}

/// Sends `request` to `address`, a `host:port`, and waits for its answer at most `wait`.
///
/// # Errors
/// When nobody answers in time, or what answers does not speak HTTP.
pub async fn send(address: &str, request: &Request<'_>, wait: Duration) -> io::Result<Answer> {
    let text = format!(
        "{} {} HTTP/1.0\r\nHost: {address}\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
        request.method,
        request.path,
        request.authorization,
        request.body.len(),
        request.body
    );
    within(wait, ask(address, text)).await
}

/// How a fetch ended.
#[derive(Debug)]
pub enum Fetched {
    /// All of it is in the file: so many bytes.
    File(u64),
    /// There is no file, and this was answered instead.
    Refused(Answer),
}

/// Bytes of a head that are read at most.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
/// How long nothing of a file may come.
const PIECE_WAIT: Duration = Duration::from_secs(30);

/// Asks `address` for `path` and writes what is answered to the new file `to`, for its owner alone.
///
/// # Errors
/// When nobody answers, the answer breaks off, or the file is there or cannot be written.
pub async fn fetch(
    address: &str,
    path: &str,
    authorization: &str,
    to: &Path,
) -> io::Result<Fetched> {
    let mut stream = TcpStream::connect(address).await?;
    let text =
        format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: {authorization}\r\n\r\n");
    stream.write_all(text.as_bytes()).await?;
    let mut held = vec![];
    let head_end = loop {
        if let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if held.len() > HEAD_BYTES_MAX || piece(&mut stream, &mut held).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP"));
        }
    };
    let head = String::from_utf8_lossy(&held[..head_end]).into_owned();
    let mut body = held.split_off(head_end + 4);
    if head.split(' ').nth(1).is_none_or(|status| status != "200") {
        let mut rest = stream.take(ANSWER_BYTES_MAX);
        tokio::time::timeout(PIECE_WAIT, rest.read_to_end(&mut body)).await??;
        let text = format!("{head}\r\n\r\n{}", String::from_utf8_lossy(&body));
        let answer = read(&text);
        let answer =
            answer.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not HTTP"))?;
        return Ok(Fetched::Refused(answer));
    }
    let length = content_length(&head)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer without a length"))?;
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(to)?;
    let copied = copy(&mut stream, &mut file, body, length).await;
    if copied.is_err() {
        let _ = std::fs::remove_file(to);
    }
    copied.map(|()| Fetched::File(length))
}

async fn copy(
    stream: &mut TcpStream,
    file: &mut File,
    mut held: Vec<u8>,
    length: u64,
) -> io::Result<()> {
    let mut count = 0;
    loop {
        count += held.len() as u64;
        file.write_all(&held)?;
        held.clear();
        if count >= length {
            break;
        }
        if piece(stream, &mut held).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    match count == length {
        true => file.sync_all(),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "more than was announced",
        )),
    }
}

async fn piece(stream: &mut TcpStream, held: &mut Vec<u8>) -> io::Result<usize> {
    tokio::time::timeout(PIECE_WAIT, stream.read_buf(held)).await?
}

fn content_length(head: &str) -> Option<u64> {
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    value.trim().parse().ok()
}

async fn within(
    wait: Duration,
    answer: impl Future<Output = io::Result<Answer>>,
) -> io::Result<Answer> {
    tokio::time::timeout(wait, answer)
        .await
        .unwrap_or_else(|_| {
            let text = format!("no answer within {} s", wait.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
}

async fn ask(address: &str, request: String) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .await?;
    let text = String::from_utf8_lossy(&bytes);
    read(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not HTTP"))
}

fn read(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn status_and_body_are_told_apart() {
        let answer = read("HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\n{}\r\n\r\n").unwrap();
        assert_eq!(
            answer,
            Answer {
                status: 503,
                body: "{}\r\n\r\n".into()
            }
        );
        assert_eq!(read("SSH-2.0-x\r\n\r\n"), None);
        assert_eq!(read(""), None);
    }

    #[tokio::test]
    async fn a_server_is_asked_and_a_closed_port_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 256];
            let count = stream.read(&mut asked).await.unwrap();
            assert!(asked[..count].starts_with(b"GET /metrics HTTP/1.0\r\n"));
            stream
                .write_all(b"HTTP/1.0 200 OK\r\n\r\nup 1\n")
                .await
                .unwrap();
        };
        let (answer, ()) = tokio::join!(get(&address, "/metrics"), server);
        assert_eq!(
            answer.unwrap(),
            Answer {
                status: 200,
                body: "up 1\n".into()
            }
        );
        drop(listener);
        assert!(get(&address, "/metrics").await.is_err());
    }
}
