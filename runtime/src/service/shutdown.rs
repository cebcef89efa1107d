//! The one word that ends a process in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells tasks and threads that it is time to stop. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    bell: Arc<Bell>,
}

/// Wakes threads that wait without a runtime.
#[derive(Default)]
struct Bell {
    has_rung: std::sync::Mutex<bool>,
    changed: std::sync::Condvar,
}

impl Shutdown {
    /// Says it. Saying it again changes nothing.
    pub fn request(&self) {
        self.token.cancel();
        *self
            .bell
            .has_rung
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        self.bell.changed.notify_all();
    }

    /// True once it was said.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until it is said.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// The same for a thread, and at most `wait`; true once it was said.
    pub fn wait_at_most(&self, wait: Duration) -> bool {
        let rung = self
            .bell
            .has_rung
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let waited = self
            .bell
            .changed
            .wait_timeout_while(rung, wait, |has_rung| !*has_rung);
        let (has_rung, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        *has_rung
    }

    /// Lets SIGTERM and SIGINT say it. The second signal ends the process at once.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn request_on_signal(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            for attempt in 0.. {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if attempt > 0 {
                    tracing::warn!("told twice to stop: ends at once");
                    std::process::exit(130);
                }
                shutdown.request();
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reaches_tasks_and_threads() {
        let shutdown = Shutdown::default();
        assert!(!shutdown.is_requested() && !shutdown.wait_at_most(Duration::from_millis(1)));
        let (task, thread) = (shutdown.clone(), shutdown.clone());
        let task = tokio::spawn(async move { task.requested().await });
        let thread = std::thread::spawn(move || thread.wait_at_most(Duration::from_secs(30)));
        shutdown.request();
        shutdown.request();
        task.await.unwrap();
        assert!(thread.join().unwrap());
        assert!(shutdown.is_requested());
    }
}
