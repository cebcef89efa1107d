//! A client that says just what a test wants said, byte by byte, and hears all of the answer.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an exchange may take.
const WAIT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request, on a connection of its own.
///
/// # Errors
/// When nobody answers, or the connection ends before the answer does.
pub async fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, String> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" || method == "PUT" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    say(address, &bytes).await
}

/// The answer to exactly these bytes.
///
/// # Errors
/// When nobody answers, or the connection ends before the answer does.
pub async fn say(address: &str, bytes: &[u8]) -> Result<Answer, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        // Whoever refuses early may not read all of it.
        let _ = stream.write_all(bytes).await;
        let mut heard = vec![];
        match stream.read_to_end(&mut heard).await {
            Err(error) if heard.is_empty() => Err(error),
            _ => Ok(heard),
        }
    };
    let heard = tokio::time::timeout(WAIT, exchange)
        .await
        .map_err(|_| format!("{address} does not answer"))?
        .map_err(|error| format!("{address}: {error}"))?;
    answer(&heard).ok_or_else(|| {
        let heard = String::from_utf8_lossy(&heard);
        format!("{address} broke off: {heard:?}")
    })
}

/// A POST of JSON with a key.
///
/// # Errors
/// When nobody answers, or the connection ends before the answer does.
pub async fn post(address: &str, path: &str, key: &str, body: &Value) -> Result<Answer, String> {
    let headers = [("content-type", "application/json"), ("x-api-key", key)];
    request(address, "POST", path, &headers, body.to_string().as_bytes()).await
}

/// A GET with a key.
///
/// # Errors
/// When nobody answers, or the connection ends before the answer does.
pub async fn get(address: &str, path: &str, key: &str) -> Result<Answer, String> {
    request(address, "GET", path, &[("x-api-key", key)], b"").await
}

/// What was heard, if all of it was.
fn answer(heard: &[u8]) -> Option<Answer> {
    let end = heard.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&heard[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &heard[end + 4..];
    let of = |name: &str| {
        let found = headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    };
    let body = match (of("transfer-encoding"), of("content-length")) {
        (Some("chunked"), _) => unchunked(rest)?,
        (_, Some(length)) => rest.get(..length.parse().ok()?)?.to_vec(),
        _ => rest.to_vec(),
    };
    Some(Answer {
        status,
        headers,
        body,
    })
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = vec![];
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = std::str::from_utf8(&rest[..end]).ok()?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + length)?);
        rest = rest.get(end + 4 + length..)?;
    }
}
