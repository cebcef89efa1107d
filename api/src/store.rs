//! The control store: what every tenant has defined, in SQL, and on its way to `pulse.control`.
//!
//! In: changes, each one transaction. Out: signed records on the control topic, in the order of the
//! changes, and an answer once a change's record is on every in-sync replica.
//!
//! The store is the truth. A change and its row in the outbox are one SQL transaction, so a crash
//! between commit and publishing loses nothing: the [`courier`] drains the outbox first when it
//! starts. Where brokers are away a change is kept and published later; who asked is told so, and
//! finds it done when asking again. At start and every minute the courier compares the topic with
//! the store, and publishes what differs again, under versions higher than the topic's, deletions
//! included: so a restored, older store wins.
//!
//! What can never happen: two processes work on one file ([`database`]); a record is published that
//! no transaction has committed; a version is given twice; a slug that was deleted is given again.
//!
//! Read in this order: [`database`], [`migrations`], [`definitions`], [`people`], [`usage`],
//! [`outbox`], [`compare`], [`courier`], [`backup`]. Why it is so is in `docs/adr/015`.

pub mod database;
pub mod migrations;

pub mod definitions;
pub mod people;
pub mod usage;

pub mod compare;
pub mod outbox;

pub mod courier;
pub mod streams;

pub mod backup;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use runtime::config::{Environment, Key, Settings};
use runtime::control::ControlConfig;
use runtime::kafka::KafkaConfig;
use runtime::telemetry::{Metric, Metrics};
use tokio::sync::{Notify, watch};

pub use backup::{BackupError, backup_of, check_backup, restore};
pub use database::OpenError;
pub use definitions::{Change, Row};

use database::Database;

/// Where the store is.
pub const DATA: Key = Key {
    name: "PULSE_API_DATA",
    default: Some(".pulse/api"),
    doc: "The folder of the control store, a file `control.sqlite`; one process at a time.",
};
const REGISTRATION: Key = Key {
    name: "PULSE_REGISTRATION",
    default: Some("closed"),
    doc: "`open` when whoever reaches the API may register a tenant, `closed` otherwise.",
};
const REGISTRATIONS: Key = Key {
    name: "PULSE_REGISTRATIONS_PER_MINUTE",
    default: Some("30"),
    doc: "Registrations that are begun in a minute, of all callers together.",
};
const CHANGES: Key = Key {
    name: "PULSE_CHANGES_PER_MINUTE",
    default: Some("600"),
    doc: "Changes of keys, meters and feeds that a tenant may ask for in a minute; looks at them \
          count a tenth.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[DATA, REGISTRATION, REGISTRATIONS, CHANGES];

const OUTBOX: Metric = Metric {
    name: "pulse_store_outbox_count",
    doc: "Changes of definitions that are not known to be on the control topic yet.",
};
const REPUBLISHED: Metric = Metric {
    name: "pulse_store_republished_total",
    doc: "Definitions that the control topic held otherwise than the store; it grows after a \
          restore, and otherwise when somebody else writes the topic or it has lost records.",
};

/// All of this part's metrics.
pub const METRICS: &[Metric] = &[OUTBOX, REPUBLISHED];

/// How long a change may take to the topic before its caller is told to come back.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(5);

/// Who may register a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registration {
    /// Whoever reaches the API.
    Open,
    /// Nobody: the operator makes tenants.
    Closed,
}

/// What the store and the routes on it are told.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Where its file lies.
    pub folder: PathBuf,
    /// Who may register a tenant.
    pub registration: Registration,
    /// How many registrations may be begun in a minute, of all callers together.
    pub registrations_per_minute: u32,
    /// How many changes a tenant may ask for in a minute.
    pub changes_per_minute: u32,
}

impl Settings for StoreSettings {
    fn read(env: &mut Environment) -> Option<Self> {
        let folder = env.parse(&DATA);
        let registration = env.text(&REGISTRATION);
        let registration = registration.and_then(|text| match text.as_str() {
            "open" => Some(Registration::Open),
            "closed" => Some(Registration::Closed),
            _ => env.refuse(&REGISTRATION, "must be open or closed"),
        });
        let per_minute = env.number(&REGISTRATIONS, 1..=10_000);
        let changes_per_minute = env.number(&CHANGES, 1..=1_000_000);
        Some(Self {
            folder: folder?,
            registration: registration?,
            registrations_per_minute: per_minute?,
            changes_per_minute: changes_per_minute?,
        })
    }
}

/// Why a change was not done, or is not known to all yet.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("store refused: {0}")]
    Sql(#[from] rusqlite::Error),
    /// A row says what no release of ours has written.
    #[error("store holds a row that cannot be read: {0}")]
    Row(String),
    /// The topic was not taken over yet: brokers were away since the first start.
    #[error("store has not taken over the control topic yet")]
    NotTakenOver,
    /// The change is kept, and its record is not on the topic yet.
    #[error("change is kept, and not published yet")]
    Unpublished,
    /// The store's thread has ended.
    #[error("store is closed")]
    Closed,
}

/// Definitions in SQL. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store {
    database: Database,
    shared: Arc<Shared>,
}

struct Shared {
    kafka: KafkaConfig,
    control: ControlConfig,
    /// The number up to which the outbox is on the topic.
    published: watch::Sender<i64>,
    /// Whether the topic was taken over, so that changes may be made.
    is_open: watch::Sender<bool>,
    /// Rung when the outbox has grown.
    grown: Notify,
    /// Rung to compare with the topic at once.
    look: Notify,
    outbox_count: Gauge,
    republished: Counter,
}

/// A change that is committed: its place in the outbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a change that nobody waits for may be answered before it is on the topic"]
pub struct Ticket(i64);

impl Store {
    /// Opens the store in `folder` and brings it up to date; a new one where there is none. Nothing
    /// is published, and a new store takes no change, until [`courier::run`] runs.
    ///
    /// # Errors
    /// When another process has it, or it cannot be read or written.
    pub async fn open(
        folder: &Path,
        kafka: &KafkaConfig,
        control: &ControlConfig,
        metrics: &Metrics,
    ) -> Result<Self, OpenError> {
        let database = Database::open(folder).await?;
        let start = database.run(outbox::start).await;
        let start = start.map_err(|error| OpenError::unusable(folder, &error))?;
        let shared = Shared {
            kafka: kafka.clone(),
            control: control.clone(),
            published: watch::Sender::new(start.published),
            is_open: watch::Sender::new(start.is_taken_over),
            grown: Notify::new(),
            look: Notify::new(),
            outbox_count: metrics.gauge(&OUTBOX),
            republished: metrics.counter(&REPUBLISHED),
        };
        Ok(Self {
            database,
            shared: Arc::new(shared),
        })
    }

    /// Looks something up.
    ///
    /// # Errors
    /// What `look` says, or that the store cannot be read.
    pub async fn read<T, E>(
        &self,
        look: impl FnOnce(&Change<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let look = move |connection: &mut rusqlite::Connection| {
            let transaction = connection.transaction().map_err(StoreError::from)?;
            look(&Change::of(&transaction))
        };
        self.database.run(look).await
    }

    /// Changes something, all of it or nothing, and returns once its records are on the topic.
    ///
    /// # Errors
    /// What `make` says, with nothing changed; or [`StoreError::Unpublished`], with all of it
    /// changed and its records on their way.
    pub async fn change<T, E>(
        &self,
        make: impl FnOnce(&mut Change<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (made, ticket) = self.commit(make).await?;
        self.until_published(ticket).await?;
        Ok(made)
    }

    /// The same without waiting for the topic.
    ///
    /// # Errors
    /// What `make` says, with nothing changed.
    pub async fn commit<T, E>(
        &self,
        make: impl FnOnce(&mut Change<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<(T, Ticket), E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        if !*self.shared.is_open.borrow() {
            return Err(StoreError::NotTakenOver.into());
        }
        let shared = Arc::clone(&self.shared);
        let make = move |connection: &mut rusqlite::Connection| {
            let behavior = rusqlite::TransactionBehavior::Immediate;
            let transaction = connection
                .transaction_with_behavior(behavior)
                .map_err(StoreError::from)?;
            let mut change = Change::of(&transaction);
            let made = make(&mut change)?;
            let number = change.last_number();
            transaction.commit().map_err(StoreError::from)?;
            // Here and not behind the answer: whoever asked may have left meanwhile.
            shared.grown.notify_one();
            Ok::<_, E>((made, Ticket(number)))
        };
        self.database.run(make).await
    }

    /// Waits until a change's records are on the topic.
    ///
    /// # Errors
    /// [`StoreError::Unpublished`] when they are not within 5 s.
    pub async fn until_published(&self, ticket: Ticket) -> Result<(), StoreError> {
        let mut published = self.shared.published.subscribe();
        let is_there = published.wait_for(|number| *number >= ticket.0);
        match tokio::time::timeout(PUBLISHED_WITHIN, is_there).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(StoreError::Unpublished),
        }
    }

    /// Waits until the topic is taken over, so that changes can be made.
    pub async fn until_open(&self) {
        let mut is_open = self.shared.is_open.subscribe();
        // The sender lives in this very store, so it is not gone.
        let _ = is_open.wait_for(|is_open| *is_open).await;
    }

    /// Has the courier compare the topic with the store now, and not within the minute.
    pub fn look_now(&self) {
        self.shared.look.notify_one();
    }

    /// Copies the store to a new file as it is at one moment, while it is worked on.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<(), BackupError> {
        backup::backup(self.database.path(), to).await
    }

    /// The folder that its file is in.
    pub fn folder(&self) -> &Path {
        let path = self.database.path();
        path.parent().expect("the store's file is in a folder")
    }

    /// The brokers that it publishes to.
    pub fn kafka(&self) -> &KafkaConfig {
        &self.shared.kafka
    }

    /// What signs its records.
    pub fn control(&self) -> &ControlConfig {
        &self.shared.control
    }
}

#[cfg(test)]
mod tests;
