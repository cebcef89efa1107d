//! `pulse-api`: all of it. It takes events as a gateway does, changes definitions, and reads.
//!
//! One process of an installation has the control store and writes `pulse.control`; where it is
//! down, gateways and processors go on with what they know.

use std::net::SocketAddr;

use runtime::clickhouse::ClickHouseConfig;
use runtime::config::{Environment, Key, Settings};
use runtime::control::{ControlConfig, ControlView};
use runtime::health::Condition;
use runtime::kafka::KafkaConfig;
use runtime::service::Service;

use crate::access::Keyring;
use crate::access::installation::InstallationToken;
use crate::gateway::{CHECK, bind};
use crate::intake::{Brokers, Intake, IntakeConfig};
use crate::manage::{self, StoreState};
use crate::query::{self, QueryConfig, QueryState};
use crate::server::{self, Bounds};
use crate::store::{Store, StoreSettings, courier, streams};
use crate::usage::Ledger;
use crate::usage::keeper::{Keeper, UsageConfig};
use crate::{openapi, registry, routes, system};

const LISTEN: Key = Key {
    name: "PULSE_API_LISTEN",
    default: Some("127.0.0.1:8080"),
    doc: "Where pulse-api answers.",
};
const OPERATOR_LISTEN: Key = Key {
    name: "PULSE_OPERATOR_LISTEN",
    default: Some("127.0.0.1:8082"),
    doc: "Where pulse-api answers the operator's own tool; for the loopback or a private network.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[LISTEN, OPERATOR_LISTEN];

/// What pulse-api is told.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    kafka: KafkaConfig,
    control: ControlConfig,
    clickhouse: ClickHouseConfig,
    intake: IntakeConfig,
    store: StoreSettings,
    query: QueryConfig,
    usage: UsageConfig,
    listen: SocketAddr,
    operator_listen: SocketAddr,
}

impl Settings for ApiConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let kafka = KafkaConfig::read(env);
        let control = ControlConfig::read(env);
        let clickhouse = ClickHouseConfig::read(env);
        let intake = IntakeConfig::read(env);
        let store = StoreSettings::read(env);
        let query = QueryConfig::read(env);
        let usage = UsageConfig::read(env);
        let listen = env.parse(&LISTEN);
        let operator_listen = env.parse(&OPERATOR_LISTEN);
        Some(Self {
            kafka: kafka?,
            control: control?,
            clickhouse: clickhouse?,
            intake: intake?,
            store: store?,
            query: query?,
            usage: usage?,
            listen: listen?,
            operator_listen: operator_listen?,
        })
    }
}

/// Answers until told to stop; then ends the answers that it has begun.
///
/// # Errors
/// When an address is taken, the store cannot be used, or the control topic cannot be read and
/// waiting will not help.
pub async fn run(config: ApiConfig, service: Service) -> anyhow::Result<()> {
    let listener = bind(LISTEN.name, config.listen).await?;
    let operator_listener = bind(OPERATOR_LISTEN.name, config.operator_listen).await?;
    service.health.register(CHECK);
    let folder = &config.store.folder;
    let store = Store::open(folder, &config.kafka, &config.control, &service.metrics).await?;
    // It makes the control topic where there is none, so it goes before whoever follows that. Its
    // check is there before its task is.
    service.health.register(courier::CHECK);
    let courier = tokio::spawn(courier::run(store.clone(), service.clone()));
    let kept = config.intake.folder();
    let view = ControlView::open_kept(&config.kafka, &config.control, &service, kept).await?;
    let Some(view) = view else {
        return Ok(());
    };
    tokio::spawn(streams::ensure(store.clone(), service.clone()));
    let keyring = Keyring::of(&view.snapshot());
    tokio::spawn(
        keyring
            .clone()
            .follow(view.clone(), service.shutdown.clone()),
    );
    let brokers = Brokers {
        kafka: &config.kafka,
        control: &config.control,
        view: view.clone(),
    };
    let intake = Intake::open(brokers, &config.intake, keyring.clone(), &service).await?;
    let ledger = Ledger::of(store.clone());
    let query = QueryState::new(&config.clickhouse, config.query)?.with_ledger(ledger.clone());
    let keeper = Keeper {
        store: store.clone(),
        ledger,
        server: query.server().clone(),
        view,
        notices: intake.notices().clone(),
        kafka: config.kafka.clone(),
    };
    let keeping = tokio::spawn(keeper.run(config.usage, service.shutdown.clone()));
    let state = StoreState::new(store, &config.store, keyring.clone());

    let mut served = intake.routes();
    served.extend(intake.telemetry_routes());
    served.extend(system::routes());
    served.extend(openapi::routes());
    served.extend(registry::routes());
    served.extend(query::routes(query));
    served.extend(manage::routes(state.clone()));
    let router = intake.reported(routes::router(served, &keyring));
    let token = InstallationToken::of(&config.control);
    let operator = routes::operator_router(manage::installation_routes(state), &token);

    service.health.set(CHECK, Condition::Ready);
    let shutdown = &service.shutdown;
    tokio::join!(
        server::serve(listener, router, Bounds::default(), shutdown.clone()),
        server::serve(
            operator_listener,
            operator,
            Bounds::default(),
            shutdown.clone()
        ),
    );
    courier.await?;
    keeping.await?;
    Ok(())
}
