//! Sleeping until one of many queues has something.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// One end is read by the thread that sleeps; queues and other threads write to the other.
pub(super) struct Waker {
    reading: UnixStream,
    writing: Arc<UnixStream>,
}

/// Wakes the thread that sleeps, from any other.
#[derive(Clone)]
pub struct Alarm(Arc<UnixStream>);

impl Alarm {
    /// Ends the present or the next sleep.
    pub fn ring(&self) {
        // A full pipe is as good as a written byte: the sleeper will wake either way.
        let _ = (&*self.0).write(&[1]);
    }
}

impl Waker {
    pub(super) fn new() -> std::io::Result<Self> {
        let (reading, writing) = UnixStream::pair()?;
        writing.set_nonblocking(true)?;
        Ok(Self {
            reading,
            writing: Arc::new(writing),
        })
    }

    pub(super) fn alarm(&self) -> Alarm {
        Alarm(Arc::clone(&self.writing))
    }

    /// Where queues write; open for as long as the waker lives.
    pub(super) fn pipe(&self) -> BorrowedFd<'_> {
        self.writing.as_fd()
    }

    /// Sleeps until something was written, at most `wait`; true when something was.
    pub(super) fn sleep(&self, wait: Duration) -> bool {
        if wait.is_zero() {
            return false;
        }
        let mut bytes = [0; 256];
        let set = self.reading.set_read_timeout(Some(wait));
        debug_assert!(set.is_ok(), "a timeout above zero is accepted");
        match (&self.reading).read(&mut bytes) {
            Ok(count) => count > 0,
            Err(error) => {
                debug_assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ),
                    "{error}"
                );
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_ends_the_sleep_of_another_thread() {
        let waker = Waker::new().unwrap();
        let alarm = waker.alarm();
        let thread = std::thread::spawn(move || alarm.ring());
        assert!(waker.sleep(Duration::from_secs(30)));
        thread.join().unwrap();
        assert!(
            !waker.sleep(Duration::from_millis(1)),
            "one ring wakes once"
        );
    }

    #[test]
    fn a_thousand_rings_do_not_block() {
        let waker = Waker::new().unwrap();
        let alarm = waker.alarm();
        (0..100_000).for_each(|_| alarm.ring());
        assert!(waker.sleep(Duration::from_secs(30)));
    }
}
