//! The thread that commits, so that the next records are read while a transaction is on its way.
//!
//! It does one thing at a time and never decides anything: how a transaction ended goes back to the
//! worker, with its batches. Each call that it makes has a bound, so each answer comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use schemas::ids::{Stream, TenantId, Topic};

use super::log::{Outcome, Sealed};
use crate::fate::Fate;
use crate::kafka::transactional::TransactionError;
use crate::kafka::{self, Alarm, GroupMetadata, Outgoing, Position, Transactional};
use crate::watchdog::Watchdog;

/// How long a call waits for a new producer; membership is served before it waits on.
const RENEW_SLICE: Duration = Duration::from_millis(250);

/// What is to be put into one transaction, and in whose name.
struct Job {
    batches: Vec<Sealed>,
    positions: Vec<Position>,
    metadata: Result<GroupMetadata, String>,
}

enum Request {
    Commit(Job),
    Renew,
}

enum Answer {
    Ended(Vec<Sealed>, Outcome),
    Renewed(Result<(), TransactionError>),
}

/// The worker's end of it.
pub(super) struct Committer {
    /// `None` once the thread is to end.
    requests: Option<SyncSender<Request>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    /// Knows of a commit from its beginning to its end.
    watchdog: Option<Watchdog>,
}

impl Committer {
    /// Starts the thread, which rings `alarm` at the end of each commit.
    pub(super) fn start(producer: Transactional, alarm: Alarm) -> std::io::Result<Self> {
        // Each request is answered before the next, so nobody waits for room.
        let (requests, todo) = sync_channel(1);
        let (told, answers) = sync_channel(1);
        let mut desk = Desk {
            producer,
            topics: BTreeMap::new(),
        };
        let work = move || {
            for request in todo {
                let answer = match request {
                    Request::Commit(job) => desk.commit(job),
                    Request::Renew => Answer::Renewed(desk.producer.renew(RENEW_SLICE)),
                };
                if told.send(answer).is_err() {
                    return;
                }
                alarm.ring();
            }
        };
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn(work)?;
        Ok(Self {
            requests: Some(requests),
            answers,
            thread: Some(thread),
            watchdog: None,
        })
    }

    /// The worker goes on while a commit is on its way, so one that never ends needs a watchdog of
    /// its own.
    pub(super) fn watched_by(&mut self, watchdog: Watchdog) {
        self.watchdog = Some(watchdog);
    }

    /// Begins a commit; [`Self::ended`] tells its end.
    pub(super) fn begin(
        &self,
        batches: Vec<Sealed>,
        positions: Vec<Position>,
        metadata: Result<GroupMetadata, String>,
    ) {
        let job = Job {
            batches,
            positions,
            metadata,
        };
        self.watchdog.iter().for_each(Watchdog::pending);
        self.ask(Request::Commit(job));
    }

    /// The end of the commit that was begun, when it comes within `wait`.
    pub(super) fn ended(&self, wait: Duration) -> Option<(Vec<Sealed>, Outcome)> {
        match self.answers.recv_timeout(wait) {
            Ok(Answer::Ended(batches, outcome)) => {
                self.watchdog.iter().for_each(Watchdog::settled);
                Some((batches, outcome))
            }
            Ok(Answer::Renewed(_)) => unreachable!("each request is answered before the next"),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the committing thread panicked"),
        }
    }

    /// Makes the producer anew, or waits on for that.
    pub(super) fn renew(&self) -> Result<(), TransactionError> {
        self.ask(Request::Renew);
        match self.answers.recv() {
            Ok(Answer::Renewed(renewed)) => renewed,
            Ok(Answer::Ended(..)) => unreachable!("each request is answered before the next"),
            Err(_) => panic!("the committing thread panicked"),
        }
    }

    fn ask(&self, request: Request) {
        // A thread that panicked answers nothing, which shows where the answer is awaited.
        let _ = self.requests.as_ref().map(|to| to.send(request));
    }
}

impl Drop for Committer {
    /// Waits for the call that the thread may be in: left alone, it could still take the producer's
    /// name over from a successor.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Desk {
    producer: Transactional,
    topics: BTreeMap<(TenantId, Stream), String>,
}

impl Desk {
    fn commit(&mut self, job: Job) -> Answer {
        let outcome = match &job.metadata {
            Ok(metadata) => self.transact(&job.batches, &job.positions, metadata),
            Err(reason) => aborted(reason),
        };
        Answer::Ended(job.batches, outcome)
    }

    fn transact(
        &mut self,
        batches: &[Sealed],
        positions: &[Position],
        metadata: &GroupMetadata,
    ) -> Outcome {
        match self.producer.begin() {
            Ok(()) => {}
            Err(TransactionError::Fenced(failure)) => {
                return Outcome::Fenced {
                    reason: failure.to_string(),
                };
            }
            Err(error) => return aborted(&error.to_string()),
        }
        if let Err((tenant, error)) = self.send(batches) {
            // The others' records go without those of a tenant that has one which nobody takes.
            let refused = (error.fate() == Fate::Reject).then_some(tenant);
            return self.abort(&error.to_string(), refused);
        }
        outcome(self.producer.commit(positions, metadata))
    }

    /// Puts everything into the open transaction, or says whose record could not be.
    fn send(&mut self, batches: &[Sealed]) -> Result<(), (TenantId, TransactionError)> {
        for batch in batches {
            let tenant = &batch.place.tenant;
            for record in batch.output.iter() {
                let topic = self
                    .topics
                    .entry((tenant.clone(), record.stream))
                    .or_insert_with(|| tenant.topic(record.stream).to_string());
                let sent = self.producer.send(&Outgoing {
                    topic,
                    partition: record.partition,
                    key: Some(record.key),
                    value: record.value,
                    headers: &[],
                });
                sent.map_err(|error| (tenant.clone(), error))?;
            }
        }
        Ok(())
    }

    fn abort(&mut self, reason: &str, refused: Option<TenantId>) -> Outcome {
        match self.producer.abort() {
            kafka::Outcome::Committed | kafka::Outcome::Unknown(_) => Outcome::Unknown {
                reason: reason.to_owned(),
            },
            kafka::Outcome::Fenced(failure) => Outcome::Fenced {
                reason: failure.to_string(),
            },
            ended @ kafka::Outcome::Aborted(_) => match outcome(ended) {
                Outcome::Aborted { refused: more, .. } => Outcome::Aborted {
                    reason: reason.to_owned(),
                    refused: more.into_iter().chain(refused).collect(),
                },
                other => other,
            },
        }
    }
}

fn aborted(reason: &str) -> Outcome {
    Outcome::Aborted {
        reason: reason.to_owned(),
        refused: BTreeSet::new(),
    }
}

fn outcome(outcome: kafka::Outcome) -> Outcome {
    match outcome {
        kafka::Outcome::Committed => Outcome::Committed,
        kafka::Outcome::Aborted(reason) => Outcome::Aborted {
            reason: reason.to_string(),
            refused: reason
                .topics
                .keys()
                .filter_map(|topic| tenant_of(topic))
                .collect(),
        },
        kafka::Outcome::Unknown(failure) => Outcome::Unknown {
            reason: failure.to_string(),
        },
        kafka::Outcome::Fenced(failure) => Outcome::Fenced {
            reason: failure.to_string(),
        },
    }
}

fn tenant_of(topic: &str) -> Option<TenantId> {
    topic.parse::<Topic>().ok().map(|topic| topic.tenant)
}

#[cfg(test)]
mod tests;
