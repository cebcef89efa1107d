//! All processes that are kept: each watched by a task of its own, stopped in reverse order.

use std::time::Duration;

use runtime::clock;
use runtime::fate::Backoff;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use super::member::{Member, Verdict, verdict};
use crate::cli::text;
use crate::installation::{Entry, EntryState, ProcessId};

/// The first wait before a process is started again, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Who ran this long had nothing wrong with it: the next wait is the first again.
const LASTED: Duration = Duration::from_secs(60);

/// The processes that are kept.
pub struct Crew {
    ledger: Ledger,
    keepers: Vec<Keeper>,
}

struct Keeper {
    name: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A process, and how others find it.
pub struct Hire {
    /// Its name.
    pub name: &'static str,
    /// The process.
    pub member: Member,
    /// Where clients reach it.
    pub address: String,
    /// Where it tells how it is.
    pub health: Option<String>,
}

impl Crew {
    /// A crew of nobody.
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            keepers: Vec::new(),
        }
    }

    /// Keeps a process that was just started.
    pub fn hire(&mut self, hire: Hire) {
        let process = hire.member.process();
        self.ledger.enter(Entry {
            name: hire.name.to_owned(),
            process: ProcessId::of(process.pid()).ok(),
            address: hire.address,
            health: hire.health,
            log: Some(process.log().to_owned()),
            state: EntryState::Running,
            restart_count: 0,
            reason: None,
        });
        let stop = CancellationToken::new();
        let keeping = Keeping {
            name: hire.name,
            member: hire.member,
            ledger: self.ledger.clone(),
            stop: stop.clone(),
        };
        let task = tokio::spawn(keeping.run());
        self.keepers.push(Keeper {
            name: hire.name.to_owned(),
            stop,
            task,
        });
    }

    /// Stops all of them, the last one first; tells who is being waited for.
    pub async fn stop(self) {
        for keeper in self.keepers.into_iter().rev() {
            let began = clock::monotonic();
            keeper.stop.cancel();
            // A keeper that panicked has dropped its process, and so killed it.
            let _ = keeper.task.await;
            let ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
            self.ledger
                .say(&format!("{} stopped ({})", keeper.name, text::span(ms)));
        }
    }
}

/// One process, watched.
struct Keeping {
    name: &'static str,
    member: Member,
    ledger: Ledger,
    stop: CancellationToken,
}

impl Keeping {
    async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut began = clock::monotonic();
        loop {
            let status = tokio::select! {
                status = self.member.process().exited() => status,
                () = self.stop.cancelled() => return self.end().await,
            };
            if began.elapsed() >= LASTED {
                backoff.reset();
            }
            match verdict(status) {
                Verdict::Failed(reason) => {
                    let words = self.member.process().log_tail(5);
                    self.ledger.say(&format!("{} {reason}: {words}", self.name));
                    return self.rest(reason).await;
                }
                Verdict::Again(reason) => self.again(&mut backoff, &reason).await,
            }
            if self.stop.is_cancelled() {
                return self.end().await;
            }
            began = clock::monotonic();
        }
    }

    /// Starts it again, for as long as it takes or until told to stop.
    async fn again(&mut self, backoff: &mut Backoff, reason: &str) {
        let mut reason = reason.to_owned();
        loop {
            let wait = backoff.next_wait();
            let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            let log = self.member.process().log().display().to_string();
            let text = format!(
                "{reason}; starts again in {} (log: {log})",
                text::span(wait_ms)
            );
            self.ledger.say(&format!("{} {text}", self.name));
            self.ledger.amend(self.name, |entry| {
                entry.state = EntryState::Restarting;
                entry.process = None;
                entry.restart_count += 1;
                entry.reason = Some(text);
            });
            let restarted = tokio::select! {
                () = self.stop.cancelled() => return,
                restarted = async {
                    tokio::time::sleep(wait).await;
                    self.member.restart().await
                } => restarted,
            };
            match restarted {
                Ok(()) => break,
                Err(error) => reason = format!("cannot be started: {error:#}"),
            }
        }
        let process = ProcessId::of(self.member.process().pid()).ok();
        self.ledger.say(&format!("{} started again", self.name));
        self.ledger.amend(self.name, |entry| {
            entry.state = EntryState::Running;
            entry.process = process;
            entry.reason = Some(format!("started again after it {reason}"));
        });
    }

    /// It will not run again; its ports stay ours until everything stops.
    async fn rest(self, reason: String) {
        self.ledger.amend(self.name, |entry| {
            entry.state = EntryState::Failed;
            entry.process = None;
            entry.reason = Some(reason);
        });
        self.stop.cancelled().await;
    }

    async fn end(self) {
        self.member.stop().await;
        self.ledger.amend(self.name, |entry| {
            entry.state = EntryState::Stopped;
            entry.process = None;
        });
    }
}
