//! `pulse init`: a tenant with its topics, meters and feed, where they are not there yet.
//!
//! In: a tenant's name and what it wants to see. Out: the control topic, the tenant's topics and
//! its definitions, and a line for each that says whether it was made or found.
//!
//! Doing it twice is doing it once: a definition is written where none ever was under its key, so
//! what an operator has changed or deleted since stays as the operator left it. The tenant itself
//! is written last: whoever sees it finds its topics, meters and feeds there.

use std::fmt;
use std::time::Duration;

use clap::Args;
use runtime::clock::Deadline;
use runtime::control::{Control, ControlConfig, ControlWriter, WriteError};
use runtime::fate::{Backoff, Fate};
use runtime::kafka::admin::{AdminError, Ensured, TopicSpec};
use runtime::kafka::{Admin, KafkaConfig};
use schemas::control::{Channel, ControlKey, Definition, Exchange, Feed, Tenant};
use schemas::ids::{Stream, TenantId};
use schemas::meter::{Meter, built_in};

use crate::installation::Access;

/// The id of the feed that a new tenant gets.
pub const FEED: &str = "coinbase";

/// What `pulse init` says at the end of its help.
pub const HELP: &str = "\
The tenant gets its topics, the built-in meters `candles` and `api`, and a feed `coinbase` with
quotes, trades and depth of its products. What is there already stays as it is, so a second run
changes nothing, and one of a newer program adds the meters that are new; processes that run take
them up within a second.

Examples:
  pulse init --tenant acme --products SOL-USD
  pulse init --tenant shop --no-feed             for events that producers of yours write";

/// What `pulse init` is told.
#[derive(Args, Clone, Debug)]
pub struct InitArguments {
    /// The tenant's id: up to 32 of a-z, 0-9 and hyphens.
    #[arg(long, default_value = "demo")]
    pub tenant: TenantId,
    /// The name that people read; the id when left out.
    #[arg(long)]
    pub name: Option<String>,
    /// The markets that its feed carries, as the exchange names them.
    #[arg(long, value_delimiter = ',', default_value = "BTC-USD,ETH-USD")]
    pub products: Vec<String>,
    /// Make no feed.
    #[arg(long)]
    pub no_feed: bool,
    /// How many seconds to wait for brokers that are away.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub wait: u64,
}

/// Why an installation was not made ready.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The brokers do not answer or refuse a topic.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The control topic could not be read or written.
    #[error(transparent)]
    Control(#[from] WriteError),
    /// A tenant's id is never given again: its rows and topics may still be somewhere.
    #[error("tenant {0} was deleted, and its id is not given again")]
    Deleted(TenantId),
}

/// A tenant to be.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// Its id.
    pub id: TenantId,
    /// What people read, and its limits.
    pub tenant: Tenant,
    /// Its meters, by id.
    pub meters: Vec<(String, Meter)>,
    /// Its feeds, by id.
    pub feeds: Vec<(String, Feed)>,
}

/// One thing that was to be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thing {
    /// A topic's name or a control key.
    pub name: String,
    /// True when it was not there before.
    pub is_new: bool,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            if self.is_new { "made " } else { "found" },
            self.name
        )
    }
}

impl NewTenant {
    /// A tenant with the built-in meters and without a feed.
    pub fn new(id: TenantId, name: impl Into<String>) -> Self {
        let meters = built_in()
            .into_iter()
            .map(|(id, meter)| (id.to_owned(), meter));
        Self {
            id,
            tenant: Tenant::new(name),
            meters: meters.collect(),
            feeds: vec![],
        }
    }

    /// The same with quotes, trades and depth of these markets.
    #[must_use]
    pub fn with_feed(mut self, id: &str, exchange: Exchange, products: &[String]) -> Self {
        let feed = Feed {
            exchange,
            products: products.to_vec(),
            channels: vec![Channel::Quotes, Channel::Trades, Channel::Depth],
            enabled: true,
        };
        self.feeds.push((id.to_owned(), feed));
        self
    }

    /// Its definitions, itself last.
    fn definitions(&self) -> Vec<(ControlKey, Definition)> {
        let key = |definition: &Definition, id: &str| ControlKey {
            tenant: self.id.clone(),
            kind: definition.kind(),
            id: id.to_owned(),
        };
        let meters = self
            .meters
            .iter()
            .map(|(id, meter)| (id, Definition::Meter(meter.clone())));
        let feeds = self
            .feeds
            .iter()
            .map(|(id, feed)| (id, Definition::Feed(feed.clone())));
        let mut definitions: Vec<_> = meters
            .chain(feeds)
            .map(|(id, definition)| (key(&definition, id), definition))
            .collect();
        let tenant = Definition::Tenant(self.tenant.clone());
        definitions.push((key(&tenant, "self"), tenant));
        definitions
    }
}

/// Makes what is missing of a tenant.
///
/// # Errors
/// The first thing that cannot be had; what came before it is there.
pub async fn ensure(
    kafka: &KafkaConfig,
    control: &ControlConfig,
    wanted: &NewTenant,
) -> Result<Vec<Thing>, InitError> {
    let mut things = topics(kafka, &wanted.id).await?;
    let writer = ControlWriter::new(kafka, control)?;
    let held = writer.read().await?;
    refuse_deleted(&held, &wanted.id)?;
    for (key, definition) in wanted.definitions() {
        let is_new = held.version(&key) == 0;
        if is_new {
            let _ = writer.put(&key, &definition).await?;
        }
        things.push(Thing {
            name: key.to_string(),
            is_new,
        });
    }
    Ok(things)
}

async fn topics(kafka: &KafkaConfig, tenant: &TenantId) -> Result<Vec<Thing>, InitError> {
    let own = Stream::ALL.map(|stream| TopicSpec::of(&tenant.topic(stream), kafka));
    let mut specs = vec![TopicSpec::control(kafka)];
    specs.extend(own);
    let ensured = Admin::new(kafka)?.ensure(&specs).await?;
    let pairs = specs.into_iter().zip(ensured);
    Ok(pairs
        .map(|(spec, is)| Thing {
            name: spec.name,
            is_new: is == Ensured::Made,
        })
        .collect())
}

fn refuse_deleted(held: &Control, id: &TenantId) -> Result<(), InitError> {
    let key = ControlKey {
        tenant: id.clone(),
        kind: schemas::control::Kind::Tenant,
        id: "self".into(),
    };
    match held.version(&key) > 0 && held.definition(&key).is_none() {
        true => Err(InitError::Deleted(id.clone())),
        false => Ok(()),
    }
}

/// Whether the same call may succeed later.
fn fate(error: &InitError) -> Fate {
    match error {
        InitError::Admin(error) => error.fate(),
        InitError::Control(WriteError::Read(error)) => error.fate(),
        InitError::Control(_) | InitError::Deleted(_) => Fate::Halt,
    }
}

/// Runs the command.
///
/// # Errors
/// When the installation cannot be reached in time, or something in it cannot be made.
pub async fn run(arguments: &InitArguments, access: &Access) -> anyhow::Result<()> {
    let (kafka, control) = (access.kafka()?, access.control()?);
    let name = arguments
        .name
        .clone()
        .unwrap_or_else(|| arguments.tenant.to_string());
    let mut wanted = NewTenant::new(arguments.tenant.clone(), name);
    if !arguments.no_feed {
        wanted = wanted.with_feed(FEED, Exchange::CoinbaseExchange, &arguments.products);
    }
    let deadline = Deadline::after(Duration::from_secs(arguments.wait));
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let things = loop {
        match ensure(&kafka, &control, &wanted).await {
            Ok(things) => break things,
            Err(error) if fate(&error) == Fate::Retry && !deadline.has_passed() => {
                eprintln!("waiting: {error}");
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    for thing in things {
        println!("{thing}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::control::Kind;

    #[test]
    fn a_tenant_comes_last_and_every_key_is_of_its_definition() {
        let wanted = NewTenant::new("acme".parse().unwrap(), "Acme").with_feed(
            FEED,
            Exchange::CoinbaseExchange,
            &["BTC-USD".to_owned()],
        );
        let definitions = wanted.definitions();
        let keys: Vec<String> = definitions.iter().map(|(key, _)| key.to_string()).collect();
        assert_eq!(
            keys,
            [
                "acme/meter/candles",
                "acme/meter/api",
                "acme/feed/coinbase",
                "acme/tenant/self"
            ]
        );
        for (key, definition) in &definitions {
            assert_eq!(key.kind, definition.kind());
            // What is written can be read again by the rules of those who follow the topic.
            assert_eq!(
                Definition::read(key.kind, &definition.body()).unwrap(),
                *definition
            );
        }
        assert_eq!(definitions.last().unwrap().0.kind, Kind::Tenant);
    }
}
