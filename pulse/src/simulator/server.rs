//! The door: websockets on `/exchange` and `/advanced`, and `GET /status` for who wants to know.

use std::sync::Arc;
use std::time::Duration;

use runtime::service::Shutdown;
use schemas::control::Exchange;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::Speed;
use super::driver;
use super::replay::Replay;
use super::session::{Session, Supply, Trickle};
use super::shared::Shared;
use super::words::{Names, Words};

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 64;

/// How long a client may take to say what it wants.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// What is served.
#[derive(Clone)]
pub(super) enum Stock {
    Market {
        requests: mpsc::Sender<driver::Request>,
        names: Names,
    },
    Recording(Arc<Replay>, Speed),
}

impl Stock {
    /// What the path asks for; a recording is its own feed, on either path.
    fn supply(&self, feed: Exchange) -> Supply {
        match self {
            Self::Market { requests, names } => Supply::Market {
                requests: requests.clone(),
                words: Words::new(feed, Arc::clone(names)),
            },
            Self::Recording(replay, speed) => Supply::Recording(Arc::clone(replay), *speed),
        }
    }
}

/// Accepts clients until the simulator stops.
pub(super) async fn serve(listener: TcpListener, stock: Stock, seed: u64, shared: Arc<Shared>) {
    let stop: Shutdown = shared.stop.clone();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.requested() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file handles, most likely: some client will leave.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let (stock, shared) = (stock.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let welcome = tokio::time::timeout(HANDSHAKE_WAIT, welcome(stream, stock, &shared));
            if let Ok(Some((socket, supply))) = welcome.await {
                let id = shared.connection();
                let (session, inbox) = Session::new((id, seed), socket, supply, shared);
                session.run(inbox).await;
            }
            drop(place);
        });
    }
}

type Socket = (
    tokio_tungstenite::WebSocketStream<Trickle>,
    Arc<std::sync::atomic::AtomicBool>,
);

async fn welcome(mut stream: TcpStream, stock: Stock, shared: &Shared) -> Option<(Socket, Supply)> {
    let _ = stream.set_nodelay(true);
    let mut start = [0; 12];
    while stream.peek(&mut start).await.ok()? < start.len() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if start == *b"GET /status " {
        tell_status(&mut stream, shared).await;
        return None;
    }
    let mut feed = None;
    #[expect(
        clippy::result_large_err,
        reason = "the callback's type is tungstenite's"
    )]
    let choose = |request: &Request, response: Response| {
        feed = match request.uri().path() {
            "/exchange" => Some(Exchange::CoinbaseExchange),
            "/advanced" => Some(Exchange::CoinbaseAdvanced),
            _ => None,
        };
        match feed {
            Some(_) => Ok(response),
            None => Err(not_found()),
        }
    };
    let (stream, is_slow) = Trickle::new(stream);
    let socket = accept_hdr_async(stream, choose).await.ok()?;
    Some(((socket, is_slow), stock.supply(feed?)))
}

fn not_found() -> ErrorResponse {
    let text = "the feeds are at /exchange and /advanced, the status at /status";
    let mut response = ErrorResponse::new(Some(text.to_owned()));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

async fn tell_status(stream: &mut TcpStream, shared: &Shared) {
    let body = serde_json::to_string(&shared.status()).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    // The request is read first: closing over unread bytes would take the answer back.
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
