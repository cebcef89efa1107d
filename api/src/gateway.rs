//! `pulse-gateway`: ingest alone, as many of them as it takes.
//!
//! It needs the brokers and nothing else: keys and limits are a view of `pulse.control`, so it goes
//! on when pulse-api and ClickHouse are down. Where it has a disk log it keeps that view there, and
//! so starts without brokers too.

use std::net::SocketAddr;

use anyhow::Context;
use runtime::config::{Environment, Key, Settings};
use runtime::control::{ControlConfig, ControlView};
use runtime::health::Condition;
use runtime::kafka::KafkaConfig;
use runtime::service::Service;
use tokio::net::TcpListener;

use crate::access::Keyring;
use crate::intake::{Brokers, Intake, IntakeConfig};
use crate::server::{self, Bounds};
use crate::{routes, system};

const LISTEN: Key = Key {
    name: "PULSE_GATEWAY_LISTEN",
    default: Some("127.0.0.1:8081"),
    doc: "Where pulse-gateway takes events.",
};

/// The health check of what serves: ready once requests are answered.
pub(crate) const CHECK: &str = "http";

/// All of this part's keys.
pub const KEYS: &[Key] = &[LISTEN];

/// What a gateway is told.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    kafka: KafkaConfig,
    control: ControlConfig,
    intake: IntakeConfig,
    listen: SocketAddr,
}

impl Settings for GatewayConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let kafka = KafkaConfig::read(env);
        let control = ControlConfig::read(env);
        let intake = IntakeConfig::read(env);
        let listen = env.parse(&LISTEN);
        Some(Self {
            kafka: kafka?,
            control: control?,
            intake: intake?,
            listen: listen?,
        })
    }
}

/// Takes events until told to stop; then answers what it has begun.
///
/// # Errors
/// When the address is taken, or the control topic cannot be read and waiting will not help.
pub async fn run(config: GatewayConfig, service: Service) -> anyhow::Result<()> {
    service.health.register(CHECK);
    let listener = bind(LISTEN.name, config.listen).await?;
    let kept = config.intake.folder();
    let view = ControlView::open_kept(&config.kafka, &config.control, &service, kept).await?;
    let Some(view) = view else {
        return Ok(());
    };
    let keyring = Keyring::of(&view.snapshot());
    tokio::spawn(
        keyring
            .clone()
            .follow(view.clone(), service.shutdown.clone()),
    );
    let brokers = Brokers {
        kafka: &config.kafka,
        control: &config.control,
        view,
    };
    let intake = Intake::open(brokers, &config.intake, keyring.clone(), &service).await?;
    let mut served = intake.routes();
    served.extend(intake.telemetry_routes());
    served.extend(system::routes());
    let router = routes::router(served, &keyring);
    let router = intake.reported(router);
    service.health.set(CHECK, Condition::Ready);
    server::serve(
        listener,
        router,
        Bounds::default(),
        service.shutdown.clone(),
    )
    .await;
    Ok(())
}

/// A listener that is there before any work begins.
///
/// # Errors
/// When the address is taken or not ours, with the setting that names it.
pub(crate) async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{setting} at {address}"))
}
