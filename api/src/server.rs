//! An HTTP/1.1 server for strangers: connections have a number, heads and bodies a time, and
//! whoever is slow is cut off.
//!
//! A connection may carry request after request. What a request's body may take is the business of
//! [`crate::body`]; how long an answer may be made, of its route, and how long it may wait to be
//! taken, of [`patience`]. A request that cannot be read is answered as every error is
//! ([`unread`]).

mod patience;
mod unread;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use runtime::service::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use patience::Patience;
use unread::Worded;

/// What all clients together may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at the same time; further ones wait in the listener's own queue.
    pub connections_max: usize,
    /// How long a request's head may take, and how long a connection may be idle between requests.
    pub head_max: Duration,
    /// How long nothing of an answer may be taken.
    pub answer_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            head_max: Duration::from_secs(15),
            answer_max: Duration::from_secs(10),
        }
    }
}

/// How long the listener rests when it cannot accept, for want of descriptors for instance.
const REST: Duration = Duration::from_millis(50);

/// Serves until told to stop; then every connection ends with the answer that it is at.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = shutdown.requested() => break,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = connection(stream, router.clone(), bounds, shutdown.clone());
                tracker.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(REST).await;
            }
        }
    }
    drop(listener);
    tracker.close();
    tracker.wait().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    // Answers are small and wait for nothing to go with them.
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

async fn connection(stream: TcpStream, router: Router, bounds: Bounds, shutdown: Shutdown) {
    let service = TowerToHyperService::new(router);
    let stream = Worded::new(Patience::new(stream, bounds.answer_max));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_max)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // What is wrong with a stranger's connection, or that he left, is nobody's concern here.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.requested() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
