//! POSTs over one connection that stays open, answered one after the other.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const WAIT: Duration = Duration::from_secs(30);

/// A connection.
pub struct Poster {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Poster {
    /// To this path there, with this key.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(address: &str, path: &str, key: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .context(address.to_owned())?;
        stream.set_nodelay(true)?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {key}\r\n\
             content-type: application/x-ndjson\r\ncontent-length: "
        );
        Ok(Self {
            stream: BufReader::new(stream),
            head,
        })
    }

    /// The status of the answer to this body, once all of it is there.
    ///
    /// # Errors
    /// When the connection breaks, or nothing is answered.
    pub async fn post(&mut self, body: &str) -> anyhow::Result<u16> {
        let request = format!("{}{}\r\n\r\n{body}", self.head, body.len());
        let answered = async {
            self.stream.get_mut().write_all(request.as_bytes()).await?;
            self.answer().await
        };
        tokio::time::timeout(WAIT, answered).await?
    }

    async fn answer(&mut self) -> anyhow::Result<u16> {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            anyhow::ensure!(self.stream.read_line(&mut line).await? > 0, "no answer");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse()?;
            } else if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(status)
    }
}

/// Moments at a steady rate, whatever each of them is used for.
pub struct Pace {
    began: Instant,
    every: Duration,
    number: u32,
}

impl Pace {
    /// `per_second` of them, from now on.
    pub fn new(per_second: f64) -> Self {
        Self {
            began: Instant::now(),
            every: Duration::from_secs_f64(1.0 / per_second),
            number: 0,
        }
    }

    /// Waits for the next one, and tells when it was due: who is late has it at once.
    pub async fn next(&mut self) -> Instant {
        let due = self.began + self.every * self.number;
        self.number += 1;
        tokio::time::sleep_until(due.into()).await;
        due
    }
}
