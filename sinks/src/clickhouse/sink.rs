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
use runtime::control::{ControlError, ControlView};
use runtime::fate::{Backoff, Fate};
use runtime::health::{Condition, Membership};
use runtime::kafka::admin::Admin;
use runtime::kafka::reader::ReadError;
use runtime::kafka::transactional::Position;
use runtime::kafka::{Event, GroupConsumer, GroupSettings, Partition};
use runtime::service::Service;
use runtime::step::Incoming;
use schemas::time::BrokerTime;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::figures::Figures;
use super::insert::{self, Ended, InsertError, Sender};
use super::lanes::{Lane, Topics};
use super::migrations::{self, MigrationError};
use super::native::Block;
use super::round::{Gathering, Pace, Progress, Round};
use super::rows::{self, Row};
use super::server::Server;
use super::settings::Config;
use super::{figures, retention};

/// The consumer group.
pub const GROUP: &str = "pulse-clickhouse";

/// The health checks of this part, besides that of its inserts.
const SERVER_CHECK: &str = "clickhouse";
const LOG_CHECK: &str = "log";

/// Rounds that may be on their way.
const UNDER_WAY_MAX: usize = 2;

/// Records that one partition may give in a row.
const RECORDS_MAX: usize = 2_048;

/// How long a silent member keeps its partitions.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the loop sleeps at most before it looks around.
const NAP: Duration = Duration::from_millis(100);

/// How often ClickHouse is asked whether it is there.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How long the brokers may take to say where a log begins.
const EDGE_WAIT: Duration = Duration::from_secs(5);

/// Runs until the service is told to stop; then what was read is inserted and committed.
///
/// # Errors
/// When waiting will not help: a schema that this program may not write to, a fenced member, a
/// table
/// that is not as the migrations made it.
pub async fn run(config: Config, service: Service) -> anyhow::Result<()> {
    for check in [SERVER_CHECK, insert::CHECK] {
        service.health.register(check);
    }
    let server = Server::new(&config.clickhouse, config.sink.timeout)?;
    if !prepare(&server, &config, &service).await? {
        return Ok(());
    }
    service.health.set(insert::CHECK, Condition::Ready);
    service
        .health
        .watch_kafka(&config.kafka, &service.shutdown)?;
    let control = match ControlView::follow(&config.kafka, &config.control, &service).await {
        Err(ControlError::Stopped) => return Ok(()),
        control => control?,
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
    /// Where the next look begins, so that no partition waits for all before it.
    turn: usize,
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
            health: service.health.clone(),
            shutdown: service.shutdown.clone(),
            ended,
            alarm: consumer.alarm(),
        };
        Ok(Self {
            consumer,
            membership: Membership::watch(&service.health),
            topics: Topics::new(control, Admin::new(&config.kafka)?),
            lanes: Vec::new(),
            turn: 0,
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
            if read_count == 0 {
                self.consumer.wait(self.sleep_at_most());
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
            // A tenant that is being deleted keeps its last limits until its partitions go.
            lane.dates = self.topics.dates(&lane.origin.tenant).unwrap_or(lane.dates);
        }
        Ok(())
    }

    fn serve_group(&mut self) -> anyhow::Result<()> {
        let events = match self.consumer.poll() {
            Ok(events) => events,
            Err(error) if error.fate() == Fate::Halt => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "membership is in trouble");
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
                        Some(lane) => self.lanes.push(lane),
                        None => tracing::warn!(%partition, "has no tenant, and is not read"),
                    }
                    tracing::info!(%partition, position, "assigned");
                }
                Event::Revoked { partition } | Event::Lost { partition } => {
                    self.progress.forget(&partition);
                    self.lanes.retain(|lane| lane.partition != partition);
                    tracing::info!(%partition, "given up");
                }
            }
        }
        Ok(())
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

    /// Reads from each partition what it has, in turn, until enough is gathered.
    fn gather(&mut self) -> anyhow::Result<usize> {
        let mut read_count = 0;
        for _ in 0..self.lanes.len() {
            if self.gathering.is_full(&self.pace) {
                break;
            }
            self.turn = (self.turn + 1) % self.lanes.len();
            let lane = &self.lanes[self.turn];
            match self.consumer.next(&lane.partition, RECORDS_MAX) {
                Ok(batch) => {
                    read_count += batch.count();
                    for record in batch.records() {
                        let record = Incoming {
                            offset: record.offset(),
                            appended_at: BrokerTime::from_ms(record.appended_at_ms()),
                            key: record.key(),
                            value: record.value(),
                        };
                        put(lane, &record, &mut self.gathering, &self.figures);
                    }
                }
                Err(ReadError::OutOfRange {
                    partition,
                    position,
                }) => {
                    self.skip_hole(&partition, position)?;
                }
                Err(error) if error.fate() == Fate::Halt => return Err(error.into()),
                Err(error) => tracing::warn!(%error, "partition cannot be read now"),
            }
        }
        if read_count > 0 {
            self.gathering.touch(clock::monotonic());
        }
        Ok(read_count)
    }

    /// The log no longer holds what comes next: it was away for longer than its retention. There is
    /// nobody to ask for it, so it is said as loudly as can be, and the rest goes on.
    fn skip_hole(&self, partition: &Partition, position: i64) -> anyhow::Result<()> {
        let asked = std::slice::from_ref(partition);
        let start = match self.consumer.beginnings(asked, EDGE_WAIT) {
            Ok(answers) => match answers.into_iter().next() {
                Some(Ok(start)) => start,
                _ => return Ok(()),
            },
            Err(failure) => {
                tracing::warn!(%partition, %failure, "the log's beginning is not known yet");
                return Ok(());
            }
        };
        let missing = u64::try_from(start - position).unwrap_or(0);
        self.figures.skipped.inc_by(missing);
        tracing::error!(%partition, position, start, "records left the log before they were read");
        let reason = format!("{partition}: offsets {position} to {start} left the log unread");
        self.service
            .health
            .set(LOG_CHECK, Condition::Warning(reason));
        Ok(self.consumer.seek(partition, start)?)
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

#[inline]
fn put(lane: &Lane, record: &Incoming<'_>, gathering: &mut Gathering, figures: &Figures) {
    match rows::read(&lane.origin, record, &lane.dates) {
        Ok(row) => {
            if let Row::Unreadable(error) = &row {
                note_unreadable(lane, record, error, figures);
            }
            let block = gathering.block(row.table());
            row.write(&lane.origin, record, block);
            block.end_row();
        }
        Err(_) => {
            figures.refused.inc();
        }
    }
}

#[cold]
fn note_unreadable(
    lane: &Lane,
    record: &Incoming<'_>,
    error: &rows::Unreadable,
    figures: &figures::Figures,
) {
    figures.unreadable.inc();
    let (partition, offset) = (&lane.partition, record.offset);
    tracing::error!(%partition, offset, %error, "record cannot be read, and is a dead letter");
}
