//! The loop: read, gather, cut, insert, commit.
//!
//! One thread reads and gathers; each round is sent by a task of its own while the next is
//! gathered.
//! Two rounds may be on their way; a third waits full, and then nothing is read.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use runtime::clock;
use runtime::control::ControlView;
use runtime::fate::{Backoff, Fate};
use runtime::health::{Condition, Membership};
use runtime::kafka::admin::Admin;
use runtime::kafka::transactional::Position;
use runtime::kafka::{Event, GroupConsumer, GroupSettings, Partition};
use runtime::service::Service;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::check::{self, InsertCheck};
use super::figures::Figures;
use super::insert::{Ended, InsertError, Sender};
use super::lanes::{Lane, Topics};
use super::migrations::{self, MigrationError};
use super::native::Block;
use super::retention;
use super::round::{Gathering, Pace, Progress, Round};
use super::server::Server;
use super::settings::Config;
use super::trouble::{Source, Troubles};
use turns::Turns;

mod gather;
mod turns;

/// The consumer group.
pub const GROUP: &str = "pulse-clickhouse";

/// The health check of the server.
const SERVER_CHECK: &str = "clickhouse";

/// Rounds that may be on their way.
const UNDER_WAY_MAX: usize = 2;

/// How long a silent member keeps its partitions.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the loop sleeps at most before it looks around.
const NAP: Duration = Duration::from_millis(100);

/// How often ClickHouse is asked whether it is there.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the service is told to stop; then what was read is inserted and committed.
///
/// # Errors
/// When waiting will not help: a schema that this program may not write to, a fenced member, a
/// table
/// that is not as the migrations made it.
pub async fn run(config: Config, service: Service) -> anyhow::Result<()> {
    for check in [SERVER_CHECK, check::CHECK] {
        service.health.register(check);
    }
    let server = Server::new(&config.clickhouse, config.sink.timeout)?;
    if !prepare(&server, &config, &service).await? {
        return Ok(());
    }
    service.health.set(check::CHECK, Condition::Ready);
    service
        .health
        .watch_kafka(&config.kafka, &service.shutdown)?;
    let Some(control) = ControlView::open(&config.kafka, &config.control, &service).await? else {
        return Ok(());
    };
    tokio::spawn(watch_server(server.clone(), service.clone()));
    let (ended, end) = oneshot::channel();
    let sink = Sink::open(&config, &service, control, server)?;
    std::thread::Builder::new()
        .name("gather".into())
        .spawn(move || {
            // Whoever waited for the end is gone only when the process is.
            let _ = ended.send(sink.run());
        })?;
    end.await.context("the gathering thread ended abruptly")?
}

/// Makes the schema what it should be, however long ClickHouse is away; false when the service was
/// told to stop meanwhile.
async fn prepare(server: &Server, config: &Config, service: &Service) -> anyhow::Result<bool> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        let error = match migrations::apply(server).await {
            Ok(_) => match retention::apply(server, &config.sink.retention).await {
                Ok(()) => return Ok(true),
                Err(error) => error,
            },
            Err(MigrationError::Server { error, .. }) if error.fate() == Fate::Retry => error,
            Err(error) => return Err(error.into()),
        };
        if error.fate() != Fate::Retry {
            return Err(error.into());
        }
        service
            .health
            .set(SERVER_CHECK, Condition::NotReady(error.to_string()));
        tokio::select! {
            () = tokio::time::sleep(backoff.next_wait()) => {}
            () = service.shutdown.requested() => return Ok(false),
        }
    }
}

/// Keeps the check of the server true.
async fn watch_server(server: Server, service: Service) {
    loop {
        let condition = match server.execute("SELECT 1 FORMAT Null").await {
            Ok(()) => Condition::Ready,
            Err(error) => Condition::NotReady(error.to_string()),
        };
        service.health.set(SERVER_CHECK, condition);
        tokio::select! {
            () = tokio::time::sleep(PROBE_INTERVAL) => {}
            () = service.shutdown.requested() => return,
        }
    }
}

struct Sink {
    consumer: GroupConsumer,
    membership: Membership,
    topics: Topics,
    lanes: Vec<Lane>,
    troubles: Troubles,
    /// Who is next, so that no tenant waits for all partitions of another.
    turns: Turns,
    gathering: Gathering,
    spare: Vec<Block>,
    progress: Progress,
    pace: Pace,
    cut_at: Instant,
    commit_failed_at: Option<Instant>,
    sender: Sender,
    ended: Receiver<Ended>,
    figures: Figures,
    service: Service,
    handle: Handle,
}

impl Sink {
    fn open(
        config: &Config,
        service: &Service,
        control: ControlView,
        server: Server,
    ) -> anyhow::Result<Self> {
        let settings = GroupSettings::new(GROUP, &service.member(), SESSION_TIMEOUT);
        let consumer = GroupConsumer::join(&config.kafka, settings)?;
        let (ended, ends) = sync_channel(UNDER_WAY_MAX);
        let figures = Figures::register(&service.metrics);
        let (alarm, shutdown) = (consumer.alarm(), service.shutdown.clone());
        tokio::spawn(async move {
            shutdown.requested().await;
            alarm.ring();
        });
        let sender = Sender {
            server,
            run: clock::now_us().unsigned_abs() ^ (u64::from(std::process::id()) << 44),
            figures: figures.clone(),
            check: InsertCheck::new(&service.health),
            shutdown: service.shutdown.clone(),
            ended,
            alarm: consumer.alarm(),
        };
        Ok(Self {
            consumer,
            membership: Membership::watch(&service.health),
            topics: Topics::new(control, config.control.clone(), Admin::new(&config.kafka)?),
            lanes: Vec::new(),
            troubles: Troubles::watch(&service.health),
            turns: Turns::default(),
            gathering: Gathering::default(),
            spare: Vec::new(),
            progress: Progress::default(),
            pace: Pace {
                interval: config.sink.interval,
                row_count_max: config.sink.batch_row_count_max,
                bytes_max: config.sink.batch_bytes_max,
            },
            cut_at: clock::monotonic(),
            commit_failed_at: None,
            sender,
            ended: ends,
            figures,
            service: service.clone(),
            handle: Handle::current(),
        })
    }

    fn run(mut self) -> anyhow::Result<()> {
        let worked = self.work();
        let is_stopped =
            |error: &anyhow::Error| matches!(error.downcast_ref(), Some(InsertError::Stopped));
        match worked {
            // Told to stop while ClickHouse was away: the log has all of it, and what earlier
            // rounds made true is committed all the same.
            Err(error) if is_stopped(&error) => {
                tracing::warn!("rows that were read stay in the log");
                self.commit_now()
            }
            worked => worked,
        }
    }

    fn work(&mut self) -> anyhow::Result<()> {
        while !self.service.shutdown.is_requested() {
            self.follow_topics()?;
            self.serve_group()?;
            self.membership.look(&self.consumer);
            self.settle_rounds()?;
            let read_count = self.gather()?;
            self.cut_when_due();
            self.figures.pending.set(self.gathering.row_count() as i64);
            self.troubles.settle(self.lanes.len(), clock::monotonic());
            if read_count == 0 {
                self.nap();
            }
        }
        self.drain()
    }

    fn follow_topics(&mut self) -> anyhow::Result<()> {
        let Some(topics) = self.topics.changed() else {
            return Ok(());
        };
        tracing::info!(topic_count = topics.len(), "reads");
        self.consumer.subscribe(topics)?;
        for lane in &mut self.lanes {
            // A tenant that is being deleted keeps its last rules until its partitions go.
            lane.rules = self.topics.rules(&lane.origin.tenant).unwrap_or(lane.rules);
        }
        Ok(())
    }

    fn serve_group(&mut self) -> anyhow::Result<()> {
        let now = clock::monotonic();
        if self.troubles.holds_back(&Source::Group, now) {
            return Ok(());
        }
        let events = match self.consumer.poll() {
            Ok(events) => events,
            Err(error) if error.fate() == Fate::Halt => return Err(error.into()),
            Err(error) => {
                self.troubles.failed(Source::Group, &error, now);
                return Ok(());
            }
        };
        for event in events {
            match event {
                Event::Assigned {
                    partition,
                    committed,
                } => {
                    let position = committed.map_or(0, |committed| committed.offset);
                    self.progress.assigned(&partition, position);
                    match self.topics.lane(&partition) {
                        Some(lane) => self.add_lane(lane),
                        None => tracing::warn!(%partition, "has no tenant, and is not read"),
                    }
                    tracing::info!(%partition, position, "assigned");
                }
                Event::Revoked { partition } | Event::Lost { partition } => {
                    self.progress.forget(&partition);
                    self.lanes.retain(|lane| lane.partition != partition);
                    self.troubles.forget(&partition);
                    tracing::info!(%partition, "given up");
                }
            }
        }
        Ok(())
    }

    /// Keeps each tenant's lanes together.
    fn add_lane(&mut self, lane: Lane) {
        let key = |lane: &Lane| (lane.origin.tenant.clone(), lane.partition.clone());
        let place = key(&lane);
        let at = self.lanes.partition_point(|held| key(held) < place);
        self.lanes.insert(at, lane);
    }

    /// Takes the ends of rounds in, and commits what they made true.
    fn settle_rounds(&mut self) -> anyhow::Result<()> {
        while let Ok(Ended {
            number,
            spare,
            outcome,
        }) = self.ended.try_recv()
        {
            self.spare.extend(spare);
            outcome?;
            self.progress.inserted(number);
        }
        self.commit()
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        let recently = |at: Instant| at.elapsed() < PROBE_INTERVAL;
        if self.progress.due().is_empty() || self.commit_failed_at.is_some_and(recently) {
            return Ok(());
        }
        let position = |(partition, offset): (&Partition, &i64)| Position {
            partition: partition.clone(),
            offset: *offset,
            metadata: String::new(),
        };
        let positions: Vec<_> = self.progress.due().iter().map(position).collect();
        match self.consumer.commit(&positions) {
            Ok(()) => {
                self.progress.committed();
                self.commit_failed_at = None;
                Ok(())
            }
            Err(error) if error.fate() == Fate::Halt => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "positions are not committed yet");
                self.commit_failed_at = Some(clock::monotonic());
                Ok(())
            }
        }
    }

    fn cut_when_due(&mut self) {
        if self.progress.under_way_count() == UNDER_WAY_MAX {
            return;
        }
        let now = clock::monotonic();
        let is_due = self
            .gathering
            .due_at(self.cut_at, &self.pace)
            .is_some_and(|at| at <= now);
        let is_idle = self.gathering.is_empty() && now - self.cut_at >= self.pace.interval;
        if is_due || is_idle || self.gathering.is_full(&self.pace) {
            self.cut(now);
        }
    }

    /// Sends what is gathered. Without rows, positions may still have moved over records that have
    /// none, and over the log's own marks.
    fn cut(&mut self, now: Instant) {
        self.cut_at = now;
        let mut positions = BTreeMap::new();
        for lane in &self.lanes {
            let position = self.consumer.position(&lane.partition);
            if let Some(at) = position.filter(|at| self.progress.is_news(&lane.partition, *at)) {
                positions.insert(lane.partition.clone(), at);
            }
        }
        let blocks = self.gathering.cut(&mut self.spare);
        if blocks.is_empty() && positions.is_empty() {
            return;
        }
        let number = self.progress.begin(positions);
        if blocks.is_empty() {
            self.progress.inserted(number);
            return;
        }
        self.handle
            .spawn(self.sender.clone().send(Round { number, blocks }));
    }

    /// Sleeps until something arrives, at most until it is time to look around.
    fn nap(&self) {
        let wait = self.sleep_at_most();
        if self.troubles.holds_back(&Source::Group, clock::monotonic()) {
            // What the group has left to do would end its own sleep at once.
            self.service.shutdown.wait_at_most(wait);
        } else {
            self.consumer.wait(wait);
        }
    }

    fn sleep_at_most(&self) -> Duration {
        let is_held = self.progress.under_way_count() == UNDER_WAY_MAX;
        let due_at = self
            .gathering
            .due_at(self.cut_at, &self.pace)
            .filter(|_| !is_held);
        let left = due_at.map(|at| at.saturating_duration_since(clock::monotonic()));
        left.unwrap_or(NAP).clamp(Duration::from_millis(1), NAP)
    }

    /// Inserts and commits what was read.
    fn drain(&mut self) -> anyhow::Result<()> {
        self.wait_for_rounds(UNDER_WAY_MAX - 1)?;
        self.cut(clock::monotonic());
        self.wait_for_rounds(0)?;
        self.commit_now()
    }

    fn wait_for_rounds(&mut self, count_max: usize) -> anyhow::Result<()> {
        self.settle_rounds()?;
        while self.progress.under_way_count() > count_max {
            self.consumer.wait(NAP);
            self.settle_rounds()?;
        }
        Ok(())
    }

    /// Commits what is due, also shortly after a commit that failed.
    fn commit_now(&mut self) -> anyhow::Result<()> {
        self.commit_failed_at = None;
        self.commit()
    }
}
