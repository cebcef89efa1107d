//! An HTTP server that strangers may reach, and none of them can use up.
//!
//! A connection is for one request, and has a time from its beginning to its end. Connections have
//! a number, and the oldest gives way to one more: whoever holds them all keeps nobody out. Only
//! who opens as many again while somebody's answer is made cuts that answer off.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// What all strangers together may take of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at the same time.
    pub(super) connections_max: usize,
    /// How long a connection may last, whoever waits for whom.
    pub(super) exchange_max: Duration,
}

/// Serves until its task is aborted, which ends all connections.
pub(super) async fn serve(mut listener: TcpListener, router: Router, bounds: Bounds) {
    let mut open = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::with_capacity(bounds.connections_max);
    loop {
        let (stream, _) = Listener::accept(&mut listener).await;
        while open.try_join_next().is_some() {}
        by_age.retain(|exchange| !exchange.is_finished());
        if open.len() >= bounds.connections_max {
            if let Some(oldest) = by_age.pop_front() {
                oldest.abort();
            }
            // An aborted task holds its socket until it has ended.
            open.join_next().await;
        }
        let exchange = exchange(stream, router.clone());
        by_age.push_back(open.spawn(async move {
            let _ = tokio::time::timeout(bounds.exchange_max, exchange).await;
        }));
    }
}

/// One request and its answer.
async fn exchange(stream: TcpStream, router: Router) {
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1().keep_alive(false);
    let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(router));
    // What is wrong with a stranger's request, or that he left, is nobody's concern here.
    let _ = http.serve_connection(io, service).await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::testing::PATIENCE;

    const NEVER: Duration = Duration::from_secs(86_400);

    async fn start(connections_max: usize, exchange_max: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/never", get(std::future::pending::<()>));
        let bounds = Bounds {
            connections_max,
            exchange_max,
        };
        tokio::spawn(serve(listener, router, bounds));
        address
    }

    /// A connection on which this much was said.
    async fn say(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// All that the server says until it ends the connection.
    async fn heard(mut stream: TcpStream) -> String {
        let mut bytes = vec![];
        // Whatever was not read when the connection ends makes its end a reset.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes))
            .await
            .expect("the server ends the connection");
        String::from_utf8(bytes).unwrap()
    }

    const ASKED: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    #[tokio::test]
    async fn whoever_holds_all_connections_the_next_one_is_answered() {
        let address = start(4, NEVER).await;
        let mut held = VecDeque::new();
        for _ in 0..4 {
            held.push_back(say(address, "").await);
            held.push_back(say(address, "GET / HTTP/1.1\r\nx: ").await);
            held.push_back(say(address, "GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n").await);
        }
        let answer = heard(say(address, ASKED).await).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"),
            "{answer}"
        );
        for _ in 0..9 {
            assert_eq!(heard(held.pop_front().unwrap()).await, "");
        }
    }

    #[tokio::test]
    async fn the_oldest_gives_way_and_no_other() {
        let address = start(2, NEVER).await;
        let [oldest, mut kept, _newest] = [
            say(address, "").await,
            say(address, "").await,
            say(address, "").await,
        ];
        assert_eq!(heard(oldest).await, "");
        kept.write_all(ASKED.as_bytes()).await.unwrap();
        assert!(heard(kept).await.ends_with("here"));
    }

    #[tokio::test]
    async fn an_exchange_ends_in_time_whatever_it_waits_for() {
        let address = start(64, Duration::from_millis(1)).await;
        for text in [
            "",
            "GET / HTTP/1.1\r\nx: ",
            "GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n",
        ] {
            assert_eq!(heard(say(address, text).await).await, "", "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_is_for_one_request() {
        let address = start(64, NEVER).await;
        let answer = heard(say(address, &ASKED.repeat(2)).await).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    }
}
