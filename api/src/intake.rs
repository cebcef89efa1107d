//! From a request to its answer: who asks, how much, was it there before, and then the brokers or
//! the disk log.
//!
//! An event that is answered `accepted` was acknowledged by every in-sync replica, one that is
//! answered `stored` is on this machine's disk, and of every other the answer says why not.
//!
//! Read in this order: [`IntakeConfig`], [`Intake`], [`handlers`]; then [`idempotency`], [`ways`]
//! and [`cors`].

pub mod docs;
pub mod handlers;
pub mod idempotency;
pub mod telemetry;

mod cors;
mod figures;
mod publishers;
mod room;
mod ways;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::{Router, middleware};
use runtime::clock;
use runtime::config::{Environment, Key, Settings};
use runtime::control::{ControlConfig, ControlView};
use runtime::kafka::KafkaConfig;
use runtime::service::Service;
use schemas::access::Scope;
use schemas::control::Limits as StreamLimits;
use schemas::time::EventTime;

use crate::access::{Caller, Keyring};
use crate::disk_log::DiskLogConfig;
use crate::ingest::{Form, Idempotency, Outcome, Prepared, Rules, prepare};
use crate::limits::months::Months;
use crate::limits::{Ask, Exceeded, Granted, Limit, Limits};
use crate::notices::{LimitMet, Notices, notices};
use crate::problem::{ApiError, FieldFault};
use crate::reports::{self, Reports, ReportsConfig};
use figures::Figures;
use idempotency::{Memory, Places, Seen};
use room::Room;
use ways::Ways;

pub use figures::METRICS;

const TIMEOUT: Key = Key {
    name: "PULSE_INGEST_TIMEOUT_MS",
    default: Some("10000"),
    doc: "How long events may wait for the brokers' acknowledgement before they are stored on disk, or answered 503.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[TIMEOUT];

/// How events are taken.
#[derive(Clone, Debug)]
pub struct IntakeConfig {
    timeout: Duration,
    disk_log: Option<DiskLogConfig>,
    reports: ReportsConfig,
}

impl Settings for IntakeConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let timeout_ms = env.number(&TIMEOUT, 100..=300_000);
        let disk_log = DiskLogConfig::read(env);
        let reports = ReportsConfig::read(env);
        Some(Self {
            timeout: Duration::from_millis(timeout_ms?),
            disk_log: disk_log?,
            reports: reports?,
        })
    }
}

impl IntakeConfig {
    /// The folder that outlives the process, where there is one: the disk log's. What is known of
    /// tenants and keys is kept there too, since without the log nobody could be answered anyway.
    pub fn folder(&self) -> Option<&Path> {
        self.disk_log.as_ref().map(|log| log.folder.as_path())
    }
}

/// Takes events in. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Intake {
    shared: Arc<Shared>,
}

struct Shared {
    keyring: Keyring,
    limits: Limits,
    months: Months,
    memory: Memory,
    ways: Ways,
    room: Room,
    notices: Notices,
    reports: Option<Reports>,
    figures: Figures,
    /// What the memory of requests counts from.
    started: Instant,
}

/// Where events go, and by whose definitions.
pub struct Brokers<'a> {
    /// The brokers.
    pub kafka: &'a KafkaConfig,
    /// What tells our own records from others.
    pub control: &'a ControlConfig,
    /// The definitions.
    pub view: ControlView,
}

/// What came of a request's events, and what is left of the caller's limits.
pub struct Taken {
    /// Each event's fate.
    pub prepared: Prepared,
    /// What is left; nothing when no event was sound.
    pub granted: Option<Granted>,
    /// The limit for which some of them wait.
    pub held_back: Option<Exceeded>,
}

impl Intake {
    /// Opens the ways to the brokers and the disk log, and starts what publishes notices and
    /// reports.
    ///
    /// # Errors
    /// When librdkafka refuses the settings, or the disk log cannot be used.
    pub async fn open(
        brokers: Brokers<'_>,
        config: &IntakeConfig,
        keyring: Keyring,
        service: &Service,
    ) -> anyhow::Result<Self> {
        let ways = Ways::open(brokers.kafka, config, brokers.view, service).await?;
        let publisher = ways.patient().clone();
        let (notices, noticing) = notices(
            publisher,
            brokers.control.clone(),
            service.name,
            service.shutdown.clone(),
        );
        tokio::spawn(noticing);
        let reports = config.reports.tenant.clone().map(|tenant| {
            let (reports, reporting) = reports::reports(tenant, ways.patient().clone(), service);
            tokio::spawn(reporting);
            reports
        });
        let shared = Shared {
            keyring,
            limits: Limits::default(),
            months: Months::default(),
            memory: Memory::default(),
            ways,
            room: Room::default(),
            notices,
            reports,
            figures: Figures::new(&service.metrics),
            started: clock::monotonic(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// What tells tenants of themselves.
    pub fn notices(&self) -> &Notices {
        &self.shared.notices
    }

    /// The same routes, each request of which is reported where somebody wants to see that.
    pub fn reported(&self, router: Router) -> Router {
        match self.shared.reports.clone() {
            Some(reports) => router.layer(middleware::from_fn_with_state(reports, reports::report)),
            None => router,
        }
    }

    /// The holder of a key that may ingest.
    ///
    /// # Errors
    /// 401 when it is nobody's, 403 when it may not.
    fn caller_of(&self, key: &str, headers: &http::HeaderMap) -> Result<Caller, ApiError> {
        let caller = self.shared.keyring.caller(key)?;
        if !caller.may(Scope::Ingest) {
            return Err(ApiError::forbidden(
                "this needs a key with the scope ingest",
            ));
        }
        caller.check_origin(headers)?;
        Ok(caller)
    }

    /// Takes the events of a body.
    ///
    /// # Errors
    /// Whatever is wrong with the whole of it; then nothing of it was published.
    async fn take(
        &self,
        caller: &Caller,
        form: Form,
        body: &[u8],
        idempotency_key: Option<&str>,
    ) -> Result<Taken, ApiError> {
        let idempotency = idempotency_key.map(|key| Idempotency::new(key, body));
        let rules = Rules {
            idempotency,
            ..rules(caller)
        };
        let prepared = prepare(form, body, &rules)?;
        let seen = match &idempotency {
            Some(idempotency) => self.shared.memory.look(
                &caller.tenant,
                idempotency_key.unwrap_or_default(),
                idempotency.body_hash(),
                self.shared.started.elapsed(),
            )?,
            None => Seen::Unknown,
        };
        let taken = self.publish(caller, prepared, body.len(), &seen).await?;
        if let Some(key) = idempotency_key
            && let Some(rejected) = rejected_when_all_others_are_safe(&taken.prepared)
            && rejected.len() < taken.prepared.len()
        {
            let rejected = Places::of(&rejected);
            self.shared
                .memory
                .acknowledge(&caller.tenant, key, rejected);
        }
        Ok(taken)
    }

    /// Publishes what is sound, within the caller's limits.
    ///
    /// # Errors
    /// 429 or 413 when a limit is exceeded; then nothing was published.
    async fn publish(
        &self,
        caller: &Caller,
        mut prepared: Prepared,
        bytes: usize,
        seen: &Seen,
    ) -> Result<Taken, ApiError> {
        let (mut granted, mut held_back) = (None, None);
        let ask = Ask {
            events: count(prepared.record_count()),
            bytes: count(bytes),
        };
        if ask.events == 0 {
            // What was sent in vain was sent.
            self.shared.limits.ask(caller, ask).map_err(|exceeded| {
                self.notice(caller, exceeded.limit, 0);
                exceeded.error()
            })?;
        } else {
            granted = Some(self.grant(caller, ask)?);
            let is_repeated = |index: usize| match seen {
                Seen::Unknown => false,
                Seen::Acknowledged { rejected } => !rejected.contains(index),
            };
            held_back = self.hold_back_hot_subjects(caller, &mut prepared, is_repeated);
            if let Some(exceeded) = held_back
                && prepared.records().next().is_none()
            {
                self.shared.months.give_back(&caller.tenant, ask.events);
                return Err(exceeded.error());
            }
            self.shared
                .ways
                .send(&caller.tenant, &mut prepared, is_repeated)
                .await;
            let in_log = count(on_their_way(&prepared));
            let nowhere = ask.events.saturating_sub(in_log);
            self.shared.months.give_back(&caller.tenant, nowhere);
        }
        self.shared.figures.count(&caller.tenant, &prepared);
        Ok(Taken {
            prepared,
            granted,
            held_back,
        })
    }

    fn grant(&self, caller: &Caller, ask: Ask) -> Result<Granted, ApiError> {
        let months = &self.shared.months;
        let month = months.take(caller, ask.events, clock::now_ms());
        let month = month.map_err(|met| {
            self.notice(caller, Limit::Month, ask.events);
            met.error()
        })?;
        let granted = self.shared.limits.ask(caller, ask).map_err(|exceeded| {
            months.give_back(&caller.tenant, ask.events);
            self.notice(caller, exceeded.limit, ask.events);
            exceeded.error()
        })?;
        Ok(granted.with_month(month))
    }

    /// What a subject has above its share while others are in use waits, and its neighbours in the
    /// request do not; nor does what was acknowledged before. `None` when nothing has to wait.
    fn hold_back_hot_subjects(
        &self,
        caller: &Caller,
        prepared: &mut Prepared,
        is_repeated: impl Fn(usize) -> bool,
    ) -> Option<Exceeded> {
        let fresh = prepared
            .records()
            .filter(|(index, ..)| !is_repeated(*index));
        let (indexes, subjects): (Vec<usize>, Vec<&[u8]>) =
            fresh.map(|(index, subject, _)| (index, subject)).unzip();
        let exceeded = self.shared.limits.ask_subjects(caller, &subjects)?;
        let held: Vec<usize> = indexes
            .into_iter()
            .zip(&exceeded.let_in)
            .filter_map(|(index, is_in)| (!is_in).then_some(index))
            .collect();
        self.notice(caller, Limit::SubjectShare, count(held.len()));
        let reason = "this subject has used its share of the tenant's limit: send it again later";
        for index in held {
            prepared.withdraw(index, FieldFault::new("/subject", reason));
        }
        Some(exceeded.limit)
    }

    fn notice(&self, caller: &Caller, limit: Limit, events: u32) {
        self.shared.figures.limited(&caller.tenant, limit);
        self.shared.notices.limit_met(LimitMet {
            tenant: caller.tenant.clone(),
            limit,
            key_id: Arc::clone(&caller.key_id),
            events,
        });
    }
}

/// What a caller's events have to keep to, now.
fn rules(caller: &Caller) -> Rules<'static> {
    let tenant = caller.control.tenant.as_ref().map(|tenant| &tenant.value);
    let limits = tenant.map_or_else(StreamLimits::default, |tenant| tenant.limits);
    Rules {
        received_at: EventTime::from_us(clock::now_us()),
        dates: limits.dates(),
        batch_events_max: caller.ingest().batch_events_max as usize,
        idempotency: None,
    }
}

/// Events that are on the log, or on this machine's disk and then there.
fn on_their_way(prepared: &Prepared) -> usize {
    let outcomes = (0..prepared.len()).map(|index| prepared.outcome(index));
    outcomes
        .filter(|outcome| matches!(outcome, Outcome::Accepted | Outcome::Stored))
        .count()
}

/// The events that were rejected, in ascending order; `None` while any other is not safe.
fn rejected_when_all_others_are_safe(prepared: &Prepared) -> Option<Vec<u32>> {
    let mut rejected = vec![];
    for index in 0..prepared.len() {
        match prepared.outcome(index) {
            Outcome::Accepted | Outcome::Duplicate => {}
            Outcome::Rejected(_) => rejected.push(count(index)),
            // What lies on this disk alone is not acknowledged.
            Outcome::Stored | Outcome::Unavailable => return None,
        }
    }
    Some(rejected)
}

/// A number of events or bytes of one request, which is bounded far below 2³².
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
