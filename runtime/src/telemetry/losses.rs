//! Spans that do not reach the collector are lost, and the log says so: once when it begins and
//! once when it is over, since exports fail every few seconds for as long as a collector is away.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Why the last request failed, from who sends it to who reports it: the exporter between them says
/// no more than "network error". All clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct LastFault(Arc<Mutex<Option<String>>>);

impl LastFault {
    /// Keeps an error with all that is behind it.
    pub(super) fn keep(&self, error: &(dyn Error + 'static)) {
        let causes = std::iter::successors(Some(error), |error| (**error).source());
        let words: Vec<String> = causes.map(ToString::to_string).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(words.join(": "));
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An exporter whose losses are reported.
#[derive(Debug)]
pub(super) struct Reported<E> {
    exporter: E,
    fault: LastFault,
    losses: Losses,
}

impl<E> Reported<E> {
    /// Reports what `exporter` loses, with the `fault` that its client keeps.
    pub(super) fn new(exporter: E, fault: LastFault) -> Self {
        Self {
            exporter,
            fault,
            losses: Losses::default(),
        }
    }
}

impl<E: SpanExporter> SpanExporter for Reported<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        let fault = self.fault.take();
        match (self.losses.observe(count, result.is_ok()), &result) {
            (Some(Turn::Begun), Err(error)) => {
                let reason = fault.unwrap_or_else(|| error.to_string());
                tracing::warn!(reason, "spans do not reach the collector");
            }
            (Some(Turn::Over { lost_count }), _) => {
                tracing::info!(lost_count, "spans reach the collector again");
            }
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// What an export changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// The one before reached the collector, or there was none.
    Begun,
    /// The ones before did not.
    Over {
        /// How many spans they held.
        lost_count: u64,
    },
}

/// How many spans were lost since one reached the collector; one export at a time adds to it.
#[derive(Debug, Default)]
struct Losses {
    count: AtomicU64,
}

impl Losses {
    /// Takes an export of so many spans.
    fn observe(&self, span_count: u64, has_arrived: bool) -> Option<Turn> {
        match has_arrived {
            true => {
                let lost_count = self.count.swap(0, Ordering::Relaxed);
                (lost_count > 0).then_some(Turn::Over { lost_count })
            }
            false => {
                let before = self.count.fetch_add(span_count, Ordering::Relaxed);
                (before == 0).then_some(Turn::Begun)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_turns_are_reported() {
        let losses = Losses::default();
        let check = |has_arrived, expect| {
            assert_eq!(losses.observe(7, has_arrived), expect);
        };
        check(true, None);
        check(false, Some(Turn::Begun));
        check(false, None);
        check(false, None);
        check(true, Some(Turn::Over { lost_count: 21 }));
        check(true, None);
        check(false, Some(Turn::Begun));
        check(true, Some(Turn::Over { lost_count: 7 }));
    }

    #[test]
    fn a_fault_is_kept_with_its_causes_and_taken_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("no connection")]
        struct NoConnection(#[source] std::io::Error);
        let fault = LastFault::default();
        assert_eq!(fault.clone().take(), None);
        fault.keep(&NoConnection(std::io::Error::other("refused")));
        assert_eq!(
            fault.clone().take().as_deref(),
            Some("no connection: refused")
        );
        assert_eq!(fault.take(), None);
    }
}
