//! The metrics process: one worker thread over every tenant's events, and one over the sums of
//! meters of two steps.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::config::{Environment, Key, Settings};
use runtime::control::{ControlConfig, ControlView};
use runtime::fate::{Backoff, Fate};
use runtime::health::{Condition, Membership};
use runtime::kafka::{GroupSettings, KafkaConfig, TransactionalSettings};
use runtime::service::Service;
use runtime::step::Step;
use runtime::task::{
    DefinitionSource, KafkaLog, KafkaLogSettings, LogError, Report, Turn, Worker, WorkerSettings,
};
use runtime::watchdog::Watchdog;
use schemas::control::Limits;
use schemas::ids::{Offset, TenantId};

use super::definitions::{Definitions, NamedMeter};
use super::figures::Figures;
use super::step::MetricsStep;
use super::totals::TotalsStep;
use super::totals::figures::TotalFigures;

const GROUP: Key = Key {
    name: "PULSE_METRICS_GROUP",
    default: Some("pulse-metrics"),
    doc: "The consumer group of all metrics processes of an installation.",
};
const COMMIT: Key = Key {
    name: "PULSE_COMMIT_INTERVAL_MS",
    default: Some("50"),
    doc: "How long outputs wait for a commit; at most 20 where nothing is left to be read.",
};
const FLUSH: Key = Key {
    name: "PULSE_FLUSH_INTERVAL_MS",
    default: Some("2000"),
    doc: "How long state changes wait for a flush; a restart repeats at most that much input.",
};
const SKEW: Key = Key {
    name: "PULSE_CLOCK_SKEW_MS",
    default: Some("200"),
    doc: "How far this machine's clock may be from the brokers'.",
};
const SESSION: Key = Key {
    name: "PULSE_SESSION_TIMEOUT_MS",
    default: Some("10000"),
    doc: "How long the broker waits for a silent process before it gives its partitions away.",
};
const TRANSACTION: Key = Key {
    name: "PULSE_TRANSACTION_TIMEOUT_MS",
    default: Some("8000"),
    doc: "How long a transaction may last; below the session timeout.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[GROUP, COMMIT, FLUSH, SKEW, SESSION, TRANSACTION];

/// What a metrics process is told.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    kafka: KafkaConfig,
    control: ControlConfig,
    group: String,
    worker: WorkerSettings,
    session_timeout: Duration,
    transaction_timeout: Duration,
}

impl Settings for MetricsConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let kafka = KafkaConfig::read(env);
        let control = ControlConfig::read(env);
        let group = env.text(&GROUP);
        let commit_interval_ms = env.number(&COMMIT, 1..=10_000);
        let flush_interval_ms = env.number(&FLUSH, 10..=600_000);
        let skew_ms = env.number(&SKEW, 0..=60_000);
        let session_ms = env.number(&SESSION, 1_000..=300_000);
        let transaction_ms = env.number(&TRANSACTION, 500..=300_000);
        let (session_ms, transaction_ms) = (session_ms?, transaction_ms?);
        if transaction_ms >= session_ms {
            return env.refuse(&TRANSACTION, format!("must be below {}", SESSION.name));
        }
        Some(Self {
            kafka: kafka?,
            control: control?,
            group: group?,
            worker: WorkerSettings {
                commit_interval_ms: commit_interval_ms?,
                flush_interval_ms: flush_interval_ms?,
                skew_ms: skew_ms?,
                ..WorkerSettings::default()
            },
            session_timeout: Duration::from_millis(session_ms),
            transaction_timeout: Duration::from_millis(transaction_ms),
        })
    }
}

/// The definitions of the control view, as the step wants them.
#[derive(Clone)]
pub struct ControlSource(pub ControlView);

impl DefinitionSource<Definitions> for ControlSource {
    fn offset(&self) -> Offset {
        self.0.offset()
    }

    fn tenants(&self) -> BTreeSet<TenantId> {
        self.0
            .snapshot()
            .tenants()
            .map(|(tenant, _)| tenant.clone())
            .collect()
    }

    fn of(&self, tenant: &TenantId) -> Option<Definitions> {
        let control = self.0.snapshot();
        let control = control.tenant(tenant)?;
        let meter = |(id, defined): (&String, &runtime::control::Defined<_>)| NamedMeter {
            id: id.clone(),
            version: defined.version,
            meter: schemas::meter::Meter::clone(&defined.value),
        };
        let tenant = &control.tenant.as_ref()?.value;
        Some(Definitions {
            limits: tenant.limits,
            direct_producers: tenant.direct_producers,
            meters: control.meters.iter().map(meter).collect(),
        })
    }
}

/// The limits of the control view: what meters there are, the second step hears from the first.
#[derive(Clone)]
struct LimitSource(ControlSource);

impl DefinitionSource<Limits> for LimitSource {
    fn offset(&self) -> Offset {
        self.0.offset()
    }

    fn tenants(&self) -> BTreeSet<TenantId> {
        self.0.tenants()
    }

    fn of(&self, tenant: &TenantId) -> Option<Limits> {
        let control = self.0.0.snapshot();
        let tenant = control.tenant(tenant)?.tenant.as_ref()?;
        Some(tenant.value.limits)
    }
}

/// Runs until the service is told to stop; then what was read is committed, or left to a successor
/// where the brokers do not take it in time.
///
/// # Errors
/// What must end the process: it is fenced, or it cannot start.
pub async fn run(config: MetricsConfig, service: Service) -> anyhow::Result<()> {
    service
        .health
        .watch_kafka(&config.kafka, &service.shutdown)?;
    let events = Task::new("metrics", "group", &service);
    let partials = Task::new("totals", "totals group", &service);
    let Some(control) = ControlView::open(&config.kafka, &config.control, &service).await? else {
        return Ok(());
    };
    let source = ControlSource(control);
    let totals = MetricsConfig {
        group: format!("{}-totals", config.group),
        ..config.clone()
    };
    let (reports, more) = (events.report(), partials.report());
    let events = events.start::<MetricsStep, _>(config, source.clone(), &service)?;
    let partials = partials.start::<TotalsStep, _>(totals, LimitSource(source), &service)?;
    let mut figures = Figures::register(&service.metrics);
    let mut total_figures = TotalFigures::register(&service.metrics);
    // Whichever fails first ends the process.
    let mut ended = std::pin::pin!(async { tokio::try_join!(ended(events), ended(partials)) });
    let mut interval = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            result = &mut ended => return result.map(|((), ())| ()),
            _ = interval.tick() => {
                figures.show(&tell("metrics", &reports, &service));
                total_figures.show(&tell("totals", &more, &service));
            }
        }
    }
}

type Ended = tokio::sync::oneshot::Receiver<Result<(), LogError>>;

async fn ended(task: Ended) -> anyhow::Result<()> {
    Ok(task.await??)
}

/// No single call takes longer, whatever the transaction's timeout: opening a reader, learning its
/// end and waiting for its first record.
const WATCHDOG_MIN: Duration = Duration::from_secs(60);

type SharedReport = Arc<Mutex<Arc<Mutex<Report>>>>;

/// Copies what a worker says of itself to the health check, and gives it.
fn tell(check: &'static str, report: &SharedReport, service: &Service) -> Report {
    let report = Arc::clone(&report.lock().unwrap_or_else(PoisonError::into_inner));
    let report = report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let waiting = report
        .waiting
        .iter()
        .next()
        .map(|(_, reason)| reason.clone());
    service.health.set(
        check,
        match report.trouble.clone().or(waiting) {
            Some(reason) => Condition::NotReady(reason),
            None => Condition::Ready,
        },
    );
    report
}

/// One of the two steps, in a thread of its own.
struct Task {
    /// The thread, and the health check.
    name: &'static str,
    membership: Membership,
    report: SharedReport,
}

impl Task {
    fn new(name: &'static str, group: &'static str, service: &Service) -> Self {
        service.health.register(name);
        Self {
            name,
            membership: Membership::watch_as(&service.health, group),
            report: SharedReport::default(),
        }
    }

    fn report(&self) -> SharedReport {
        Arc::clone(&self.report)
    }

    /// Starts the thread; what it ends with is told.
    fn start<S, D>(
        self,
        config: MetricsConfig,
        source: D,
        service: &Service,
    ) -> std::io::Result<Ended>
    where
        S: Step + 'static,
        D: DefinitionSource<S::Definitions> + Send + 'static,
    {
        let (told, ended) = tokio::sync::oneshot::channel();
        let service = service.clone();
        let thread = std::thread::Builder::new().name(self.name.into());
        thread.spawn(move || {
            // Nobody waits any more when the process is being torn down.
            let _ = told.send(self.work::<S, D>(&config, source, &service));
        })?;
        Ok(ended)
    }

    /// Opens the log, for as long as it takes, and turns until told to stop.
    fn work<S, D>(
        mut self,
        config: &MetricsConfig,
        source: D,
        service: &Service,
    ) -> Result<(), LogError>
    where
        S: Step,
        D: DefinitionSource<S::Definitions>,
    {
        let Some(log) = self.open::<S>(config, service)? else {
            return Ok(());
        };
        let limit = WATCHDOG_MIN.max(config.transaction_timeout * 4);
        let watchdog = Watchdog::start(limit);
        let log = log.watched_by(watchdog.clone(), Watchdog::start(limit));
        let seed = fastrand::u64(..);
        let mut worker: Worker<S, _, _> = Worker::new(log, source, config.worker, seed);
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = worker.report();
        while !service.shutdown.is_requested() {
            watchdog.pending();
            let turn = worker.turn()?;
            watchdog.settled();
            self.membership.look(worker.log_mut().member());
            if let Turn::Idle(wait_ms) = turn {
                runtime::task::Log::wait(worker.log_mut(), wait_ms);
            }
        }
        worker.finish()
    }

    /// Opens the log; `None` when told to stop before it was there.
    fn open<S: Step>(
        &self,
        config: &MetricsConfig,
        service: &Service,
    ) -> Result<Option<KafkaLog<S>>, LogError> {
        let member = service.member();
        let settings = KafkaLogSettings {
            group: GroupSettings::new(&config.group, &member, config.session_timeout),
            transactional: TransactionalSettings::new(
                &format!("{}-{member}", config.group),
                config.transaction_timeout,
            ),
            control: config.control.clone(),
        };
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        while !service.shutdown.is_requested() {
            match KafkaLog::open(&config.kafka, &settings) {
                Ok(log) => return Ok(Some(log)),
                Err(error) if error.fate == Fate::Halt => return Err(error),
                Err(error) => {
                    service
                        .health
                        .set(self.name, Condition::NotReady(error.to_string()));
                    service.shutdown.wait_at_most(backoff.next_wait());
                }
            }
        }
        Ok(None)
    }
}
