//! The last resort: a process whose work hangs is ended, so that another begins from the log.
//!
//! Waiting for a broker that is away is no hanging: whoever waits in calls that have a bound says
//! at each of them that it is alive, and goes on waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// Nothing is pending.
const IDLE: u64 = u64::MAX;

/// Notes work and progress. Cheap to clone; all clones are one. The watch ends with the last.
#[derive(Clone)]
pub struct Watchdog {
    state: Arc<State>,
}

struct State {
    began: Instant,
    /// Milliseconds after `began` since which work is pending.
    pending_since_ms: AtomicU64,
}

impl Watchdog {
    /// Aborts the process when work stays pending for `limit` without a sign of life: a multiple of
    /// what the longest single call may take.
    pub fn start(limit: Duration) -> Self {
        Self::start_with(limit, |pending| {
            let pending_ms = pending.as_millis();
            tracing::error!(pending_ms, "the work hangs: aborting");
            std::process::abort();
        })
    }

    /// The same with another end, for tests.
    pub fn start_with(limit: Duration, end: impl FnOnce(Duration) + Send + 'static) -> Self {
        let state = Arc::new(State {
            began: clock::monotonic(),
            pending_since_ms: AtomicU64::new(IDLE),
        });
        let watched = Arc::downgrade(&state);
        let interval = (limit / 10).clamp(Duration::from_millis(1), Duration::from_secs(1));
        let watch = move || {
            loop {
                std::thread::sleep(interval);
                let Some(state) = watched.upgrade() else {
                    return;
                };
                let pending = state.pending();
                if pending >= limit {
                    return end(pending);
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(watch);
        thread.expect("a process that cannot start a thread cannot work");
        Self { state }
    }

    /// Work is waiting to be committed. Only the first call since the last commit counts.
    pub fn pending(&self) {
        let now = self.state.now_ms();
        let since = &self.state.pending_since_ms;
        // Whoever was first keeps the place.
        let _ = since.compare_exchange(IDLE, now, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The work goes on, though it is not done: its time begins anew.
    pub fn is_alive(&self) {
        let state = &self.state;
        if state.pending_since_ms.load(Ordering::Acquire) != IDLE {
            state
                .pending_since_ms
                .store(state.now_ms(), Ordering::Release);
        }
    }

    /// Everything that was pending is committed, or given up in order.
    pub fn settled(&self) {
        self.state.pending_since_ms.store(IDLE, Ordering::Release);
    }
}

impl State {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(IDLE - 1)
    }

    fn pending(&self) -> Duration {
        match self.pending_since_ms.load(Ordering::Acquire) {
            IDLE => Duration::ZERO,
            since => Duration::from_millis(self.now_ms().saturating_sub(since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, sync_channel};

    use super::*;

    #[test]
    fn ends_a_process_that_makes_no_progress() {
        let (sender, receiver) = sync_channel(1);
        let limit = Duration::from_millis(50);
        let watchdog = Watchdog::start_with(limit, move |pending| sender.send(pending).unwrap());
        watchdog.pending();
        watchdog.pending();
        assert!(receiver.recv_timeout(Duration::from_secs(30)).unwrap() >= limit);
    }

    #[test]
    fn leaves_a_process_alone_that_waits_and_says_so() {
        let (sender, receiver) = sync_channel(1);
        let limit = Duration::from_millis(200);
        let watchdog = Watchdog::start_with(limit, move |pending| sender.send(pending).unwrap());
        watchdog.pending();
        for _ in 0..20 {
            let ended = receiver.recv_timeout(Duration::from_millis(20));
            assert_eq!(ended, Err(RecvTimeoutError::Timeout));
            watchdog.is_alive();
        }
        assert!(receiver.recv_timeout(Duration::from_secs(30)).unwrap() >= limit);
    }

    #[test]
    fn leaves_an_idle_process_and_a_working_one_alone() {
        let (sender, receiver) = sync_channel(1);
        let limit = Duration::from_millis(200);
        let watchdog = Watchdog::start_with(limit, move |pending| sender.send(pending).unwrap());
        for _ in 0..20 {
            watchdog.pending();
            let ended = receiver.recv_timeout(Duration::from_millis(20));
            assert_eq!(ended, Err(RecvTimeoutError::Timeout));
            watchdog.settled();
        }
        let ended = receiver.recv_timeout(Duration::from_millis(400));
        assert_eq!(ended, Err(RecvTimeoutError::Timeout), "nothing was pending");
        drop(watchdog);
        let ended = receiver.recv_timeout(Duration::from_secs(30));
        assert_eq!(
            ended,
            Err(RecvTimeoutError::Disconnected),
            "the watch ended with its owner"
        );
    }
}
