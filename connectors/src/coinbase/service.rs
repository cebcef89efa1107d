//! The process: both feeds of Coinbase for all tenants that want them.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use runtime::config::{Environment, Key, Settings};
use runtime::control::{Control, ControlConfig, ControlView, TenantControl};
use runtime::kafka::{KafkaConfig, Publisher};
use runtime::service::Service;
use schemas::control::Exchange;
use schemas::ids::{TenantId, TenantIdError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::protocol;
use crate::connection::{Connection, Parts};
use crate::delivery::{self, Delivery, DeliveryError};
use crate::mapping::FeedName;
use crate::subscription::Subscriptions;
use crate::telemetry::Figures;
use crate::translate::Translator;

const EXCHANGE_URL: Key = Key {
    name: "PULSE_COINBASE_EXCHANGE_URL",
    default: Some("wss://ws-feed.exchange.coinbase.com"),
    doc: "Where Coinbase's Exchange feed is; a simulator may stand in.",
};
const ADVANCED_URL: Key = Key {
    name: "PULSE_COINBASE_ADVANCED_URL",
    default: Some("wss://advanced-trade-ws.coinbase.com"),
    doc: "Where Coinbase's Advanced Trade feed is; a simulator may stand in.",
};
const TENANTS: Key = Key {
    name: "PULSE_COINBASE_TENANTS",
    default: None,
    doc: "The tenants whose feeds are read, separated by commas; all of them when left out.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[EXCHANGE_URL, ADVANCED_URL, TENANTS];

/// What the process is told.
#[derive(Clone, Debug)]
pub struct CoinbaseConfig {
    /// The brokers.
    pub kafka: KafkaConfig,
    /// What checks control records.
    pub control: ControlConfig,
    /// Where the Exchange feed is.
    pub exchange_url: String,
    /// Where the Advanced Trade feed is.
    pub advanced_url: String,
    /// Whose feeds are read.
    pub audience: Audience,
}

/// Whose feeds a process reads: a simulator, for one, is not for those who want the exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Every tenant's.
    All,
    /// These tenants' alone.
    Only(BTreeSet<TenantId>),
}

impl Audience {
    fn holds(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Only(tenants) => tenants.contains(tenant),
        }
    }
}

impl FromStr for Audience {
    type Err = TenantIdError;

    fn from_str(text: &str) -> Result<Self, TenantIdError> {
        text.split(',')
            .map(|id| id.trim().parse())
            .collect::<Result<_, _>>()
            .map(Self::Only)
    }
}

impl Settings for CoinbaseConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let kafka = KafkaConfig::read(env);
        let control = ControlConfig::read(env);
        let exchange_url = url(env, &EXCHANGE_URL);
        let advanced_url = url(env, &ADVANCED_URL);
        let audience = env.optional(&TENANTS);
        Some(Self {
            kafka: kafka?,
            control: control?,
            exchange_url: exchange_url?,
            advanced_url: advanced_url?,
            audience: audience?.unwrap_or(Audience::All),
        })
    }
}

fn url(env: &mut Environment, key: &Key) -> Option<String> {
    let text = env.text(key)?;
    let uri: Result<tokio_tungstenite::tungstenite::http::Uri, _> = text.parse();
    let is_websocket = uri.is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("ws" | "wss")) && uri.host().is_some_and(|h| !h.is_empty())
    });
    match is_websocket {
        true => Some(text),
        false => env.refuse(key, "must be a ws:// or wss:// address"),
    }
}

impl CoinbaseConfig {
    fn url(&self, exchange: Exchange) -> &str {
        match exchange {
            Exchange::CoinbaseExchange => &self.exchange_url,
            Exchange::CoinbaseAdvanced => &self.advanced_url,
        }
    }
}

/// Reads both feeds until the shutdown; on return everything that was read is acknowledged.
///
/// # Errors
/// When the log or the control topic refuse this process for good.
pub async fn run(config: CoinbaseConfig, service: Service) -> anyhow::Result<()> {
    // Refused only when the program chose a provider already; then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    service
        .health
        .watch_kafka(&config.kafka, &service.shutdown)?;
    let Some(control) = ControlView::open(&config.kafka, &config.control, &service).await? else {
        return Ok(());
    };
    let publisher = delivery::publisher(&config.kafka, &service.member())?;
    let figures = Figures::new(&service.metrics);
    let mut connections = JoinSet::new();
    let mut wishes = vec![];
    for exchange in [Exchange::CoinbaseExchange, Exchange::CoinbaseAdvanced] {
        let first = Arc::new(subscriptions(
            exchange,
            &control.snapshot(),
            &config.audience,
        ));
        let (wish, wished) = watch::channel(first);
        wishes.push((exchange, wish));
        let parts = parts(exchange, &config, &service, (&publisher, &figures), wished);
        connections.spawn(Connection::new(parts).run());
    }
    let follower = tokio::spawn(follow(control, config.audience.clone(), wishes));
    let ended = wait(&mut connections, &service).await;
    follower.abort();
    ended
}

/// Waits for all connections; the first that fails ends the others.
async fn wait(
    connections: &mut JoinSet<Result<(), DeliveryError>>,
    service: &Service,
) -> anyhow::Result<()> {
    let mut first_error = None;
    while let Some(ended) = connections.join_next().await {
        let ended = ended.map_err(anyhow::Error::from);
        if let Err(error) = ended.and_then(|result| result.map_err(Into::into)) {
            service.shutdown.request();
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// Hands each change of the control view on as wishes.
async fn follow(
    control: ControlView,
    audience: Audience,
    wishes: Vec<(Exchange, watch::Sender<Arc<Subscriptions>>)>,
) {
    let mut changes = control.changes();
    loop {
        let snapshot = control.snapshot();
        for (exchange, wish) in &wishes {
            let now = subscriptions(*exchange, &snapshot, &audience);
            wish.send_if_modified(|held| {
                let has_changed = **held != now;
                if has_changed {
                    *held = Arc::new(now);
                }
                has_changed
            });
        }
        if changes.changed().await.is_err() {
            // The view is no longer followed: the process is about to stop.
            std::future::pending::<()>().await;
        }
    }
}

fn subscriptions(exchange: Exchange, control: &Control, audience: &Audience) -> Subscriptions {
    let tenants = control
        .tenants()
        .filter(|(tenant, _)| audience.holds(tenant));
    let is_direct = |control: &TenantControl| {
        let tenant = control.tenant.as_ref();
        tenant.is_some_and(|tenant| tenant.value.direct_producers)
    };
    let direct = control.tenants().filter(|(_, control)| is_direct(control));
    let direct = direct.map(|(tenant, _)| tenant.clone()).collect();
    let feeds = tenants.flat_map(|(tenant, control)| {
        let feeds = control.feeds.values();
        feeds.map(move |feed| (tenant, &feed.value))
    });
    Subscriptions::of(exchange, feeds).with_direct_producers(direct)
}

fn parts(
    exchange: Exchange,
    config: &CoinbaseConfig,
    service: &Service,
    (publisher, figures): (&Publisher, &Figures),
    wishes: watch::Receiver<Arc<Subscriptions>>,
) -> Parts {
    let feed = match exchange {
        Exchange::CoinbaseExchange => "coinbase_exchange",
        Exchange::CoinbaseAdvanced => "coinbase_advanced",
    };
    let figures = figures.of_feed(feed);
    let name = FeedName {
        exchange: exchange.name(),
        feed,
    };
    Parts {
        url: config.url(exchange).to_owned(),
        check: feed,
        translator: Translator::new(protocol(exchange), name),
        delivery: Delivery::new(
            publisher.clone(),
            config.control.clone(),
            wishes.clone(),
            figures.records(),
        ),
        wishes,
        kafka: config.kafka.clone(),
        control: config.control.clone(),
        member: service.member(),
        figures,
        health: service.health.clone(),
        shutdown: service.shutdown.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_are_all_or_those_that_are_named() {
        let tenant = |id: &str| id.parse::<TenantId>().unwrap();
        let some: Audience = "demo, acme".parse().unwrap();
        assert!(some.holds(&tenant("demo")) && some.holds(&tenant("acme")));
        assert!(!some.holds(&tenant("other")) && Audience::All.holds(&tenant("other")));
        assert!("demo,,acme".parse::<Audience>().is_err());
        assert!("Demo".parse::<Audience>().is_err());
    }

    #[test]
    fn addresses_are_checked_before_a_socket_opens() {
        for (text, valid) in [
            ("wss://ws-feed.exchange.coinbase.com", true),
            ("ws://127.0.0.1:9000/exchange", true),
            ("ws://[::1]:9000", true),
            ("https://example.com", false),
            ("example.com", false),
            ("ws://", false),
        ] {
            let mut env = Environment::of([(EXCHANGE_URL.name, text)]);
            assert_eq!(url(&mut env, &EXCHANGE_URL).is_some(), valid, "{text}");
        }
        let mut env = Environment::of::<&str, &str>([]);
        let public = url(&mut env, &ADVANCED_URL).unwrap();
        assert_eq!(public, protocol(Exchange::CoinbaseAdvanced).public_url());
    }
}
