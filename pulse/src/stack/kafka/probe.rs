//! Asks a broker for metadata, in the few bytes of Kafka's protocol that it takes: a readiness
//! check should not need a client with threads and reconnection of its own.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METADATA: u16 = 3;
const VERSION: u16 = 1;
const CLIENT: &[u8] = b"pulse-probe";
/// The longest answer that is read: one broker takes 40 bytes.
const ANSWER_BYTES_MAX: u32 = 64 * 1024;
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// How many brokers the one at `address` knows of: 0 until its cluster has let it in.
pub(super) async fn broker_count(address: &str) -> io::Result<u32> {
    tokio::time::timeout(ANSWER_MAX, ask(address)).await?
}

async fn ask(address: &str) -> io::Result<u32> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&request()).await?;
    let length = stream.read_u32().await?;
    // A correlation id and the number of brokers.
    if !(8..=ANSWER_BYTES_MAX).contains(&length) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not an answer of Kafka's",
        ));
    }
    let _correlation_id = stream.read_u32().await?;
    stream.read_u32().await
}

/// A request for the metadata of no topics.
fn request() -> Vec<u8> {
    let mut body = Vec::with_capacity(32);
    body.extend(METADATA.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    body.extend(1_u32.to_be_bytes());
    body.extend((CLIENT.len() as u16).to_be_bytes());
    body.extend(CLIENT);
    body.extend(0_u32.to_be_bytes());
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Serves one canned answer.
    async fn check(answer: &'static [u8], expect: Option<u32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; request().len()];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, request());
            stream.write_all(answer).await.unwrap();
        };
        let (count, ()) = tokio::join!(broker_count(&address), server);
        assert_eq!(count.ok(), expect);
    }

    #[tokio::test]
    async fn answers_are_counted_and_nonsense_is_refused() {
        check(b"\0\0\0\x08\0\0\0\x01\0\0\0\x01", Some(1)).await;
        check(b"\0\0\0\x08\0\0\0\x01\0\0\0\0", Some(0)).await;
        check(b"HTTP/1.1 400", None).await;
        check(b"\0\0\0\x08\0\0", None).await;
        check(b"", None).await;
    }
}
