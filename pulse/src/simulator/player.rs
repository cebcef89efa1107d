//! Plays a recording to one client: frame by frame at its own pace or as fast as it is read, then
//! heartbeats for as long as the client stays.

use std::sync::Arc;
use std::time::Duration;

use runtime::clock;
use runtime::service::Shutdown;
use tokio::sync::mpsc;

use super::Speed;
use super::driver::ToClient;
use super::replay::Replay;
use super::words::OutFrame;

pub(super) struct Player {
    replay: Arc<Replay>,
    speed: Speed,
}

impl Player {
    pub(super) fn new(replay: Arc<Replay>, speed: Speed) -> Self {
        Self { replay, speed }
    }

    /// Plays until the client is gone or the simulator stops.
    pub(super) async fn run(self, to_client: mpsc::Sender<ToClient>, stop: Shutdown) {
        tokio::select! {
            () = stop.requested() => {}
            _ = self.play(to_client) => {}
        }
    }

    async fn play(
        &self,
        to_client: mpsc::Sender<ToClient>,
    ) -> Result<(), mpsc::error::SendError<ToClient>> {
        let first = self.replay.begin();
        let began = clock::monotonic();
        let start_us = self.replay.frames.get(first).map_or(0, |frame| frame.at_us);
        for (index, frame) in self.replay.frames.iter().enumerate().skip(first) {
            if let Speed::Times(factor) = self.speed {
                let after_us = (frame.at_us - start_us).max(0) as f64 / factor;
                let due = began + Duration::from_micros(after_us as u64);
                tokio::time::sleep_until(due.into()).await;
            }
            let frame = OutFrame::data(frame.text.clone(), vec![]);
            to_client.send(ToClient::Recorded(index, frame)).await?;
        }
        to_client.send(ToClient::End).await?;
        let last = self.replay.frames.len() - 1;
        let mut heart = self.replay.heart();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for text in heart.beat() {
                let frame = OutFrame::sound(text, vec![]);
                to_client.send(ToClient::Recorded(last, frame)).await?;
            }
        }
    }
}
